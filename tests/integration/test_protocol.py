from __future__ import annotations

import asyncio
import resource
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import ClassVar, TypeAlias, cast

import pytest
import uvicorn
import uvloop
from starlette.types import ASGIApp, Receive, Scope, Send
from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle
from uvicorn.server import ServerState

from ketchup.edge import MAX_HEAD_BYTES, Hosts, Peers
from ketchup.protocol import HttpProtocol, connections_at_most, protocol_of
from ketchup.server import create_app
from tests.support.clocks import SimulatedLoop
from tests.support.exchange import DEADLINE_SECONDS, Connection, head
from tests.support.home import until
from tests.support.service import running_service

Build: TypeAlias = Callable[[uvicorn.Config, ServerState], HttpProtocol]


class HastyProtocol(HttpProtocol):
    head_seconds = 0.05
    pause_seconds = 0.4
    slowest_body = 1000.0
    rest_seconds = 0.05


class WatchedProtocol(HastyProtocol):
    """A connection of which a test knows how much the server has read."""

    def __init__(self, config: uvicorn.Config, state: ServerState, loop: SimulatedLoop) -> None:
        super().__init__(config, state, {}, cast("asyncio.AbstractEventLoop", loop))
        self._bytes = 0
        self._news = asyncio.Event()

    @override
    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._bytes += len(data)
        self._news.set()

    async def until_read(self, count: int) -> None:
        """Return once so many bytes have been read and judged."""
        while self._bytes < count:
            self._news.clear()
            await self._news.wait()


class TimedConnection(Connection):
    """A connection to a server whose clock stands still."""

    server: WatchedProtocol
    clock: SimulatedLoop
    _sent = 0

    @override
    async def send(self, data: bytes) -> None:
        """Send, and return once the server has read it."""
        await super().send(data)
        self._sent += len(data)
        async with asyncio.timeout(DEADLINE_SECONDS):
            await self.server.until_read(self._sent)

    def is_dropped(self) -> bool:
        """Whether the server has given the connection up."""
        return self.server.transport.is_closing()


class Slow:
    """What answers at `/slow`, once it may."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.may_answer = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked.set()
        await self.may_answer.wait()
        await echo(scope, receive, send)


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the body, or at `/names` with the names of the headers as they are at the end.

    At `/refuse` the body is not read.
    """
    body = b""
    more = scope["path"] != "/refuse"
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    if scope["path"] == "/names":
        body = b",".join(name for name, _ in scope["headers"])
    length = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": length})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def connected() -> AsyncIterator[Connection]:
    """Connect to a server that waits a moment for a head, and a little longer within a body."""
    async with serving(HastyProtocol) as url:
        connection = await Connection.to(url)
        try:
            yield connection
        finally:
            await connection.close()


@asynccontextmanager
async def timed(app: ASGIApp = echo) -> AsyncIterator[TimedConnection]:
    """Connect to the same server, whose clock only the test moves."""
    clock, made = SimulatedLoop(asyncio.get_running_loop()), asyncio.Queue[WatchedProtocol]()

    def build(config: uvicorn.Config, state: ServerState) -> WatchedProtocol:
        protocol = WatchedProtocol(config, state, clock)
        made.put_nowait(protocol)
        return protocol

    async with listening(build, app) as url:
        connection = await TimedConnection.to(url)
        connection.server, connection.clock = await made.get(), clock
        try:
            yield connection
        finally:
            await connection.close()


def serving(protocol: type[HttpProtocol]) -> AbstractAsyncContextManager[str]:
    return listening(lambda config, state: protocol(config, state, {}), echo)


@asynccontextmanager
async def listening(build: Build, app: ASGIApp) -> AsyncIterator[str]:
    config = uvicorn.Config(app, lifespan="off", log_config=None, access_log=False, ws="none")
    state = ServerState()
    server = await asyncio.get_running_loop().create_server(
        lambda: build(config, state), "127.0.0.1", 0
    )
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize("beginning", [b"", b"G", b"GET / HTTP/1.1\r\nHost: a\r\n"])
async def test_a_head_that_does_not_come_is_not_waited_for(beginning: bytes) -> None:
    async with connected() as connection:
        await connection.send(beginning)
        assert await connection.is_closed_by_server()


