"""The queue: claim, start, finish, and the three ways back.

A claim leases tasks to a worker under a new attempt number. From then on every write names that
attempt; the functions here lock the rows, keep only what is still held, and say `LeaseLost` for the
rest. Nothing is ever written on behalf of an attempt that is no longer the current one, but that it
takes no more room on its channel.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import (
    Connection,
    Row,
    bindparam,
    case,
    exists,
    func,
    null,
    select,
    update,
)

from ketchup import leases
from ketchup.clock import Micros, after
from ketchup.db import change, insertion, insertion_of_new, write_many
from ketchup.ids import TaskId, WorkerId, WorkspaceId
from ketchup.tasks.lease import (
    FAIL,
    LEASE_COLUMNS,
    RESUBMIT,
    Attempt,
    End,
    Lease,
    LeaseLost,
    Outcome,
    Sending,
    lease_of,
)
from ketchup.tasks.table import (
    QueueState,
    Status,
    attempt,
    in_state,
    queue_clock,
    task,
)
from ketchup.tasks.turns import let_in, lock_turns

LONGEST_PAUSE: Final = 900.0
"""Seconds that a task waits for its next try at most."""


def claim(
    conn: Connection,
    worker_id: WorkerId,
    limit: int,
    now: Micros,
    *,
    choose: Callable[[Sequence[Lease]], Sequence[Sending]] = lambda _: (),
) -> list[Lease]:
    """Lease up to `limit` ready tasks, fairest first: pending becomes submitted.

    Nothing, when the worker has been reaped: what it was given now would be nobody's. Those of
    which `choose` says where they are sent to are started as well; they never were before.
    """
    # One statement: who reaps the worker waits for this transaction, or this claim for the reaper.
    rows = conn.execute(_CLAIM, {"worker": worker_id, "now": now, "most": limit}).all()
    if not rows:
        return []
    claimed = [lease_of(row) for row in sorted(rows, key=lambda row: (row.vtime, row.id))]
    sendings, latest = choose(claimed), max(row.vtime for row in rows)
    # Last, as the clock is one row for all workers, locked until the commit.
    write_many(
        conn,
        change(task, _FENCE, [_start_row(s.attempt, now) for s in sendings]),
        insertion(attempt, [_journal_row(s.attempt, s, now) for s in sendings]),
        change(queue_clock, ("id",), [{"id": 1, "vtime": latest}], raised="vtime"),
    )
    return claimed


def start(conn: Connection, starts: Sequence[Sending], now: Micros) -> list[Attempt | LeaseLost]:
    """Write to the journal what is about to be sent: becomes in_progress.

    An attempt whose journal nobody heard of may have been signalled since: it counts as lost.
    """
    held = _lock_held(conn, [s.attempt for s in starts])
    held = {a: row for a, row in held.items() if row.cancel_requested_at is None}
    mine = {s.attempt: s for s in starts if s.attempt in held}
    started = [_start_row(a, now, before=held[a].started_at) for a in mine]
    journalled = [_journal_row(a, mine[a], now) for a in mine]
    # A start is repeated when nobody heard of its commit: the journal has it then.
    write_many(conn, change(task, _FENCE, started), insertion_of_new(attempt, journalled))
    return [s.attempt if s.attempt in held else LeaseLost(s.attempt) for s in starts]


def sent_before(conn: Connection, ids: Iterable[TaskId]) -> dict[TaskId, dict[int, str]]:
    """Return by number the channels that these tasks were sent to, this attempt's included."""
    sent: dict[TaskId, dict[int, str]] = {}
    for row in conn.execute(_SENT, {"ids": list(ids)}):
        sent.setdefault(TaskId(row.task_id), {})[row.number] = row.channel
    return sent


def finish(conn: Connection, ends: Sequence[End], now: Micros) -> list[End | LeaseLost]:
    """End the tasks whose lease is still held, and let in as many that waited behind them.

    Settle their holds in the same transaction.
    """
    held = _lock_held(conn, [end.attempt for end in ends])
    left: Counter[WorkspaceId] = Counter()
    decided: list[End | LeaseLost] = []
    for end in ends:
        row = held.pop(end.attempt, None)  # an attempt that is named twice ends once
        decided.append(end if row else LeaseLost(end.attempt))
        if row:
            left[row.workspace_id] += 1
    mine = [end for end in decided if isinstance(end, End)]
    if mine:
        write_many(
            conn,
            change(task, _FENCE, [_finish_row(end, now) for end in mine]),
            # What a dead worker came to stays unknown, also when its task is given up.
            *(
                change(attempt, _ATTEMPT, closed, unset="outcome")
                for lets_go in (True, False)
                if (closed := [_close_row(end, now) for end in mine if end.lets_go is lets_go])
            ),
        )
    vacate(conn, [e.attempt for e, d in zip(ends, decided, strict=True) if _is_over(e, d)])
    if mine:
        _leave(conn, left)
    return decided


