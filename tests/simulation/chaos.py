"""Bad luck: what happens to machines and to the store at any time, each kind at its own rate."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING

from tests.simulation.hosts import Host

if TYPE_CHECKING:
    from tests.simulation.world import World


class Chaos:
    """Goes on until the day is over."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._random = Random(f"{world.plan.seed}/chaos")

    def begin(self) -> None:
        faults, hosts = self._world.faults, len(self._world.hosts)
        for rate, happens in (
            (faults.kills * hosts, lambda: self._host().kill()),
            (faults.pauses * hosts, self._pauses),
            (faults.stops * hosts, lambda: self._host().stop()),
            (faults.jumps * hosts, self._jumps),
            (faults.outages, self._fails),
        ):
            if rate:
                self._world.outside.start(self._keep_on(rate, happens))

    async def _keep_on(self, rate: float, happens: Callable[[], None]) -> None:
        while await self._world.rest(self._random, rate):
            happens()

    def _host(self) -> Host:
        return self._random.choice(self._world.hosts)

    def _pauses(self) -> None:
        self._host().pause(self._length())

    def _jumps(self) -> None:
        self._host().set_clock(self._random.uniform(-1.0, 1.0) * self._world.plan.jump)

    def _fails(self) -> None:
        self._world.take_store_down(self._length())

    def _length(self) -> float:
        """Return a time that leases survive, or one that they do not."""
        return self._world.plan.ttl * 10 ** self._random.uniform(-1.5, 0.5)
