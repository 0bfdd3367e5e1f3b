"""Several nodes that accept tasks of the same workspaces at the same moment.

On SQLite they are several callers of the one process that owns the file.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from sqlalchemy import func, select

from ketchup import credits, workspaces
from ketchup.clock import FrozenClock
from ketchup.credits import InsufficientCredits
from ketchup.db import Database, Location, SqliteFile
from ketchup.egress import Egress
from ketchup.generation import Accepted, GenerationRequest, Inputs, Submitter
from ketchup.generation.submit import Allowances, Decision
from ketchup.ids import WorkspaceId
from ketchup.money import MICRO
from ketchup.references import Decoder, References
from ketchup.storage import DiskStorage
from ketchup.tasks import UNLIMITED, Allowance, Conflicting, RateLimit, TooDeep, TooSoon
from ketchup.tasks.table import task, turn
from tests.support.database import open_database
from tests.support.factories import PRICE, new_workspace, request_of

NODES = 3
ROUNDS = 15


@dataclass
class Fleet:
    """Nodes on one database, each with a connection of its own."""

    databases: Sequence[Database]
    inputs: Inputs
    clock: FrozenClock

    def submitters(self, allowance: Allowance = UNLIMITED) -> list[Submitter]:
        return [self._submitter(database, lambda _plan: allowance) for database in self.databases]

    def submitter(self, allowances: Allowances) -> Submitter:
        return self._submitter(self.databases[0], allowances)

    def _submitter(self, database: Database, allowances: Allowances) -> Submitter:
        return Submitter(
            database, self.inputs, self.clock, allowances=allowances, accepted=lambda: None
        )

    async def workspace(self, grant: int = 100 * MICRO) -> WorkspaceId:
        made = await self.databases[0].write(lambda conn: new_workspace(conn, grant=grant))
        return made.id

    async def tasks_of(self, workspace: WorkspaceId) -> int:
        counting = select(func.count()).where(task.c.workspace_id == workspace)
        return await self.databases[0].read(lambda conn: conn.scalar(counting)) or 0

    async def turn_of(self, workspace: WorkspaceId) -> tuple[int, int]:
        counted = select(turn.c.active, turn.c.waiting).where(turn.c.workspace_id == workspace)
        active, waiting = await self.databases[0].read(lambda conn: conn.execute(counted).one())
        return active, waiting


@pytest.fixture
async def fleet(location: Location, tmp_path: Path) -> AsyncIterator[Fleet]:
    clock = FrozenClock()
    inputs = Inputs(References(Egress(clock), Decoder()), DiskStorage(tmp_path / "blobs"), clock)
    async with AsyncExitStack() as closing:
        first = await closing.enter_async_context(open_database(location))
        if isinstance(location, SqliteFile):
            databases = [first] * NODES
        else:
            others = [open_database(location) for _ in range(NODES - 1)]
            databases = [first, *[await closing.enter_async_context(other) for other in others]]
        yield Fleet(databases, inputs, clock)


async def submit_everywhere(
    nodes: Sequence[Submitter], requests: Sequence[GenerationRequest]
) -> list[Decision]:
    """Send each request to every node, all at once."""
    calls = [node.submit(request) for request in requests for node in nodes]
    return list(await asyncio.gather(*calls))


async def test_the_first_tasks_of_a_workspace_may_come_in_everywhere_at_once(fleet: Fleet) -> None:
    nodes = fleet.submitters()
    for _ in range(ROUNDS):
        workspace = await fleet.workspace()

        decisions = await submit_everywhere(nodes, [request_of(workspace)])

        assert all(isinstance(decision, Accepted) for decision in decisions)
        assert await fleet.tasks_of(workspace) == NODES
        assert await fleet.turn_of(workspace) == (NODES, 0)


async def test_a_share_that_was_just_changed_is_not_undone_by_a_node_that_did_not_hear(
    fleet: Fleet,
) -> None:
    allowances = {"free": Allowance(capacity=1), "pro": Allowance(capacity=3, weight=4)}
    node = fleet.submitter(allowances.__getitem__)
    workspace = await fleet.workspace()
    await fleet.databases[0].write(lambda conn: workspaces.set_plan(conn, workspace, "pro"))
    request = request_of(workspace)
    late = replace(request, caller=replace(request.caller, plan="free"))

    assert isinstance(await node.submit(late), Accepted)

    shares = select(turn.c.capacity, turn.c.weight).where(turn.c.workspace_id == workspace)
    share = await fleet.databases[0].read(lambda conn: conn.execute(shares).one())
    assert tuple(share) == (3, 4)


@pytest.mark.parametrize("is_known", [False, True])
async def test_a_key_that_is_sent_to_every_node_is_one_task(fleet: Fleet, is_known: bool) -> None:
    nodes = fleet.submitters()
    for number in range(ROUNDS):
        workspace = await fleet.workspace()
        if is_known:
            await nodes[0].submit(request_of(workspace))

        request = request_of(workspace, idempotency_key=f"key-{number}")
        decisions = await submit_everywhere(nodes, [request])

        told = [decision for decision in decisions if isinstance(decision, Accepted)]
        assert len(told) == NODES, decisions
        assert len({decision.task_id for decision in told}) == 1
        assert [decision.replayed for decision in told].count(False) == 1
        assert await fleet.tasks_of(workspace) == 1 + is_known


async def test_of_two_requests_under_one_key_at_two_nodes_one_conflicts(fleet: Fleet) -> None:
    nodes = fleet.submitters()
    for _ in range(ROUNDS):
        workspace = await fleet.workspace()
        one, two = (request_of(workspace, idempotency_key="k", prompt=word) for word in "ab")

        decisions = await asyncio.gather(nodes[0].submit(one), nodes[1].submit(two))

        assert {type(decision) for decision in decisions} == {Accepted, Conflicting}
        assert await fleet.tasks_of(workspace) == 1


@pytest.mark.parametrize(
    ("allowance", "grant", "refusal"),
    [
        (Allowance(depth=20), 100 * PRICE, TooDeep),
        (Allowance(RateLimit(1, 20)), 100 * PRICE, TooSoon),
        (UNLIMITED, 20 * PRICE, InsufficientCredits),
    ],
)
async def test_50_at_once_get_exactly_what_is_there(
    fleet: Fleet, allowance: Allowance, grant: int, refusal: type[Decision]
) -> None:
    nodes = fleet.submitters(allowance)
    workspace = await fleet.workspace(grant)

    calls = [nodes[number % NODES].submit(request_of(workspace)) for number in range(50)]
    kinds = Counter(type(decision) for decision in await asyncio.gather(*calls))

    assert kinds == {Accepted: 20, refusal: 30}
    assert await fleet.tasks_of(workspace) == 20
    assert await fleet.turn_of(workspace) == (20, 0)
    audit = await fleet.databases[0].read(lambda conn: credits.audit(conn, workspace))
    assert audit.consistent
    assert audit.account.held == 20 * PRICE
