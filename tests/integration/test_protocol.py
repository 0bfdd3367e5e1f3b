from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from ketchup.protocol import HttpProtocol
from tests.support.exchange import Connection


class HastyProtocol(HttpProtocol):
    head_seconds = 0.05


async def echo(_scope: Scope, receive: Receive, send: Send) -> None:
    body = b""
    more = True
    while more:
        message = await receive()
        body += message["body"]
        more = message["more_body"]
    length = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": length})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def connected() -> AsyncIterator[Connection]:
    """Connect to a server that gives a head a twentieth of a second."""
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


async def test_a_body_may_take_longer_than_a_head() -> None:
    async with connected() as connection:
        await connection.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n1")
        await asyncio.sleep(3 * HastyProtocol.head_seconds)  # what must not happen has its time
        await connection.send(b"2")
        assert (await connection.response()).body == b"12"
