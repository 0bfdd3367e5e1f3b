"""Simulated time: one order of everything that happens, on every machine.

Each machine has an event loop of its own, on which the product's own coroutines run. All loops
share one schedule, which runs one callback after the other and lets the time jump in between:
nothing waits for real, nothing runs beside something else, and a run depends on nothing but its
seed.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from typing import Any, Final, TypeVar, TypeVarTuple, Unpack

from typing_extensions import override

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

# More rounds than any task needs to come to its end once it is told to.
_MOST_ROUNDS: Final = 1000


class Schedule:
    """What happens next, over all machines. `now` is in seconds since the simulation began."""

    def __init__(self) -> None:
        self.now = 0.0
        self.steps = 0
        self._next: list[tuple[float, int, Loop, asyncio.Handle]] = []
        self._count = 0

    def add(self, when: float, loop: Loop, handle: asyncio.Handle) -> None:
        """Have a loop run a callback at that time, behind what is due then already."""
        self._count += 1
        heapq.heappush(self._next, (when, self._count, loop, handle))

    def step(self) -> None:
        """Run the next callback. There is always one: somebody always waits for something."""
        when, _, loop, handle = heapq.heappop(self._next)
        self.now = max(self.now, when)
        self.steps += 1
        loop.run(handle)

    def withdraw(self, loop: Loop) -> list[asyncio.Handle]:
        """Take everything that a loop was about to do off the schedule, and return it in order."""
        mine = sorted(entry for entry in self._next if entry[2] is loop)
        self._next = [entry for entry in self._next if entry[2] is not loop]
        heapq.heapify(self._next)
        return [handle for *_, handle in mine]


class Loop(asyncio.AbstractEventLoop):
    """asyncio for one machine, on the schedule's time.

    It has what coroutines need to wait for each other, and nothing of the world outside: whoever
    opens a socket or starts a thread in a simulation gets NotImplementedError.
    """

    def __init__(self, schedule: Schedule) -> None:
        self.unhandled: list[str] = []
        """What nobody caught."""
        self._schedule = schedule
        self._halted: list[asyncio.Handle] | None = None
        self._last: deque[asyncio.Handle] | None = None

    def run(self, handle: asyncio.Handle) -> None:
        """Run one callback, or keep it while the machine stands still."""
        if handle.cancelled():
            return
        if self._halted is not None:
            self._halted.append(handle)
            return
        asyncio._set_running_loop(self)
        try:
            handle._run()
        finally:
            asyncio._set_running_loop(None)

    def halt(self) -> None:
        """Stand still, as after SIGSTOP: the time goes on, and nothing is run."""
        if self._halted is None:
            self._halted = []

    def go_on(self) -> None:
        """Run what fell due meanwhile, all of it at once."""
        due, self._halted = self._halted or [], None
        for handle in due:
            self._schedule.add(self.time(), self, handle)

    def end(self) -> None:
        """Stop for ever. Cut the machine off from everything before.

        Every coroutine is unwound, so that none is left for the garbage collector: that would do it
        at a time of its own choice.
        """
        due = [*(self._halted or ()), *self._schedule.withdraw(self)]
        self._halted = None
        self._last = deque(handle for handle in due if not isinstance(handle, asyncio.TimerHandle))
        for _ in range(_MOST_ROUNDS):
            alive = [task for task in asyncio.all_tasks(self) if not task.done()]
            if not alive:
                return
            for task in alive:
                task.cancel()
            while self._last:
                self.run(self._last.popleft())
        raise RuntimeError("a task of a dead machine cannot be ended")

    # -- what asyncio asks for --------------------------------------------------------------------

    @override
    def time(self) -> float:
        return self._schedule.now

    @override
    def call_soon(
        self,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        if self._last is None:
            self._schedule.add(self.time(), self, handle)
        else:
            self._last.append(handle)
        return handle

    @override
    def call_soon_threadsafe(
        self,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.Handle:
        return self.call_soon(callback, *args, context=context)

    @override
    def call_later(
        self,
        delay: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    @override
    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        if self._last is None:
            self._schedule.add(when, self, handle)
        return handle

    def _timer_handle_cancelled(self, _handle: asyncio.TimerHandle) -> None:
        """Let it lie: the schedule passes it over when its time comes."""

    @override
    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    @override
    def create_task(
        self,
        coro: Generator[Any, None, T] | Coroutine[Any, Any, T],
        *,
        name: str | None = None,
        context: Context | None = None,
    ) -> asyncio.Task[T]:
        return asyncio.Task(coro, loop=self, name=name, context=context)

    @override
    def get_debug(self) -> bool:
        return False

    @override
    def is_closed(self) -> bool:
        return False

    @override
    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if self._last is None:
            self.unhandled.append(f"{context.get('message')}: {context.get('exception')!r}")
