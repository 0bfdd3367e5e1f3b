"""Claims: who gets tasks, and which of them are started in the same transaction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from random import Random
from typing import Any

import pytest
from sqlalchemy import Connection, select, text

from ketchup import channels, leases, tasks
from ketchup.db import Location, PostgresUrl
from ketchup.generation.routing import Channel, Chosen, Route
from ketchup.generation.start import Sent, Start, choose_at_claim, sending
from ketchup.ids import TaskId
from ketchup.tasks import Attempt, Lease, Sending, Status
from ketchup.tasks.table import attempt, queue_clock, task
from tests.support.database import open_engine
from tests.support.factories import (
    MODEL,
    NOW,
    OTHER_WORKER,
    WORKER,
    enqueue,
    new_workspace,
    register,
    success,
)

FREE = Channel("free", "studio")


@pytest.fixture
def conn(location: Location) -> Iterator[Connection]:
    with open_engine(location) as engine, engine.begin() as conn:
        register(conn, WORKER)
        yield conn


def claim(
    conn: Connection, count: int = 1, *routes: Route
) -> tuple[list[Lease], dict[Attempt, Sent]]:
    """Claim, and start what can be; return both."""
    sent: dict[Attempt, Sent] = {}

    def choose(claimed: Sequence[Lease]) -> list[Sending]:
        starts = [Start(lease, routes or [Route(MODEL.id, [FREE])]) for lease in claimed]
        sent.update(choose_at_claim(conn, starts, NOW, Random(1)))
        return [sending(one, to) for one in starts if (to := sent.get(one.lease.attempt))]

    return tasks.claim(conn, WORKER, count, NOW, choose=choose), sent


def status_of(conn: Connection, task_id: TaskId) -> str:
    return str(conn.scalar(select(task.c.status).where(task.c.id == task_id)))


def journal(conn: Connection) -> list[tuple[str, int, str, int]]:
    rows = conn.execute(
        select(attempt.c.task_id, attempt.c.number, attempt.c.channel, attempt.c.images)
    )
    return [tuple(row) for row in rows]


def test_a_task_that_needs_nothing_before_is_started_by_its_claim(conn: Connection) -> None:
    enqueue(conn, new_workspace(conn).id, 2)

    (first, second), sent = claim(conn, 2)

    assert [one.chosen for one in sent.values()] == [Chosen(FREE, MODEL.id)] * 2
    assert {status_of(conn, one.attempt.task_id) for one in (first, second)} == {Status.IN_PROGRESS}
    assert sorted(journal(conn)) == sorted(
        (one.attempt.task_id, 1, "free", 1) for one in (first, second)
    )
    # A start of the same attempt finds itself in the journal.
    assert tasks.sent_before(conn, [first.attempt.task_id]) == {first.attempt.task_id: {1: "free"}}
    assert tasks.finish(conn, [success(first)], NOW) == [success(first)]


@pytest.mark.parametrize(
    "channel",
    [
        Channel("narrow", "studio", images_in_flight=9),
        Channel("paced", "studio", images_per_minute=999),
    ],
    ids=lambda channel: channel.name,
)
def test_where_a_channel_has_a_limit_the_start_comes_later(
    conn: Connection, channel: Channel
) -> None:
    enqueue(conn, new_workspace(conn).id)

    [lease], sent = claim(conn, 1, Route(MODEL.id, [FREE, channel]))

    assert (sent, journal(conn)) == ({}, [])
    assert status_of(conn, lease.attempt.task_id) == Status.SUBMITTED


def test_where_a_channel_has_failed_the_start_comes_later(conn: Connection) -> None:
    channels.record_failure(conn, FREE.name, NOW)
    enqueue(conn, new_workspace(conn).id)

    assert claim(conn)[1] == {}


def test_a_task_with_references_is_started_when_they_are_there(conn: Connection) -> None:
    enqueue(conn, new_workspace(conn).id, images=("a.png",))

    assert claim(conn)[1] == {}


def test_a_second_attempt_is_started_by_what_the_first_ones_came_to(conn: Connection) -> None:
    enqueue(conn, new_workspace(conn).id)
    [lease], _ = claim(conn)
    tasks.change_channel(conn, lease.attempt, "elsewhere", NOW)

    [again], sent = claim(conn)

    assert (again.attempt.number, sent) == (2, {})


def test_who_was_reaped_gets_nothing_and_moves_nothing(conn: Connection) -> None:
    [task_id] = enqueue(conn, new_workspace(conn).id)
    clock = conn.scalar(select(queue_clock.c.vtime))
    leases.remove(conn, [WORKER])

    assert claim(conn) == ([], {})

    assert status_of(conn, task_id) == Status.PENDING
    assert conn.scalar(select(queue_clock.c.vtime)) == clock


def test_of_a_claim_and_the_reaper_of_its_worker_one_waits_for_the_other(
    location: Location,
) -> None:
    if not isinstance(location, PostgresUrl):
        pytest.skip("a SQLite file has one writer")
    with open_engine(location) as engine, ThreadPoolExecutor(1) as other:

        def reap() -> None:
            with engine.begin() as conn:
                leases.remove(conn, [WORKER])

        def claimed() -> int:
            with engine.begin() as conn:
                return len(claim(conn)[0])

        def waits(pid: int, who: Future[Any]) -> None:
            """Return when somebody waits for this connection."""
            with engine.connect() as conn:
                blocked = text(
                    "SELECT count(*) FROM pg_locks WHERE :pid = ANY(pg_blocking_pids(pid))"
                )
                while not conn.execute(blocked, {"pid": pid}).scalar_one():
                    assert not wait([who], timeout=0.01).done

        with engine.begin() as conn:
            register(conn, WORKER, OTHER_WORKER)
            enqueue(conn, new_workspace(conn).id, 2)
        with engine.begin() as conn:
            pid = conn.execute(text("SELECT pg_backend_pid()")).scalar_one()
            assert len(claim(conn)[0]) == 1
            reaped = other.submit(reap)
            waits(pid, reaped)
        reaped.result()

        with engine.begin() as conn:
            register(conn, WORKER)
        with engine.begin() as conn:
            pid = conn.execute(text("SELECT pg_backend_pid()")).scalar_one()
            leases.remove(conn, [WORKER])
            found = other.submit(claimed)
            waits(pid, found)
        assert found.result() == 0