def _is_over(end: End, decided: End | LeaseLost) -> bool:
    return end.lets_go and isinstance(decided, LeaseLost)


def vacate(conn: Connection, attempts: Collection[Attempt]) -> None:
    """Write that these take no more room on their channels. See `in_flight`."""
    rows = [{"task_id": a.task_id, "number": a.number, "occupies_until": None} for a in attempts]
    write_many(conn, change(attempt, _ATTEMPT, rows))


def _leave(conn: Connection, left: Counter[WorkspaceId]) -> None:
    # Turns behind tasks, and accounts behind turns: one order of locks everywhere.
    turns = lock_turns(conn, left)
    turns.leave(left)
    let_in(conn, turns)
    turns.store(conn)


def was_ended(conn: Connection, end: End) -> bool:
    """Whether this very end was written, by a commit that nobody heard of.

    An attempt's number is never used again, so whoever has the task now has another one.
    """
    row = conn.execute(_ENDED_AS, {"id": end.attempt.task_id}).first()
    return row is not None and (row.attempt, row.status) == (end.attempt.number, end.status)


def list_ended_for(conn: Connection, attempts: Iterable[Attempt], reason: str) -> list[Attempt]:
    """Return those of the attempts under whose number a task has ended for this reason."""
    by_name = {(a.task_id, a.number): a for a in attempts}
    ids = {"ids": [task_id for task_id, _ in by_name], "reason": reason}
    rows = conn.execute(_ENDED_FOR, ids)
    return [by_name[name] for row in rows if (name := (row.id, row.attempt)) in by_name]


def retry(conn: Connection, a: Attempt, run_at: Micros, detail: str, now: Micros) -> bool:
    """Let the task run again, not before `run_at`; uses up a try.

    As all ways back it returns False when the lease is lost, or the task is signalled: then it may
    not run again, and whoever holds it ends it.
    """
    values = {
        **_back_to(QueueState.DELAYED),
        "run_at": min(run_at, after(now, LONGEST_PAUSE)),
        "tries": task.c.tries + 1,
    }
    if not conn.execute(_put_back(a).values(values)).rowcount:
        vacate(conn, [a])
        return False
    _close(conn, a, Outcome.RETRY, detail, now)
    return True


def change_channel(conn: Connection, a: Attempt, detail: str, now: Micros) -> bool:
    """Let the task run again at once, without using up a try: nothing was rendered or charged."""
    if not conn.execute(_put_back(a).values(_back_to(QueueState.READY))).rowcount:
        vacate(conn, [a])
        return False
    _close(conn, a, Outcome.RETRY, detail, now)
    return True


def postpone(conn: Connection, a: Attempt, run_at: Micros, now: Micros) -> bool:
    """Let a task that no channel takes wait, without using up a try."""
    run_at = min(run_at, after(now, LONGEST_PAUSE))
    values = {**_back_to(QueueState.DELAYED), "run_at": run_at}
    return bool(conn.execute(_put_back(a).values(values)).rowcount)


def forget_cost(conn: Connection, a: Attempt) -> None:
    """Write that an attempt was not charged."""
    conn.execute(_FREE, {"b_id": a.task_id, "b_number": a.number})


def hand_back(conn: Connection, a: Attempt, now: Micros) -> bool:
    """Give an interrupted task back to the queue; uses up nothing."""
    if not conn.execute(_put_back(a).values(_back_to(QueueState.READY))).rowcount:
        vacate(conn, [a])
        return False
    _close(conn, a, Outcome.INTERRUPTED, None, now)
    return True


def _lock_held(
    conn: Connection, attempts: Iterable[Attempt]
) -> dict[Attempt, Row[*tuple[Any, ...]]]:
    """Lock these tasks, and return who holds each: an attempt that is absent has lost its lease."""
    rows = conn.execute(_LOCK_LEASED, {"ids": [a.task_id for a in attempts]})
    return {Attempt(row.id, row.attempt, row.worker_id): row for row in rows}


def _put_back(a: Attempt) -> Any:  # noqa: ANN401 SQLAlchemy's own name for it is private
    return update(task).where(
        task.c.cancel_requested_at.is_(None),
        task.c.id == a.task_id,
        task.c.attempt == a.number,
        task.c.worker_id == a.worker_id,
        in_state(QueueState.LEASED),
    )


