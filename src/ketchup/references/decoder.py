"""The decoder: strangers' bytes in, a harmless image out, by way of a child process.

A child does one job at a time and lives for many. It starts when it is first needed, it is killed
when a job takes too long, and one that dies is replaced: a hostile image costs its own task, and
nobody else's. What a child answers is checked here as if it had been taken over.

What a child may do is decided in `sandbox`. That script is never imported here, so that no image
parser is in the server's memory; the words that both sides use are therefore written down twice.
"""

from __future__ import annotations

import asyncio
import struct
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from contextlib import suppress
from pathlib import Path
from typing import Final

from ketchup.errors import Unavailable
from ketchup.providers.base import ImageFormat, ReferenceImage
from ketchup.references.errors import Problem, ReferenceFailed

MEMORY_BYTES: Final = 384 * 1024 * 1024
CPU_SECONDS: Final = 10

_START_SECONDS: Final = 30.0
_END_SECONDS: Final = 2.0
_SANDBOX: Final = Path(__file__).with_name("sandbox.py")
_REQUEST: Final = struct.Struct(">cI")
_ANSWER: Final = struct.Struct(">cIII")
_READY: Final = b"+"
_CODES: Final = {ImageFormat.PNG: b"P", ImageFormat.JPEG: b"J", ImageFormat.WEBP: b"W"}
_FORMATS: Final = {b"P": ImageFormat.PNG, b"J": ImageFormat.JPEG}
_REFUSALS: Final = {
    b"L": Problem.TOO_LARGE,
    b"A": Problem.ANIMATED,
    b"U": Problem.NOT_DECODED,
}
_MAX_SIDE: Final = 2048
_MAX_BYTES: Final = 7_000_000


class Decoder:
    """Decodes images in at most `processes` children. Safe for concurrent use."""

    def __init__(
        self,
        *,
        processes: int = 2,
        jobs_per_process: int = 100,
        seconds: float = 10.0,
        memory_bytes: int = MEMORY_BYTES,
    ) -> None:
        self._slots = asyncio.Semaphore(processes)
        self._idle: list[_Child] = []
        self._jobs_per_process = jobs_per_process
        self._seconds = seconds
        self._memory_bytes = memory_bytes
        self._closed = False

    async def decode(self, data: bytes, image_format: ImageFormat) -> ReferenceImage:
        """Redraw an image of that format: upright, at most 2048 pixels wide or high, under 7 MB.

        Raises ReferenceFailed, or Unavailable when no child can be started.
        """
        async with self._slots:
            child = await self._take()
            try:
                async with asyncio.timeout(self._seconds):
                    image = await child.decode(data, image_format)
            except ReferenceFailed:
                await self._put_back(child)
                raise
            except TimeoutError as error:
                await child.kill()
                raise ReferenceFailed(Problem.NOT_DECODED, "the decoder took too long") from error
            except (EOFError, OSError) as error:
                await child.end()
                raise ReferenceFailed(Problem.NOT_DECODED, f"the decoder: {error!r}") from error
            except BaseException:
                # Cancelled half-way: an answer would come that nobody asked for.
                await asyncio.shield(child.kill())
                raise
            await self._put_back(child)
            return image

    async def close(self) -> None:
        """End the idle children. May be called twice; a job under way ends its child itself."""
        self._closed = True
        while self._idle:
            await self._idle.pop().end()

    async def _take(self) -> _Child:
        """Return an idle child that still lives, or a new one.

        One that the system ended while it was idle must not cost the next customer a task.
        """
        while self._idle:
            child = self._idle.pop()
            if child.alive:
                return child
            await child.end()
        return await _start(self._memory_bytes)

    async def _put_back(self, child: _Child) -> None:
        if child.jobs < self._jobs_per_process and not self._closed:
            self._idle.append(child)
        else:
            await child.end()


class _Child:
    """One sandboxed process, and how many jobs it has done."""

    def __init__(self, process: Process) -> None:
        assert process.stdin is not None  # noqa: S101 for the type checker: both are pipes
        assert process.stdout is not None  # noqa: S101 as above
        self._process = process
        self._requests = process.stdin
        self._answers = process.stdout
        self.jobs = 0

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.returncode is None

    async def ready(self) -> None:
        """Wait until the child has given up its rights. Nothing is sent to it before."""
        async with asyncio.timeout(_START_SECONDS):
            await self._answers.readexactly(len(_READY))

    async def decode(self, data: bytes, image_format: ImageFormat) -> ReferenceImage:
        self.jobs += 1
        self._requests.write(_REQUEST.pack(_CODES[image_format], len(data)))
        self._requests.write(data)
        await self._requests.drain()
        head = await self._answers.readexactly(_ANSWER.size)
        verdict, width, height, length = _ANSWER.unpack(head)
        if verdict in _REFUSALS:
            raise ReferenceFailed(_REFUSALS[verdict], "by the decoder")
        sides = 1 <= min(width, height) <= max(width, height) <= _MAX_SIDE
        if verdict not in _FORMATS or not sides or length > _MAX_BYTES:
            raise EOFError("the child answers nonsense")
        return ReferenceImage(
            data=await self._answers.readexactly(length),
            format=_FORMATS[verdict],
            width=width,
            height=height,
        )

    async def end(self) -> None:
        """Let the child go: without input it exits. One that does not is killed."""
        self._requests.close()
        try:
            async with asyncio.timeout(_END_SECONDS):
                await self._process.wait()
        except TimeoutError:
            await self.kill()

    async def kill(self) -> None:
        """End the child whatever it does."""
        with suppress(ProcessLookupError):
            self._process.kill()
        self._requests.close()
        await self._process.wait()


async def _start(memory_bytes: int) -> _Child:
    """Start a child and wait until it is confined. Raises Unavailable."""
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",  # neither the environment nor the working directory decides what is imported
            str(_SANDBOX),
            str(memory_bytes),
            str(CPU_SECONDS),
            stdin=PIPE,
            stdout=PIPE,
            stderr=DEVNULL,
            env={},
            cwd="/",
            # Ctrl-C at the terminal is for the server, which ends its tasks first.
            start_new_session=True,
        )
    except OSError as error:
        raise Unavailable("images cannot be decoded now") from error
    child = _Child(process)
    try:
        await child.ready()
    except (TimeoutError, EOFError, OSError) as error:
        await child.end()
        raise Unavailable("images cannot be decoded now") from error
    except BaseException:
        await asyncio.shield(child.kill())
        raise
    return child
