"""A cancel while an engine that charges is at work: what was paid for is delivered, and no way leads
back to the queue, to another channel or to a second picture."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError
from typing_extensions import override

from ketchup import credits, leases, tasks
from ketchup.clock import Micros, after
from ketchup.db import Location, PostgresUrl
from ketchup.errors import Conflict
from ketchup.generation import CANCELLED, Claimed, cancel, recover
from ketchup.generation.finish import end_signalled, finish
from ketchup.ids import WorkspaceId
from ketchup.money import Credits
from ketchup.providers.base import (
    AnswerLost,
    GeneratedImage,
    ImageRequest,
    Misconfigured,
    Progress,
    RateLimited,
    Refused,
    Unavailable,
)
from ketchup.tasks import Lease, LeaseLost, Sending, Status, Summary
from tests.integration.test_cancel import wrong
from tests.integration.test_events import stream
from tests.integration.test_paid_channels import (
    FULL,
    OTHER,
    PaidHome,
    credit,
    finds,
)
from tests.support.database import open_engine
from tests.support.engines import ScriptedProvider
from tests.support.factories import (
    NOW,
    PRICE,
    WORKER,
    claim_one,
    ending,
    new_workspace,
    register,
    submitted,
    success,
)
from tests.support.home import change, until
from tests.support.postgres_pool import PostgresPool
from tests.support.receiver import Receiver
from tests.support.service import DEADLINE_SECONDS, RunningService

RESUBMITTED = 'unknown = "resubmit"\n'
LATER = after(NOW, 1)
COST = Credits(40_000)

WAYS_BACK: dict[str, Callable[[Connection, tasks.Attempt], bool]] = {
    "retry": lambda conn, a: tasks.retry(conn, a, LATER, "busy", NOW),
    "change_channel": lambda conn, a: tasks.change_channel(conn, a, "out", NOW),
    "postpone": lambda conn, a: tasks.postpone(conn, a, LATER, NOW),
    "hand_back": lambda conn, a: tasks.hand_back(conn, a, NOW),
}


@pytest.fixture
def conn(location: Location) -> Iterator[Connection]:
    with open_engine(location) as engine, engine.begin() as opened:
        register(opened, WORKER)
        yield opened


@pytest.fixture
def home(tmp_path: Path, database_url: str | None) -> PaidHome:
    return PaidHome(tmp_path / "data", database_url)


def sent(conn: Connection, *, is_resubmitted: bool = False, cost: Credits = COST) -> Lease:
    """Return a task that an engine which charges has been sent."""
    submitted(conn, new_workspace(conn).id)
    lease = claim_one(conn)
    paid = Sending(lease.attempt, "paid", cost=cost, is_resubmitted=is_resubmitted)
    assert tasks.start(conn, [paid], NOW) == [lease.attempt]
    return lease


def ask(conn: Connection, lease: Lease, at: Micros = NOW) -> None:
    cancel(conn, lease.workspace_id, lease.attempt.task_id, at)


def signalled(conn: Connection, *, is_resubmitted: bool = False) -> Lease:
    lease = sent(conn, is_resubmitted=is_resubmitted)
    ask(conn, lease)
    return lease


def summary_of(conn: Connection, lease: Lease) -> Summary:
    found = tasks.find_history(conn, lease.workspace_id, lease.attempt.task_id)
    assert found is not None
    return found.summary


def journal_of(conn: Connection, lease: Lease) -> tasks.Journal:
    found = tasks.find_journal(conn, lease.attempt.task_id)
    assert found is not None
    return found


def assert_cancelled(conn: Connection, lease: Lease) -> None:
    """It ended as cancelled, cost nothing, owes its callback, and nobody takes it up again."""
    summary = summary_of(conn, lease)
    assert (summary.status, summary.reason) == (Status.FAILED, CANCELLED)
    assert summary.cancel_requested_at == NOW
    account = credits.find_account(conn, lease.workspace_id)
    assert (account.held, account.balance) == (0, 100_000_000)
    [body] = conn.execute(text("SELECT body FROM delivery")).scalars()
    assert json.loads(body)["status_reason"] == {"message": CANCELLED}
    assert tasks.promote_due(conn, after(NOW, 1000)) == 0
    assert tasks.claim(conn, WORKER, 1, NOW) == []
    assert wrong(conn) == []


@pytest.mark.parametrize(
    ("is_resubmitted", "cost"), [(False, COST), (True, COST), (False, Credits(0))]
)
def test_pictures_that_come_are_delivered_and_paid_for(
    conn: Connection, is_resubmitted: bool, cost: Credits
) -> None:
    lease = sent(conn, is_resubmitted=is_resubmitted, cost=cost)
    ask(conn, lease, NOW)
    # Asked again, it stays as it was.
    ask(conn, lease, LATER)

    summary = summary_of(conn, lease)
    assert (summary.status, summary.cancel_requested_at) == (Status.IN_PROGRESS, NOW)
    assert journal_of(conn, lease).cancel_requested_at == NOW
    assert credits.find_account(conn, lease.workspace_id).held == PRICE
    assert tasks.list_ended_for(conn, [lease.attempt], CANCELLED) == []
    assert wrong(conn) == []

    finish(conn, [ending(lease, success(lease))], NOW)
    assert summary_of(conn, lease).status is Status.SUCCESS
    account = credits.find_account(conn, lease.workspace_id)
    assert (account.held, account.balance) == (0, 100_000_000 - PRICE)
    with pytest.raises(Conflict, match="the task has ended"):
        ask(conn, lease)


@pytest.mark.parametrize("is_resubmitted", [False, True])
@pytest.mark.parametrize("way", WAYS_BACK)
def test_no_way_leads_back_to_the_queue(conn: Connection, way: str, is_resubmitted: bool) -> None:
    lease = signalled(conn, is_resubmitted=is_resubmitted)

    assert not WAYS_BACK[way](conn, lease.attempt)
    assert [one.outcome for one in journal_of(conn, lease).attempts] == [None]
    assert end_signalled(conn, lease.attempt, "why", NOW)

    assert_cancelled(conn, lease)
    [one] = journal_of(conn, lease).attempts
    assert (one.outcome, one.detail, one.cost) == ("failed", "why", COST)
    assert not end_signalled(conn, lease.attempt, "twice", NOW)


@pytest.mark.parametrize("way", WAYS_BACK)
def test_who_nobody_signalled_goes_back_and_is_not_ended(conn: Connection, way: str) -> None:
    lease = sent(conn)
    assert not end_signalled(conn, lease.attempt, "why", NOW)
    assert WAYS_BACK[way](conn, lease.attempt)
    assert not end_signalled(conn, lease.attempt, "why", NOW)
    assert summary_of(conn, lease).status is Status.IN_PROGRESS


def test_the_database_itself_lets_no_signalled_task_back(conn: Connection) -> None:
    lease = signalled(conn)
    back = "UPDATE task SET worker_id = NULL, queue_state = 'ready' WHERE id = :id"
    with pytest.raises(IntegrityError, match="no_way_back_once_cancelled"), conn.begin_nested():
        conn.execute(text(back), {"id": lease.attempt.task_id})


@pytest.mark.parametrize("is_resubmitted", [False, True])
def test_what_a_dead_worker_had_ends(conn: Connection, is_resubmitted: bool) -> None:
    lease = signalled(conn, is_resubmitted=is_resubmitted)
    leases.remove(conn, [WORKER])

    recover(conn, [WORKER], 10, lambda _lease, _reason: None, NOW)

    register(conn, WORKER)
    assert_cancelled(conn, lease)
    [one] = journal_of(conn, lease).attempts
    assert (one.outcome, one.cost) == ("unknown", COST)


def test_a_repeated_start_sends_nothing_more(conn: Connection) -> None:
    lease = signalled(conn)
    again = Sending(lease.attempt, "paid", cost=COST, is_resubmitted=False)
    assert tasks.start(conn, [again], NOW) == [LeaseLost(lease.attempt)]


def test_what_an_engine_does_for_nothing_is_ended_at_once(conn: Connection) -> None:
    workspace = new_workspace(conn).id
    submitted(conn, workspace)
    lease = claim_one(conn)
    tasks.start(conn, [Sending(lease.attempt, "studio")], NOW)
    ask(conn, lease)
    summary = summary_of(conn, lease)
    assert (summary.reason, summary.cancel_requested_at) == (CANCELLED, None)


async def test_on_postgresql_a_signal_and_a_retry_at_once_agree(postgres: PostgresPool) -> None:
    """Whichever has the row first: the other waits, and sees what it did."""
    with postgres.migrated() as url, open_engine(PostgresUrl(url)) as engine:
        with engine.begin() as conn:
            register(conn, WORKER)

        def waits() -> bool:
            with engine.connect() as conn:
                return bool(conn.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted")))

        async def both(
            first: Callable[[Connection, Lease], object],
            second: Callable[[Connection, Lease], object],
        ) -> Lease:
            with engine.begin() as conn:
                lease = sent(conn)

            def then() -> None:
                with engine.begin() as conn:
                    second(conn, lease)

            with engine.begin() as conn:
                first(conn, lease)
                waiting = asyncio.create_task(asyncio.to_thread(then))
                async with asyncio.timeout(DEADLINE_SECONDS):
                    while not await asyncio.to_thread(waits):
                        await asyncio.sleep(0.01)
            await waiting
            return lease

        def go_back(conn: Connection, lease: Lease) -> None:
            a = lease.attempt
            _ = tasks.change_channel(conn, a, "out", NOW) or end_signalled(conn, a, "out", NOW)

        for lease in (await both(ask, go_back), await both(go_back, ask)):
            with engine.begin() as conn:
                summary = summary_of(conn, lease)
                assert (summary.status, summary.reason) == (Status.FAILED, CANCELLED)
                assert wrong(conn) == []


# -- a whole service --------------------------------------------------------------------------------


class Held(ScriptedProvider):
    """An engine that charges, and holds back its first answer until it is let go."""

    def __init__(self, *script: Exception | asyncio.Event | int | bytes) -> None:
        super().__init__(*script)
        self.entered, self.let_go = asyncio.Event(), asyncio.Event()
        self.was_cut_off = False

    @override
    async def generate(
        self, request: ImageRequest, *, progress: Progress, cancelled: asyncio.Event
    ) -> Sequence[GeneratedImage]:
        self.entered.set()
        try:
            await self.let_go.wait()
        except asyncio.CancelledError:
            self.was_cut_off = True
            raise
        return await super().generate(request, progress=progress, cancelled=cancelled)


async def signal(service: RunningService, engine: Held, **fields: object) -> str:
    """Submit a task and cancel it when the engine has it."""
    task_id = await service.submit(**fields)
    await engine.entered.wait()
    answer = await service.client.post(f"/v1/tasks/{task_id}/cancel")
    assert answer.status_code == 202, answer.text
    shown = answer.json()
    assert (shown["id"], shown["status"]) == (task_id, "in_progress")
    assert shown["cancel_requested_at"] is not None
    return task_id


async def test_a_customer_is_told_and_gets_what_was_paid_for(home: PaidHome) -> None:
    engine = Held()
    async with (
        Receiver() as receiver,
        home.paid_for(engine) as service,
        asyncio.timeout(DEADLINE_SECONDS),
    ):
        task_id = await signal(service, engine, callback_url=receiver.url)
        path = f"/v1/tasks/{task_id}"
        shown = (await service.client.get(path)).json()
        again = await service.client.post(f"{path}/cancel")
        assert (again.status_code, again.json()) == (202, shown)
        operators = (await service.admin.get(f"/admin/v1/tasks/{task_id}")).json()
        assert operators["cancel_requested_at"] == shown["cancel_requested_at"]
        assert (await service.client.delete(path)).status_code == 409

        async with stream(service, task_id, "2") as events:
            seen = [await anext(events), await anext(events)]
            assert seen == [("3", "in_progress"), ("4", "cancel_requested")]
            engine.let_go.set()
            assert [event async for event in events] == [("5", "success")]
        await receiver.received(1)
        assert json.loads(receiver.requests[0].body)["status"] == "success"
        assert await credit(service) == "99.50000000"
        late = await service.client.post(f"{path}/cancel")
        assert (late.status_code, late.json()["detail"]) == (409, "the task has ended")
    assert not engine.was_cut_off
    assert home.wrong(task_id) == []


@pytest.mark.parametrize(
    ("error", "more", "cost"),
    [
        pytest.param(RateLimited("429"), "", 0, id="tried again"),
        pytest.param(Unavailable("refused"), OTHER, 0, id="sent to another channel"),
        pytest.param(Misconfigured("401"), OTHER, 0, id="sent elsewhere for good"),
        pytest.param(Misconfigured("401"), "", 0, id="waits until it is mended"),
        pytest.param(AnswerLost("reset"), RESUBMITTED, 40_000, id="unknown and resubmitted"),
        pytest.param(ValueError("?"), RESUBMITTED, 40_000, id="crashed and resubmitted"),
        pytest.param(b"not a picture", RESUBMITTED, 40_000, id="no picture"),
    ],
)
async def test_it_is_sent_nowhere_again(
    home: PaidHome, error: Exception | bytes, more: str, cost: int
) -> None:
    engine, other = Held(error), ScriptedProvider()
    async with (
        Receiver() as receiver,
        home.paid_for(engine, more=more, studio=other) as service,
    ):
        task_id = await signal(service, engine, callback_url=receiver.url)
        engine.let_go.set()
        data = await service.ended(task_id)
        await receiver.received(1)

        expected = "The model returned no image." if isinstance(error, bytes) else CANCELLED
        assert data["status_reason"]["message"] == expected
        assert json.loads(receiver.requests[0].body)["status"] == "failed"
        assert await credit(service) == FULL
        await until(lambda: finds(service, "SELECT 1 FROM delivery WHERE state = 'delivered'"))
    assert (len(engine.requests), len(other.requests)) == (1, 0)
    assert home.wrong(task_id) == []
    assert home.rows("SELECT outcome, cost FROM attempt") == [("failed", cost)]


async def test_what_the_engine_refuses_says_so(home: PaidHome) -> None:
    engine = Held(Refused("No cats."))
    async with home.paid_for(engine) as service:
        task_id = await signal(service, engine)
        engine.let_go.set()
        assert (await service.ended(task_id))["status_reason"]["message"] == "No cats."
    assert home.wrong(task_id) == []


async def test_pictures_that_cannot_be_stored_are_not_rendered_again(home: PaidHome) -> None:
    engine = Held()
    async with home.paid_for(engine, more=RESUBMITTED) as service:
        task_id = await signal(service, engine)
        # Nobody knows where its images belong.
        await change(service, "UPDATE workspace SET id = 'moved ' || id")
        engine.let_go.set()
        await until(lambda: finds(service, "SELECT 1 FROM task WHERE status = 'failed'"))
        await change(service, "UPDATE workspace SET id = substr(id, 7)")

        assert await credit(service) == FULL
    assert len(engine.requests) == 1
    assert home.wrong(task_id) == []
    assert home.rows("SELECT reason FROM task") == [(CANCELLED,)]


@pytest.mark.parametrize("more", ["", RESUBMITTED])
async def test_a_stop_ends_what_it_would_hand_back(home: PaidHome, more: str) -> None:
    engine = Held()
    async with home.paid_for(engine, more=more, worker__drain_seconds=0) as service:
        task_id = await signal(service, engine)

    assert home.wrong(task_id) == []
    assert home.rows("SELECT status, reason FROM task") == [("failed", CANCELLED)]
    assert home.rows("SELECT outcome, cost FROM attempt") == [("unknown", 40_000)]
    assert home.rows("SELECT balance, held FROM account") == [(100_000_000, 0)]


async def test_what_was_signalled_before_it_was_sent_is_never_sent(home: PaidHome) -> None:
    """A start was written whose commit nobody heard of, and the customer saw it."""
    engine = Held()
    engine.let_go.set()
    async with home.paid_for(engine, concurrency=0) as service:
        task_id = await service.submit()
        runtime = service.runtime
        [worker] = await runtime.database.read(
            lambda conn: list(conn.execute(text("SELECT id FROM worker")).scalars())
        )
        [claimed] = await runtime.runner.claim(worker, 1)
        assert claimed.sent is not None
        await runtime.database.write(
            lambda conn: cancel(conn, WorkspaceId(service.workspace_id), task_id, NOW)
        )
        ended = asyncio.Event()
        runtime.ended.listen(ended.set)
        await runtime.runner.run(Claimed(claimed.lease))

        # Whoever waits for the end, and whoever sends its callback, is told at once.
        assert ended.is_set()
        data = await service.query(task_id)
        assert data["status_reason"]["message"] == CANCELLED
        assert engine.requests == []
    assert home.wrong(task_id) == []
