"""The sender when something breaks: bugs, the store, crashes, stops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from random import Random

import pytest
from sqlalchemy import Connection

from ketchup import leases
from ketchup.clock import FrozenClock, Micros
from ketchup.db import Database, Location
from ketchup.ids import WorkspaceId
from ketchup.webhooks import (
    DeliveryState,
    Sender,
    claim,
    requeue_lost,
)
from tests.support.database import open_database
from tests.support.deliveries import (
    OTHER_WORKER,
    PATIENT,
    WORKER,
    attempts,
    claimed,
    new,
    owe,
    row,
    sending,
    settled,
    two_secrets,
)
from tests.support.receiver import (
    DEADLINE,
    Answer,
    LoopbackPoster,
    Receiver,
    Replied,
)
from tests.support.refusals import accept_again, refuse


@pytest.fixture
async def database(location: Location) -> AsyncIterator[Database]:
    async with open_database(location) as opened:
        yield opened


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


class Garbled:
    """A poster whose receiver answers what no database takes."""

    async def post(self, url: str, *, body: bytes, headers: Mapping[str, str]) -> Replied:  # noqa: ARG002 the protocol has them
        raise LoopbackPoster.errors[0]("it said \0 \ud83c \x1b[2J" + "x" * 1000)


async def test_what_a_receiver_said_is_kept_as_far_as_it_can_be(
    database: Database, clock: FrozenClock
) -> None:
    owed = new("http://127.0.0.1:9/hook")
    async with sending(database, clock, poster=Garbled()) as (sender, watch):
        await owe(database, clock.now(), owed)
        sender.wake()
        await watch.until(lambda: watch.again == 1)
    [kept] = await attempts(database, owed.task_id)
    assert kept.error.startswith("TransportError: it said ? ? ?[2Jxxx")
    assert len(kept.error) == 200


async def test_a_worker_that_has_been_reaped_is_given_nothing_to_send(
    database: Database, clock: FrozenClock
) -> None:
    owed = new("http://127.0.0.1:9/hook")
    async with sending(database, clock) as (sender, _):
        await database.write(lambda conn: leases.remove(conn, [WORKER]))
        await owe(database, clock.now(), owed)
        sender.wake()
        await settled(database)
    assert (await row(database, owed.task_id)).attempt == 0


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
    await database.write(lambda conn: refuse(conn, "INSERT", "delivery_attempt"))
    async with Receiver() as receiver, sending(database, clock) as (sender, watch):
        owed = new(receiver.url)
        await owe(database, clock.now(), owed)
        sender.wake()
        await watch.until(lambda: watch.faults >= 1)
        assert (await row(database, owed.task_id)).worker_id == WORKER
        await database.write(lambda conn: accept_again(conn, "delivery_attempt"))
        await watch.until(lambda: watch.delivered == 1)
    assert len(receiver.requests) == 1


async def test_a_claim_that_fails_is_made_again(database: Database, clock: FrozenClock) -> None:
    await database.write(lambda conn: refuse(conn, "UPDATE", "delivery"))
    async with Receiver() as receiver, sending(database, clock) as (sender, watch):
        await owe(database, clock.now(), new(receiver.url))
        sender.wake()
        await watch.until(lambda: watch.faults >= 1)
        await database.write(lambda conn: accept_again(conn, "delivery"))
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
        await database.write(lambda conn: leases.register(conn, WORKER, clock.now()))
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
        async with sending(database, clock, settings=replace(PATIENT, grace=0.5)) as (_, watch):
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
