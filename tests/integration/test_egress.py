from __future__ import annotations

import asyncio
import itertools
import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from ketchup import __version__
from ketchup.clock import FrozenClock, SystemClock
from ketchup.egress import (
    Blocked,
    Egress,
    EgressError,
    Resolver,
    TimedOut,
    TooLarge,
    Unreachable,
    WrongType,
    networks,
)
from tests.support.loopback import Request, Server, answer, response, serving

FRIEND = "127.0.0.2"
"""The one address that the tests' egress may open; every other loopback address is internal."""

LOOPBACK = [
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "0177.0.0.1",
    "017700000001",
    "0",
    "0.0.0.0",
    "localhost",
    "LOCALHOST.",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "①②⑦.⓪.⓪.①",
    "127。0。0。1",
    "friend@127.0.0.1",
    "friend:x@127.0.0.1",
    "127.0.0.1#@friend",
    "127.0.0.1\\@friend",
]


def egress_for(
    resolver: Resolver | None = None,
    *,
    allow: Sequence[str] = (f"{FRIEND}/32",),
    ports: Collection[int] = range(1, 65536),
    tls: ssl.SSLContext | None = None,
) -> Egress:
    """Every port is open: what keeps an internal service safe here is its address alone."""
    return Egress(SystemClock(), allow=networks(allow), ports=ports, resolver=resolver, tls=tls)


def resolving(*answers: str) -> Resolver:
    async def resolve(*_: object) -> Sequence[str]:
        return answers

    return resolve


async def read(egress: Egress, url: str, *, max_redirects: int = 3) -> bytes:
    fetched = await egress.get(url, max_bytes=1000, deadline_seconds=5, max_redirects=max_redirects)
    return fetched.data


@pytest_asyncio.fixture
async def egress() -> AsyncIterator[Egress]:
    guarded = egress_for()
    yield guarded
    await guarded.close()


@pytest_asyncio.fixture
async def canary() -> AsyncIterator[Server]:
    """The internal service: on every loopback address but the friend's."""
    async with serving(answer(body=b"SECRET"), "127.0.0.1", "::1") as server:
        yield server


@pytest.mark.parametrize("host", LOOPBACK)
async def test_no_spelling_of_loopback_reaches_an_internal_service(
    egress: Egress, canary: Server, host: str
) -> None:
    with pytest.raises(EgressError):
        await read(egress, f"http://{host}:{canary.port}/")
    with pytest.raises(EgressError):
        await egress.post(f"http://{host}:{canary.port}/", body=b"{}", headers={})
    assert canary.connections == 0


@pytest.mark.parametrize("host", LOOPBACK)
async def test_no_redirect_reaches_an_internal_service(
    egress: Egress, canary: Server, host: str
) -> None:
    location = f"http://{host}:{canary.port}/"
    redirect = answer(302, location=location.encode().decode("latin-1"))

    async def handle(request: Request, writer: asyncio.StreamWriter) -> None:
        if "/first" in request.line:
            writer.write(response(307, location="/second"))
        else:
            await redirect(request, writer)

    async with serving(handle, FRIEND) as friend:
        with pytest.raises(EgressError):
            await read(egress, f"http://{FRIEND}:{friend.port}/first")
        assert len(friend.requests) == 2
    assert canary.connections == 0


@pytest.mark.parametrize("location", ["file:///etc/passwd", "gopher://127.0.0.1/", "//", ""])
async def test_a_redirect_to_another_scheme_or_nowhere_is_refused(
    egress: Egress, location: str
) -> None:
    async with serving(answer(302, location=location), FRIEND) as friend:
        with pytest.raises(Unreachable):
            await read(egress, f"http://{FRIEND}:{friend.port}/", max_redirects=1)


async def test_a_name_that_is_rebound_between_calls_never_reaches_an_internal_service() -> None:
    flips = itertools.cycle([FRIEND, "127.0.0.1"])

    async def resolve(*_: object) -> Sequence[str]:
        return [next(flips)]

    egress = egress_for(resolve)
    outcomes = []
    async with (
        serving(answer(body=b"friend"), FRIEND) as friend,
        serving(answer(body=b"SECRET"), "127.0.0.1", port=friend.port) as internal,
    ):
        for _ in range(100):
            try:
                outcomes.append(await read(egress, f"http://rebind.test:{friend.port}/"))
            except Blocked:
                outcomes.append(b"blocked")
        assert internal.connections == 0
    assert outcomes == [b"friend", b"blocked"] * 50


async def test_a_name_is_resolved_once_per_connection() -> None:
    asked = []

    async def resolve(host: str, _: int) -> Sequence[str]:
        asked.append(host)
        return [FRIEND]

    egress = egress_for(resolve)
    async with serving(answer(), FRIEND) as friend:
        await read(egress, f"http://name.test:{friend.port}/")
    assert asked == ["name.test"]


@pytest.mark.parametrize("answers", [(FRIEND, "127.0.0.1"), ("127.0.0.1", FRIEND)])
async def test_one_bad_answer_refuses_the_whole_name(answers: tuple[str, str]) -> None:
    egress = egress_for(resolving(*answers))
    async with serving(answer(), FRIEND) as friend:
        with pytest.raises(Blocked):
            await read(egress, f"http://mixed.test:{friend.port}/")
        assert friend.connections == 0


async def test_the_next_address_is_tried_when_the_first_does_not_answer() -> None:
    egress = egress_for(resolving("127.0.0.3", FRIEND), allow=("127.0.0.2/31",))
    async with serving(answer(body=b"second"), FRIEND) as friend:
        assert await read(egress, f"http://two.test:{friend.port}/") == b"second"


