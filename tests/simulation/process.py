"""One process of the service, built from the product's own parts as `bootstrap` builds it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING, Final

from ketchup import workspaces
from ketchup.generation import (
    Chores,
    Engines,
    Eraser,
    Inputs,
    Results,
    Runner,
    RunRules,
    Submitter,
    Wakeup,
    allowance_of,
)
from ketchup.generation.routing import Channel, Unknown
from ketchup.ids import WorkerId, WorkspaceId
from ketchup.money import Credits
from ketchup.providers.catalog import Catalog, ResultForm
from ketchup.webhooks import Sender, SenderSettings
from ketchup.worker import Worker, WorkerSettings
from ketchup.workspaces import Authenticator, Plans, Vault
from tests.simulation.database import SimulatedDatabase
from tests.simulation.machines import Machine
from tests.simulation.outside import (
    NoAnswer,
    SimulatedEngine,
    SimulatedPoster,
    SimulatedReferences,
    SimulatedStorage,
)
from tests.support.factories import MODEL, PEPPER, plan_of

if TYPE_CHECKING:
    from tests.simulation.world import World

COST: Final = Credits(40_000)
CATALOG: Final = Catalog(
    [
        MODEL,
        replace(
            MODEL, id="shown/whole", price=Credits(2 * MODEL.price), result_form=ResultForm.DATA
        ),
        replace(MODEL, id="free/of-charge", price=Credits(0)),
    ]
)
CHANNELS: Final = {
    "shown/whole": [
        Channel("charges", MODEL.provider, cost=COST, unknown=Unknown.FAIL_AND_RELEASE),
        Channel("charges-again", MODEL.provider, cost=COST),
    ]
}
PLANS: Final = Plans(
    [
        plan_of("free", submits_per_minute=6, submit_burst=6, concurrency=1, depth=8),
        plan_of("pro", submits_per_minute=60, submit_burst=20, concurrency=3, depth=40, weight=4),
        plan_of("scale", weight=12),
    ],
    "free",
)
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
        self.vault = Vault(PEPPER)
        self.authenticator = Authenticator(self.database, self.vault, clock)
        self.accepted, self.ended, self.due, self.rung = (Wakeup() for _ in range(4))
        self.submitter = Submitter(
            self.database,
            inputs,
            clock,
            allowances=lambda plan: allowance_of(PLANS.find(plan)),
            accepted=self.accepted,
            entropy=machine.entropy,
        )
        results = Results(storage, CATALOG, BASE_URL)
        runner = Runner(
            self.database,
            Engines(CATALOG, {MODEL.provider: SimulatedEngine(world, machine)}, CHANNELS),
            inputs,
            storage,
            results,
            clock=clock,
            random=machine.random,
            rules=RunRules(timeout_seconds=10 * plan.render),
            ended=self.ended,
            due=self.due,
            entropy=machine.entropy,
        )
        self._poster = SimulatedPoster(world, machine)
        self._sender_settings = SenderSettings(schedule=plan.schedule, poll=plan.poll)
        self.worker = Worker(
            self.database,
            runner,
            self._make_sender,
            Chores(
                self.database,
                storage,
                self.authenticator,
                PLANS,
                clock,
                Eraser(self.database, results, clock),
                ready=self.accepted,
            ).run,
            clock=clock,
            random=machine.random,
            settings=WorkerSettings(
                concurrency=plan.concurrency,
                terms=machine.terms,
                drain_seconds=plan.ttl,
                poll_seconds=plan.poll,
                sweep_seconds=2 * plan.poll,
                chores_seconds=10 * plan.poll,
            ),
            entropy=machine.entropy,
        )
        self.accepted.listen(self.worker.wake)
        self.ended.listen(self.worker.wake)
        self.due.listen(self.worker.wake_sender)
        self.rung.listen(self.worker.wake)
        self.rung.listen(self.worker.wake_sender)

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
            lambda conn: workspaces.webhook_secrets(conn, self.vault, workspace_id, now)
        )
