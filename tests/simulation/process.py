"""One process of the service, built from the product's own parts as `bootstrap` builds it."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import TYPE_CHECKING, Final

from ketchup import workspaces
from ketchup.generation import Chores, Engines, Inputs, Results, Runner, RunRules, Submitter, Wakeup
from ketchup.ids import WorkerId, WorkspaceId
from ketchup.leases import Terms
from ketchup.providers.catalog import Catalog
from ketchup.tasks import RateLimit
from ketchup.webhooks import Sender, SenderSettings
from ketchup.worker import Worker, WorkerSettings
from ketchup.workspaces import Authenticator
from tests.simulation.database import SimulatedDatabase
from tests.simulation.machines import Machine
from tests.simulation.outside import (
    NoAnswer,
    SimulatedEngine,
    SimulatedPoster,
    SimulatedReferences,
    SimulatedStorage,
)
from tests.support.factories import MODEL, PEPPER

if TYPE_CHECKING:
    from tests.simulation.world import World

CATALOG: Final = Catalog([MODEL])
BASE_URL: Final = "https://ketchup.example"


class Process:
    """Everything that a server has in its memory. Build it on the machine's own loop."""

    def __init__(self, world: World, machine: Machine) -> None:
        plan, clock = world.plan, machine.clock
        self.machine = machine
        self.database = SimulatedDatabase(world, machine)
        storage = SimulatedStorage(world, machine)
        references = SimulatedReferences(Random(f"{plan.seed}/{machine.name}/references"))
        inputs = Inputs(references, storage, clock, machine.entropy)
        self.authenticator = Authenticator(self.database, PEPPER, clock)
        self.accepted, ended = Wakeup(), Wakeup()
        self.submitter = Submitter(
            self.database,
            inputs,
            clock,
            rate_limit=RateLimit(plan.submits_per_minute, 10) if plan.submits_per_minute else None,
            accepted=self.accepted,
            entropy=machine.entropy,
        )
        runner = Runner(
            self.database,
            Engines(CATALOG, {MODEL.provider: SimulatedEngine(world, machine)}),
            inputs,
            storage,
            Results(storage, CATALOG, BASE_URL),
            clock=clock,
            random=machine.random,
            rules=RunRules(timeout_seconds=10 * plan.render),
            ended=ended,
            entropy=machine.entropy,
        )
        self._poster = SimulatedPoster(world, machine)
        self._sender_settings = SenderSettings(schedule=plan.schedule, poll=plan.poll)
        self.worker = Worker(
            self.database,
            runner,
            self._make_sender,
            Chores(self.database, storage, self.authenticator, clock).run,
            clock=clock,
            settings=WorkerSettings(
                concurrency=plan.concurrency,
                terms=Terms(ttl=plan.ttl),
                drain_seconds=plan.ttl,
                poll_seconds=plan.poll,
                sweep_seconds=2 * plan.poll,
                chores_seconds=10 * plan.poll,
            ),
            entropy=machine.entropy,
        )
        self.accepted.listen(self.worker.wake)
        ended.listen(self.worker.wake_sender)

    def _make_sender(self, worker_id: WorkerId) -> Sender:
        return Sender(
            self.database,
            self._poster,
            worker_id=worker_id,
            secrets=self._secrets,
            clock=self.machine.clock,
            random=self.machine.random,
            settings=self._sender_settings,
            errors=(NoAnswer,),
        )

    async def _secrets(self, workspace_id: WorkspaceId) -> Sequence[str]:
        now = self.machine.clock.now()
        return await self.database.read(
            lambda conn: workspaces.webhook_secrets(conn, PEPPER, workspace_id, now)
        )
