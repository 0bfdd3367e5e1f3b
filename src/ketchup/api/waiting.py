"""Waiting for tasks to end, so that a client need not ask again and again.

An end in this process or one that rang the bell wakes whoever waits; behind that is a look once a
second, so nothing depends on it. Nobody holds a connection to the database while waiting, and there
are so many places, and a workspace has a share of them: who finds none is told at once, for it can
still ask without waiting. When the service stops, everybody is answered with what there is.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

from ketchup.clock import Clock
from ketchup.errors import RateLimited, Unavailable
from ketchup.generation.alarm import wait_for

Found = TypeVar("Found")

LOOK_SECONDS: Final = 1.0


class Waiters:
    """Those who wait. On the event loop only."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiting: set[asyncio.Event] = set()
        self._is_stopped = False

    @property
    def is_stopped(self) -> bool:
        """Whether nobody waits any more."""
        return self._is_stopped

    def stop(self) -> None:
        """Let nobody wait any longer, now and later: the service stops."""
        self._is_stopped = True
        self.wake()

    def wake(self) -> None:
        """Have everybody look: a task may have ended."""
        for waiter in self._waiting:
            waiter.set()

    async def until(
        self,
        look: Callable[[], Awaitable[Found]],
        enough: Callable[[Found], bool],
        is_gone: Callable[[], Awaitable[bool]],
        seconds: float,
    ) -> Found:
        """Look until it is enough, the time is over or the client is gone; return the last look.

        An end makes all of them look at the same time: look through what reads for many at once.
        """
        until = self._clock.monotonic() + seconds
        woken = asyncio.Event()
        # Before the first look: an end behind it is then not missed.
        self._waiting.add(woken)
        try:
            found = await look()
            while not (enough(found) or self._is_stopped):
                left = until - self._clock.monotonic()
                if left <= 0:
                    break
                await wait_for(woken, min(left, LOOK_SECONDS))
                woken.clear()
                if await is_gone():
                    break
                found = await look()
            return found
        finally:
            self._waiting.remove(woken)


class Places:
    """So many places at once, and so many of them for one. On the event loop only.

    `taken` says in a few words what those do who have one, `retry_after` in how many seconds one
    may be free. Nobody waits for a place.
    """

    def __init__(self, most: int, each: int, taken: str, *, retry_after: float = 5.0) -> None:
        self._most = most
        self._each = each
        self._said = taken
        self._retry_after = retry_after
        self._taken: Counter[Hashable] = Counter()

    @contextmanager
    def place(self, whose: Hashable) -> Iterator[None]:
        """Hold a place. Raises RateLimited when they have too many, Unavailable when all have."""
        if self._taken[whose] >= self._each:
            said = f"{self._each} {self._said} already"
            raise RateLimited(said, retry_after=self._retry_after)
        if self._taken.total() >= self._most:
            raise Unavailable(f"too many {self._said} already", retry_after=self._retry_after)
        self._taken[whose] += 1
        try:
            yield
        finally:
            self._taken[whose] -= 1
            if not self._taken[whose]:
                del self._taken[whose]
