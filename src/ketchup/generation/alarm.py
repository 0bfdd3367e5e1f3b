"""Alarm: says when the first of several times has come, which may be set while it is waited for.

It goes by the event loop's clock: it only makes something happen sooner that would happen anyway.
"""

from __future__ import annotations

import asyncio
from math import inf


class Alarm:
    """One waits; any number set it."""

    def __init__(self) -> None:
        self._at = inf
        self._earlier = asyncio.Event()

    def set(self, seconds: float) -> None:
        """Have it ring after so many seconds, unless it rings sooner anyway."""
        at = asyncio.get_running_loop().time() + seconds
        if at < self._at:
            self._at = at
            self._earlier.set()

    async def wait(self, most: float) -> None:
        """Return when it rings, or after so many seconds."""
        now = asyncio.get_running_loop().time
        end = now() + most
        while (left := min(end, self._at) - now()) > 0:
            self._earlier.clear()
            await wait_for(self._earlier, left)
        if self._at <= now():
            self._at = inf


async def wait_for(event: asyncio.Event, seconds: float) -> None:
    """Return when the event is set, or after so many seconds."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
