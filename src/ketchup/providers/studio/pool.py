"""The renderer's processes (`worker`): started when first needed, replaced when they die."""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec

from ketchup.providers.base import TimedOut, Unavailable
from ketchup.providers.piped import Child
from ketchup.providers.studio.job import Job, Rendered

_NAME: Final = "the studio's process"
_MODULE: Final = "ketchup.providers.studio.worker"


class Pool:
    """At most `processes` renderers. Belongs to one event loop.

    `deadline`, in seconds, is how long one picture may take before its process is ended.
    """

    def __init__(self, processes: int, *, deadline: float) -> None:
        self._deadline = deadline
        self._free = asyncio.Semaphore(processes)
        self._idle: list[Child] = []
        self._all: set[Child] = set()
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
                    answer = await _ask(renderer, job)
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

    async def _take(self) -> Child:
        while self._idle:
            renderer = self._idle.pop()
            if renderer.alive:
                return renderer
            await self._discard(renderer)
        if self._closed:
            raise Unavailable("The studio is closed.")
        renderer = await Child.start(_NAME, _MODULE)
        self._all.add(renderer)
        return renderer

    async def _discard(self, renderer: Child) -> None:
        self._all.discard(renderer)
        await renderer.stop()


async def _ask(renderer: Child, job: Job) -> Rendered:
    await renderer.send(msgspec.msgpack.encode(job))
    return msgspec.msgpack.decode(await renderer.receive(), type=Rendered)