async def test_the_head_of_a_second_request_is_not_waited_for_either() -> None:
    async with connected() as connection:
        await connection.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await connection.response()).status == 200
        await connection.send(b"GET / HTTP/1.1\r\nHost: a\r\n")
        assert await connection.is_closed_by_server()


async def test_one_byte_at_a_time_does_not_put_the_deadline_off() -> None:
    async with timed() as connection:
        for byte in b"GET /":
            assert not connection.is_dropped()
            await connection.send(bytes([byte]))
            connection.clock.advance(0.21 * HastyProtocol.head_seconds)
        assert connection.is_dropped()
        assert await connection.is_closed_by_server()


async def test_a_body_may_take_longer_than_a_head() -> None:
    async with timed() as connection:
        await connection.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n1")
        connection.clock.advance(3 * HastyProtocol.head_seconds)
        assert not connection.is_dropped()
        await connection.send(b"2")
        assert (await connection.response()).body == b"12"


@pytest.mark.parametrize("begun", [b"", b"1"])
async def test_a_body_that_stops_is_not_waited_for(begun: bytes) -> None:
    async with connected() as connection:
        head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n"
        await connection.send(head + begun)
        assert await connection.is_closed_by_server()


async def test_an_answer_may_take_its_time() -> None:
    slow = Slow()
    async with timed(slow) as connection:
        await connection.send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        await slow.asked.wait()
        connection.clock.advance(100 * HastyProtocol.pause_seconds)
        assert not connection.is_dropped()
        slow.may_answer.set()
        assert (await connection.response()).status == 200


async def test_requests_on_one_connection_have_their_own_deadlines() -> None:
    async with timed() as connection:
        for _ in range(3):
            await connection.send(b"GET / HTTP/1.1\r\nHost: a\r\n")
            connection.clock.advance(0.9 * HastyProtocol.head_seconds)
            assert not connection.is_dropped()
            await connection.send(b"\r\n")
            assert (await connection.response()).status == 200
            connection.clock.advance(2 * HastyProtocol.head_seconds)  # idle between two is no head
            assert not connection.is_dropped()


async def test_a_large_body_and_the_next_head_in_one_piece_are_two_requests() -> None:
    async with connected() as connection:
        body = b"x" * 200_000
        first = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body)
        await connection.send(first + body + b"GET / HTTP/1.1\r\n")
        await connection.send(b"Host: a\r\n\r\n")
        assert (await connection.response()).body == body
        assert (await connection.response()).status == 200


async def test_trailers_are_not_headers() -> None:
    async with connected() as connection:
        await connection.send(
            b"POST /names HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"1\r\nx\r\n0\r\nIdempotency-Key: a\r\n\r\n"
        )
        assert (await connection.response()).body == b"host,transfer-encoding"


@pytest.mark.parametrize("path", [b"/", b"/refuse"])
@pytest.mark.parametrize(
    ("beginning", "piece"),
    [
        (b"0\r\n", b"a: b\r\n" * 1000),
        (b"0\r\na: ", b"b" * 6000),
        (b"1;", b"b" * 6000),
    ],
    ids=["trailers", "a trailer", "an extension"],
)
async def test_what_surrounds_a_body_is_bounded(
    path: bytes, beginning: bytes, piece: bytes
) -> None:
    async with connected() as connection:
        await connection.send(
            b"POST %b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n%b"
            % (path, beginning)
        )
        with pytest.raises(OSError, match=r"."):
            await flooded(connection, piece)


async def flooded(connection: Connection, piece: bytes) -> None:
    """Send far more than a head may have, and wait for the end."""
    for _ in range(10 * MAX_HEAD_BYTES // len(piece)):
        await connection.send(piece)
        await asyncio.sleep(0)
    await connection.is_closed_by_server()


async def test_a_body_may_come_in_the_smallest_chunks() -> None:
    async with connected() as connection:
        size = 2 * MAX_HEAD_BYTES
        await connection.send(
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            + b"1\r\nx\r\n" * size
            + b"0\r\n\r\n"
        )
        assert (await connection.response()).body == b"x" * size


@pytest.mark.parametrize("rest", [b"", b"x", b"xx", b"xx\r\n"])
async def test_a_body_that_nobody_reads_is_not_waited_for(rest: bytes) -> None:
    async with connected() as connection:
        await connection.send(b"POST /refuse HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n")
        assert (await connection.response()).status == 200
        await connection.send(rest)
        assert await connection.is_closed_by_server()


async def test_an_empty_line_does_not_keep_a_connection() -> None:
    async with connected() as connection:
        await connection.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await connection.response()).status == 200
        await connection.send(b"\r\n")
        assert await connection.is_closed_by_server()


