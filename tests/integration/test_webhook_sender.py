"""The sender against a real receiver: schedule, signatures, bounds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from sqlalchemy import func, select
from standardwebhooks.webhooks import Webhook
from typing_extensions import override

from ketchup.clock import SECOND, FrozenClock, Micros, SystemClock, after
from ketchup.db import Database, Location, PostgresUrl, SqliteFile
from ketchup.ids import delivery_id
from ketchup.webhooks import (
    SCHEDULE,
    DeliveryState,
    delivery,
)
from tests.support.clocks import AdjustableClock
from tests.support.database import open_database
from tests.support.deliveries import (
    PATIENT,
    SECRETS,
    WORKER,
    assert_signed_by_both,
    attempts,
    claimed,
    new,
    owe,
    row,
    sending,
    settled,
)
from tests.support.gate import DEADLINE
from tests.support.postgres_pool import PostgresPool
from tests.support.receiver import (
    Answer,
    Garbage,
    Receiver,
    Reply,
    Reset,
)


@pytest.fixture
async def database(location: Location) -> AsyncIterator[Database]:
    async with open_database(location) as opened:
        yield opened


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
    location: Location, database: Database
) -> None:
    settings = replace(PATIENT, schedule=(0.0, 0.05, 0.05, 0.05, 0.05, 0.05))
    # On PostgreSQL it is the server's time that counts, and that passes by itself.
    clock = HurryingClock() if isinstance(location, SqliteFile) else SystemClock()
    async with Receiver(*(Answer(500) for _ in range(5))) as receiver:
        await owe(database, clock.now(), new(receiver.url))
        async with sending(database, clock, settings=settings) as (_, watch):
            await watch.until(lambda: watch.delivered == 1)
    assert len(receiver.requests) == 6


async def test_a_machine_behind_the_postgresql_servers_time_sends_what_falls_due_there(
    postgres: PostgresPool,
) -> None:
    clock = AdjustableClock()
    clock.adjust(-3600)
    settings = replace(PATIENT, schedule=(0.0, 1.0), poll=10 * DEADLINE)
    with postgres.migrated() as url:
        async with open_database(PostgresUrl(url)) as database, Receiver(Answer(500)) as receiver:
            await owe(database, SystemClock().now(), new(receiver.url))
            async with sending(database, clock, settings=settings) as (_, watch):
                await watch.until(lambda: watch.delivered == 1)
    assert len(receiver.requests) == 2


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
