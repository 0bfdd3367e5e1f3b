"""A bad network: a TCP proxy on loopback that breaks connections, cuts answers and delays.

    async with ChaosProxy(base_url, random, trouble=0.5) as proxy:
        ...talk to proxy.base_url...

Each connection gets its own fate by chance. It repeats nothing by itself: whatever arrives twice
was sent twice.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import Counter
from contextlib import suppress
from enum import Enum, auto
from random import Random
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

_Side = tuple[asyncio.StreamReader, asyncio.StreamWriter]
_CHUNK_BYTES: Final = 65_536
_LONGEST_DELAY: Final = 0.05


class Fate(Enum):
    """What becomes of a connection."""

    PASS = auto()
    REFUSE = auto()
    """Reset before anything of the request was passed on."""
    FORGET = auto()
    """The request is passed on whole, and both sides are reset at once."""
    LOSE = auto()
    """The server answers, and the client is reset instead of hearing it."""
    CUT = auto()
    """The client hears half of the answer."""
    DELAY = auto()
    """Everything arrives, later."""


class ChaosProxy:
    """Passes connections on to one server. `trouble` is the share that is not simply passed."""

    def __init__(self, base_url: str, random: Random, trouble: float) -> None:
        parts = urlsplit(base_url)
        self._server = (parts.hostname or "", parts.port or 0)
        self._random = random
        self._trouble = trouble
        self._listener: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self.fates: Counter[Fate] = Counter()
        self.base_url = ""

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_server(self._accept, "127.0.0.1", 0, backlog=4096)
        port = self._listener.sockets[0].getsockname()[1]
        self.base_url = f"http://127.0.0.1:{port}"
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        assert self._listener is not None
        self._listener.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Decided here, in the order of arrival, so that a seed repeats its decisions.
        fate = Fate.PASS
        if self._random.random() < self._trouble:
            fate = self._random.choice([f for f in Fate if f is not Fate.PASS])
        delay = self._random.uniform(0, _LONGEST_DELAY) if fate is Fate.DELAY else 0.0
        self.fates[fate] += 1
        connection = asyncio.create_task(self._connect(fate, delay, reader, writer))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)

    async def _connect(
        self, fate: Fate, delay: float, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                if fate is not Fate.REFUSE:
                    await self._pass_on(fate, delay, (reader, writer))
        finally:
            _reset(writer)

    async def _pass_on(self, fate: Fate, delay: float, client: _Side) -> None:
        server = await asyncio.open_connection(*self._server)
        try:
            await _exchange(fate, delay, client, server)
        finally:
            server[1].transport.abort()


async def _exchange(fate: Fate, delay: float, client: _Side, server: _Side) -> None:
    """Pass on one request and its answer, as far as it is fated."""
    await _whole(client[0], server[1])
    if fate is Fate.FORGET:
        return
    await asyncio.sleep(delay)
    answer = await server[0].read(_CHUNK_BYTES)
    if fate is Fate.LOSE:
        return
    if fate is Fate.CUT:
        client[1].write(answer[: len(answer) // 2])
        await client[1].drain()
        return
    while answer:
        client[1].write(answer)
        await client[1].drain()
        answer = await server[0].read(_CHUNK_BYTES)
    client[1].close()
    await client[1].wait_closed()


async def _whole(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass on one request, head and body."""
    head = await reader.readuntil(b"\r\n\r\n")
    _, _, length = head.lower().partition(b"content-length:")
    body = await reader.readexactly(int(length.split(b"\r\n")[0] or 0))
    writer.write(head + body)
    await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Break a connection off that was not closed in good order."""
    if writer.is_closing():
        return
    # A linger of zero makes the kernel answer with a reset instead of a farewell.
    raw: socket.socket = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