async def test_after_an_unread_body_the_connection_serves_on() -> None:
    async with timed() as connection:
        await connection.send(b"POST /refuse HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n")
        assert (await connection.response()).status == 200
        await connection.send(b"xxPOST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n")
        connection.clock.advance(3 * HastyProtocol.rest_seconds)
        assert not connection.is_dropped()
        await connection.send(b"12")
        assert (await connection.response()).body == b"12"


@pytest.mark.parametrize("protocol", [b"h2c", b"websocket", b"TLS/1.0"])
@pytest.mark.parametrize(
    ("framing", "sent"),
    [
        (b"Content-Length: 40\r\n", b"%b"),
        (b"Transfer-Encoding: chunked\r\n", b"28\r\n%b\r\n0\r\n\r\n"),
    ],
    ids=["by length", "in chunks"],
)
async def test_a_body_behind_an_upgrade_is_a_body_and_not_the_next_request(
    protocol: bytes, framing: bytes, sent: bytes
) -> None:
    inner = b"GET /names HTTP/1.1\r\nHost: smuggling\r\n\r\n"
    async with connected() as connection:
        await connection.send(
            b"POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: %b\r\n%b\r\n"
            % (protocol, framing)
        )
        await connection.send(sent % inner)
        assert (await connection.response()).body == inner
        await connection.send(b"GET /names HTTP/1.1\r\nHost: b\r\n\r\n")
        assert (await connection.response()).body == b"host"


async def test_an_upgrade_in_one_piece_with_what_follows() -> None:
    upgrade = b"GET /names HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    async with connected() as connection:
        await connection.send(upgrade * 2)
        for _ in range(2):
            assert (await connection.response()).body == b"host,connection,upgrade"


async def test_garbage_behind_a_request_is_not_answered_before_it() -> None:
    async with connected() as connection:
        await connection.send(
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n12\0\0\r\n\r\n"
        )
        assert await connection.is_closed_by_server()


async def test_a_body_that_dawdles_is_not_waited_for() -> None:
    async with timed() as connection:
        await connection.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000\r\n\r\n")
        pauses = 0
        while not connection.is_dropped():
            await connection.send(b"x")
            connection.clock.advance(HastyProtocol.pause_seconds / 10)
            pauses += 1
            assert pauses <= 11
        # As long as any body may pause, and a byte of a slow one is worth next to nothing.
        assert pauses >= 10
        assert await connection.is_closed_by_server()


async def test_a_connection_too_many_is_closed_and_the_others_serve_on() -> None:
    class FewConnections(HttpProtocol):
        @override
        def most_connections(self) -> int:
            return 2

    request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    async with serving(FewConnections) as url:
        held = [await Connection.to(url) for _ in range(2)]
        for connection in held:
            await connection.send(request)
            assert (await connection.response()).status == 200
        too_many = await Connection.to(url)
        with suppress(ConnectionError):  # it may be closed already
            await too_many.send(request)
        assert await too_many.is_closed_by_server()  # without an answer
        for connection in held:
            await connection.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        for connection in held:
            assert (await connection.response()).status == 200
            assert await connection.is_closed_by_server()
        late = await Connection.to(url)
        await late.send(request)
        assert (await late.response()).status == 200
        for connection in [*held, too_many, late]:
            await connection.close()


async def test_of_a_body_that_nobody_reads_yet_little_is_held() -> None:
    slow = Slow()
    async with timed(slow) as connection:
        sent = b"POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n"
        sending = asyncio.ensure_future(Connection.send(connection, sent + b"x" * 1_000_000))
        await slow.asked.wait()
        await connection.server.until_read(32 * 1024)
        await asyncio.sleep(0.1)  # what must not happen has its time
        assert len(connection.server.cycle.body) <= 64 * 1024
        slow.may_answer.set()
        assert len((await connection.response()).body) == 1_000_000
        await sending