async def test_a_public_address_is_opened_at_the_web_ports_only() -> None:
    # The address is not dialled: the port is judged first.
    egress = Egress(SystemClock(), resolver=resolving("93.184.216.34"))
    with pytest.raises(Blocked) as blocked:
        await read(egress, "http://public.test:22/")
    assert "22" in blocked.value.detail


async def test_the_allow_list_opens_a_network_at_any_port(canary: Server) -> None:
    egress = egress_for(allow=("127.0.0.0/8", "::1/128"))
    assert await read(egress, f"http://127.0.0.1:{canary.port}/") == b"SECRET"
    assert await read(egress, f"http://[::1]:{canary.port}/") == b"SECRET"
    assert canary.requests[1].headers["host"] == f"[::1]:{canary.port}"


async def test_a_denied_a_closed_and_an_unknown_address_look_alike(canary: Server) -> None:
    async def nothing(*_: object) -> Sequence[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    sentences = set()
    for egress, url in (
        (egress_for(), f"http://127.0.0.1:{canary.port}/"),
        (egress_for(), f"http://{FRIEND}:1/"),
        (egress_for(nothing), "http://unknown.test/"),
        (egress_for(resolving()), "http://empty.test/"),
        (egress_for(resolving("fe80::1%eth0")), "http://scoped.test/"),
    ):
        with pytest.raises(EgressError) as error:
            await read(egress, url)
        sentences.add(str(error.value))
    assert sentences == {EgressError.SENTENCE}


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


async def test_redirects_are_followed_without_cookies_up_to_the_limit(egress: Egress) -> None:
    async def handle(request: Request, writer: asyncio.StreamWriter) -> None:
        step = int(request.line.split()[1].strip("/"))
        if step == 3:
            writer.write(response(body=b"there"))
        else:
            writer.write(response(301, location=f"/{step + 1}", set_cookie="a=b"))

    async with serving(handle, FRIEND) as friend:
        url = f"http://{FRIEND}:{friend.port}/0"
        assert await read(egress, url, max_redirects=3) == b"there"
        assert not any("cookie" in request.headers for request in friend.requests)
        with pytest.raises(Unreachable):
            await read(egress, url, max_redirects=2)


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
    assert egress._gates._gates == {}


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


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("Wed, 10 Sep 2025 10:23:20 GMT", 60 - 0.01),  # the clock stands at 10:22:20.010
        ("Wed, 10 Sep 2025 10:00:00 GMT", 0),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("٣", None),
        ("9" * 30, None),
        ("Wed, 99 Sep 99999 10:00:00 GMT", None),
    ],
)
async def test_retry_after_is_read_as_seconds_or_a_date(text: str, seconds: float | None) -> None:
    egress = Egress(FrozenClock(), allow=networks([f"{FRIEND}/32"]))
    handler = answer(503, retry_after=text.encode().decode("latin-1"))
    async with serving(handler, FRIEND) as friend:
        reply = await egress.post(f"http://{FRIEND}:{friend.port}/", body=b"", headers={})
    assert reply.retry_after == (None if seconds is None else pytest.approx(seconds))


async def test_a_message_does_not_follow_a_redirect(egress: Egress, canary: Server) -> None:
    location = f"http://127.0.0.1:{canary.port}/"
    async with serving(answer(307, location=location), FRIEND) as friend:
        reply = await egress.post(f"http://{FRIEND}:{friend.port}/", body=b"{}", headers={})
    assert reply.status == 307
    assert canary.connections == 0


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


def _certificate(folder: Path, name: str) -> Path:
    file = folder / "server.pem"
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
        f" -subj /CN={name} -addext subjectAltName=DNS:{name}"
        f" -keyout {file} -out {folder / 'cert.pem'}"
    )
    subprocess.run(command.split(), check=True, capture_output=True)  # noqa: S603 our own words
    with file.open("a") as key:
        key.write((folder / "cert.pem").read_text())
    return file


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command")
async def test_tls_verifies_the_name_of_the_url_not_the_address(tmp_path: Path) -> None:
    certificate = _certificate(tmp_path, "right.test")
    server_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_tls.load_cert_chain(certificate)
    client_tls = ssl.create_default_context(cafile=str(certificate))
    egress = egress_for(resolving(FRIEND), tls=client_tls)
    unknowing = egress_for(resolving(FRIEND))
    async with serving(answer(body=b"private"), FRIEND, tls=server_tls) as friend:
        assert await read(egress, f"https://right.test:{friend.port}/") == b"private"
        with pytest.raises(Unreachable, match=EgressError.SENTENCE) as wrong_name:
            await read(egress, f"https://wrong.test:{friend.port}/")
        with pytest.raises(Unreachable) as unknown_issuer:
            await read(unknowing, f"https://right.test:{friend.port}/")
    assert "hostname mismatch" in wrong_name.value.detail.lower()
    assert "self-signed certificate" in unknown_issuer.value.detail.lower()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command")
async def test_a_redirect_from_https_to_http_is_refused(tmp_path: Path) -> None:
    certificate = _certificate(tmp_path, "right.test")
    server_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_tls.load_cert_chain(certificate)
    tls = ssl.create_default_context(cafile=str(certificate))
    egress = egress_for(resolving(FRIEND), tls=tls)
    async with serving(answer(), FRIEND) as plain:
        downgrade = answer(302, location=f"http://right.test:{plain.port}/")
        async with serving(downgrade, FRIEND, tls=server_tls) as secure:
            with pytest.raises(Unreachable):
                await read(egress, f"https://right.test:{secure.port}/")
        assert plain.connections == 0