def _back_to(state: QueueState) -> dict[str, Any]:
    return {"queue_state": state.value, "worker_id": null()}


def _close(conn: Connection, a: Attempt, outcome: Outcome, detail: str | None, now: Micros) -> None:
    row = {"b_id": a.task_id, "b_number": a.number, "outcome": outcome, "detail": detail}
    conn.execute(_CLOSE_ATTEMPT, {**row, "now": now})


def _start_row(a: Attempt, now: Micros, before: Micros | None = None) -> dict[str, object]:
    return {
        "id": a.task_id,
        "attempt": a.number,
        "status": Status.IN_PROGRESS,
        "started_at": now if before is None else before,
    }


def _journal_row(a: Attempt, sending: Sending, now: Micros) -> dict[str, object]:
    return {
        "task_id": a.task_id,
        "number": a.number,
        "worker_id": a.worker_id,
        "channel": sending.channel,
        "sent_at": now,
        "images": sending.images,
        "cost": sending.cost,
        "on_unknown": RESUBMIT if sending.is_resubmitted else FAIL,
        "occupies_until": after(now, sending.engine_seconds),
    }


def _finish_row(end: End, now: Micros) -> dict[str, object]:
    return {
        "id": end.attempt.task_id,
        "attempt": end.attempt.number,
        "status": end.status,
        "queue_state": QueueState.DONE,
        "worker_id": None,
        "result": msgspec.json.encode(end.images).decode() if end.images else None,
        "consumed": end.consumed,
        "reason": end.reason,
        "finished_at": now,
    }


def _close_row(end: End, now: Micros) -> dict[str, object]:
    row: dict[str, object] = {
        "task_id": end.attempt.task_id,
        "number": end.attempt.number,
        "outcome": Outcome.UNKNOWN if end.is_unknown else Outcome(end.status.value),
        "detail": end.detail,
        "finished_at": now,
    }
    return {**row, "occupies_until": None} if end.lets_go else row


# The rows that hold an attempt are locked; these find them again.
_FENCE: Final = ("id", "attempt")
_ATTEMPT: Final = ("task_id", "number")
# Chosen once, before anything is updated: PostgreSQL may otherwise choose again for each row, and
# lease more than was asked for.
_FAIREST: Final = (
    select(task.c.id)
    .where(in_state(QueueState.READY))
    .order_by(task.c.vtime, task.c.id)
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True)
    .cte("fairest")
    .prefix_with("MATERIALIZED")
)
_ALIVE: Final = leases.alive(bindparam("worker")).cte("alive")
_CLAIM: Final = (
    update(task)
    .where(task.c.id.in_(select(_FAIREST.c.id)), exists(select(_ALIVE.c.id)))
    .values(
        queue_state=QueueState.LEASED.value,
        worker_id=bindparam("worker"),
        attempt=task.c.attempt + 1,
        # A task that runs again keeps the furthest status it had shown.
        status=case(
            (task.c.status == Status.PENDING.value, Status.SUBMITTED.value), else_=task.c.status
        ),
        submitted_at=func.coalesce(task.c.submitted_at, bindparam("now")),
    )
    .returning(*LEASE_COLUMNS)
)
_LOCK_LEASED: Final = (
    select(
        task.c.id,
        task.c.attempt,
        task.c.worker_id,
        task.c.workspace_id,
        task.c.started_at,
        task.c.cancel_requested_at,
    )
    .where(task.c.id.in_(bindparam("ids", expanding=True)), in_state(QueueState.LEASED))
    .order_by(task.c.id)
    .with_for_update()
)
_CLOSE_ATTEMPT: Final = (
    update(attempt)
    .where(
        attempt.c.task_id == bindparam("b_id"),
        attempt.c.number == bindparam("b_number"),
        attempt.c.outcome.is_(None),
    )
    .values(
        outcome=bindparam("outcome"),
        detail=bindparam("detail"),
        finished_at=bindparam("now"),
        occupies_until=null(),
    )
)
_SENT: Final = select(attempt.c.task_id, attempt.c.number, attempt.c.channel).where(
    attempt.c.task_id.in_(bindparam("ids", expanding=True))
)
_FREE: Final = (
    update(attempt)
    .where(attempt.c.task_id == bindparam("b_id"), attempt.c.number == bindparam("b_number"))
    .values(cost=0)
)
_ENDED_AS: Final = select(task.c.attempt, task.c.status).where(task.c.id == bindparam("id"))
_ENDED_FOR: Final = select(task.c.id, task.c.attempt).where(
    task.c.id.in_(bindparam("ids", expanding=True)),
    task.c.queue_state == QueueState.DONE.value,
    task.c.reason == bindparam("reason"),
)
