"""Turns: who may open a stranger's address now.

Nobody may aim us at a third party, and nobody's slow servers may keep others from being read:

  at once      so many reads in all, so many of one workspace, so many from one origin
  in turn      what waits is let in by workspace, one after the other
  at a pace    so many requests a second to one origin, reads and messages together

It counts what this process does.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from ketchup.clock import Clock
from ketchup.egress.errors import Crowded


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much at once, and how fast."""

    reads: int = 32
    per_workspace: int = 8
    per_origin: int = 4
    per_second: float = 100.0
    """Requests to one origin."""
    wait_seconds: float = 60.0
    """How long a read waits for its turn."""


@dataclass(eq=False, slots=True)
class _Waiting:
    origin: str
    let_in: asyncio.Future[None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class Turns:
    """One per process. On the event loop only."""

    def __init__(self, bounds: Bounds, clock: Clock) -> None:
        self._bounds = bounds
        self._clock = clock
        self._by_origin: Counter[str] = Counter()
        self._by_workspace: Counter[str] = Counter()
        # In order of whose turn is next: a workspace goes to the end when it was let in.
        self._waiting: dict[str, deque[_Waiting]] = {}
        self._next_at: dict[str, float] = {}

    @asynccontextmanager
    async def read(self, origin: str, workspace: str) -> AsyncIterator[None]:
        """Hold a turn to read from an origin. Raises Crowded when none came in time."""
        await self._wait(_Waiting(origin), workspace)
        try:
            yield
        finally:
            _release(self._by_origin, origin)
            _release(self._by_workspace, workspace)
            self._let_in()

    async def pace(self, origin: str) -> None:
        """Return when the next request may be sent to an origin: at once, up to a second's worth.

        Few ask at the same time, as reads and messages are bounded, so nobody waits for long.
        """
        now, interval = self._clock.monotonic(), 1.0 / self._bounds.per_second
        if len(self._next_at) > self._bounds.per_second * 100:
            self._next_at = {one: at for one, at in self._next_at.items() if at > now}
        at = max(self._next_at.get(origin, now), now)
        self._next_at[origin] = at + interval
        if (early := at - now - 1.0) > 0:
            await asyncio.sleep(early)

    async def _wait(self, mine: _Waiting, workspace: str) -> None:
        self._waiting.setdefault(workspace, deque()).append(mine)
        self._let_in()
        try:
            async with asyncio.timeout(self._bounds.wait_seconds):
                await mine.let_in
        except (TimeoutError, asyncio.CancelledError) as error:
            if mine.let_in.done() and not mine.let_in.cancelled():
                _release(self._by_origin, mine.origin)
                _release(self._by_workspace, workspace)
            else:
                self._forget(mine, workspace)
            self._let_in()
            if isinstance(error, TimeoutError):
                raise Crowded(f"no turn at {mine.origin} in time") from error
            raise

    def _let_in(self) -> None:
        while self._by_workspace.total() < self._bounds.reads:
            following = ((one, self._next_of(one)) for one in list(self._waiting))
            workspace, found = next((pair for pair in following if pair[1]), (None, None))
            if workspace is None or found is None:
                return
            self._forget(found, workspace)
            if queue := self._waiting.pop(workspace, None):
                self._waiting[workspace] = queue
            self._by_origin[found.origin] += 1
            self._by_workspace[workspace] += 1
            found.let_in.set_result(None)

    def _next_of(self, workspace: str) -> _Waiting | None:
        if self._by_workspace[workspace] >= self._bounds.per_workspace:
            return None
        has_room = (
            one
            for one in self._waiting[workspace]
            if self._by_origin[one.origin] < self._bounds.per_origin
        )
        return next(has_room, None)

    def _forget(self, one: _Waiting, workspace: str) -> None:
        queue = self._waiting[workspace]
        queue.remove(one)
        if not queue:
            del self._waiting[workspace]


def _release(counter: Counter[str], key: str) -> None:
    counter[key] -= 1
    if not counter[key]:
        del counter[key]
