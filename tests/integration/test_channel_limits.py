"""The limits of a channel, while more tasks than it may have want it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from random import Random

import pytest
from sqlalchemy import Connection, text

from ketchup import channels, credits, leases, tasks
from ketchup.clock import Micros
from ketchup.credits import HoldRequest
from ketchup.db import Location
from ketchup.generation import cancel
from ketchup.generation.routing import Channel, GivenUp, Route, Wait
from ketchup.generation.start import Sent, Start, start
from ketchup.tasks import UNLIMITED, Lease, LeaseLost, Options
from tests.support.database import open_engine
from tests.support.factories import (
    MODEL,
    NOW,
    OTHER_WORKER,
    WORKER,
    claim,
    enqueue,
    new_task,
    new_workspace,
    register,
    success,
)
from tests.support.plans import recorded_plans

SECOND = 1_000_000
# When the engines' time is up for what is sent now.
UP = Micros(NOW + 300 * SECOND)


@pytest.fixture
def conn(location: Location) -> Iterator[Connection]:
    with open_engine(location) as engine, engine.begin() as conn:
        yield conn


def started(conn: Connection, channel: Channel, count: int, now: Micros = NOW) -> list[object]:
    """Let in, claim and start so many tasks; return what became of each start."""
    enqueue(conn, new_workspace(conn).id, count)
    leased = claim(conn, WORKER, count, NOW)
    routes = [Route(MODEL.id, [channel])]
    return list(start(conn, [Start(lease, routes, 60.0) for lease in leased], now, Random(1)))


def test_images_in_flight_are_counted_over_all_starts_and_a_dead_workers_until_its_time_is_up(
    conn: Connection,
) -> None:
    register(conn, WORKER)
    narrow = Channel("narrow", "studio", images_in_flight=2)

    first = started(conn, narrow, 3)
    assert [type(one) for one in first] == [Sent, Sent, Wait]
    assert [type(one) for one in started(conn, narrow, 1)] == [Wait]

    tasks.requeue_lost(conn, [WORKER], 10, NOW)
    # It may only stand still, and its engines draw.
    assert tasks.images_in_flight(conn, ["narrow"], Micros(UP - 1)) == {"narrow": 2}
    assert [type(one) for one in started(conn, narrow, 1)] == [Wait]
    assert tasks.images_in_flight(conn, ["narrow"], UP) == {}
    assert [type(one) for one in started(conn, narrow, 1, UP)] == [Sent]


def let_go(conn: Connection, lease: Lease) -> None:
    tasks.let_go(conn, [lease.attempt])


def leave(conn: Connection, lease: Lease) -> None:
    tasks.let_go_of_all(conn, lease.attempt.worker_id)


def end_late(conn: Connection, lease: Lease) -> None:
    assert isinstance(tasks.finish(conn, [success(lease)], NOW)[0], LeaseLost)


def retry_late(conn: Connection, lease: Lease) -> None:
    assert not tasks.retry(conn, lease.attempt, NOW, "", NOW)


def move_late(conn: Connection, lease: Lease) -> None:
    assert not tasks.change_channel(conn, lease.attempt, "", NOW)


def hand_back_late(conn: Connection, lease: Lease) -> None:
    assert not tasks.hand_back(conn, lease.attempt, NOW)


@pytest.mark.parametrize("over", ["cancelled", "taken for dead"])
@pytest.mark.parametrize("says", [let_go, leave, end_late, retry_late, move_late, hand_back_late])
def test_what_others_ended_takes_room_in_all_workers_until_its_own_lets_go(
    location: Location, over: str, says: Callable[[Connection, Lease], None]
) -> None:
    narrow = [Route(MODEL.id, [Channel("narrow", "studio", images_in_flight=1)])]
    with open_engine(location) as here, open_engine(location) as there:
        with here.begin() as conn:
            register(conn, WORKER, OTHER_WORKER)
            workspace = new_workspace(conn).id
            task = new_task(workspace)
            credits.hold(conn, [HoldRequest(task.id, workspace, task.price)], NOW)
            turns = tasks.lock_turns(conn, [workspace])
            tasks.enqueue(conn, turns, [(task, UNLIMITED)], NOW)
            [lease] = tasks.claim(conn, WORKER, 1, NOW)
            assert isinstance(start(conn, [Start(lease, narrow)], NOW, Random(1))[0], Sent)
        with there.begin() as conn:
            if over == "cancelled":
                cancel(conn, workspace, lease.attempt.task_id, NOW)
                enqueue(conn, workspace)
            else:
                leases.remove(conn, [WORKER])
                tasks.requeue_lost(conn, [WORKER], 10, NOW)
            [other] = tasks.claim(conn, OTHER_WORKER, 1, NOW)
            again = [Start(other, narrow)]
            assert isinstance(start(conn, again, NOW, Random(1))[0], Wait)
        with here.begin() as conn:
            says(conn, lease)
        with there.begin() as conn:
            assert isinstance(start(conn, again, NOW, Random(1))[0], Sent)


def test_who_lets_go_of_one_attempt_keeps_the_next_one_of_the_same_task(conn: Connection) -> None:
    register(conn, WORKER, OTHER_WORKER)
    narrow = Channel("narrow", "studio", images_in_flight=1)
    assert [type(one) for one in started(conn, narrow, 1)] == [Sent]
    [lease] = tasks.list_leases(conn, WORKER)
    tasks.requeue_lost(conn, [WORKER], 10, NOW)
    [again] = tasks.claim(conn, OTHER_WORKER, 1, NOW)
    routes = [Route(MODEL.id, [narrow])]
    assert isinstance(start(conn, [Start(again, routes)], UP, Random(1))[0], Sent)

    tasks.let_go(conn, [lease.attempt])
    tasks.let_go_of_all(conn, WORKER)
    assert tasks.images_in_flight(conn, ["narrow"], UP) == {"narrow": 1}


def test_what_is_open_takes_room_however_long_and_what_is_closed_leaves_the_index(
    conn: Connection,
) -> None:
    register(conn, WORKER)
    narrow = Channel("narrow", "studio", images_in_flight=8)
    assert [type(one) for one in started(conn, narrow, 1)] == [Sent]
    later = Micros(UP + 3600 * SECOND)
    tasks.make_room(conn, later)
    assert tasks.images_in_flight(conn, ["narrow"], later) == {"narrow": 1}

    tasks.requeue_lost(conn, [WORKER], 10, NOW)
    tasks.make_room(conn, Micros(UP - 1))
    assert _indexed(conn) == 1
    tasks.make_room(conn, UP)
    assert _indexed(conn) == 0

    # The clock is set back an hour: it would take room for so much longer.
    assert [type(one) for one in started(conn, narrow, 1, later)] == [Sent]
    tasks.requeue_lost(conn, [WORKER], 10, NOW)
    tasks.make_room(conn, NOW)
    assert _indexed(conn) == 0


def _indexed(conn: Connection) -> int:
    found = text("SELECT count(*) FROM attempt WHERE occupies_until IS NOT NULL")
    return int(conn.execute(found).scalar_one())


def test_what_is_in_flight_is_found_by_its_index(conn: Connection) -> None:
    with recorded_plans(conn) as counting:
        tasks.images_in_flight(conn, ["narrow"], NOW)
        tasks.let_go_of_all(conn, WORKER)
        tasks.make_room(conn, NOW)
    assert "attempt_in_flight" in counting.indexes
    # Attempts are few here, and PostgreSQL goes through few rows sooner than through an index.
    few = {"attempt"} if conn.dialect.name == "postgresql" else set()
    assert counting.scans & {"attempt", "task"} <= few


def test_images_per_minute_are_spread_over_all_starts(conn: Connection) -> None:
    register(conn, WORKER)
    paced = Channel("paced", "studio", images_per_minute=60)

    assert [type(one) for one in started(conn, paced, 2)] == [Sent, Wait]
    assert started(conn, paced, 1) == [Wait(Micros(NOW + SECOND))]
    assert type(started(conn, paced, 1, Micros(NOW + SECOND))[0]) is Sent


def test_two_workers_with_tasks_of_several_images_keep_to_the_minute_together(
    location: Location,
) -> None:
    paced = [Route(MODEL.id, [Channel("paced", "studio", images_per_minute=10)])]
    with open_engine(location) as here, open_engine(location) as there:
        with here.begin() as conn:
            register(conn, WORKER)
            workspace = new_workspace(conn).id
            for _ in range(2):
                enqueue(conn, workspace, options=Options(n=8))
            first, second = tasks.claim(conn, WORKER, 2, NOW)
            assert isinstance(start(conn, [Start(first, paced)], NOW, Random(1))[0], Sent)
        # The even pace lets it through here, and the minute does not have sixteen.
        for seconds in (48, 59):
            with there.begin() as conn:
                at = Micros(NOW + seconds * SECOND)
                waits = start(conn, [Start(second, paced)], at, Random(1))
                assert waits == [Wait(Micros(NOW + 60 * SECOND))]
        with there.begin() as conn:
            at = Micros(NOW + 60 * SECOND)
            assert isinstance(start(conn, [Start(second, paced)], at, Random(1))[0], Sent)


def test_a_task_that_fits_no_channel_any_more_is_given_up_and_another_channel_takes_it(
    conn: Connection,
) -> None:
    register(conn, WORKER)
    enqueue(conn, new_workspace(conn).id, options=Options(n=8))
    [lease] = tasks.claim(conn, WORKER, 1, NOW)
    narrow, wide = Channel("narrow", "studio", images_in_flight=4), Channel("wide", "studio")

    def decided(*channels: Channel) -> object:
        return start(conn, [Start(lease, [Route(MODEL.id, channels)])], NOW, Random(1))[0]

    assert decided(narrow) == GivenUp("no channel takes 8 images at once")
    sent = decided(narrow, wide)
    assert isinstance(sent, Sent)
    assert sent.chosen.channel is wide


def test_a_start_that_nobody_heard_of_is_not_counted_twice(conn: Connection) -> None:
    register(conn, WORKER)
    enqueue(conn, new_workspace(conn).id)
    [lease] = claim(conn, WORKER, 1, NOW)
    narrow = Channel("narrow", "studio", images_in_flight=1, images_per_minute=1)
    again = [Start(lease, [Route(MODEL.id, [narrow])])]

    assert isinstance(start(conn, again, NOW, Random(1))[0], Sent)
    assert isinstance(start(conn, again, NOW, Random(1))[0], Sent)
    assert tasks.images_in_flight(conn, ["narrow"], NOW) == {"narrow": 1}
    tasks.finish(conn, [success(lease)], NOW)
    assert tasks.images_in_flight(conn, ["narrow"], NOW) == {}


def test_a_channel_that_failed_in_one_worker_is_kept_away_from_by_another(
    location: Location,
) -> None:
    weak = Channel("weak", "studio")
    with open_engine(location) as here, open_engine(location) as there:
        with here.begin() as conn:
            register(conn, WORKER)
        for _ in range(channels.FAILURES):
            with there.begin() as conn:
                assert type(started(conn, weak, 1)[0]) is Sent
            with here.begin() as conn:
                channels.record_failure(conn, weak.name, NOW)
        with there.begin() as conn:
            assert started(conn, weak, 1) == [Wait(Micros(NOW + SECOND))]
        later = Micros(NOW + SECOND)
        with there.begin() as conn:
            assert type(started(conn, weak, 1, later)[0]) is Sent
        # That was the probe: the first keeps away until it is known how it went.
        with here.begin() as conn:
            assert type(started(conn, weak, 1, later)[0]) is Wait
        with there.begin() as conn:
            channels.record_success(conn, weak.name)
        with here.begin() as conn:
            assert type(started(conn, weak, 1, later)[0]) is Sent


@pytest.mark.parametrize(
    "narrow",
    [
        Channel("narrow", "studio", images_in_flight=1),
        Channel("narrow", "studio", images_per_minute=1),
    ],
    ids=["in flight", "per minute"],
)
def test_two_workers_that_start_at_the_same_time_keep_to_the_limit_together(
    location: Location, narrow: Channel
) -> None:
    routes = [Route(MODEL.id, [narrow])]

    def start_one(lease: tasks.Lease) -> object:
        with engine.begin() as other:
            return start(other, [Start(lease, routes)], NOW, Random(1))[0]

    with open_engine(location) as engine, ThreadPoolExecutor(1) as worker:
        with engine.begin() as conn:
            register(conn, WORKER)
            enqueue(conn, new_workspace(conn).id, 2)
            first, second = claim(conn, WORKER, 2, NOW)
            channels.lock(conn, ["narrow"])
        with engine.begin() as conn:
            assert isinstance(start(conn, [Start(first, routes)], NOW, Random(1))[0], Sent)
            other = worker.submit(start_one, second)
            # It cannot end before this transaction does; a second long it could.
            wait([other], timeout=1.0)
        assert isinstance(other.result(), Wait)
