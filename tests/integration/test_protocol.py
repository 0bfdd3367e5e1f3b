from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from ketchup.protocol import HttpProtocol
from tests.support.exchange import Connection


class HastyProtocol(HttpProtocol):
    head_seconds = 0.05
    pause_seconds = 0.4


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    body = b""
    more = True
    while more:
        message = await receive()
        body += message["body"]
        more = message["more_body"]
    if scope["path"] == "/slow":
        await asyncio.sleep(2 * HastyProtocol.pause_seconds)
    length = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": length})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def connected() -> AsyncIterator[Connection]:
    """Connect to a server that waits a moment for a head, and a little longer within a body."""
    config = uvicorn.Config(echo, lifespan="off", log_config=None, access_log=False, ws="none")
    state = ServerState()
    server = await asyncio.get_running_loop().create_server(
        lambda: HastyProtocol(config, state, {}), "127.0.0.1", 0
    )
    async with server:
        port = server.sockets[0].getsockname()[1]
        connection = await Connection.to(f"http://127.0.0.1:{port}")
        try:
            yield connection
        finally:
            await connection.close()


@pytest.mark.parametrize("beginning", [b"", b"G", b"GET / HTTP/1.1\r\nHost: a\r\n"])
async def test_a_head_that_does_not_come_is_not_waited_for(beginning: bytes) -> None:
    async with connected() as connection:
        await connection.send(beginning)
        assert await connection.is_closed_by_server()


async def test_the_head_of_a_second_request_is_not_waited_for_either() -> None:
    async with connected() as connection:
        await connection.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await connection.response()).status == 200
        await connection.send(b"GET / HTTP/1.1\r\n")
        assert await connection.is_closed_by_server()


async def test_one_byte_at_a_time_does_not_put_the_deadline_off() -> None:
    async with connected() as connection:
        closed = asyncio.ensure_future(connection.is_closed_by_server())
        for byte in b"GET /" + b"a" * 10_000:
            if closed.done():
                break
            with suppress(ConnectionError):  # it may close just now
                await connection.send(bytes([byte]))
            await asyncio.sleep(HastyProtocol.head_seconds / 5)
        assert await closed


async def test_a_body_may_take_longer_than_a_head() -> None:
    async with connected() as connection:
        await connection.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n1")
        await asyncio.sleep(3 * HastyProtocol.head_seconds)  # what must not happen has its time
        await connection.send(b"2")
        assert (await connection.response()).body == b"12"


@pytest.mark.parametrize("begun", [b"", b"1"])
async def test_a_body_that_stops_is_not_waited_for(begun: bytes) -> None:
    async with connected() as connection:
        head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n"
        await connection.send(head + begun)
        assert await connection.is_closed_by_server()


async def test_an_answer_may_take_its_time() -> None:
    async with connected() as connection:
        slow = b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n"
        await connection.send(slow)
        assert (await connection.response()).status == 200


async def test_requests_on_one_connection_have_their_own_deadlines() -> None:
    async with connected() as connection:
        for _ in range(3):
            await connection.send(b"GET / HTTP/1.1\r\nHost: a\r\n")
            await asyncio.sleep(HastyProtocol.head_seconds / 5)
            await connection.send(b"\r\n")
            assert (await connection.response()).status == 200
            await asyncio.sleep(2 * HastyProtocol.head_seconds)  # idle between two is no head


async def test_a_large_body_and_the_next_head_in_one_piece_are_two_requests() -> None:
    async with connected() as connection:
        body = b"x" * 200_000
        first = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body)
        await connection.send(first + body + b"GET / HTTP/1.1\r\n")
        await connection.send(b"Host: a\r\n\r\n")
        assert (await connection.response()).body == body
        assert (await connection.response()).status == 200
