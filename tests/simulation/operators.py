"""The operator: grants credits, takes some back, replaces keys and suspends workspaces."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Final, TypeVar

from ketchup import credits, workspaces
from ketchup.clock import Clock
from ketchup.db import Connection
from ketchup.errors import Conflict, Unavailable
from ketchup.generation import set_plan
from ketchup.money import Credits
from ketchup.workspaces import WorkspaceStatus
from tests.simulation.customers import Customer
from tests.simulation.hosts import Unanswered
from tests.simulation.process import PLANS
from tests.support.factories import PRICE

if TYPE_CHECKING:
    from tests.simulation.world import World

T = TypeVar("T")

_SUSPENDED_POLLS: Final = 10.0
_ACTS_PER_DAY: Final = 12


class Operator:
    """Acts now and then, and insists where customers must be able to rely on it."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._random = Random(f"{world.plan.seed}/operator")

    async def live(self) -> None:
        acts = (self._grants, self._grants, self._replaces_a_key, self._suspends, self._moves)
        while await self._world.rest(self._random, _ACTS_PER_DAY):
            await self._random.choice(acts)(self._random.choice(self._world.customers))

    async def _grants(self, customer: Customer) -> None:
        amount = Credits(self._random.choice((-5, 1, 10, 100)) * PRICE)
        try:
            await self._write(
                lambda conn, clock: credits.grant(
                    conn, customer.workspace, amount, "the operator's", clock.now()
                )
            )
        except (Conflict, Unanswered, Unavailable) as error:
            self._world.trace.note("operator", f"grants nothing: {type(error).__name__}")

    async def _replaces_a_key(self, customer: Customer) -> None:
        key_id, secret = customer.key_id, customer.secret
        customer.doubtful.add(secret)
        customer.take(await self._insist(lambda conn, _: customer.new_key(conn)))
        await self._insist(lambda conn, clock: workspaces.revoke_key(conn, key_id, clock.now()))
        customer.stopped[secret] = self._world.schedule.now
        self._world.trace.note("operator", f"has revoked a key of {customer.name}", "revoked")

    async def _suspends(self, customer: Customer) -> None:
        workspace, secret = customer.workspace, customer.secret
        customer.may_be_refused = True
        await self._insist(
            lambda conn, _: workspaces.set_status(conn, workspace, WorkspaceStatus.SUSPENDED)
        )
        customer.stopped[secret] = self._world.schedule.now
        await asyncio.sleep(self._random.uniform(0.0, _SUSPENDED_POLLS * self._world.plan.poll))
        del customer.stopped[secret]
        await self._insist(
            lambda conn, _: workspaces.set_status(conn, workspace, WorkspaceStatus.ACTIVE)
        )

    async def _moves(self, customer: Customer) -> None:
        """Put a workspace on another plan."""
        plan = self._random.choice(list(PLANS)).name
        await self._insist(lambda conn, _: set_plan(conn, PLANS, customer.workspace, plan))
        self._world.trace.note("operator", f"has put {customer.name} on {plan}", "plan")

    async def _insist(self, work: Callable[[Connection, Clock], T]) -> T:
        while True:
            try:
                return await self._write(work)
            except (Unanswered, Unavailable):
                await asyncio.sleep(self._random.uniform(0.0, self._world.plan.poll))

    async def _write(self, work: Callable[[Connection, Clock], T]) -> T:
        return await self._world.any_api(self._random).ask(
            lambda process: process.database.write(lambda conn: work(conn, process.machine.clock))
        )
