"""Real servers on loopback whose every byte the test decides."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class Request:
    line: str
    headers: dict[str, str]
    body: bytes


Handler = Callable[[Request, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Server:
    """Counts connections, not requests: a guard must not even knock."""

    handler: Handler
    connections: int = 0
    open_now: int = 0
    most_open: int = 0
    requests: list[Request] = field(default_factory=list)
    port: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open_now += 1
        self.most_open = max(self.most_open, self.open_now)
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
                request = await _request(reader)
                self.requests.append(request)
                await self.handler(request, writer)
                await writer.drain()
        finally:
            self.open_now -= 1
            writer.close()
            with suppress(ConnectionError, ssl.SSLError):
                await writer.wait_closed()


async def _request(reader: asyncio.StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    line, *fields = head.strip().split("\r\n")
    headers = {name.lower(): value for name, _, value in (f.partition(": ") for f in fields)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Request(line, headers, body)


@asynccontextmanager
async def serving(
    handler: Handler, *hosts: str, tls: ssl.SSLContext | None = None, port: int = 0
) -> AsyncIterator[Server]:
    """Serve on the given loopback addresses, all on one port."""
    server = Server(handler)
    listeners = []
    connections: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(server.serve(reader, writer))
        connections.add(task)
        task.add_done_callback(connections.discard)

    for host in hosts or ("127.0.0.1",):
        listener = await asyncio.start_server(accept, host, port or server.port, ssl=tls)
        server.port = listener.sockets[0].getsockname()[1]
        listeners.append(listener)
    try:
        yield server
    finally:
        for listener in listeners:
            listener.close()
        for task in list(connections):
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)


def answer(status: int = 200, body: bytes = b"ok", **headers: str) -> Handler:
    """Answer every request alike; `content_type="x"` becomes `content-type: x`."""

    async def handle(_: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(response(status, body, **headers))

    return handle


def response(status: int = 200, body: bytes = b"ok", **headers: str) -> bytes:
    fields = {"content_length": str(len(body))} | headers
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status} X\r\n{lines}\r\n".encode() + body
