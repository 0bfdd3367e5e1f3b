"""A real HTTP receiver on loopback that does as its script says, and a poster to reach it.

    async with Receiver(Answer(500), Reset(), otherwise=Answer(204)) as receiver:
        ...post to receiver.url...
        await receiver.received(3)

One request per connection. Everything it was sent stands in `requests`, in order of arrival.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import httpx2

DEADLINE = 10.0
"""How long a test waits for what must happen, in seconds."""


@dataclass(frozen=True)
class Answer:
    """Answer with this status; not before `after` is set, where there is one."""

    status: int = 200
    headers: Mapping[str, str] | None = None
    body: bytes = b""
    after: asyncio.Event | None = None


@dataclass(frozen=True)
class Reset:
    """Break the connection off, so that the other side gets a reset."""


@dataclass(frozen=True)
class Garbage:
    """Send these bytes instead of HTTP, and close."""

    data: bytes = b"\x00\xffthis is not HTTP\r\n\r\n"


Reply = Answer | Reset | Garbage


@dataclass(frozen=True)
class Received:
    method: str
    path: str
    headers: Mapping[str, str]
    """With lower-case names."""
    body: bytes


class Receiver:
    """Replies once by each of `replies`, and then for ever by `otherwise`."""

    def __init__(self, *replies: Reply, otherwise: Reply | None = None) -> None:
        self.requests: list[Received] = []
        self.in_flight = 0
        self.most_in_flight = 0
        self._script = deque(replies)
        self._otherwise = otherwise or Answer()
        self._changed = asyncio.Condition()
        self._handlers: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        for handler in self._handlers:
            handler.cancel()
        await asyncio.gather(*self._handlers, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/hook"

    async def received(self, count: int) -> None:
        """Return once that many requests have come in whole."""
        async with asyncio.timeout(DEADLINE), self._changed:
            await self._changed.wait_for(lambda: len(self.requests) >= count)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._handlers.add(task)
        try:
            await self._serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the other side went away: so do real ones
        finally:
            self._handlers.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await _read(reader)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        self.requests.append(request)
        reply = self._script.popleft() if self._script else self._otherwise
        async with self._changed:
            self._changed.notify_all()
        try:
            await _reply(reply, writer)
        finally:
            self.in_flight -= 1


async def _read(reader: asyncio.StreamReader) -> Received:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    request_line, *lines = head.rstrip("\r\n").split("\r\n")
    method, path, _version = request_line.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Received(method, path, headers, body)


async def _reply(reply: Reply, writer: asyncio.StreamWriter) -> None:
    match reply:
        case Answer():
            if reply.after is not None:
                await reply.after.wait()
            headers = {
                "content-length": str(len(reply.body)),
                "connection": "close",
                **(reply.headers or {}),
            }
            lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            writer.write(f"HTTP/1.1 {reply.status} -\r\n{lines}\r\n".encode() + reply.body)
            await writer.drain()
        case Reset():
            # A linger of zero makes the kernel answer with a reset instead of a farewell.
            raw: socket.socket = writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        case Garbage():
            writer.write(reply.data)
            await writer.drain()


@dataclass(frozen=True)
class Replied:
    status: int
    retry_after: float | None


class LoopbackPoster:
    """Posts over httpx2 with nothing but the headers it is given, and follows no redirect."""

    errors = (httpx2.TransportError,)

    async def post(self, url: str, *, body: bytes, headers: Mapping[str, str]) -> Replied:
        async with httpx2.AsyncClient(trust_env=False, timeout=None) as client:
            response = await client.post(url, content=body, headers=dict(headers))
        wish = response.headers.get("retry-after")
        return Replied(response.status_code, None if wish is None else float(wish))
