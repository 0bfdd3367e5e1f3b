"""Submit: what is accepted is durable and paid for once; what is refused leaves no trace."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from sqlalchemy import Connection, event, inspect, select, text

from ketchup import credits, tasks
from ketchup.clock import FrozenClock
from ketchup.credits import InsufficientCredits
from ketchup.db import Database, Location
from ketchup.egress import Egress
from ketchup.errors import Unavailable
from ketchup.generation import Accepted, GenerationRequest, Inputs, Submitter
from ketchup.generation.submit import Decision
from ketchup.ids import TaskId, WorkspaceId
from ketchup.money import MICRO, Credits
from ketchup.references import DataReference, Decoder, References, UrlReference
from ketchup.spending import CapReached, Period
from ketchup.storage import DiskStorage
from ketchup.tasks import (
    Allowance,
    Conflicting,
    Options,
    Priority,
    RateLimit,
    Status,
    TooDeep,
    TooSoon,
)
from ketchup.tasks.table import idempotency, task
from tests.support.database import open_database
from tests.support.factories import (
    MODEL,
    PRICE,
    WORKER,
    caller_of,
    claim,
    new_workspace,
    request_of,
)
from tests.support.gate import held_writer

HOURS_48 = 48 * 3600.0
PIXEL = b"\x89PNG\r\n\x1a\n and so on"


@dataclass
class Service:
    """A submitter over a real database, and what it has told the worker."""

    database: Database
    inputs: Inputs
    clock: FrozenClock
    blobs: Path
    woken: int = 0

    def submitter(
        self, rate_limit: RateLimit | None = None, capacity: int = 10_000, depth: int = 0
    ) -> Submitter:
        return Submitter(
            self.database,
            self.inputs,
            self.clock,
            allowances=lambda _plan: Allowance(rate_limit, depth=depth),
            capacity=capacity,
            accepted=self._wake,
        )

    def _wake(self) -> None:
        self.woken += 1

    async def workspace(self, grant: int = 100 * MICRO) -> WorkspaceId:
        workspace = await self.database.write(lambda conn: new_workspace(conn, grant=grant))
        return workspace.id

    async def count(self, table: str) -> int:
        counting = text(f"SELECT count(*) FROM {table}")  # noqa: S608 a table of ours
        return await self.database.read(lambda conn: conn.scalar(counting)) or 0

    async def dump(self) -> str:
        """Return every row of every table."""
        return await self.database.read(_dump)

    async def audit(self, workspace: WorkspaceId) -> credits.Audit:
        return await self.database.read(lambda conn: credits.audit(conn, workspace))

    def kept_blobs(self) -> list[bytes]:
        return [path.read_bytes() for path in self.blobs.rglob("*") if path.is_file()]


def _dump(conn: Connection) -> str:
    tables = inspect(conn).get_table_names()
    dumps = [
        f"{table}: {conn.execute(text(f'SELECT * FROM {table}')).all()}"  # noqa: S608 as above
        for table in sorted(tables)
    ]
    return "\n".join(dumps)


@pytest.fixture
async def service(location: Location, clock: FrozenClock, tmp_path: Path) -> AsyncIterator[Service]:
    egress, decoder = Egress(clock), Decoder()
    blobs = tmp_path / "blobs"
    inputs = Inputs(References(egress, decoder), DiskStorage(blobs), clock)
    async with open_database(location) as database:
        yield Service(database, inputs, clock, blobs)


async def submit_all(
    service: Service, submitter: Submitter, requests: list[GenerationRequest]
) -> list[Decision]:
    """Submit them so that one transaction decides all."""
    async with held_writer(service.database, "submit"):
        running = [asyncio.create_task(submitter.submit(request)) for request in requests]
        await asyncio.sleep(0)  # each runs up to where it waits for the decision
        assert len(submitter._decide._waiting) == len(requests)
    return await asyncio.gather(*running)


def accepted(decision: Decision) -> TaskId:
    assert isinstance(decision, Accepted)
    return decision.task_id


# -- accepting ------------------------------------------------------------------------------------


async def test_an_accepted_task_is_there_with_its_hold_when_it_is_answered(
    service: Service,
) -> None:
    workspace = await service.workspace()

    decision = await service.submitter().submit(request_of(workspace, options=Options(n=3)))

    assert decision == Accepted(accepted(decision), replayed=False)
    (seen,) = await service.database.read(
        lambda conn: tasks.get_many(conn, [(workspace, accepted(decision))])
    )
    assert seen is not None
    assert (seen.status, seen.created_at) == (Status.PENDING, service.clock.now())
    audit = await service.audit(workspace)
    assert audit.consistent
    assert audit.account.held == 3 * PRICE
    assert service.woken == 1


async def test_320_submits_at_once_with_credits_for_50_accept_exactly_50(
    service: Service,
) -> None:
    workspace = await service.workspace(grant=50 * PRICE)
    submitter = service.submitter()

    together = await submit_all(service, submitter, [request_of(workspace)] * 160)
    apart = await asyncio.gather(*(submitter.submit(request_of(workspace)) for _ in range(160)))

    kinds = Counter(type(decision) for decision in [*together, *apart])
    assert kinds == {Accepted: 50, InsufficientCredits: 270}
    assert await service.count("task") == await service.count("hold") == 50
    assert (await service.audit(workspace)).consistent
    assert (await service.audit(workspace)).account.available == 0


async def test_a_full_queue_of_calls_refuses_at_once_and_keeps_no_blob(service: Service) -> None:
    workspace = await service.workspace()
    submitter = service.submitter(capacity=1)
    with_image = replace(request_of(workspace), images=(DataReference(PIXEL),))

    async with held_writer(service.database, "submit"):
        first = asyncio.create_task(submitter.submit(request_of(workspace)))
        await asyncio.sleep(0)  # it has taken the only place
        with pytest.raises(Unavailable, match="busy"):
            await submitter.submit(with_image)

    assert isinstance(await first, Accepted)
    assert service.kept_blobs() == []
    assert await service.count("task") == 1


# -- refusing -------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate_limit", [None, RateLimit(60, 1)])
async def test_a_workspace_that_cannot_pay_leaves_no_trace(
    service: Service, rate_limit: RateLimit | None
) -> None:
    workspace = await service.workspace(grant=PRICE - 1)
    before = await service.dump()
    request = replace(request_of(workspace, idempotency_key="k"), images=(DataReference(PIXEL),))

    decision = await service.submitter(rate_limit).submit(request)

    assert decision == InsufficientCredits(Credits(PRICE - 1), PRICE)
    assert await service.dump() == before
    assert service.kept_blobs() == []
    assert service.woken == 0


@pytest.mark.parametrize(
    ("grant", "rate_limit", "depth", "expected"),
    [
        (PRICE - 1, None, 0, InsufficientCredits),
        (100 * MICRO, RateLimit(60, 1), 0, TooSoon),
        (100 * MICRO, None, 1, TooDeep),
    ],
)
async def test_what_will_be_refused_writes_no_image_even_for_a_moment(
    service: Service,
    grant: int,
    rate_limit: RateLimit | None,
    depth: int,
    expected: type[Decision],
) -> None:
    workspace = await service.workspace(grant=grant)
    submitter = service.submitter(rate_limit, depth=depth)
    await submitter.submit(request_of(workspace))
    request = replace(request_of(workspace), images=(DataReference(PIXEL),))

    decision = await submitter.submit(request)

    assert isinstance(decision, expected)
    # A blob that was written and removed would leave the folders of its day.
    assert list(service.blobs.rglob("*")) == []


async def test_a_repeated_request_with_an_image_is_replayed_when_nothing_is_left(
    service: Service,
) -> None:
    workspace = await service.workspace(grant=PRICE)
    submitter = service.submitter(depth=1)
    request = replace(request_of(workspace, idempotency_key="k"), images=(DataReference(PIXEL),))
    first = await submitter.submit(request)

    again = await submitter.submit(request)

    assert isinstance(first, Accepted)
    assert again == replace(first, replayed=True)


async def test_tasks_that_were_refused_do_not_cost_a_workspace_its_place(
    service: Service,
) -> None:
    poor, rich = await service.workspace(grant=0), await service.workspace()
    submitter = service.submitter()
    for _ in range(20):
        await submitter.submit(request_of(poor))
    await service.database.write(
        lambda conn: credits.grant(conn, poor, PRICE, None, service.clock.now())
    )
    for _ in range(5):
        await submitter.submit(request_of(rich))

    task_id = accepted(await submitter.submit(request_of(poor)))

    leases = await service.database.write(lambda conn: claim(conn, WORKER, 2, service.clock.now()))
    assert task_id in {lease.attempt.task_id for lease in leases}


async def test_the_rate_limit_lets_the_burst_in_and_says_when_to_come_back(
    service: Service,
) -> None:
    workspace, other = await service.workspace(), await service.workspace()
    submitter = service.submitter(RateLimit(per_minute=60, burst=3))

    decisions = await submit_all(
        service, submitter, [request_of(workspace)] * 5 + [request_of(other)]
    )

    assert [type(decision) for decision in decisions] == [
        Accepted, Accepted, Accepted, TooSoon, TooSoon, Accepted
    ]  # fmt: skip
    assert decisions[3] == TooSoon(1.0)
    before = await service.dump()
    assert await submitter.submit(request_of(workspace)) == TooSoon(1.0)
    assert await service.dump() == before
    service.clock.advance(1.0)
    assert isinstance(await submitter.submit(request_of(workspace)), Accepted)
    assert await submitter.submit(request_of(workspace)) == TooSoon(1.0)


@pytest.mark.parametrize(("rate_limit", "depth"), [(RateLimit(1, 4), 0), (None, 4)])
async def test_what_cannot_be_paid_costs_neither_rate_nor_depth(
    service: Service, rate_limit: RateLimit | None, depth: int
) -> None:
    workspace = await service.workspace(grant=4 * PRICE)
    submitter = service.submitter(rate_limit, depth=depth)
    cheap, dear = request_of(workspace), request_of(workspace, options=Options(n=8))

    together = await submit_all(service, submitter, [cheap, dear, dear, cheap])
    apart = [await submitter.submit(request) for request in (dear, cheap, dear, cheap, cheap)]

    poor, refusal = InsufficientCredits, TooSoon if rate_limit else TooDeep
    assert [type(one) for one in together] == [Accepted, poor, poor, Accepted]
    assert [type(one) for one in apart] == [poor, Accepted, poor, Accepted, refusal]


# -- asking twice ---------------------------------------------------------------------------------


async def test_the_same_key_and_body_is_the_same_task(service: Service) -> None:
    workspace = await service.workspace()
    submitter = service.submitter(RateLimit(per_minute=1, burst=1))
    request = request_of(workspace, idempotency_key="order-7")

    first = accepted(await submitter.submit(request))
    again = await submitter.submit(replace(request))

    # A replay is neither too soon nor paid again.
    assert again == Accepted(first, replayed=True)
    assert await service.count("task") == await service.count("hold") == 1
    assert service.woken == 1


async def test_a_replay_keeps_no_second_blob(service: Service) -> None:
    workspace = await service.workspace()
    submitter = service.submitter()
    request = replace(request_of(workspace, idempotency_key="k"), images=(DataReference(PIXEL),))

    first = accepted(await submitter.submit(request))
    again = await submitter.submit(request)

    assert again == Accepted(first, replayed=True)
    assert service.kept_blobs() == [PIXEL]


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "another"},
        {"model": replace(MODEL, id="google/other")},
        {"images": (UrlReference("https://example.com/a.png"),)},
        {"callback_url": "https://example.com/hook"},
        {"options": Options(n=2)},
        {"options": Options(seed=0)},
        {"options": Options(output_format="png")},
        {"priority": Priority.HIGH},
    ],
    ids="-".join,
)
async def test_the_same_key_with_another_body_conflicts(
    service: Service, change: dict[str, object]
) -> None:
    workspace = await service.workspace()
    submitter = service.submitter()
    request = request_of(workspace, idempotency_key="order-7")
    await submitter.submit(request)

    other = replace(request, **change)  # type: ignore[arg-type]  # the table above
    decisions = [await submitter.submit(other), await submitter.submit(request)]

    assert decisions[0] == Conflicting()
    assert isinstance(decisions[1], Accepted)
    assert await service.count("task") == 1


async def test_a_key_that_was_kept_before_there_were_priorities_still_matches(
    service: Service,
) -> None:
    request = request_of(await service.workspace(), idempotency_key="order-7")
    await service.submitter().submit(request)

    kept = await service.database.read(lambda conn: conn.scalar(select(idempotency.c.fingerprint)))

    # Written down when a request had no priority; the workspace is no part of it.
    assert kept == bytes.fromhex("7be952be903da8a66d0df0221f9446f63b0fd68e329e9c0ffa3c86f39210010e")


async def test_the_images_that_came_along_count_by_their_bytes(service: Service) -> None:
    workspace = await service.workspace()
    submitter = service.submitter()
    request = request_of(workspace, idempotency_key="k")
    one = replace(request, images=(DataReference(PIXEL),))
    other = replace(request, images=(DataReference(PIXEL + b"!"),))

    decisions = [await submitter.submit(each) for each in (one, other, one)]

    first = accepted(decisions[0])
    assert decisions == [Accepted(first), Conflicting(), Accepted(first, replayed=True)]


async def test_50_duplicates_in_one_batch_are_one_task_with_one_hold(service: Service) -> None:
    workspace = await service.workspace()
    submitter = service.submitter()
    request = request_of(workspace, idempotency_key="k")

    decisions = await submit_all(service, submitter, [request] * 50)

    assert len({accepted(decision) for decision in decisions}) == 1
    replays = [isinstance(decision, Accepted) and decision.replayed for decision in decisions]
    assert replays == [False] + [True] * 49
    assert await service.count("task") == await service.count("hold") == 1
    assert await service.count("idempotency") == 1


async def test_duplicates_and_conflicts_in_one_batch_are_told_apart(service: Service) -> None:
    workspace = await service.workspace()
    submitter = service.submitter()
    a, b = (request_of(workspace, idempotency_key="k", prompt=prompt) for prompt in "ab")

    decisions = await submit_all(service, submitter, [a, b, a, request_of(workspace), b])

    first = accepted(decisions[0])
    assert decisions[1] == decisions[4] == Conflicting()
    assert decisions[2] == Accepted(first, replayed=True)
    assert accepted(decisions[3]) != first
    assert await service.count("task") == 2


async def test_a_refused_request_does_not_use_up_its_key(service: Service) -> None:
    workspace = await service.workspace(grant=PRICE)
    submitter = service.submitter()
    dear = request_of(workspace, idempotency_key="k", options=Options(n=2))
    cheap = request_of(workspace, idempotency_key="k")

    # In one batch: the first is refused, the next takes its place, the last repeats that one.
    decisions = await submit_all(service, submitter, [dear, dear, cheap, dear, cheap])

    first = accepted(decisions[2])
    assert [type(decision) for decision in decisions[:2]] == [InsufficientCredits] * 2
    assert decisions[3] == Conflicting()
    assert decisions[4] == Accepted(first, replayed=True)


async def test_a_key_that_was_refused_may_be_sent_again(service: Service) -> None:
    workspace = await service.workspace(grant=0)
    submitter = service.submitter()
    request = request_of(workspace, idempotency_key="k")
    assert isinstance(await submitter.submit(request), InsufficientCredits)

    await service.database.write(
        lambda conn: credits.grant(conn, workspace, PRICE, None, service.clock.now())
    )

    assert not getattr(await submitter.submit(request), "replayed", True)


async def test_another_workspaces_key_is_another_key(service: Service) -> None:
    one, two = await service.workspace(), await service.workspace()
    submitter = service.submitter()
    both = [request_of(workspace, idempotency_key="k") for workspace in (one, two)]

    decisions = await submit_all(service, submitter, both)
    again = [await submitter.submit(request) for request in both]

    ids = [accepted(decision) for decision in decisions]
    assert ids[0] != ids[1]
    assert again == [Accepted(task_id, replayed=True) for task_id in ids]


async def test_a_key_is_kept_for_48_hours(service: Service) -> None:
    workspace = await service.workspace()
    submitter = service.submitter()
    request = request_of(workspace, idempotency_key="k")
    first = accepted(await submitter.submit(request))

    service.clock.advance(HOURS_48)
    assert await submitter.submit(request) == Accepted(first, replayed=True)
    service.clock.advance(0.000_001)
    second = accepted(await submitter.submit(request))
    assert second != first
    assert await submitter.submit(request) == Accepted(second, replayed=True)


async def test_old_keys_are_forgotten_and_young_ones_are_not(service: Service) -> None:
    workspace = await service.workspace()
    submitter = service.submitter()
    await submitter.submit(request_of(workspace, idempotency_key="old"))
    service.clock.advance(HOURS_48)
    await submitter.submit(request_of(workspace, idempotency_key="young"))
    service.clock.advance(0.000_001)

    forgotten = await service.database.write(
        lambda conn: tasks.forget_keys(conn, service.clock.now(), 10)
    )

    assert forgotten == 1
    left = await service.database.read(lambda conn: conn.scalars(select(idempotency.c.key)).all())
    assert left == ["young"]


# -- many -----------------------------------------------------------------------------------------


@pytest.fixture
def statements(service: Service) -> Iterator[list[str]]:
    """Every statement that the writer runs."""
    seen: list[str] = []

    def note(_conn: object, _cursor: object, statement: str, *_: object) -> None:
        seen.append(statement)

    engine = service.database._lanes.writer()._engine
    event.listen(engine, "before_cursor_execute", note)
    yield seen
    event.remove(engine, "before_cursor_execute", note)


async def test_a_whole_batch_costs_as_many_statements_as_one_request(
    service: Service, statements: list[str]
) -> None:
    workspace = await service.workspace(grant=10_000 * MICRO)
    submitter = service.submitter()
    await submitter.submit(request_of(workspace, idempotency_key="first"))
    statements.clear()

    await submit_all(service, submitter, [request_of(workspace, idempotency_key="one")])
    for_one = len(statements)
    statements.clear()
    decisions = await submit_all(
        service, submitter, [request_of(workspace, idempotency_key=f"k{i}") for i in range(512)]
    )

    assert len({accepted(decision) for decision in decisions}) == 512
    assert len(statements) == for_one < 15
    assert (await service.audit(workspace)).consistent


@pytest.mark.parametrize("why", ["insufficient credits", "too soon"])
async def test_many_refusals_under_one_key_cost_as_many_statements_as_one(
    service: Service, statements: list[str], why: str
) -> None:
    workspace = await service.workspace(grant=PRICE if why == "too soon" else 0)
    submitter = service.submitter(RateLimit(per_minute=60, burst=1))
    await submitter.submit(request_of(workspace))
    requests = [
        request_of(workspace, idempotency_key="k", prompt=f"prompt {i % 100}") for i in range(512)
    ]
    statements.clear()
    await submit_all(service, submitter, requests[:1])
    for_one = len(statements)
    statements.clear()

    decisions = await submit_all(service, submitter, requests)

    refusal = TooSoon(1.0) if why == "too soon" else InsufficientCredits(Credits(0), PRICE)
    assert decisions == [refusal] * 512
    assert len(statements) <= for_one + 5


async def test_many_refusals_of_a_cap_under_one_key_cost_as_many_statements_as_one(
    service: Service, statements: list[str]
) -> None:
    workspace = await service.workspace()
    submitter = service.submitter()
    capped = replace(caller_of(workspace), purse="key_one", day_cap=Credits(0))
    requests = [
        replace(request_of(workspace, idempotency_key="k", prompt=f"prompt {i}"), caller=capped)
        for i in range(256)
    ]
    statements.clear()
    await submit_all(service, submitter, requests[:1])
    for_one = len(statements)
    statements.clear()

    decisions = await submit_all(service, submitter, requests)

    assert decisions == [CapReached(Period.DAY, "key_one", PRICE)] * 256
    assert len(statements) <= for_one + 5
    # Another key of the workspace is not refused with them.
    free = request_of(workspace, idempotency_key="k")
    both = await submit_all(service, submitter, [requests[0], free])
    assert [type(one) for one in both] == [CapReached, Accepted]


async def test_an_accepted_task_keeps_what_was_asked_and_what_was_agreed(
    service: Service,
) -> None:
    workspace = await service.workspace()
    submitter = service.submitter()
    request = request_of(
        workspace,
        images=(UrlReference("https://example.com/a.png"),),
        callback_url="https://example.com/hook",
        options=Options(n=2, seed=0),
    )

    task_id = accepted(await submitter.submit(request))

    row = await service.database.read(
        lambda conn: conn.execute(select(task).where(task.c.id == task_id)).one()
    )
    assert (row.key_id, row.request_id, row.model) == ("key_one", "req_one", MODEL.id)
    assert row.price == 2 * PRICE
    assert row.images == '["https://example.com/a.png"]'
    assert row.options == '{"n":2,"seed":0}'
    assert row.callback_url == "https://example.com/hook"
