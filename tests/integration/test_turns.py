"""The queue with caps: who is in flight, who waits, and who is next when one has ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import Connection, Engine, func, select, update

from ketchup import tasks
from ketchup.clock import Micros, after
from ketchup.db import Location
from ketchup.generation import set_plan
from ketchup.ids import TaskId, WorkspaceId
from ketchup.tasks import Allowance, Lease, Options, Priority
from ketchup.tasks.fairness import IMAGE_COST, LEAD
from ketchup.tasks.queue import LONGEST_PAUSE
from ketchup.tasks.recovery import PORTION as SWEPT
from ketchup.tasks.table import QueueState, queue_clock, task, turn
from ketchup.tasks.turns import PORTION
from ketchup.workspaces import Plans
from tests.support.database import open_engine
from tests.support.factories import (
    NOW,
    OTHER_WORKER,
    WORKER,
    claim_one,
    enqueue,
    failure,
    new_workspace,
    plan_of,
    success,
)
from tests.support.factories import (
    claim as claim_for,
)

ACME = WorkspaceId("ws_acme")
OTHER = WorkspaceId("ws_other")
TWO = Allowance(capacity=2)
IN_FLIGHT = {QueueState.READY, QueueState.DELAYED, QueueState.LEASED}


@pytest.fixture
def engine(location: Location) -> Iterator[Engine]:
    with open_engine(location) as engine:
        yield engine


@pytest.fixture
def conn(engine: Engine) -> Iterator[Connection]:
    with engine.begin() as conn:
        yield conn
        assert_counted(conn)


def assert_counted(conn: Connection) -> None:
    """Every turn says how many of its tasks are in flight and how many wait."""
    states = Counter[tuple[str, bool]]()
    for row in conn.execute(select(task.c.workspace_id, task.c.queue_state)):
        if row.queue_state != QueueState.DONE:
            states[row.workspace_id, row.queue_state in IN_FLIGHT] += 1
    for row in conn.execute(select(turn)):
        counted = (row.active, row.waiting)
        assert counted == (states[row.workspace_id, True], states[row.workspace_id, False])


def states(conn: Connection, workspace: WorkspaceId = ACME) -> dict[str, int]:
    rows = conn.execute(select(task.c.queue_state).where(task.c.workspace_id == workspace))
    return Counter(rows.scalars())


def ready(conn: Connection) -> list[TaskId]:
    """Return what a claim would take, in its order."""
    order = select(task.c.id).where(task.c.queue_state == "ready").order_by(task.c.vtime, task.c.id)
    return [TaskId(one) for one in conn.execute(order).scalars()]


def claim(conn: Connection, count: int) -> list[Lease]:
    return claim_for(conn, WORKER, count, NOW)


def end(conn: Connection, *leases: Lease) -> None:
    ends = [success(lease) for lease in leases]
    assert tasks.finish(conn, ends, NOW) == ends


def served(conn: Connection, count: int) -> list[Lease]:
    """Serve tasks one after the other, each to its end."""
    done = []
    for _ in range(count):
        done.append(claim_one(conn))
        end(conn, done[-1])
    return done


# -- the cap --------------------------------------------------------------------------------------


def test_no_more_are_in_flight_than_the_plan_allows(conn: Connection) -> None:
    first, second, third = enqueue(conn, ACME, 3, allowance=TWO)
    (fourth,) = enqueue(conn, ACME, allowance=TWO)
    assert ready(conn) == [first, second]

    leases = claim(conn, 10)

    assert [lease.attempt.task_id for lease in leases] == [first, second]
    assert claim(conn, 10) == []
    end(conn, leases[1])
    assert ready(conn) == [third]
    end(conn, leases[0])
    assert ready(conn) == [third, fourth]


def test_a_cap_of_one_workspace_is_no_cap_of_another(conn: Connection) -> None:
    enqueue(conn, ACME, 3, allowance=Allowance(capacity=1))
    enqueue(conn, OTHER, 3)

    assert len(claim(conn, 10)) == 4


def _retry(conn: Connection, lease: Lease) -> None:
    assert tasks.retry(conn, lease.attempt, after(NOW, 10.0), "busy", NOW)


def _retry_and_promote(conn: Connection, lease: Lease) -> None:
    _retry(conn, lease)
    assert tasks.promote_due(conn, after(NOW, 10.0)) == 1


def _hand_back(conn: Connection, lease: Lease) -> None:
    assert tasks.hand_back(conn, lease.attempt, NOW)


def _lose(conn: Connection, _lease: Lease) -> None:
    assert tasks.requeue_lost(conn, [WORKER], 10, NOW) == []


@pytest.mark.parametrize("way", [_retry, _retry_and_promote, _hand_back, _lose])
def test_a_task_that_runs_again_keeps_its_place_in_flight(
    conn: Connection, way: Callable[[Connection, Lease], None]
) -> None:
    enqueue(conn, ACME, 3, allowance=TWO)
    lease = claim_one(conn)

    way(conn, lease)

    assert states(conn)["waiting"] == 1
    tasks.promote_due(conn, after(NOW, 10.0))
    again = claim(conn, 10)
    assert lease.attempt.task_id in {one.attempt.task_id for one in again}
    assert len(again) == 2
    end(conn, *again)
    assert states(conn) == {"done": 2, "ready": 1}


def test_a_failed_task_and_one_that_is_given_up_make_room_too(conn: Connection) -> None:
    enqueue(conn, ACME, 3, allowance=Allowance(capacity=1))
    tasks.finish(conn, [failure(claim_one(conn))], NOW)
    assert states(conn) == {"done": 1, "ready": 1, "waiting": 1}

    claim_one(conn)
    given_up = tasks.requeue_lost(conn, [WORKER], 1, NOW)
    tasks.finish(conn, [failure(lease) for lease in given_up], NOW)

    assert states(conn) == {"done": 2, "ready": 1}


def test_one_end_of_a_batch_that_was_lost_makes_no_room(conn: Connection) -> None:
    enqueue(conn, ACME, 4, allowance=TWO)
    one, lost = claim(conn, 2)
    tasks.hand_back(conn, lost.attempt, NOW)

    tasks.finish(conn, [success(one), failure(lost), success(one)], NOW)

    assert states(conn) == {"done": 1, "ready": 2, "waiting": 1}


def test_ends_of_several_workspaces_in_one_batch_make_room_in_each(conn: Connection) -> None:
    enqueue(conn, ACME, 4, allowance=TWO)
    enqueue(conn, OTHER, 2, allowance=Allowance(capacity=1))

    end(conn, *claim(conn, 10))

    assert states(conn, ACME) == {"done": 2, "ready": 2}
    assert states(conn, OTHER) == {"done": 1, "ready": 1}


# -- who is next ----------------------------------------------------------------------------------


def test_what_waits_becomes_ready_by_priority_and_then_by_age(conn: Connection) -> None:
    one_only = Allowance(capacity=1)
    (running,) = enqueue(conn, ACME, allowance=one_only)
    lease = claim_one(conn)
    low, normal, later_normal, high, later_high, later_low = (
        enqueue(conn, ACME, allowance=one_only, priority=priority)[0]
        for priority in (
            Priority.LOW, Priority.NORMAL, Priority.NORMAL,
            Priority.HIGH, Priority.HIGH, Priority.LOW,
        )
    )  # fmt: skip
    end(conn, lease)

    order = [lease.attempt.task_id for lease in served(conn, 6)]

    assert order == [high, later_high, normal, later_normal, low, later_low]
    assert running not in order


def test_a_newcomer_is_next_however_many_tasks_another_workspace_has(conn: Connection) -> None:
    enqueue(conn, ACME, 10_000, allowance=Allowance(capacity=1_000))
    served(conn, 3)

    (only,) = enqueue(conn, OTHER)

    assert only in {lease.attempt.task_id for lease in served(conn, 2)}


def test_a_newcomer_is_soon_next_even_when_all_those_tasks_are_urgent(conn: Connection) -> None:
    enqueue(conn, ACME, 500, priority=Priority.HIGH, allowance=Allowance(capacity=100))
    served(conn, 3)

    (only,) = enqueue(conn, OTHER)

    assert only in {lease.attempt.task_id for lease in served(conn, LEAD + 2)}


@pytest.mark.parametrize("capacity", [0, 3])
def test_weight_gives_shares_as_long_as_all_want_more(conn: Connection, capacity: int) -> None:
    enqueue(conn, ACME, 25, allowance=Allowance(weight=4, capacity=capacity))
    enqueue(conn, OTHER, 25, allowance=Allowance(weight=1, capacity=capacity))

    shares = Counter(lease.workspace_id for lease in served(conn, 25))

    assert shares[ACME] == pytest.approx(20, abs=1)
    # And what nobody else wants is there for whoever does.
    shares.update(lease.workspace_id for lease in served(conn, 25))
    assert shares == {ACME: 25, OTHER: 25}


def test_a_workspace_that_was_away_cannot_save_up_turns(conn: Connection) -> None:
    enqueue(conn, OTHER, 1, allowance=TWO)
    enqueue(conn, ACME, 100, allowance=TWO)
    served(conn, 50)

    enqueue(conn, OTHER, 50, allowance=TWO)

    shares = Counter(lease.workspace_id for lease in served(conn, 20))
    assert shares[OTHER] == pytest.approx(10, abs=1)


# -- priority -------------------------------------------------------------------------------------


def test_an_urgent_task_takes_the_place_of_a_lesser_one_that_is_ready(conn: Connection) -> None:
    first, last = enqueue(conn, ACME, 2, allowance=TWO)
    (patient,) = enqueue(conn, ACME, allowance=TWO)

    (urgent,) = enqueue(conn, ACME, allowance=TWO, priority=Priority.HIGH)

    assert ready(conn) == [first, urgent]
    # The one that it put off is the next of its kind.
    assert [lease.attempt.task_id for lease in served(conn, 4)] == [first, urgent, last, patient]


def test_the_least_urgent_is_put_off_first(conn: Connection) -> None:
    allowance = Allowance(capacity=3)
    (low,) = enqueue(conn, ACME, allowance=allowance, priority=Priority.LOW)
    normal, late = enqueue(conn, ACME, 2, allowance=allowance)

    one, two = enqueue(conn, ACME, 2, allowance=allowance, priority=Priority.HIGH)

    assert set(ready(conn)) == {normal, one, two}
    assert [lease.attempt.task_id for lease in served(conn, 5)][-2:] == [late, low]


def test_an_urgent_task_puts_off_no_equal_nor_one_that_runs_nor_anothers(conn: Connection) -> None:
    (running,) = enqueue(conn, ACME, allowance=TWO)
    lease = claim_one(conn)
    (equal,) = enqueue(conn, ACME, allowance=TWO, priority=Priority.HIGH)
    others = enqueue(conn, OTHER, 5, priority=Priority.LOW)

    (urgent,) = enqueue(conn, ACME, allowance=TWO, priority=Priority.HIGH)

    assert set(ready(conn)) == {equal, *others}
    assert lease.attempt.task_id == running
    end(conn, lease)
    assert urgent in ready(conn)


def test_only_an_urgent_task_puts_others_off(conn: Connection) -> None:
    low = enqueue(conn, ACME, 2, allowance=TWO, priority=Priority.LOW)

    enqueue(conn, ACME, allowance=TWO)

    assert ready(conn) == low


def test_who_puts_a_small_task_off_pays_for_a_large_one(conn: Connection) -> None:
    """Else a workspace got more than its share by sending large urgent tasks after small ones."""
    one_only = Allowance(capacity=1)
    enqueue(conn, ACME, allowance=one_only)
    before = conn.scalar(select(turn.c.vtime))

    enqueue(conn, ACME, allowance=one_only, priority=Priority.HIGH, options=Options(n=8))

    assert before is not None
    assert conn.scalar(select(turn.c.vtime)) == before + 7 * IMAGE_COST


# -- another share --------------------------------------------------------------------------------


def test_more_become_ready_at_once_when_the_cap_is_raised_and_none_when_it_is_lowered(
    conn: Connection,
) -> None:
    enqueue(conn, ACME, 10, allowance=TWO)

    assert tasks.set_share(conn, ACME, 5, 1) == 3
    assert states(conn) == {"ready": 5, "waiting": 5}

    assert tasks.set_share(conn, ACME, 1, 1) == 0
    # What is in flight comes to its end; the next is let in when all but none have.
    end(conn, *claim(conn, 4))
    assert states(conn) == {"done": 4, "ready": 1, "waiting": 5}
    end(conn, claim_one(conn))
    assert states(conn) == {"done": 5, "ready": 1, "waiting": 4}

    assert tasks.set_share(conn, ACME, 0, 1) == 4
    assert states(conn) == {"done": 5, "ready": 5}


def test_another_weight_holds_for_what_becomes_ready_from_now_on(conn: Connection) -> None:
    enqueue(conn, ACME, 40, allowance=TWO)
    enqueue(conn, OTHER, 40, allowance=TWO)

    tasks.set_share(conn, ACME, 2, 4)

    shares = Counter(lease.workspace_id for lease in served(conn, 25))
    assert shares[ACME] == pytest.approx(20, abs=2)


def test_a_submit_under_another_plan_lets_in_those_that_waited(conn: Connection) -> None:
    old = enqueue(conn, ACME, 5, allowance=TWO)

    (new,) = enqueue(conn, ACME, allowance=Allowance(capacity=4))

    assert ready(conn) == old[:4]
    assert new not in ready(conn)


def test_a_workspace_that_never_submitted_has_no_share_to_change(conn: Connection) -> None:
    assert tasks.set_share(conn, ACME, 5, 1) == 0
    assert conn.execute(select(turn)).all() == []


def test_another_plan_holds_at_once_for_what_is_in_the_queue(conn: Connection) -> None:
    plans = Plans(
        [plan_of("small", concurrency=1), plan_of("large", concurrency=3, weight=4)], "small"
    )
    workspace = new_workspace(conn, plan="small").id
    enqueue(conn, workspace, 5, allowance=Allowance(capacity=1))

    set_plan(conn, plans, workspace, "large")

    assert states(conn, workspace) == {"ready": 3, "waiting": 2}
    row = conn.execute(select(turn)).one()
    assert (row.capacity, row.weight) == (3, 4)


def test_of_many_that_may_become_ready_a_portion_does_and_fill_does_the_rest(
    conn: Connection,
) -> None:
    enqueue(conn, ACME, 2 * PORTION + 10, allowance=Allowance(capacity=1))
    enqueue(conn, OTHER, 3, allowance=Allowance(capacity=1))

    assert tasks.set_share(conn, ACME, 0, 1) == PORTION
    conn.execute(update(turn).where(turn.c.workspace_id == OTHER).values(capacity=2))
    filled = [tasks.fill(conn, 1) for _ in range(4)]

    assert sorted(filled, reverse=True) == [PORTION, 9, 1, 0]
    assert states(conn) == {"ready": 2 * PORTION + 10}
    assert states(conn, OTHER) == {"ready": 2, "waiting": 1}


def test_fill_leaves_alone_who_has_no_room_or_nothing_that_waits(conn: Connection) -> None:
    enqueue(conn, ACME, 5, allowance=TWO)
    enqueue(conn, OTHER, 5)
    before = ready(conn)

    assert tasks.fill(conn, 10) == 0

    assert ready(conn) == before


# -- pauses ---------------------------------------------------------------------------------------


def test_no_task_pauses_for_longer_than_a_quarter_of_an_hour(conn: Connection) -> None:
    enqueue(conn, ACME)

    assert tasks.retry(conn, claim_one(conn).attempt, after(NOW, 86_400.0), "rate limited", NOW)

    assert conn.scalar(select(task.c.run_at)) == after(NOW, LONGEST_PAUSE)
    assert tasks.promote_due(conn, Micros(after(NOW, LONGEST_PAUSE) - 1)) == 0
    assert tasks.promote_due(conn, after(NOW, LONGEST_PAUSE)) == 1


def test_a_clock_that_was_set_back_keeps_nobody_waiting(conn: Connection) -> None:
    enqueue(conn, ACME, 2)
    one, two = claim(conn, 2)
    tasks.retry(conn, one.attempt, after(NOW, 1.0), "busy", NOW)
    tasks.retry(conn, two.attempt, after(NOW, LONGEST_PAUSE), "busy", NOW)

    # An hour back: no pause that was written by this clock would be so long.
    assert tasks.promote_due(conn, after(NOW, -3600.0)) == 2


def test_a_pause_of_the_longest_kind_is_not_taken_for_one_from_before(conn: Connection) -> None:
    enqueue(conn, ACME)
    tasks.retry(conn, claim_one(conn).attempt, after(NOW, LONGEST_PAUSE), "busy", NOW)

    assert tasks.promote_due(conn, NOW) == 0


def test_what_is_due_is_promoted_in_portions_the_longest_due_first(conn: Connection) -> None:
    count = SWEPT + 5
    enqueue(conn, ACME, count)
    for number, lease in enumerate(claim_for(conn, WORKER, count, NOW)):
        assert tasks.retry(conn, lease.attempt, after(NOW, count - number), "busy", NOW)

    assert tasks.promote_due(conn, after(NOW, count)) == SWEPT
    assert conn.scalar(select(func.min(task.c.run_at))) == after(NOW, SWEPT + 1)
    assert tasks.promote_due(conn, after(NOW, count)) == 5


# -- the clock of the queue -----------------------------------------------------------------------


def test_a_claim_that_finds_nothing_moves_nothing(conn: Connection) -> None:
    assert claim_for(conn, OTHER_WORKER, 5, NOW) == []

    assert conn.scalar(select(queue_clock.c.vtime)) == 0