class CountingProtocol(HttpProtocol):
    """A connection that knows how much was read before its answer began."""

    read: ClassVar[list[int]] = []

    @override
    def data_received(self, data: bytes) -> None:
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None or not cycle.response_started:
            self.read.append(len(data))
        super().data_received(data)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_of_a_body_over_the_limit_little_more_than_the_limit_is_read(
    loop: str, tmp_path: Path
) -> None:
    async def flood() -> None:
        limit = 256 * 1024
        settings = {"concurrency": 0, "limits.max_plain_body_bytes": limit}
        async with running_service(tmp_path, settings=settings) as service:
            app = create_app(service.runtime)
            async with listening(
                lambda config, state: CountingProtocol(config, state, {}), app
            ) as url:
                connection = await Connection.to(url)
                flooding = asyncio.ensure_future(
                    connection.send(head(service.key, "Content-Length: 8000000") + b" " * 8_000_000)
                )
                assert (await connection.response()).status == 413
                await flooding
                await connection.close()
        assert limit < sum(CountingProtocol.read) <= limit + 64 * 1024 + 1024  # of the head

    CountingProtocol.read.clear()
    factory = uvloop.new_event_loop if loop == "uvloop" else None
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(flood())


async def test_one_client_does_not_take_the_connections_of_others() -> None:
    """Of two addresses, each holds its own; what was held and ended is free again."""
    protocol = protocol_of(Hosts(), peers := Peers(2))
    request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    async with serving(protocol) as url:
        held = [await Connection.to(url) for _ in range(2)]
        for connection in held:
            await connection.send(request)
            assert (await connection.response()).status == 200
        too_many = await Connection.to(url)
        with suppress(ConnectionError):  # it may be closed already
            await too_many.send(request)
        assert await too_many.is_closed_by_server()  # without an answer
        another = await Connection.to(url, source="127.0.0.2")
        await another.send(request)
        assert (await another.response()).status == 200
        await held[0].send(request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        assert (await held[0].response()).status == 200
        assert await held[0].is_closed_by_server()
        late = await Connection.to(url)
        await late.send(request)
        assert (await late.response()).status == 200
        for connection in [*held, too_many, another, late]:
            await connection.close()
        await until(lambda: len(peers) == 0)


async def test_a_connection_that_says_nothing_more_is_closed() -> None:
    async with timed() as connection:
        await connection.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await connection.response()).status == 200
        connection.clock.advance(4.9)
        assert not connection.is_dropped()
        connection.clock.advance(0.2)
        assert await connection.is_closed_by_server()


LARGE = 16 * 1024 * 1024
"""More than the machine keeps of what was sent and is not taken."""


async def large(_scope: Scope, _receive: Receive, send: Send) -> None:
    """Answer in pieces, as an image is."""
    length = [(b"content-length", b"%d" % LARGE)]
    await send({"type": "http.response.start", "status": 200, "headers": length})
    piece = b"x" * 65_536
    for sent in range(0, LARGE, len(piece)):
        more = sent + len(piece) < LARGE
        await send({"type": "http.response.body", "body": piece, "more_body": more})


async def whole(_scope: Scope, _receive: Receive, send: Send) -> None:
    """Answer in one piece, which the server keeps until it is taken."""
    length = [(b"content-length", b"%d" % LARGE)]
    await send({"type": "http.response.start", "status": 200, "headers": length})
    await send({"type": "http.response.body", "body": b"x" * LARGE})


@pytest.mark.parametrize("app", [large, whole])
@pytest.mark.parametrize("ending", [b"", b"Connection: close\r\n"], ids=["kept", "last"])
async def test_an_answer_that_is_not_taken_is_not_kept(app: ASGIApp, ending: bytes) -> None:
    async with timed(app) as connection:
        await connection.send(b"GET / HTTP/1.1\r\nHost: a\r\n%b\r\n" % ending)
        transport = connection.server.transport
        await until(lambda: connection.server.flow.write_paused)
        connection.clock.advance(HttpProtocol.answer_seconds - 1)
        assert transport.get_write_buffer_size() > 0  # kept for who is only slow
        connection.clock.advance(HttpProtocol.answer_seconds)
        assert connection.is_dropped()
        await until(lambda: connection.server not in connection.server.connections)


@pytest.mark.parametrize("app", [large, whole])
async def test_an_answer_that_is_taken_slowly_is_given_to_its_end(app: ASGIApp) -> None:
    async with timed(app) as connection:
        await connection.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        connection.clock.advance(HttpProtocol.answer_seconds - 1)
        assert len((await connection.response()).body) == LARGE
        assert await connection.is_closed_by_server()


def test_connections_leave_files_for_the_rest() -> None:
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert 0 < connections_at_most() < files
