from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager

import pytest
import pytest_asyncio

from ketchup import __version__
from ketchup.clock import FrozenClock
from ketchup.egress import Bounds, Egress, TimedOut, TooLarge, Unreachable, WrongType
from ketchup.openings import parse
from tests.support.guarded import FRIEND, egress_for, read, resolving
from tests.support.loopback import Request, answer, response, serving


@pytest_asyncio.fixture
async def egress() -> AsyncIterator[Egress]:
    guarded = egress_for()
    yield guarded
    await guarded.close()


async def test_a_request_is_honest_and_carries_nothing_of_ours(
    egress: Egress, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9/")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9/")
    async with serving(answer(), FRIEND) as friend:
        url = f"http://{FRIEND}:{friend.port}/a?b#c"
        await egress.get(url, max_bytes=10, deadline_seconds=5, accept=("image/", "x/y"))
    (request,) = friend.requests
    assert request.line == "GET /a?b HTTP/1.1"
    assert request.headers == {
        "host": f"{FRIEND}:{friend.port}",
        "user-agent": f"Ketchup/{__version__}",
        "accept": "image/*, x/y",
        "accept-encoding": "identity",
        "connection": "close",
    }


async def test_a_body_over_the_limit_is_refused_by_its_announced_length(egress: Egress) -> None:
    # Nothing follows the head: a guard that waits for the body would run into the deadline.
    async def handle(_: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1001\r\n\r\n")
        await writer.drain()
        await asyncio.Event().wait()

    async with serving(handle, FRIEND) as friend:
        with pytest.raises(TooLarge):
            await read(egress, f"http://{FRIEND}:{friend.port}/")


async def test_an_endless_body_is_cut_off_at_the_limit(egress: Egress) -> None:
    async def handle(_: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"x" * 500)
            await writer.drain()

    async with serving(handle, FRIEND) as friend:
        with pytest.raises(TooLarge):
            await read(egress, f"http://{FRIEND}:{friend.port}/")


async def test_a_body_of_exactly_the_limit_is_read(egress: Egress) -> None:
    async with serving(answer(body=b"x" * 1000), FRIEND) as friend:
        assert len(await read(egress, f"http://{FRIEND}:{friend.port}/")) == 1000


async def test_a_body_in_crumbs_is_not_put_together(egress: Egress) -> None:
    async def handle(_: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        writer.write(b"1\r\nx\r\n" * 5000 + b"0\r\n\r\n")

    async with serving(handle, FRIEND) as friend:
        with pytest.raises(Unreachable):
            await egress.get(
                f"http://{FRIEND}:{friend.port}/", max_bytes=10_000, deadline_seconds=5
            )


@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\n\r\nx"])
async def test_a_server_that_falls_silent_is_left_at_the_deadline(
    egress: Egress, start: bytes
) -> None:
    async def handle(_: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(start)
        await writer.drain()
        await asyncio.Event().wait()

    async with serving(handle, FRIEND) as friend:
        with pytest.raises(TimedOut):
            await egress.get(f"http://{FRIEND}:{friend.port}/", max_bytes=10, deadline_seconds=0.1)


async def test_another_media_type_is_not_read(egress: Egress) -> None:
    async with serving(answer(content_type="text/html; charset=x"), FRIEND) as friend:
        url = f"http://{FRIEND}:{friend.port}/"
        with pytest.raises(WrongType):
            await egress.get(url, max_bytes=10, deadline_seconds=5, accept=("image/",))
        fetched = await egress.get(url, max_bytes=10, deadline_seconds=5)
    assert fetched.content_type == "text/html"


async def test_an_answer_without_a_media_type_is_read(egress: Egress) -> None:
    async with serving(answer(), FRIEND) as friend:
        fetched = await egress.get(
            f"http://{FRIEND}:{friend.port}/", max_bytes=10, deadline_seconds=5, accept=("image/",)
        )
    assert fetched.data == b"ok"


@pytest.mark.parametrize("status", [204, 404, 500, 206])
async def test_only_200_is_an_answer_to_a_read(egress: Egress, status: int) -> None:
    async with serving(answer(status, body=b""), FRIEND) as friend:
        with pytest.raises(Unreachable):
            await read(egress, f"http://{FRIEND}:{friend.port}/")


@pytest.mark.parametrize(
    "bytes_", [b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", b""]
)
async def test_an_answer_that_is_not_http_is_unreachable(egress: Egress, bytes_: bytes) -> None:
    async def handle(_: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(bytes_)

    async with serving(handle, FRIEND) as friend:
        with pytest.raises(Unreachable):
            await read(egress, f"http://{FRIEND}:{friend.port}/")


async def test_reads_from_one_origin_are_bounded_and_others_go_on(egress: Egress) -> None:
    release = asyncio.Event()
    arrived = asyncio.Semaphore(0)

    async def handle(_: Request, writer: asyncio.StreamWriter) -> None:
        arrived.release()
        await release.wait()
        writer.write(response())

    async with serving(handle, FRIEND) as busy, serving(answer(), FRIEND) as other:
        reads = [
            asyncio.create_task(read(egress, f"http://{FRIEND}:{busy.port}/{i}")) for i in range(9)
        ]
        for _ in range(4):
            await arrived.acquire()
        # While these round trips last, a fifth would arrive.
        for _ in range(5):
            await read(egress, f"http://{FRIEND}:{other.port}/")
        assert busy.open_now == 4
        release.set()
        await asyncio.gather(*reads)
        assert busy.most_open == 4
        assert busy.connections == 9
    assert egress._turns._by_origin == egress._turns._by_workspace == {}


async def test_the_time_in_our_own_queue_is_not_the_servers() -> None:
    egress = egress_for(bounds=Bounds(per_origin=1))
    release = asyncio.Event()
    silence = asyncio.Event()
    arrived = asyncio.Event()

    async def slow(_: Request, writer: asyncio.StreamWriter) -> None:
        arrived.set()
        await release.wait()
        writer.write(response())

    async def silent(_: Request, __: asyncio.StreamWriter) -> None:
        await silence.wait()

    async with serving(slow, FRIEND) as busy, serving(silent, FRIEND) as timer:
        url = f"http://{FRIEND}:{busy.port}/"
        first = asyncio.create_task(egress.get(url, max_bytes=10, deadline_seconds=5))
        await arrived.wait()
        second = asyncio.create_task(egress.get(url, max_bytes=10, deadline_seconds=0.2))
        longer = f"http://{FRIEND}:{timer.port}/"
        with pytest.raises(TimedOut):
            await egress.get(longer, max_bytes=10, deadline_seconds=0.3)
        release.set()
        assert (await first).data == (await second).data == b"ok"


async def test_the_deadline_is_for_all_hops_together() -> None:
    clock = FrozenClock()
    egress = Egress(clock, allow=[parse(f"{FRIEND}/32:1-65535")])

    async def slow(_: Request, writer: asyncio.StreamWriter) -> None:
        clock.advance(3)
        writer.write(response(302, location="/"))

    async with serving(slow, FRIEND) as friend:
        with pytest.raises(TimedOut):
            await egress.get(f"http://{FRIEND}:{friend.port}/", max_bytes=10, deadline_seconds=5)
        assert len(friend.requests) == 2


async def test_a_message_is_posted_with_its_headers_and_the_reply_is_measured(
    egress: Egress,
) -> None:
    async with serving(answer(202, retry_after="17"), FRIEND) as friend:
        reply = await egress.post(
            f"http://{FRIEND}:{friend.port}/hook",
            body=b'{"a":1}',
            headers={"content-type": "application/json", "webhook-id": "msg_1"},
        )
    (request,) = friend.requests
    assert request.line == "POST /hook HTTP/1.1"
    assert request.body == b'{"a":1}'
    assert request.headers["webhook-id"] == "msg_1"
    assert (reply.status, reply.retry_after) == (202, 17.0)
    assert 0 < reply.duration < 5


@pytest.fixture
def far_from_greenwich(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("Wed, 10 Sep 2025 10:23:20 GMT", 60 - 0.01),  # the clock stands at 10:22:20.010
        ("Wed, 10 Sep 2025 10:00:00 GMT", 0),
        ("Wed, 10 Sep 2025 12:23:20 +0200", 60 - 0.01),
        ("Wed, 10 Sep 2025 10:23:20 -0000", 60 - 0.01),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("٣", None),
        ("9" * 30, None),
        ("Wed, 99 Sep 99999 10:00:00 GMT", None),
    ],
)
@pytest.mark.usefixtures("far_from_greenwich")
async def test_retry_after_is_read_as_seconds_or_a_date(text: str, seconds: float | None) -> None:
    egress = Egress(FrozenClock(), allow=[parse(f"{FRIEND}/32:1-65535")])
    handler = answer(503, retry_after=text.encode().decode("latin-1"))
    async with serving(handler, FRIEND) as friend:
        reply = await egress.post(f"http://{FRIEND}:{friend.port}/", body=b"", headers={})
    assert reply.retry_after == (None if seconds is None else pytest.approx(seconds))


async def test_an_endless_reply_is_not_read_on(egress: Egress) -> None:
    written = 0
    gone = asyncio.Event()

    async def handle(_: Request, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            while True:
                writer.write(bytes(65536))
                await writer.drain()
                written += 65536
        finally:
            gone.set()

    async with serving(handle, FRIEND) as friend:
        reply = await egress.post(f"http://{FRIEND}:{friend.port}/", body=b"{}", headers={})
        assert reply.status == 200
        await asyncio.wait_for(gone.wait(), 5)
    # What the sockets' buffers hold, and no more.
    assert written < 16 * 1024 * 1024


async def test_a_reply_that_does_not_end_is_still_a_reply(egress: Egress) -> None:
    async def handle(_: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 410 Gone\r\n\r\nx")
        await writer.drain()
        await asyncio.Event().wait()

    async with serving(handle, FRIEND) as friend:
        url = f"http://{FRIEND}:{friend.port}/"
        reply = await egress.post(url, body=b"{}", headers={}, deadline=4)
    assert reply.status == 410


async def test_an_address_that_swallows_packets_leaves_time_for_the_next() -> None:
    egress = egress_for(resolving("127.0.0.3", FRIEND), allow=("127.0.0.2/31",))
    async with serving(answer(), FRIEND) as friend:
        with socket.socket() as deaf:
            deaf.bind(("127.0.0.3", friend.port))
            deaf.listen(0)
            with _filled_queue(deaf):
                reply = await egress.post(
                    f"http://two.test:{friend.port}/",
                    body=b"",
                    headers={},
                    connect_timeout=0.6,
                    deadline=0.6,
                )
    assert reply.status == 200


@contextmanager
def _filled_queue(listener: socket.socket) -> Iterator[None]:
    """Knock until the listener's queue is full: the kernel drops every later knock."""
    with ExitStack() as knocks:
        for _ in range(4):
            knock = knocks.enter_context(socket.socket())
            knock.settimeout(0)
            knock.connect_ex(listener.getsockname())
        yield


async def test_a_receiver_that_does_not_answer_is_left_at_the_deadline(egress: Egress) -> None:
    async def handle(_: Request, __: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with serving(handle, FRIEND) as friend:
        with pytest.raises(TimedOut):
            await egress.post(
                f"http://{FRIEND}:{friend.port}/", body=b"{}", headers={}, deadline=0.1
            )
