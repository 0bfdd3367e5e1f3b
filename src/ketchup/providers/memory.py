"""Memory: how many bytes of engines' answers this process holds at once, over all tasks.

One answer is bounded, but a task has many and a process has many tasks. An answer takes its bytes
from the common memory before they are read, and its task keeps them until its pictures are stored.
Without room it waits, and what it waits costs it nothing of its deadlines: the engine's bytes stay
in the network.

Tasks that each hold a part and wait for more would wait for ever. So the one that came first always
gets what it asks for, and the bound is the memory and one task's answers.

A task's share stands in a context variable: engines in other processes, which are sent requests,
have no part in it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from contextvars import ContextVar
from typing import Final

MEBIBYTE: Final = 1024 * 1024
HELD_BYTES: Final = 512 * MEBIBYTE


class Memory:
    """The bytes that all tasks have together. On the event loop only."""

    def __init__(self, size: int = HELD_BYTES) -> None:
        self._size = size
        # Those that have asked, in the order in which they first did.
        self._shares: dict[Share, int] = {}
        self._waiting: set[asyncio.Future[None]] = set()

    @property
    def held(self) -> int:
        """How many bytes are taken."""
        return sum(self._shares.values())

    @contextmanager
    def share(self) -> Iterator[Share]:
        """Hold what this task takes in here, until its end."""
        share = Share(self)
        token = _SHARE.set(share)
        try:
            yield share
        finally:
            # A coroutine that is thrown away is closed in another context than it ran in.
            with suppress(ValueError):
                _SHARE.reset(token)
            self._shares.pop(share, None)
            self._wake()

    def _takes(self, share: Share, count: int) -> bool:
        """Take so many bytes, or say that there is no room for them."""
        self._shares.setdefault(share, 0)
        is_first = next(iter(self._shares)) is share
        if not is_first and self.held + count > self._size:
            return False
        self._shares[share] += count
        return True

    async def _more(self) -> None:
        """Wait until anything was given back."""
        woken = asyncio.get_running_loop().create_future()
        self._waiting.add(woken)
        try:
            await woken
        finally:
            self._waiting.discard(woken)

    def _give(self, share: Share, count: int) -> None:
        if share in self._shares:
            self._shares[share] -= count
            self._wake()

    def _wake(self) -> None:
        for woken in self._waiting:
            if not woken.done():
                woken.set_result(None)


class Share:
    """What one task holds of the memory."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._limit = _Limit()

    @asynccontextmanager
    async def timeout(self, seconds: float) -> AsyncIterator[None]:
        """Raise TimeoutError after so many seconds in which the task did not wait for room."""
        async with asyncio.timeout(seconds) as timeout:
            self._limit = _Limit(timeout)
            try:
                yield
            finally:
                self._limit = _Limit()

    async def take(self, count: int, deadline: asyncio.Timeout | None = None) -> None:
        """Wait for room for so many bytes. `deadline` stands still meanwhile."""
        if self._memory._takes(self, count):  # noqa: SLF001 the two are one thing
            return
        with self._limit.stopped(), _Limit(deadline).stopped():
            while not self._memory._takes(self, count):  # noqa: SLF001 as above
                await self._memory._more()  # noqa: SLF001 as above

    def give(self, count: int) -> None:
        """Give back what was taken too much."""
        self._memory._give(self, count)  # noqa: SLF001 as above


class _Limit:
    """A timeout that stands still while anybody waits."""

    def __init__(self, timeout: asyncio.Timeout | None = None) -> None:
        self._timeout = timeout
        self._waits = 0
        self._left = 0.0

    @contextmanager
    def stopped(self) -> Iterator[None]:
        timeout = self._timeout
        # One that is over has its own way already.
        if timeout is None or timeout.expired():
            yield
            return
        now = asyncio.get_running_loop().time
        if not self._waits:
            self._left = (timeout.when() or now()) - now()
            timeout.reschedule(None)
        self._waits += 1
        try:
            yield
        finally:
            self._waits -= 1
            if not self._waits:
                # Cancelled from above, it may be left already.
                with suppress(RuntimeError):
                    timeout.reschedule(now() + self._left)


_SHARE: ContextVar[Share | None] = ContextVar("share", default=None)


def share_of_this_task() -> Share:
    """Return the share that was opened around this, or one without a bound to others."""
    return _SHARE.get() or Share(Memory())
