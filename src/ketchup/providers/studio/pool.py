"""The renderer's processes: started when first needed, replaced when they die.

They are plain subprocesses that speak over pipes (`worker`), not `multiprocessing` children: those
import the program's main module again, here the whole server, and need a watchdog to die with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from pathlib import Path
from typing import Final

import msgspec

from ketchup.providers.base import TimedOut, Unavailable
from ketchup.providers.studio.job import Job, Rendered

_LENGTH_BYTES: Final = 4
_PACKAGE_ROOT: Final = Path(__file__).resolve().parents[3]
# What an interpreter needs to start, and nothing that may hold a secret.
_KEPT_VARIABLES: Final = ("PATH", "LANG", "LC_ALL", "SYSTEMROOT", "TMPDIR", "VIRTUAL_ENV")


class Pool:
    """At most `processes` renderers. Belongs to one event loop.

    `deadline`, in seconds, is how long one picture may take before its process is ended.
    """

    def __init__(self, processes: int, *, deadline: float) -> None:
        self._deadline = deadline
        self._free = asyncio.Semaphore(processes)
        self._idle: list[_Renderer] = []
        self._all: set[_Renderer] = set()
        self._closed = False

    async def render(self, job: Job) -> bytes:
        """Render in a process of the pool; a cancelled call ends that process at once.

        Raises:
            Unavailable: the process died, or the pool is closed.
            TimedOut: it took longer than the deadline.
        """
        async with self._free:
            renderer = await self._take()
            try:
                async with asyncio.timeout(self._deadline):
                    answer = await renderer.ask(job)
            except TimeoutError as error:
                await self._discard(renderer)
                raise TimedOut(f"No picture from the studio in {self._deadline} s.") from error
            except BaseException:
                # Its answer would be read by the next job.
                await self._discard(renderer)
                raise
            self._idle.append(renderer)
        if answer.error:
            raise Unavailable(f"The studio could not render this:\n{answer.error}")
        return answer.image

    def pids(self) -> list[int]:
        """Return the processes that run now."""
        return [renderer.pid for renderer in self._all]

    async def close(self) -> None:
        """End every process and wait until it is gone."""
        self._closed = True
        self._idle.clear()
        for renderer in list(self._all):
            await self._discard(renderer)

    async def _take(self) -> _Renderer:
        while self._idle:
            renderer = self._idle.pop()
            if renderer.alive:
                return renderer
            await self._discard(renderer)
        if self._closed:
            raise Unavailable("The studio is closed.")
        renderer = await _Renderer.start()
        self._all.add(renderer)
        return renderer

    async def _discard(self, renderer: _Renderer) -> None:
        self._all.discard(renderer)
        await renderer.stop()


class _Renderer:
    """One process, answering one job at a time."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("The renderer was started without pipes.")
        self._process = process
        self._jobs = process.stdin
        self._answers = process.stdout

    @classmethod
    async def start(cls) -> _Renderer:
        environment = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
        environment["PYTHONPATH"] = str(_PACKAGE_ROOT)
        try:
            process = await asyncio.create_subprocess_exec(
                # -P: a module in the working directory must not stand in for one of ours.
                sys.executable, "-P", "-m", "ketchup.providers.studio.worker",
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, env=environment,
            )  # fmt: skip
        except OSError as error:
            raise Unavailable(f"No process for the studio: {error}") from error
        return cls(process)

    @property
    def alive(self) -> bool:
        # Its pipe closes at once; that the process was reaped is heard of later.
        return self._process.returncode is None and not self._answers.at_eof()

    @property
    def pid(self) -> int:
        return self._process.pid

    async def ask(self, job: Job) -> Rendered:
        body = msgspec.msgpack.encode(job)
        try:
            self._jobs.write(len(body).to_bytes(_LENGTH_BYTES, "big") + body)
            await self._jobs.drain()
            length = int.from_bytes(await self._answers.readexactly(_LENGTH_BYTES), "big")
            answer = await self._answers.readexactly(length)
        except (OSError, asyncio.IncompleteReadError) as error:
            raise Unavailable("The studio's process died while it rendered.") from error
        return msgspec.msgpack.decode(answer, type=Rendered)

    async def stop(self) -> None:
        if self._process.returncode is None:
            # It may end by itself between the two lines.
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
        self._jobs.close()
        await self._process.wait()
