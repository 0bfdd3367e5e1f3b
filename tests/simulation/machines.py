"""Simulated machines: each runs one process, with clocks, a loop and a randomness of its own.

A process can be *paused*: it stands still while the world goes on, and then does at once what fell
due meanwhile. It can be *killed*: nothing that it does from then on has an effect, and what it was
asked is never answered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any, Final

from ketchup.clock import FrozenClock, Micros, after
from ketchup.leases import Terms
from tests.simulation.schedule import Loop, Schedule

_START: Final = FrozenClock().now()


class MachineClock:
    """A machine's two clocks. The wall clock can be wrong; the other only goes on."""

    def __init__(self, schedule: Schedule) -> None:
        self.off_by = 0.0
        self._schedule = schedule

    def now(self) -> Micros:
        return after(_START, self._schedule.now + self.off_by)

    def monotonic(self) -> float:
        return self._schedule.now


class Machine:
    """One process on one machine, from its start to its end."""

    def __init__(self, schedule: Schedule, name: str, seed: str, ttl: float = 0.0) -> None:
        """Start one; `ttl` is how long the leases last that its process takes."""
        self.name = name
        self.terms = Terms(ttl)
        self.clock = MachineClock(schedule)
        self.random = Random(f"{seed}/{name}")
        self.alive = True
        self.paused = False
        self.loop = Loop(schedule)  # type: ignore[abstract] # it lacks what touches the world
        self._schedule = schedule
        self._mourners: dict[Callable[[], object], None] = {}
        self._tasks: dict[asyncio.Task[None], None] = {}

    @property
    def awake(self) -> bool:
        """Whether it does anything at all now."""
        return self.alive and not self.paused

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine on this machine."""
        _ = self.run(work)

    def run(self, work: Coroutine[Any, Any, None]) -> asyncio.Future[None]:
        """Run a coroutine on this machine, and return what says when it has ended."""
        task = self.loop.create_task(work)
        # asyncio itself would let a task be collected that nothing but its own wait refers to.
        self._tasks[task] = None
        task.add_done_callback(self._tasks.pop)
        return task

    def pause(self) -> None:
        if self.alive:
            self.paused = True
            self.loop.halt()

    def resume(self) -> None:
        if self.alive and self.paused:
            self.paused = False
            self.loop.go_on()

    def kill(self, outside: Loop) -> None:
        """End the process where it stands; it may be in the middle of a callback."""
        if not self.alive:
            return
        self.alive = self.paused = False
        outside.call_soon(self.loop.end)
        for tell in self._mourners:
            tell()

    def mourn(self, tell: Callable[[], object]) -> None:
        """Have somebody told when the process is killed: who waits for an answer from it."""
        self._mourners[tell] = None

    def forget(self, tell: Callable[[], object]) -> None:
        """Tell them no more."""
        self._mourners.pop(tell, None)

    def entropy(self, size: int) -> bytes:
        """Return random bytes: what ids and names are made of."""
        return self.random.randbytes(size)
