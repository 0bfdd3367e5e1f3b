"""An S3 server of moto's on loopback, in a process of its own, and a door that it is reached by.

Its libraries are never loaded here: they belong to no part of the product.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

import httpx2

from ketchup.storage import Bucket

_DEADLINE: Final = 30.0
_RUNNING: Final = re.compile(rb"Running on (http://127\.0\.0\.1:\d+)")
_REFUSAL: Final = b"<Error><Code>%b</Code><Message>no</Message></Error>"


@contextmanager
def bucket_server(*, allowing: int | None = None) -> Iterator[str]:
    """Run a server and give its address. Beyond `allowing` requests, it knows no credentials."""
    environ = {} if allowing is None else {"INITIAL_NO_AUTH_ACTION_COUNT": str(allowing)}
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"],
        env={**os.environ, **environ},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield _address(process)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def _address(process: subprocess.Popen[bytes]) -> str:
    """Read what it says until it says where it listens."""
    assert process.stderr is not None
    said, until = b"", monotonic() + _DEADLINE
    while (found := _RUNNING.search(said)) is None:
        left = until - monotonic()
        assert left > 0, said
        assert select.select([process.stderr], [], [], left)[0], said
        part = os.read(process.stderr.fileno(), 65536)
        assert part, said
        said += part
    return found[1].decode()


def make_bucket(server: str, name: str, *, prefix: str = "") -> Bucket:
    """Make a bucket on a server and return how it is opened."""
    answer = httpx2.put(f"{server}/{name}", trust_env=False)
    assert answer.status_code == 200, answer.text
    return Bucket(name, prefix, server, region="us-east-1", key_id="id", secret="secret")


@dataclass
class Door:
    """Stands before a server. It can be shut, can keep silent, and can refuse what is written."""

    address: str = ""
    is_shut: bool = False
    is_silent: bool = False
    refusal: tuple[int, bytes] | None = None
    """The status and code that a PUT is answered with."""
    refused: asyncio.Queue[None] = field(default_factory=asyncio.Queue)
    """Has an item for each time that was done."""
    silent_after: int | None = None
    """After how many bytes of an answer it falls silent."""

    async def pass_on(
        self, server: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            async with _closing(writer):
                while request := await _message(reader):
                    if self.is_silent:
                        await reader.read()
                    if self.is_shut or self.is_silent:
                        return
                    if self.refusal is not None and request.startswith(b"PUT"):
                        writer.write(_answer(*self.refusal))
                        self.refused.put_nowait(None)
                    else:
                        await self._ask(server, request, reader, writer)
                    await writer.drain()

    async def _ask(
        self,
        server: str,
        request: bytes,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        host, _, port = server.removeprefix("http://").partition(":")
        answer, upstream = await asyncio.open_connection(host, int(port))
        passed = 0
        async with _closing(upstream):
            # Its answers end with the connection; so does ours.
            upstream.write(request.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
            while part := await answer.read(262_144):
                writer.write(part)
                await writer.drain()
                passed += len(part)
                if self.silent_after is not None and passed >= self.silent_after:
                    await reader.read()
        writer.close()


@asynccontextmanager
async def door_before(server: str) -> AsyncIterator[Door]:
    """Open a door before a server."""
    door, open_now = Door(), set[asyncio.Task[None]]()

    async def enter(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        open_now.add(task)
        # Cancelled at the end: a server's connection that says so would only be logged.
        with contextlib.suppress(asyncio.CancelledError):
            await door.pass_on(server, reader, writer)
        open_now.discard(task)

    listener = await asyncio.start_server(enter, "127.0.0.1", 0)
    door.address = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    try:
        yield door
    finally:
        listener.close()
        for task in list(open_now):
            task.cancel()
        await asyncio.gather(*open_now, return_exceptions=True)


@asynccontextmanager
async def _closing(writer: asyncio.StreamWriter) -> AsyncIterator[None]:
    try:
        yield
    finally:
        writer.close()


async def _message(reader: asyncio.StreamReader) -> bytes:
    """Return one whole request; nothing at the end of the connection."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    return head + (await reader.readexactly(int(length[1])) if length else b"")


def _answer(status: int, code: bytes) -> bytes:
    body = _REFUSAL % code
    return b"HTTP/1.1 %d No\r\nContent-Type: application/xml\r\nContent-Length: %d\r\n\r\n%b" % (
        status,
        len(body),
        body,
    )
