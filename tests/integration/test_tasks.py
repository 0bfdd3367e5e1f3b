"""Tasks: who is served next, who may write, and that a task only goes forward."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, Row, select, text
from sqlalchemy.exc import IntegrityError

from ketchup import credits, tasks, webhooks
from ketchup.clock import Micros, after
from ketchup.db import Location, metadata
from ketchup.generation import recover
from ketchup.generation.finish import LOST_TOO_OFTEN
from ketchup.ids import TaskId, WorkerId, WorkspaceId
from ketchup.money import Credits
from ketchup.tasks import Attempt, End, Lease, LeaseLost, Priority, Sending, Status
from ketchup.tasks.fairness import IMAGE_COST
from ketchup.tasks.table import attempt, queue_clock, task
from ketchup.webhooks import NewDelivery
from tests.support.database import open_engine
from tests.support.factories import (
    NOW,
    OTHER_WORKER,
    PRICE,
    WORKER,
    claim,
    claim_one,
    enqueue,
    failure,
    new_workspace,
    register,
    submitted,
    success,
)
from tests.support.plans import recorded_plans

ACME = WorkspaceId("ws_acme")
OTHER = WorkspaceId("ws_other")
LATER = after(NOW, 60.0)
MAX_LOSSES = 3


@pytest.fixture
def engine(location: Location) -> Iterator[Engine]:
    with open_engine(location) as engine:
        yield engine


@pytest.fixture
def conn(engine: Engine) -> Iterator[Connection]:
    with engine.begin() as conn:
        yield conn


def row_of(conn: Connection, task_id: TaskId) -> Row[*tuple[Any, ...]]:
    return conn.execute(select(task).where(task.c.id == task_id)).one()


def journal(conn: Connection, task_id: TaskId) -> list[tuple[int, str, str | None, str | None]]:
    rows = conn.execute(
        select(attempt).where(attempt.c.task_id == task_id).order_by(attempt.c.number)
    )
    return [(row.number, row.worker_id, row.outcome, row.detail) for row in rows]


def begin(conn: Connection, lease: Lease, now: Micros = NOW) -> None:
    assert tasks.start(conn, [Sending(lease.attempt, "studio")], now) == [lease.attempt]


def lose(conn: Connection, *dead: WorkerId, max_losses: int = MAX_LOSSES) -> list[Lease]:
    return tasks.requeue_lost(conn, dead, max_losses, NOW)


def everything(conn: Connection) -> list[Row[*tuple[Any, ...]]]:
    return [*conn.execute(select(task)), *conn.execute(select(attempt))]


# -- who is next ----------------------------------------------------------------------------------


def test_a_flood_of_one_workspace_does_not_delay_the_first_task_of_another(
    conn: Connection,
) -> None:
    enqueue(conn, ACME, 500)
    (only,) = enqueue(conn, OTHER)

    first = claim(conn, WORKER, 2, NOW)

    assert only in {lease.attempt.task_id for lease in first}


@pytest.mark.parametrize("was_here_before", [False, True])
def test_a_workspace_that_comes_late_is_served_next_and_has_saved_up_nothing(
    conn: Connection, was_here_before: bool
) -> None:
    if was_here_before:
        enqueue(conn, OTHER)
        claim_one(conn)
    enqueue(conn, ACME, 100)
    claim(conn, WORKER, 50, NOW)
    enqueue(conn, OTHER, 50)

    next_nine = Counter(lease.workspace_id for lease in claim(conn, WORKER, 9, NOW))

    # It starts where the queue is: neither behind the flood, nor ahead of it by fifty turns.
    assert next_nine == {ACME: 4, OTHER: 5}


def test_images_count_not_tasks(conn: Connection) -> None:
    enqueue(conn, ACME, 30, options=tasks.Options(n=4))
    enqueue(conn, OTHER, 30)

    served = Counter(lease.workspace_id for lease in claim(conn, WORKER, 25, NOW))

    assert served == {ACME: 5, OTHER: 20}


def test_tasks_of_one_workspace_are_served_in_order(conn: Connection) -> None:
    waiting = enqueue(conn, ACME, 20)

    claimed = [lease.attempt.task_id for lease in claim(conn, WORKER, 7, NOW)]
    claimed += [lease.attempt.task_id for lease in claim(conn, OTHER_WORKER, 20, NOW)]

    assert claimed == waiting


def test_an_urgent_task_goes_before_its_workspaces_others(conn: Connection) -> None:
    enqueue(conn, ACME, 10)
    claim_one(conn)
    (urgent,) = enqueue(conn, ACME, priority=Priority.HIGH)

    assert claim_one(conn).attempt.task_id == urgent


def test_the_queues_clock_only_goes_forward(conn: Connection) -> None:
    (early,) = enqueue(conn, ACME)
    enqueue(conn, ACME, 5)
    lease = claim_one(conn)
    assert lease.attempt.task_id == early
    claim(conn, WORKER, 5, NOW)
    latest = conn.scalar(select(queue_clock.c.vtime))

    tasks.hand_back(conn, lease.attempt, NOW)
    claim_one(conn)

    assert conn.scalar(select(queue_clock.c.vtime)) == latest == 5 * IMAGE_COST


def test_a_task_is_claimed_by_one_worker(conn: Connection) -> None:
    enqueue(conn, ACME, 10)

    one = claim(conn, WORKER, 6, NOW)
    two = claim(conn, OTHER_WORKER, 6, NOW)

    assert (len(one), len(two)) == (6, 4)
    assert len({lease.attempt.task_id for lease in one + two}) == 10
    assert claim(conn, WORKER, 6, NOW) == []


def test_a_lease_carries_all_that_was_asked_for(conn: Connection) -> None:
    options = tasks.Options(aspect_ratio="16:9", image_size="2K", n=2, seed=7, output_format="webp")
    (task_id,) = enqueue(
        conn,
        ACME,
        images=("https://example.com/a.png", "blob:x"),
        callback_url="https://example.com/hook",
        options=options,
        prompt="Übergröße 🍅",
    )

    lease = claim_one(conn)

    assert lease.attempt == Attempt(task_id, 1, WORKER)
    assert (lease.workspace_id, lease.price, lease.tries) == (ACME, PRICE, 0)
    assert lease.images == ("https://example.com/a.png", "blob:x")
    assert lease.callback_url == "https://example.com/hook"
    assert (lease.options, lease.prompt) == (options, "Übergröße 🍅")


# -- forward --------------------------------------------------------------------------------------


def test_a_task_goes_from_pending_to_success(conn: Connection) -> None:
    (task_id,) = enqueue(conn, ACME)
    assert row_of(conn, task_id).status == Status.PENDING

    lease = claim_one(conn, now=after(NOW, 1))
    assert row_of(conn, task_id).status == Status.SUBMITTED
    begin(conn, lease, after(NOW, 2))
    assert row_of(conn, task_id).status == Status.IN_PROGRESS
    end = success(lease)
    assert tasks.finish(conn, [end], after(NOW, 3)) == [end]

    (seen,) = tasks.get_many(conn, [(ACME, task_id)])
    assert seen is not None
    assert (seen.status, seen.images, seen.consumed) == (Status.SUCCESS, ("a.png",), PRICE)
    row = row_of(conn, task_id)
    times = (row.created_at, row.submitted_at, row.started_at, row.finished_at)
    assert times == tuple(after(NOW, seconds) for seconds in range(4))
    assert journal(conn, task_id) == [(1, WORKER, "success", None)]


def test_a_failed_task_says_why_to_its_customer_and_more_to_the_operator(
    conn: Connection,
) -> None:
    (task_id,) = enqueue(conn, ACME)
    lease = claim_one(conn)
    begin(conn, lease)
    tasks.finish(conn, [failure(lease, "The prompt was refused.")], NOW)

    (seen,) = tasks.get_many(conn, [(ACME, task_id)])
    assert seen is not None
    assert (seen.status, seen.images, seen.consumed) == (Status.FAILED, None, 0)
    assert seen.reason == "The prompt was refused."
    assert journal(conn, task_id) == [(1, WORKER, "failed", "why")]


@pytest.mark.parametrize("way_back", ["retry", "hand_back", "lost"])
def test_a_task_that_runs_again_keeps_the_furthest_status_it_had_shown(
    conn: Connection, way_back: str
) -> None:
    (task_id,) = enqueue(conn, ACME)
    shown = [row_of(conn, task_id).status]

    def look() -> None:
        shown.append(row_of(conn, task_id).status)

    for started in (False, True, False, True):
        lease = claim_one(conn)
        look()
        if started:
            begin(conn, lease)
            look()
        match way_back:
            case "retry":
                assert tasks.retry(conn, lease.attempt, NOW, "busy", NOW)
                look()
                assert tasks.promote_due(conn, NOW) == 1
            case "hand_back":
                assert tasks.hand_back(conn, lease.attempt, NOW)
            case _:
                assert lose(conn, WORKER, max_losses=10) == []
        look()

    order = [status.value for status in Status]
    assert shown == sorted(shown, key=order.index)
    assert shown[-1] == Status.IN_PROGRESS
    assert row_of(conn, task_id).attempt == 4


def test_a_terminal_task_never_changes_again(conn: Connection) -> None:
    enqueue(conn, ACME, 2)
    leased = claim(conn, WORKER, 2, NOW)
    tasks.start(conn, [Sending(lease.attempt, "studio") for lease in leased], NOW)
    tasks.finish(conn, [success(leased[0]), failure(leased[1])], NOW)
    before = everything(conn)

    for lease in leased:
        assert tasks.finish(conn, [failure(lease)], LATER) == [LeaseLost(lease.attempt)]
        assert tasks.finish(conn, [success(lease)], LATER) == [LeaseLost(lease.attempt)]
        assert tasks.start(conn, [Sending(lease.attempt, "x")], LATER) == [LeaseLost(lease.attempt)]
        assert not tasks.retry(conn, lease.attempt, LATER, "", LATER)
        assert not tasks.hand_back(conn, lease.attempt, LATER)
    assert lose(conn, WORKER) == []
    assert tasks.promote_due(conn, LATER) == 0
    assert claim(conn, WORKER, 10, LATER) == []

    assert everything(conn) == before


# -- the fence ------------------------------------------------------------------------------------


@pytest.fixture
def dead_and_live(conn: Connection) -> tuple[Lease, Lease]:
    """One task under two leases: the first was lost with its worker, the second is live."""
    enqueue(conn, ACME)
    dead = claim_one(conn, WORKER)
    begin(conn, dead)
    lose(conn, WORKER)
    live = claim_one(conn, OTHER_WORKER)
    assert live.attempt.task_id == dead.attempt.task_id
    return dead, live


_LATE_WRITES: dict[str, Callable[[Connection, Lease], object]] = {
    "success": lambda conn, lease: tasks.finish(conn, [success(lease)], LATER),
    "failure": lambda conn, lease: tasks.finish(conn, [failure(lease)], LATER),
    "start": lambda conn, lease: tasks.start(conn, [Sending(lease.attempt, "late")], LATER),
    "retry": lambda conn, lease: [tasks.retry(conn, lease.attempt, LATER, "late", LATER)],
    "hand back": lambda conn, lease: [tasks.hand_back(conn, lease.attempt, LATER)],
}


@pytest.mark.parametrize("late", list(_LATE_WRITES))
def test_a_lost_attempt_writes_nothing_but_that_it_has_let_go(
    conn: Connection, dead_and_live: tuple[Lease, Lease], late: str
) -> None:
    dead, live = dead_and_live
    tasks.let_go(conn, [dead.attempt])
    before = everything(conn)

    assert _LATE_WRITES[late](conn, dead) in ([LeaseLost(dead.attempt)], [False])

    assert everything(conn) == before
    begin(conn, live)
    assert tasks.finish(conn, [success(live)], NOW) == [success(live)]


@pytest.mark.parametrize("late", list(_LATE_WRITES))
def test_an_earlier_attempt_of_the_same_worker_writes_nothing_either(
    conn: Connection, late: str
) -> None:
    enqueue(conn, ACME)
    old = claim_one(conn)
    tasks.hand_back(conn, old.attempt, NOW)
    live = claim_one(conn)
    assert live.attempt == Attempt(old.attempt.task_id, old.attempt.number + 1, WORKER)
    before = everything(conn)

    assert _LATE_WRITES[late](conn, old) in ([LeaseLost(old.attempt)], [False])

    assert everything(conn) == before


def test_a_late_failure_does_not_beat_the_live_success_in_one_batch(
    conn: Connection, dead_and_live: tuple[Lease, Lease]
) -> None:
    dead, live = dead_and_live
    begin(conn, live)

    ends = tasks.finish(conn, [failure(dead), success(live), success(dead)], NOW)

    assert ends == [LeaseLost(dead.attempt), success(live), LeaseLost(dead.attempt)]
    (seen,) = tasks.get_many(conn, [(ACME, live.attempt.task_id)])
    assert seen is not None
    assert seen.status == Status.SUCCESS
    assert journal(conn, live.attempt.task_id) == [
        (1, WORKER, "unknown", None),
        (2, OTHER_WORKER, "success", None),
    ]


def test_of_two_ends_of_one_attempt_in_one_batch_the_first_counts(conn: Connection) -> None:
    enqueue(conn, ACME)
    lease = claim_one(conn)
    begin(conn, lease)

    ends = tasks.finish(conn, [failure(lease), success(lease)], NOW)

    assert ends == [failure(lease), LeaseLost(lease.attempt)]
    assert row_of(conn, lease.attempt.task_id).status == Status.FAILED


def test_a_batch_starts_what_is_held_and_names_what_is_not(conn: Connection) -> None:
    enqueue(conn, ACME, 3)
    one, lost, two = claim(conn, WORKER, 3, NOW)
    tasks.hand_back(conn, lost.attempt, NOW)

    started = tasks.start(
        conn, [Sending(lease.attempt, "studio") for lease in (one, lost, two)], NOW
    )

    assert started == [one.attempt, LeaseLost(lost.attempt), two.attempt]
    assert journal(conn, lost.attempt.task_id) == []
    assert row_of(conn, lost.attempt.task_id).status == Status.SUBMITTED
    assert tasks.start(conn, [], NOW) == []
    assert tasks.finish(conn, [], NOW) == []


# -- the ways back --------------------------------------------------------------------------------


def test_a_retry_uses_up_a_try_and_waits_for_its_time(conn: Connection) -> None:
    (task_id,) = enqueue(conn, ACME)
    lease = claim_one(conn)
    begin(conn, lease)

    assert tasks.retry(conn, lease.attempt, LATER, "rate limited", NOW)

    assert claim(conn, WORKER, 1, LATER) == []
    assert tasks.promote_due(conn, Micros(LATER - 1)) == 0
    assert tasks.promote_due(conn, LATER) == 1
    again = claim_one(conn)
    assert (again.attempt.number, again.tries) == (2, 1)
    assert journal(conn, task_id) == [(1, WORKER, "retry", "rate limited")]


def test_an_interrupted_task_goes_back_at_once_and_uses_up_nothing(conn: Connection) -> None:
    (task_id,) = enqueue(conn, ACME)
    lease = claim_one(conn)
    begin(conn, lease)

    assert tasks.hand_back(conn, lease.attempt, NOW)

    again = claim_one(conn)
    assert (again.attempt.number, again.tries, row_of(conn, task_id).losses) == (2, 0, 0)
    assert journal(conn, task_id) == [(1, WORKER, "interrupted", None)]


def test_what_a_dead_worker_held_runs_elsewhere_and_its_outcome_is_unknown(
    conn: Connection,
) -> None:
    sent, unsent = enqueue(conn, ACME, 2)
    (others,) = enqueue(conn, OTHER)
    leased = {lease.attempt.task_id: lease for lease in claim(conn, WORKER, 3, NOW)}
    tasks.hand_back(conn, leased[others].attempt, NOW)
    (live,) = claim(conn, OTHER_WORKER, 1, NOW)
    begin(conn, leased[sent])
    begin(conn, live)

    assert lose(conn, WORKER) == []

    assert journal(conn, sent) == [(1, WORKER, "unknown", None)]
    assert journal(conn, unsent) == []
    assert journal(conn, others) == [(2, OTHER_WORKER, None, None)]
    assert [row_of(conn, one).losses for one in (sent, unsent, others)] == [1, 1, 0]
    again = claim(conn, OTHER_WORKER, 5, NOW)
    assert {lease.attempt.task_id for lease in again} == {sent, unsent}
    assert {(lease.attempt.number, lease.tries) for lease in again} == {(2, 0)}


def test_attempts_are_never_numbered_twice(conn: Connection) -> None:
    (task_id,) = enqueue(conn, ACME)
    numbers = []
    for way in range(6):
        lease = claim_one(conn)
        numbers.append(lease.attempt.number)
        if way % 2:
            begin(conn, lease)
        if way % 3 == 0:
            tasks.hand_back(conn, lease.attempt, NOW)
        elif way % 3 == 1:
            tasks.retry(conn, lease.attempt, NOW, "", NOW)
            tasks.promote_due(conn, NOW)
        else:
            lose(conn, WORKER, max_losses=10)

    assert numbers == [1, 2, 3, 4, 5, 6]
    assert [number for number, *_ in journal(conn, task_id)] == [2, 4, 6]


def test_a_task_that_kills_its_workers_ends_as_failed_and_its_credits_come_back(
    conn: Connection,
) -> None:
    workspace = new_workspace(conn).id
    task_id = submitted(conn, workspace)
    asked: list[str] = []

    def callback(_lease: Lease, reason: str) -> bytes:
        asked.append(reason)
        return b"{}"

    for loss in range(1, MAX_LOSSES + 1):
        begin(conn, claim_one(conn))
        assert row_of(conn, task_id).status == Status.IN_PROGRESS
        recover(conn, [WORKER], MAX_LOSSES, callback, NOW)
        assert row_of(conn, task_id).losses == loss

    row = row_of(conn, task_id)
    assert (row.status, row.queue_state, row.reason) == ("failed", "done", LOST_TOO_OFTEN)
    assert asked == [LOST_TOO_OFTEN]
    assert conn.execute(text("SELECT task_id, body FROM delivery")).all() == [(task_id, b"{}")]
    assert [outcome for _, _, outcome, _ in journal(conn, task_id)] == ["unknown"] * MAX_LOSSES
    audit = credits.audit(conn, workspace)
    assert audit.consistent
    assert audit.account.held == 0
    assert audit.account.balance == audit.account.available == 100_000_000


def test_a_task_that_cannot_be_given_up_keeps_no_other_one(conn: Connection) -> None:
    workspace = new_workspace(conn).id
    ids = [submitted(conn, workspace), submitted(conn, workspace)]
    owed = NewDelivery(ids[0], workspace, "https://example.com/hook", b"{}")
    webhooks.enqueue(conn, [owed], NOW)
    for lease in claim(conn, WORKER, 2, NOW):
        begin(conn, lease)

    recover(conn, [WORKER], 1, lambda _lease, _reason: b"{}", NOW)

    # What is owed twice stays where it is, for somebody to look at.
    assert [row_of(conn, task_id).queue_state for task_id in ids] == ["leased", "done"]


def test_nobody_dead_is_nothing_to_recover(conn: Connection) -> None:
    enqueue(conn, ACME)
    begin(conn, claim_one(conn))
    before = everything(conn)

    recover(conn, [], MAX_LOSSES, lambda _lease, _reason: None, NOW)
    assert lose(conn) == []

    assert everything(conn) == before


# -- reading --------------------------------------------------------------------------------------


def test_another_workspaces_task_is_as_absent_as_one_that_never_was(conn: Connection) -> None:
    mine, _second = enqueue(conn, ACME, 2)
    (theirs,) = enqueue(conn, OTHER)

    found = tasks.get_many(
        conn, [(ACME, theirs), (ACME, mine), (ACME, "ta" + "0" * 34), (OTHER, mine), (ACME, mine)]
    )

    assert [one and one.id for one in found] == [None, mine, None, None, mine]
    assert tasks.get_many(conn, []) == []


# -- the database guards it too -------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        "status = 'rendering'",
        "status = 'success'",
        "status = 'failed', finished_at = 1",
        "queue_state = 'done'",
        "queue_state = 'leased'",
        "queue_state = 'delayed'",
        "worker_id = 'wrk_one'",
        "run_at = 1",
        "finished_at = 1",
        "result = '[]'",
        "consumed = price + 1",
        "consumed = -1",
    ],
)
def test_the_database_refuses_a_task_that_cannot_be(conn: Connection, change: str) -> None:
    enqueue(conn, ACME)

    with pytest.raises(IntegrityError, match=r"(?i)check constraint"):
        conn.execute(text(f"UPDATE task SET {change}"))  # noqa: S608 the table above


# -- it does not grow slower ----------------------------------------------------------------------


def test_every_step_finds_its_rows_by_an_index_and_nothing_reads_all_tasks(
    conn: Connection,
) -> None:
    enqueue(conn, ACME, 20)
    key = tasks.IdempotencyKey(ACME, "k", tasks.Fingerprint(b"f"))
    register(conn, WORKER)
    with recorded_plans(conn) as claiming:
        claimed = tasks.claim(conn, WORKER, 5, NOW)
    assert claiming.indexes >= {"task_ready"}

    with recorded_plans(conn) as promote:
        tasks.promote_due(conn, NOW)
    assert promote.indexes == {"task_delayed"}

    with recorded_plans(conn) as requeue:
        tasks.requeue_lost(conn, [OTHER_WORKER, WORKER], 3, NOW)
    # PostgreSQL may find the open attempts either way.
    assert requeue.indexes - {"attempt_in_flight"} == {"task_leased"}

    with recorded_plans(conn) as others:
        (lease, again) = tasks.claim(conn, WORKER, 2, NOW)
        tasks.start(conn, [Sending(lease.attempt, "studio"), Sending(again.attempt, "studio")], NOW)
        tasks.finish(conn, [success(lease)], NOW)
        tasks.retry(conn, again.attempt, NOW, "", NOW)
        tasks.hand_back(conn, claimed[0].attempt, NOW)
        tasks.get_many(conn, [(ACME, lease.attempt.task_id), (ACME, "ta")])
        tasks.set_share(conn, ACME, 0, 1)
        tasks.remember_keys(conn, [(key, lease.attempt.task_id)], NOW)
        tasks.find_keys(conn, [key], NOW)
        tasks.forget_keys(conn, NOW, 500)
        tasks.was_ended(conn, success(lease))
        tasks.list_leases(conn, WORKER)
        credits.audit(conn, ACME)
        credits.hold(conn, [credits.HoldRequest(TaskId("ta"), ACME, Credits(0))], NOW)
        credits.settle(conn, [credits.Settlement(TaskId("ta"), ACME, Credits(0))], NOW)

    # The clock is one row.
    read_whole = claiming.scans | promote.scans | requeue.scans | others.scans
    # Attempts are few here, and PostgreSQL goes through few rows sooner than through an index.
    few = {"attempt"} if conn.dialect.name == "postgresql" else set()
    assert read_whole & set(metadata.tables) - few <= {"queue_clock"}
    # The claim walks its own index, in order, and stops at its limit.
    assert not claiming.sorts


def test_end_says_success_exactly_when_there_are_images(conn: Connection) -> None:
    enqueue(conn, ACME)
    lease = claim_one(conn)

    assert success(lease).status is Status.SUCCESS
    assert failure(lease).status is Status.FAILED
    empty = End(
        lease.attempt, images=(), consumed=Credits(0), reason="The model returned no image."
    )
    assert empty.status is Status.FAILED
    assert tasks.finish(conn, [empty], NOW) == [empty]
