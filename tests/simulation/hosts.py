"""Hosts: where a process runs, and where the next one is started when it has ended."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import TYPE_CHECKING, Final, TypeVar

from ketchup.errors import KetchupError
from tests.simulation.machines import Machine
from tests.simulation.process import Process

if TYPE_CHECKING:
    from tests.simulation.world import World

T = TypeVar("T")

_PATIENCE: Final = 60.0


class Unanswered(Exception):
    """The caller does not know what became of its request."""


class Host:
    """One place in the fleet. `works` says whether its processes run tasks."""

    def __init__(self, world: World, name: str, *, works: bool) -> None:
        self.name = name
        self.has_retired = False
        self._retiring = False
        self._world = world
        self._works = works
        self._random = Random(f"{world.plan.seed}/{name}")
        self._lives = 0
        # Each machine may be set otherwise.
        self._ttl = world.plan.ttl * self._random.choice((1.0, 1.0, 0.5, 2.0))
        self._off_by = 0.0
        self._process: Process | None = None
        self.machine = self._new_machine()

    def start(self) -> None:
        """Begin the next life, if there is to be one."""
        if self._retiring:
            self.has_retired = True
            return
        self._process = None
        self.machine = machine = self._new_machine()
        machine.mourn(lambda: self._world.outside.loop.call_later(self._break(), self.start))
        machine.start(self._live(machine))

    def kill(self) -> None:
        self._world.trace.note(self.machine.name, "is killed", "kill")
        self.machine.kill(self._world.outside.loop)

    def pause(self, seconds: float) -> None:
        machine = self.machine
        if machine.awake:
            self._world.trace.note(machine.name, f"is paused for {seconds:.3f} s", "pause")
            machine.pause()
            self._world.outside.loop.call_later(seconds, machine.resume)

    def stop(self) -> None:
        """Ask the process to end in good order, as an operator does."""
        if self._process and self._works and self.machine.awake:
            self._world.trace.note(self.machine.name, "is told to stop", "stop")
            self._process.worker.stop()

    def retire(self) -> None:
        """Stop, and start no other process."""
        self._retiring = True
        self.has_retired = not self._works
        self.stop()

    def set_clock(self, off_by: float) -> None:
        """Let the wall clock be wrong by so much, in this life and the next."""
        self._off_by = self.machine.clock.off_by = off_by
        self._world.trace.note(
            self.machine.name, f"has a clock that is off by {off_by:.3f} s", "clock"
        )

    def wake(self) -> None:
        """Let the process know that there may be something to do, as the bell does."""
        if self._process and self._works and self.machine.awake:
            self.machine.loop.call_soon(self._process.rung)

    async def ask(self, work: Callable[[Process], Awaitable[T]]) -> T:
        """Have the process do something, over a network. Raises Unanswered, and what it raises."""
        loop = self._world.outside.loop
        await asyncio.sleep(self._delay())
        machine, process = self.machine, self._process
        if process is None or not machine.alive or self._is_lost():
            await asyncio.sleep(self._delay())
            raise Unanswered
        answer: asyncio.Future[T] = loop.create_future()

        def fail() -> None:
            loop.call_later(self._delay(), _settle, answer, Unanswered())

        async def handle() -> None:
            outcome: T | Exception
            try:
                outcome = await work(process)
            except KetchupError as fact:
                outcome = fact
            if machine.alive and not self._is_lost():
                loop.call_later(self._delay(), _settle, answer, outcome)

        machine.mourn(fail)
        machine.start(handle())
        try:
            async with asyncio.timeout(_PATIENCE):
                return await answer
        except TimeoutError:
            raise Unanswered from None
        finally:
            machine.forget(fail)

    def _new_machine(self) -> Machine:
        self._lives += 1
        world = self._world
        machine = Machine(world.schedule, f"{self.name}.{self._lives}", world.plan.seed, self._ttl)
        machine.clock.off_by = self._off_by
        return machine

    async def _live(self, machine: Machine) -> None:
        self._process = process = Process(self._world, machine)
        process.accepted.listen(self._world.ring)
        process.ended.listen(self._world.ring)
        process.due.listen(self._world.ring)
        self._world.trace.note(machine.name, "starts")
        if not self._works:
            await asyncio.Event().wait()
        await process.worker.run(sole_owner=self._world.plan.alone)
        self._world.trace.note(machine.name, "has stopped")
        self._process = None
        if self._retiring:
            self.has_retired = True
        else:
            machine.kill(self._world.outside.loop)

    def _break(self) -> float:
        """Return how long it takes until the next process is up."""
        return self._random.choice((0.5, self._world.plan.ttl / 3, self._world.plan.ttl * 2))

    def _delay(self) -> float:
        return self._random.expovariate(50.0)

    def _is_lost(self) -> bool:
        return self._random.random() < self._world.faults.lost


def _settle(answer: asyncio.Future[T], outcome: T | Exception) -> None:
    if answer.done():
        return
    if isinstance(outcome, Exception):
        answer.set_exception(outcome)
    else:
        answer.set_result(outcome)
