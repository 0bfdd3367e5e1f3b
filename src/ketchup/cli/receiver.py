"""A webhook receiver for the demo: one loopback server that keeps what it is sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

_MAX_BODY: Final = 1024 * 1024
_OK: Final = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"
_BAD: Final = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Received:
    """One callback, as it arrived; header names in lower case."""

    headers: Mapping[str, str]
    body: bytes


class Receiver:
    """Answers 204 to every POST and queues it."""

    def __init__(self, port: int, received: asyncio.Queue[Received]) -> None:
        self.url = f"http://127.0.0.1:{port}/callback"
        self.received = received


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """Listen on a free loopback port."""
    received: asyncio.Queue[Received] = asyncio.Queue()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            received.put_nowait(await _read(reader))
            writer.write(_OK)
        except (ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            writer.write(_BAD)
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield Receiver(server.sockets[0].getsockname()[1], received)


async def _read(reader: asyncio.StreamReader) -> Received:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    lines = head.split("\r\n")
    pairs = (line.partition(":") for line in lines[1:] if line)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    length = int(headers.get("content-length", "0"))
    if not lines[0].startswith("POST ") or not 0 <= length <= _MAX_BODY:
        raise ValueError("not a callback")
    return Received(headers, await reader.readexactly(length))
