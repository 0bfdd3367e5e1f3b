"""The product's own `Database`, on lanes that are simulated: no threads, no waiting, many faults."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy import Connection
from typing_extensions import override

from ketchup.db import Database, _Lane, _Raised
from ketchup.errors import KetchupError, Unavailable
from tests.simulation.laws import Commit
from tests.simulation.machines import Machine
from tests.simulation.store import Undone

if TYPE_CHECKING:
    from tests.simulation.world import World

Result = TypeVar("Result")

_DOWN = "the store is down"


class SimulatedDatabase(Database):
    """What a machine sees of the store. Batches, answers and refusals are the product's."""

    def __init__(self, world: World, machine: Machine) -> None:
        self._loop = asyncio.get_running_loop()
        self._writer = SimulatedLane(world, machine, "writer")
        self._hot_reader = SimulatedLane(world, machine, "hot reader")
        self._reader = SimulatedLane(world, machine, "reader")


class SimulatedLane(_Lane):
    """One job at a time, in order; each takes a while, and some take long."""

    def __init__(self, world: World, machine: Machine, name: str) -> None:
        self._world = world
        self._machine = machine
        self._name = name
        self._random = Random(f"{world.plan.seed}/{machine.name}/{name}")
        self._free_at = 0.0
        self._asked_at = 0.0
        self._jobs_waiting = 0

    @property
    @override
    def waiting(self) -> int:
        return self._jobs_waiting

    @override
    def require_open(self) -> None:
        """Stay open: what is asked of a dead machine is never answered."""

    @override
    def put(self, job: Callable[[], None]) -> None:
        if not self._machine.alive:
            return
        now = self._machine.loop.time()
        self._free_at = max(self._free_at, now) + self._delay()
        self._jobs_waiting += 1
        self._machine.loop.call_at(self._free_at, self._run_job, job, now)

    def _delay(self) -> float:
        if self._random.random() < self._world.faults.stalls:
            return self._random.uniform(0.0, 2 * self._world.plan.ttl)
        return self._random.expovariate(500.0)

    def _run_job(self, job: Callable[[], None], asked_at: float) -> None:
        self._jobs_waiting -= 1
        self._asked_at = asked_at
        job()

    @override
    def attempt(self, work: Callable[[Connection], Result]) -> Result | _Raised:
        if not self._machine.alive or self._world.store_is_down:
            return _unavailable()
        faults = self._world.faults
        if self._name != "writer":
            return self._transact(work, undo=False)
        luck = self._random.random()
        if luck < faults.undone:
            return self._transact(work, undo=True)
        result = self._transact(work, undo=False)
        self._world.moment(self._machine, self._random)
        if luck < faults.undone + faults.unheard:
            self._world.trace.note(self._machine.name, "hears nothing of it")
            return _unavailable()
        return result

    def _transact(self, work: Callable[[Connection], Result], *, undo: bool) -> Result | _Raised:
        try:
            result = self._world.store.transact(work, undo=undo)
        except Undone:
            self._world.trace.note(self._machine.name, "a transaction is undone")
            return _unavailable()
        except KetchupError as fact:
            return _Raised(fact)
        except Exception as error:  # noqa: BLE001 it is raised again where the call is awaited
            self._world.complain(f"a transaction of {self._machine.name} raised {error!r}")
            return _Raised(error)
        changes = self._world.store.take_changes()
        if changes:
            now = self._machine.loop.time()
            self._world.committed(Commit(now, self._asked_at, self._machine, changes))
        return result


def _unavailable() -> _Raised:
    return _Raised(Unavailable(_DOWN))
