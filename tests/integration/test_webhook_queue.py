"""Webhooks as rows: owed, claimed, recorded, taken over."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Select, select, update
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import IntegrityError

from ketchup.clock import FrozenClock, after
from ketchup.db import Database, Location
from ketchup.ids import delivery_id
from ketchup.webhooks import (
    Attempted,
    DeliveryState,
    Recording,
    delivery,
    enqueue,
    next_due,
    record,
    requeue_lost,
)
from ketchup.webhooks import queue as queue_module
from tests.support.database import migrated_file, open_database
from tests.support.deliveries import (
    OTHER_WORKER,
    WORKER,
    WORKSPACE,
    answered,
    attempts,
    claimed,
    new,
    owe,
    row,
)


@pytest.fixture
async def database(location: Location) -> AsyncIterator[Database]:
    async with open_database(location) as opened:
        yield opened


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


async def test_claims_read_only_the_indexes_of_what_waits_and_what_is_leased_in_a_sqlite_file(
    tmp_path: Path, clock: FrozenClock
) -> None:
    statements = {
        "SEARCH delivery USING COVERING INDEX delivery_due": queue_module._due(
            clock.now(), ["http://slow.example:80"], (clock.now() - 1, "msg_")
        ),
        "delivery USING COVERING INDEX delivery_leased": queue_module._IN_FLIGHT,
        "USING COVERING INDEX delivery_due": queue_module._SOONEST,
    }
    async with open_database(migrated_file(tmp_path)) as database:
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


async def test_a_lost_attempt_ends_even_when_the_clock_has_jumped_by_years(
    database: Database, clock: FrozenClock
) -> None:
    owed = new("http://host.example/")
    await owe(database, clock.now(), owed)
    await claimed(database, clock.now())
    clock.advance(60 * 365 * 86_400)

    assert await database.write(lambda conn: requeue_lost(conn, [WORKER], clock.now())) == 1

    [kept] = await attempts(database, owed.task_id)
    assert kept.duration_ms > 24 * 86_400_000


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
