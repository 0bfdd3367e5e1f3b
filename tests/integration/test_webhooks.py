"""Deliveries on a real database file, posted to a real receiver on loopback."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest
from sqlalchemy import Connection, Row, Select, func, select, text, update
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import IntegrityError
from standardwebhooks.webhooks import Webhook
from typing_extensions import override

from ketchup import signing
from ketchup.clock import SECOND, Clock, FrozenClock, Micros, SystemClock, after
from ketchup.db import Database
from ketchup.ids import TaskId, WorkerId, WorkspaceId, delivery_id, task_id
from ketchup.money import Credits
from ketchup.webhooks import (
    SCHEDULE,
    Answered,
    Attempted,
    Delivered,
    DeliveryState,
    HandedBack,
    NewDelivery,
    Pending,
    Poster,
    Recording,
    Sender,
    SenderSettings,
    Tally,
    callback_body,
    claim,
    delivery,
    delivery_attempt,
    enqueue,
    next_due,
    record,
    requeue_lost,
)
from ketchup.webhooks import queue as queue_module
from ketchup.webhooks.decision import Decision
from tests.support.database import temporary_database
from tests.support.receiver import (
    DEADLINE,
    Answer,
    Garbage,
    LoopbackPoster,
    Receiver,
    Replied,
    Reply,
    Reset,
)

WORKSPACE = WorkspaceId("ws_one")
WORKER = WorkerId("wrk_one")
OTHER_WORKER = WorkerId("wrk_two")
SECRETS = tuple(signing.secret_from_bytes(bytes([number]) * 32) for number in (1, 2))
# A poll that no test lives to see: what happens, happens because of a wake or a due time.
PATIENT = SenderSettings(poll=3600.0)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with temporary_database(tmp_path) as opened:
        yield opened


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock()


async def two_secrets(_workspace: WorkspaceId) -> Sequence[str]:
    return SECRETS


@dataclass
class Watch(Tally):
    """A tally that can be waited for."""

    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    notices: set[asyncio.Task[None]] = field(default_factory=set)

    @override
    def attempted(self, decision: Decision | HandedBack) -> None:
        super().attempted(decision)
        self._notice()

    @override
    def unrecordable(self) -> None:
        super().unrecordable()
        self._notice()

    @override
    def faulty(self) -> None:
        super().faulty()
        self._notice()

    async def until(self, reached: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE), self.changed:
            await self.changed.wait_for(reached)

    async def until_attempts(self, count: int) -> None:
        await self.until(
            lambda: self.delivered + self.again + self.dead + self.handed_back == count
        )

    def _notice(self) -> None:
        async def notify() -> None:
            async with self.changed:
                self.changed.notify_all()

        task = asyncio.create_task(notify())
        self.notices.add(task)
        task.add_done_callback(self.notices.discard)


@contextlib.asynccontextmanager
async def sending(
    database: Database,
    clock: Clock,
    *,
    poster: Poster | None = None,
    settings: SenderSettings = PATIENT,
    secrets: Callable[[WorkspaceId], Awaitable[Sequence[str]]] = two_secrets,
    worker_id: WorkerId = WORKER,
) -> AsyncIterator[tuple[Sender, Watch]]:
    """Run a sender, and stop it at the end."""
    watch = Watch()
    sender = Sender(
        database,
        poster or LoopbackPoster(),
        worker_id=worker_id,
        secrets=secrets,
        clock=clock,
        random=Random(11),
        settings=settings,
        errors=LoopbackPoster.errors,
        tally=watch,
    )
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        group.create_task(sender.run())
        try:
            yield sender, watch
        finally:
            sender.stop()


def new(url: str, number: int = 0) -> NewDelivery:
    task = task_id(1_757_499_740_010_000 + number, lambda size: number.to_bytes(size, "big"))
    body = callback_body(task, "success", ["https://host/ä.png"], Credits(500_000), None)
    return NewDelivery(task, WORKSPACE, url, body)


async def owe(database: Database, now: Micros, *deliveries: NewDelivery) -> None:
    await database.write(lambda conn: enqueue(conn, deliveries, now))


async def row(database: Database, task: TaskId) -> Row[Any]:
    query = select(delivery).where(delivery.c.task_id == task)
    return await database.read(lambda conn: conn.execute(query).one())


async def attempts(database: Database, task: TaskId) -> Sequence[Row[Any]]:
    query = (
        select(delivery_attempt)
        .where(delivery_attempt.c.delivery_id == delivery_id(task))
        .order_by(delivery_attempt.c.number)
    )
    return await database.read(lambda conn: conn.execute(query).all())


async def claimed(
    database: Database,
    now: Micros,
    *,
    worker_id: WorkerId = WORKER,
    limit: int = 100,
    per_destination: int = 100,
) -> list[Pending]:
    return await database.write(
        lambda conn: claim(conn, worker_id, now, limit=limit, per_destination=per_destination)
    )


def answered(pending: Pending, now: Micros) -> Attempted:
    return Attempted(
        pending.lease,
        pending.tries,
        started_at=now,
        ended_at=now,
        duration_ms=0,
        outcome=Answered(200),
        decision=Delivered(),
    )


def assert_signed_by_both(headers: Mapping[str, str], body: bytes, at: Micros) -> None:
    assert headers["webhook-timestamp"] == str(at // SECOND)
    moment = datetime.fromtimestamp(at // SECOND, UTC)
    expected = [
        Webhook(secret).sign(headers["webhook-id"], moment, body.decode()) for secret in SECRETS
    ]
    assert headers["webhook-signature"].split(" ") == expected


# ── enqueue ──────────────────────────────────────────────────────────────────────────────────────


async def test_a_callback_is_owed_only_if_the_task_ends(
    database: Database, clock: FrozenClock
) -> None:
    def end_and_fail(conn: Connection) -> None:
        enqueue(conn, [new("http://host.example/")], clock.now())
        raise RuntimeError("the task could not be ended")

    with pytest.raises(RuntimeError):
        await database.write(end_and_fail)
    assert await database.read(next_due) is None


async def test_a_task_is_owed_one_callback(database: Database, clock: FrozenClock) -> None:
    await owe(database, clock.now(), new("http://host.example/"))
    with pytest.raises(IntegrityError):
        await owe(database, clock.now(), new("http://host.example/1", 1), new("http://b.example/"))
    assert len(await claimed(database, clock.now())) == 1


async def test_nothing_to_owe_writes_nothing(database: Database, clock: FrozenClock) -> None:
    await owe(database, clock.now())
    assert await database.read(next_due) is None


@pytest.mark.parametrize(
    "impossible",
    [
        {"state": "sent"},
        {"next_at": None},
        {"worker_id": WORKER, "claimed_at": 1},
        {"next_at": None, "worker_id": WORKER},
        {"next_at": None, "worker_id": WORKER, "claimed_at": 1, "finished_at": 1},
        {"state": "delivered", "finished_at": 1},
        {"state": "delivered", "next_at": None},
        {"state": "dead", "next_at": None, "finished_at": 1, "worker_id": WORKER, "claimed_at": 1},
        {"tries": 1},
        {"tries": -1},
    ],
    ids=str,
)
async def test_the_database_refuses_a_delivery_in_two_places(
    database: Database, clock: FrozenClock, impossible: Mapping[str, object]
) -> None:
    await owe(database, clock.now(), new("http://host.example/"))
    with pytest.raises(IntegrityError):
        await database.write(lambda conn: conn.execute(update(delivery).values(**impossible)))


# ── claim ────────────────────────────────────────────────────────────────────────────────────────


async def test_a_delivery_is_claimed_when_it_is_due_and_once(
    database: Database, clock: FrozenClock
) -> None:
    owed = new("http://host.example/hook")
    await owe(database, clock.now(), owed)
    assert await database.read(next_due) == clock.now()
    assert await claimed(database, after(clock.now(), -0.000001)) == []

    [pending] = await claimed(database, clock.now())

    assert pending.lease.id == delivery_id(owed.task_id)
    assert (pending.lease.attempt, pending.lease.worker_id) == (1, WORKER)
    assert (pending.tries, pending.task_id, pending.workspace_id) == (0, owed.task_id, WORKSPACE)
    assert (pending.url, pending.body) == (owed.url, owed.body)
    assert await claimed(database, clock.now(), worker_id=OTHER_WORKER) == []
    assert await database.read(next_due) is None


async def test_the_longest_due_are_claimed_first(database: Database, clock: FrozenClock) -> None:
    for number in (2, 0, 1):
        await owe(database, after(clock.now(), number), new("http://host.example/", number))
    later = after(clock.now(), 10)
    first = await claimed(database, later, limit=2)
    assert [p.task_id for p in first] == [new("", 0).task_id, new("", 1).task_id]
    [last] = await claimed(database, later)
    assert last.task_id == new("", 2).task_id


async def test_an_origin_gets_its_places_and_no_more_over_all_workers(
    database: Database, clock: FrozenClock
) -> None:
    # More than a page of what is due, so that a full origin must be passed over page by page.
    slow = [new("http://slow.example/", number) for number in range(600)]
    await owe(database, clock.now(), *slow)
    await owe(database, after(clock.now(), 1), new("http://quick.example/", 600))
    now = after(clock.now(), 2)

    first = await claimed(database, now, limit=3, per_destination=4)
    second = await claimed(database, now, worker_id=OTHER_WORKER, per_destination=4)

    assert [p.origin for p in first] == ["http://slow.example:80"] * 3
    assert [p.origin for p in second] == ["http://slow.example:80", "http://quick.example:80"]
    assert await claimed(database, now, per_destination=4) == []

    await database.write(lambda conn: record(conn, [answered(first[0], now)]))
    [freed] = await claimed(database, now, per_destination=4)
    assert freed.origin == "http://slow.example:80"


async def test_a_claim_goes_on_where_its_last_page_ended(
    database: Database, clock: FrozenClock
) -> None:
    # All due at the same moment: only the ids tell the pages apart.
    owed = [new(f"http://host{number}.example/", number) for number in range(600)]
    await owe(database, clock.now(), *owed)
    pending = await claimed(database, clock.now(), limit=600, per_destination=1)
    assert {p.task_id for p in pending} == {each.task_id for each in owed}


async def test_claims_read_only_the_indexes_of_what_waits_and_what_is_leased(
    database: Database, clock: FrozenClock
) -> None:
    statements = {
        "SEARCH delivery USING COVERING INDEX delivery_due": queue_module._due(
            clock.now(), ["http://slow.example:80"], (clock.now() - 1, "msg_")
        ),
        "delivery USING COVERING INDEX delivery_leased": queue_module._IN_FLIGHT,
        "USING COVERING INDEX delivery_due": queue_module._SOONEST,
    }
    for expected, statement in statements.items():
        plan = await database.read(partial(plan_of, statement))
        assert any(expected in step for step in plan), plan
        assert not any("FOR ORDER BY" in step for step in plan), plan


def plan_of(statement: Select[*tuple[Any, ...]], conn: Connection) -> list[str]:
    compiled = statement.compile(
        dialect=sqlite.dialect(), compile_kwargs={"render_postcompile": True}
    )
    values = tuple(compiled.params[name] for name in compiled.positiontup or ())
    steps = conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}", values)
    return [step.detail for step in steps]


# ── leases ───────────────────────────────────────────────────────────────────────────────────────


async def test_a_lost_attempt_is_due_at_once_keeps_its_number_and_uses_up_no_try(
    database: Database, clock: FrozenClock
) -> None:
    owed = new("http://host.example/")
    await owe(database, clock.now(), owed)
    await claimed(database, clock.now())
    clock.advance(15)

    lost = await database.write(lambda conn: requeue_lost(conn, [WORKER], clock.now()))

    assert lost == 1
    assert await database.read(next_due) == clock.now()
    [again] = await claimed(database, clock.now(), worker_id=OTHER_WORKER)
    assert (again.lease.attempt, again.tries) == (2, 0)
    [kept] = await attempts(database, owed.task_id)
    assert (kept.number, kept.worker_id, kept.duration_ms) == (1, WORKER, 15_000)
    assert kept.error == "the worker was lost during this attempt"


async def test_what_living_workers_hold_is_not_taken(
    database: Database, clock: FrozenClock
) -> None:
    await owe(database, clock.now(), new("http://host.example/"))
    [pending] = await claimed(database, clock.now())
    assert await database.write(lambda c: requeue_lost(c, [OTHER_WORKER], clock.now())) == 0
    assert await database.write(lambda c: requeue_lost(c, [], clock.now())) == 0
    kept = [pending.lease.id]
    assert await database.write(lambda c: requeue_lost(c, [WORKER], clock.now(), keep=kept)) == 0
    assert await database.read(next_due) is None


async def test_a_late_record_of_a_lost_lease_writes_nothing(
    database: Database, clock: FrozenClock
) -> None:
    owed = new("http://host.example/")
    await owe(database, clock.now(), owed)
    [lost] = await claimed(database, clock.now())
    await database.write(lambda conn: requeue_lost(conn, [WORKER], clock.now()))
    late = answered(lost, clock.now())

    async def recorded(result: Attempted) -> list[Recording]:
        return await database.write(lambda conn: record(conn, [result]))

    assert await recorded(late) == [Recording.LATE]  # while it waits
    [current] = await claimed(database, clock.now())  # the same worker, the next attempt
    assert await recorded(late) == [Recording.LATE]
    foreign = replace(current.lease, worker_id=OTHER_WORKER)
    assert await recorded(replace(late, lease=foreign)) == [Recording.LATE]
    stored = await row(database, owed.task_id)
    assert (stored.state, stored.attempt, stored.worker_id) == ("pending", 2, WORKER)
    assert [a.number for a in await attempts(database, owed.task_id)] == [1]

    assert await recorded(answered(current, clock.now())) == [Recording.WRITTEN]
    assert await recorded(answered(current, clock.now())) == [Recording.LATE]
    assert (await row(database, owed.task_id)).state == DeliveryState.DELIVERED


async def test_in_one_batch_only_the_late_results_are_dropped(
    database: Database, clock: FrozenClock
) -> None:
    await owe(database, clock.now(), *(new("http://host.example/", n) for n in range(3)))
    results = [answered(pending, clock.now()) for pending in await claimed(database, clock.now())]
    results[1] = replace(results[1], lease=replace(results[1].lease, attempt=7))
    recordings = await database.write(lambda conn: record(conn, results))
    assert recordings == [Recording.WRITTEN, Recording.LATE, Recording.WRITTEN]
    query = select(delivery.c.id).where(delivery.c.state == DeliveryState.DELIVERED)
    written = await database.read(lambda conn: conn.execute(query).scalars().all())
    assert set(written) == {results[0].lease.id, results[2].lease.id}


# ── sending ──────────────────────────────────────────────────────────────────────────────────────


async def test_a_callback_arrives_as_the_contract_says_and_verifies(database: Database) -> None:
    clock = SystemClock()
    async with Receiver(Answer(204)) as receiver, sending(database, clock) as (sender, watch):
        owed = new(receiver.url)
        await owe(database, clock.now(), owed)
        sender.wake()
        await watch.until(lambda: watch.delivered == 1)
    [request] = receiver.requests
    assert (request.method, request.path) == ("POST", "/hook")
    assert request.headers["content-type"] == "application/json"
    assert request.body == owed.body
    for secret in SECRETS:
        payload = Webhook(secret).verify(request.body, dict(request.headers))
        assert payload["task_id"] == owed.task_id
    stored = await row(database, owed.task_id)
    assert (stored.state, stored.attempt, stored.tries, stored.next_at) == ("delivered", 1, 1, None)
    assert stored.created_at <= stored.finished_at <= clock.now()
    [kept] = await attempts(database, owed.task_id)
    assert (kept.number, kept.status_code, kept.error, kept.worker_id) == (1, 204, None, WORKER)


async def test_ten_attempts_keep_id_and_bytes_and_are_signed_afresh_by_the_schedule(
    database: Database, clock: FrozenClock
) -> None:
    sent_at = []
    async with (
        Receiver(otherwise=Answer(500)) as receiver,
        sending(database, clock) as (sender, watch),
    ):
        owed = new(receiver.url)
        await owe(database, clock.now(), owed)
        for attempt in range(1, 11):
            sent_at.append(clock.now())
            sender.wake()
            await watch.until_attempts(attempt)
            stored = await row(database, owed.task_id)
            assert (stored.attempt, stored.tries) == (attempt, attempt)
            if attempt == 10:
                break
            pause = (stored.next_at - clock.now()) / SECOND
            assert SCHEDULE[attempt] * 0.8 <= pause <= SCHEDULE[attempt] * 1.2
            assert await claimed(database, Micros(stored.next_at - 1)) == []
            clock.advance(pause)
        stored = await row(database, owed.task_id)
        assert (stored.state, stored.next_at) == (DeliveryState.DEAD, None)
        assert stored.finished_at == clock.now()

    assert len(receiver.requests) == 10
    assert {request.body for request in receiver.requests} == {owed.body}
    ids = {request.headers["webhook-id"] for request in receiver.requests}
    assert ids == {delivery_id(owed.task_id)}
    for request, at in zip(receiver.requests, sent_at, strict=True):
        assert_signed_by_both(request.headers, request.body, at)
    kept = await attempts(database, owed.task_id)
    assert [(a.number, a.status_code, a.started_at) for a in kept] == [
        (number, 500, at) for number, at in enumerate(sent_at, start=1)
    ]


async def test_a_receiver_that_recovers_for_the_last_attempt_gets_it(
    database: Database, clock: FrozenClock
) -> None:
    failures: list[Reply] = [Answer(503), Reset(), Garbage(), Answer(302), Answer(404)]
    async with (
        Receiver(*failures, *failures[:4], otherwise=Answer(200)) as receiver,
        sending(database, clock) as (sender, watch),
    ):
        owed = new(receiver.url)
        await owe(database, clock.now(), owed)
        for attempt in range(1, 11):
            sender.wake()
            await watch.until_attempts(attempt)
            clock.advance(29 * 3600)
    assert watch.delivered == 1
    assert watch.faults == 0
    codes = [a.status_code for a in await attempts(database, owed.task_id)]
    assert codes == [503, None, None, 302, 404, 503, None, None, 302, 200]


async def test_a_wish_for_a_longer_pause_is_kept(database: Database, clock: FrozenClock) -> None:
    busy = Answer(503, {"retry-after": "7200"})
    async with Receiver(busy) as receiver, sending(database, clock) as (sender, watch):
        owed = new(receiver.url)
        await owe(database, clock.now(), owed)
        sender.wake()
        await watch.until(lambda: watch.again == 1)
    assert (await row(database, owed.task_id)).next_at == after(clock.now(), 7200)


async def test_a_receiver_that_is_gone_is_left_alone(
    database: Database, clock: FrozenClock
) -> None:
    async with Receiver(Answer(410)) as receiver, sending(database, clock) as (sender, watch):
        owed = new(receiver.url)
        await owe(database, clock.now(), owed)
        sender.wake()
        await watch.until(lambda: watch.dead == 1)
    stored = await row(database, owed.task_id)
    assert (stored.state, stored.tries, stored.finished_at) == ("dead", 1, clock.now())


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_a_failure_and_its_target_hears_nothing(
    database: Database, clock: FrozenClock, status: int
) -> None:
    async with (
        Receiver() as target,
        Receiver(Answer(status, {"location": target.url})) as receiver,
        sending(database, clock) as (sender, watch),
    ):
        owed = new(receiver.url)
        await owe(database, clock.now(), owed)
        sender.wake()
        await watch.until(lambda: watch.again == 1)
        assert target.requests == []
    [kept] = await attempts(database, owed.task_id)
    assert kept.status_code == status


async def test_a_receiver_that_is_not_there_is_tried_again(
    database: Database, clock: FrozenClock
) -> None:
    async with Receiver() as closed:
        url = closed.url
    async with sending(database, clock) as (sender, watch):
        owed = new(url)
        await owe(database, clock.now(), owed)
        sender.wake()
        await watch.until(lambda: watch.again == 1)
    [kept] = await attempts(database, owed.task_id)
    assert kept.error.startswith("ConnectError: ")


async def test_a_receiver_that_does_not_answer_in_time_is_tried_again(
    database: Database, clock: FrozenClock
) -> None:
    never = asyncio.Event()
    impatient = replace(PATIENT, timeout=0.05)
    async with (
        Receiver(Answer(after=never)) as receiver,
        sending(database, clock, settings=impatient) as (sender, watch),
    ):
        owed = new(receiver.url)
        await owe(database, clock.now(), owed)
        sender.wake()
        await watch.until(lambda: watch.again == 1)
    [kept] = await attempts(database, owed.task_id)
    assert kept.error == "no answer within 0.05 s"


async def test_a_retry_is_sent_when_it_falls_due_without_being_woken(database: Database) -> None:
    settings = replace(PATIENT, schedule=(0.0, 0.05))
    clock = SystemClock()
    async with Receiver(Answer(500)) as receiver:
        await owe(database, clock.now(), new(receiver.url))
        async with sending(database, clock, settings=settings) as (_, watch):
            await watch.until(lambda: watch.delivered == 1)
    assert (watch.again, len(receiver.requests)) == (1, 2)


class HurryingClock(FrozenClock):
    """Time passes between any two looks at it, so that things fall due at the worst moment."""

    @override
    def now(self) -> Micros:
        self.advance(0.03)
        return super().now()


async def test_what_falls_due_between_two_looks_is_not_left_until_the_next_poll(
    database: Database,
) -> None:
    settings = replace(PATIENT, schedule=(0.0, 0.05, 0.05, 0.05, 0.05, 0.05))
    clock = HurryingClock()
    async with Receiver(*(Answer(500) for _ in range(5))) as receiver:
        await owe(database, clock.now(), new(receiver.url))
        async with sending(database, clock, settings=settings) as (_, watch):
            await watch.until(lambda: watch.delivered == 1)
    assert len(receiver.requests) == 6


async def test_a_slow_receiver_fills_its_own_places_and_not_everybodys(
    database: Database, clock: FrozenClock
) -> None:
    release = asyncio.Event()
    async with (
        Receiver(otherwise=Answer(after=release)) as slow,
        Receiver() as quick,
        sending(database, clock) as (sender, watch),
    ):
        await owe(database, clock.now(), *(new(slow.url, number) for number in range(12)))
        sender.wake()
        await slow.received(4)
        await owe(database, clock.now(), *(new(quick.url, 100 + number) for number in range(12)))
        sender.wake()
        await watch.until(lambda: watch.delivered == 12)
        assert len(quick.requests) == 12
        assert len(slow.requests) == 4
        release.set()
        await watch.until(lambda: watch.delivered == 24)
    assert slow.most_in_flight == 4
    assert quick.most_in_flight <= 4
    assert len(slow.requests) == 12


async def test_no_more_are_in_flight_than_there_are_places(
    database: Database, clock: FrozenClock
) -> None:
    release = asyncio.Event()
    narrow = replace(PATIENT, concurrency=3, per_destination=10)
    async with (
        Receiver(otherwise=Answer(after=release)) as receiver,
        sending(database, clock, settings=narrow) as (sender, watch),
    ):
        await owe(database, clock.now(), *(new(receiver.url, number) for number in range(9)))
        sender.wake()
        await receiver.received(3)
        sender.wake()
        await settled(database)
        query = select(func.count()).where(delivery.c.worker_id == WORKER)
        assert await database.read(lambda conn: conn.execute(query).scalar_one()) == 3
        release.set()
        await watch.until(lambda: watch.delivered == 9)


async def settled(database: Database) -> None:
    """Return when what the sender asked of the database before is done: lanes keep their order."""
    for _ in range(5):
        await database.read(lambda _conn: None)
        await database.write(lambda _conn: None)


# ── faults ───────────────────────────────────────────────────────────────────────────────────────


class Careless:
    """A poster with a bug that one URL brings out."""

    async def post(self, url: str, *, body: bytes, headers: Mapping[str, str]) -> Replied:
        if url.endswith("/bug"):
            raise KeyError(url)
        return await LoopbackPoster().post(url, body=body, headers=headers)


async def test_a_bug_met_by_one_delivery_does_not_stop_the_others(
    database: Database, clock: FrozenClock
) -> None:
    async with (
        Receiver() as receiver,
        sending(database, clock, poster=Careless()) as (sender, watch),
    ):
        unlucky = new(f"{receiver.url}/bug", 1)
        await owe(database, clock.now(), unlucky)
        sender.wake()
        await watch.until(lambda: watch.again == 1)
        await owe(database, clock.now(), new(receiver.url, 2))
        sender.wake()
        await watch.until(lambda: watch.delivered == 1)
    assert watch.faults == 1
    [kept] = await attempts(database, unlucky.task_id)
    assert kept.error == "internal error"


async def test_nothing_is_sent_unsigned(database: Database, clock: FrozenClock) -> None:
    async def no_secrets(_workspace: WorkspaceId) -> Sequence[str]:
        return ()

    async with (
        Receiver() as receiver,
        sending(database, clock, secrets=no_secrets) as (sender, watch),
    ):
        await owe(database, clock.now(), new(receiver.url))
        sender.wake()
        await watch.until(lambda: watch.again == 1)
    assert receiver.requests == []
    assert watch.faults == 1


async def test_an_attempt_that_cannot_be_recorded_is_recorded_when_the_store_is_back(
    database: Database, clock: FrozenClock
) -> None:
    broken = (
        "CREATE TRIGGER broken BEFORE INSERT ON delivery_attempt "
        "BEGIN SELECT RAISE(ABORT, 'the store is broken'); END"
    )
    await database.write(lambda conn: conn.execute(text(broken)))
    async with Receiver() as receiver, sending(database, clock) as (sender, watch):
        owed = new(receiver.url)
        await owe(database, clock.now(), owed)
        sender.wake()
        await watch.until(lambda: watch.faults >= 1)
        assert (await row(database, owed.task_id)).worker_id == WORKER
        await database.write(lambda conn: conn.execute(text("DROP TRIGGER broken")))
        await watch.until(lambda: watch.delivered == 1)
    assert len(receiver.requests) == 1


async def test_a_claim_that_fails_is_made_again(database: Database, clock: FrozenClock) -> None:
    broken = (
        "CREATE TRIGGER broken BEFORE UPDATE ON delivery "
        "BEGIN SELECT RAISE(ABORT, 'the store is broken'); END"
    )
    await database.write(lambda conn: conn.execute(text(broken)))
    async with Receiver() as receiver, sending(database, clock) as (sender, watch):
        await owe(database, clock.now(), new(receiver.url))
        sender.wake()
        await watch.until(lambda: watch.faults >= 1)
        await database.write(lambda conn: conn.execute(text("DROP TRIGGER broken")))
        sender.wake()
        await watch.until(lambda: watch.delivered == 1)


async def test_what_a_claim_leased_without_an_answer_is_taken_up_again(
    database: Database, clock: FrozenClock
) -> None:
    async with Receiver() as receiver:
        owed = new(receiver.url)
        await owe(database, clock.now(), owed)
        await claimed(database, clock.now())
        async with sending(database, clock) as (_, watch):
            await watch.until(lambda: watch.delivered == 1)
    assert (await row(database, owed.task_id)).attempt == 2


def taken_over(conn: Connection, now: Micros) -> None:
    requeue_lost(conn, [WORKER], now)
    claim(conn, OTHER_WORKER, now, limit=1, per_destination=1)


async def test_a_sender_that_claims_again_what_it_lost_answers_for_both_attempts(
    database: Database, clock: FrozenClock
) -> None:
    never = asyncio.Event()
    async with Receiver(Answer(after=never)) as receiver:
        owed = new(receiver.url)
        await owe(database, clock.now(), owed)
        hasty = replace(PATIENT, grace=0.05)
        async with sending(database, clock, settings=hasty) as (sender, watch):
            await receiver.received(1)
            await database.write(lambda conn: requeue_lost(conn, [WORKER], clock.now()))
            sender.wake()
            await watch.until(lambda: watch.delivered == 1)
        assert watch.unrecorded == 1
    kept = await attempts(database, owed.task_id)
    assert [(a.number, a.status_code) for a in kept] == [(1, None), (2, 200)]


async def test_a_late_answer_is_counted_and_changes_nothing(
    database: Database, clock: FrozenClock
) -> None:
    release = asyncio.Event()
    async with (
        Receiver(Answer(after=release)) as receiver,
        sending(database, clock) as (sender, watch),
    ):
        owed = new(receiver.url)
        await owe(database, clock.now(), owed)
        sender.wake()
        await receiver.received(1)
        await database.write(lambda conn: taken_over(conn, clock.now()))
        release.set()
        await watch.until(lambda: watch.unrecorded == 1)
    stored = await row(database, owed.task_id)
    assert (stored.state, stored.attempt, stored.worker_id) == ("pending", 2, OTHER_WORKER)


# ── stopping ─────────────────────────────────────────────────────────────────────────────────────


async def test_a_crash_in_mid_attempt_repeats_it_elsewhere(
    database: Database, clock: FrozenClock
) -> None:
    never = asyncio.Event()
    async with Receiver(Answer(after=never)) as receiver:
        owed = new(receiver.url)
        await owe(database, clock.now(), owed)
        crashing = Sender(
            database,
            LoopbackPoster(),
            worker_id=WORKER,
            secrets=two_secrets,
            clock=clock,
            random=Random(1),
            settings=PATIENT,
        )
        run = asyncio.create_task(crashing.run())
        await receiver.received(1)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        posts = [task for task in asyncio.all_tasks() if task.get_name().startswith("webhook ")]
        assert all(task.cancelling() for task in posts)
        await settled(database)
        assert (await row(database, owed.task_id)).worker_id == WORKER

        clock.advance(15)
        await database.write(lambda conn: requeue_lost(conn, [WORKER], clock.now()))
        async with sending(database, clock, worker_id=OTHER_WORKER) as (_, watch):
            await watch.until(lambda: watch.delivered == 1)

    first, second = receiver.requests
    assert first.body == second.body
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.headers["webhook-timestamp"] != second.headers["webhook-timestamp"]
    kept = await attempts(database, owed.task_id)
    assert [(a.number, a.worker_id, a.status_code) for a in kept] == [
        (1, WORKER, None),
        (2, OTHER_WORKER, 200),
    ]


async def test_a_stopping_sender_lets_what_runs_end(database: Database, clock: FrozenClock) -> None:
    release = asyncio.Event()
    unhurried = replace(PATIENT, grace=DEADLINE, per_destination=1)
    async with Receiver(Answer(after=release)) as receiver:
        running, waiting = new(receiver.url, 1), new(receiver.url, 2)
        await owe(database, clock.now(), running, waiting)
        async with sending(database, clock, settings=unhurried) as (sender, watch):
            await receiver.received(1)
            sender.stop()
            await settled(database)
            release.set()
    assert (watch.delivered, watch.handed_back) == (1, 0)
    assert len(receiver.requests) == 1
    assert (await row(database, running.task_id)).state == DeliveryState.DELIVERED
    assert (await row(database, waiting.task_id)).next_at == clock.now()


async def test_what_outlasts_the_grace_period_is_handed_back_and_uses_up_no_try(
    database: Database, clock: FrozenClock
) -> None:
    never = asyncio.Event()
    async with Receiver(Answer(after=never)) as receiver:
        owed = new(receiver.url)
        await owe(database, clock.now(), owed)
        async with sending(database, clock, settings=replace(PATIENT, grace=0.05)) as (_, watch):
            await receiver.received(1)
        assert watch.handed_back == 1
        stored = await row(database, owed.task_id)
        assert (stored.attempt, stored.tries, stored.next_at) == (1, 0, clock.now())

        async with sending(database, clock, worker_id=OTHER_WORKER) as (_, watch):
            await watch.until(lambda: watch.delivered == 1)
    stored = await row(database, owed.task_id)
    assert (stored.state, stored.attempt, stored.tries) == ("delivered", 2, 1)
    kept = await attempts(database, owed.task_id)
    assert kept[0].error == "the worker stopped during this attempt"


async def test_an_idle_sender_stops_at_once(database: Database, clock: FrozenClock) -> None:
    async with asyncio.timeout(DEADLINE), sending(database, clock):
        pass
