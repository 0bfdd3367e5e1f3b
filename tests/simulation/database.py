"""The product's own `Database`, on lanes that are simulated: no threads, no waiting, many faults."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from random import Random
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy import Connection
from typing_extensions import override

from ketchup.db import Database
from ketchup.db.lanes import Lane, Raised
from ketchup.errors import KetchupError, Unavailable
from tests.simulation.machines import Machine
from tests.simulation.store import Commit, Undone

if TYPE_CHECKING:
    from tests.simulation.world import World

Result = TypeVar("Result")

_DOWN = "the store is down"


class SimulatedDatabase(Database):
    """What a machine sees of the store. Batches, answers and refusals are the product's."""

    def __init__(self, world: World, machine: Machine) -> None:
        self._loop = asyncio.get_running_loop()
        self._lanes = SimulatedLanes(world, machine)


class SimulatedLanes:
    """A process that is alone has one writer, as on SQLite; in a fleet each has several."""

    def __init__(self, world: World, machine: Machine) -> None:
        self._world = world
        self._machine = machine
        self._named: dict[str, SimulatedLane] = {}
        self.hot_reader = SimulatedLane(world, machine, "hot reader", writes=False)
        self._reader = SimulatedLane(world, machine, "reader", writes=False)

    def writer(self) -> Lane:
        return self.named_writer("writer")

    def named_writer(self, name: str) -> Lane:
        name = "writer" if self._world.plan.alone else name
        if name not in self._named:
            self._named[name] = SimulatedLane(self._world, self._machine, name, writes=True)
        return self._named[name]

    def reader(self) -> Lane:
        return self._reader

    def all(self) -> Sequence[Lane]:
        return [*self._named.values(), self.hot_reader, self._reader]


class SimulatedLane(Lane):
    """One job at a time, in order; each takes a while, and some take long."""

    def __init__(self, world: World, machine: Machine, name: str, *, writes: bool) -> None:
        self._world = world
        self._machine = machine
        self._writes = writes
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
        self._world.moment(self._machine, self._random)

    def _delay(self) -> float:
        if self._random.random() < self._world.faults.stalls:
            return self._random.uniform(0.0, 2 * self._world.plan.ttl)
        return self._random.expovariate(500.0)

    def _run_job(self, job: Callable[[], None], asked_at: float) -> None:
        self._jobs_waiting -= 1
        self._asked_at = asked_at
        job()

    @override
    def attempt(self, work: Callable[[Connection], Result]) -> Result | Raised:
        if not self._machine.alive or self._world.store_is_down:
            return _unavailable()
        faults = self._world.faults
        if not self._writes:
            return self._commit(work, undo=False)
        luck = self._random.random()
        if luck < faults.undone:
            return self._commit(work, undo=True)
        result = self._commit(work, undo=False)
        self._world.moment(self._machine, self._random)
        if luck < faults.undone + faults.unheard:
            self._world.trace.note(self._machine.name, "hears nothing of it", "unheard")
            return _unavailable()
        return result

    def _commit(self, work: Callable[[Connection], Result], *, undo: bool) -> Result | Raised:
        try:
            result = self._world.store.transact(work, undo=undo)
        except Undone:
            self._world.trace.note(self._machine.name, "a transaction is undone", "undone")
            return _unavailable()
        except KetchupError as fact:
            return Raised(fact)
        except Exception as error:  # noqa: BLE001 it is raised again where the call is awaited
            self._world.complain(f"a transaction of {self._machine.name} raised {error!r}")
            return Raised(error)
        changes = self._world.store.take_changes()
        if changes:
            now = self._machine.loop.time()
            self._world.committed(Commit(now, self._asked_at, self._machine, changes))
        return result


def _unavailable() -> Raised:
    return Raised(Unavailable(_DOWN))
