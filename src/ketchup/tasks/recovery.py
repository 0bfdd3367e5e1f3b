"""Recovery: what nobody was told of, what dead workers held, and what has become due."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import ColumnElement, Connection, bindparam, null, select, update

from ketchup.clock import Micros, after
from ketchup.db import distinct_by_index
from ketchup.ids import TaskId, WorkerId
from ketchup.tasks.lease import FAIL, LEASE_COLUMNS, Attempt, Lease, Outcome, lease_of
from ketchup.tasks.queue import LONGEST_PAUSE
from ketchup.tasks.table import QueueState, attempt, in_state, task

PORTION: Final = 500
"""Rows that a sweep moves in one transaction: others have the database in between."""
_EARLIEST: Final = -1
_LATEST: Final = 2**63 - 1


def find_never_twice(conn: Connection, a: Attempt) -> Lease | None:
    """Return the lease of an attempt that was sent to a channel that is never asked twice."""
    if not is_never_twice(conn, a.task_id):
        return None
    return next((lease for lease in list_leases(conn, a.worker_id) if lease.attempt == a), None)


def is_never_twice(conn: Connection, task_id: TaskId) -> bool:
    """Whether a channel that is never asked twice has the task now, and may charge for it.

    Exact for who has locked the task: a start writes to the journal under that lock.
    """
    return conn.execute(_NEVER_TWICE, {"ids": [task_id]}).first() is not None


def promote_due(conn: Connection, now: Micros) -> int:
    """Make delayed tasks ready whose time has come, and return how many.

    No pause is longer than `LONGEST_PAUSE`: what is due later than that was written before the
    clock was set back.
    """
    # One after the other: a query for either end of the index would walk through all of it.
    spans = ((_EARLIEST, now), (after(now, LONGEST_PAUSE), _LATEST))
    return sum(_promote_between(conn, behind, until) for behind, until in spans)


def _promote_between(conn: Connection, behind: int, until: int) -> int:
    span = {"behind": behind, "until": until, "most": PORTION}
    return len(conn.execute(_PROMOTE, span).all())


def list_leases(conn: Connection, worker_id: WorkerId) -> list[Lease]:
    """Return everything that is leased to a worker."""
    return [lease_of(row) for row in conn.execute(_LEASED_TO, {"workers": [worker_id]})]


def list_holders(conn: Connection) -> set[WorkerId]:
    """Return every worker that has leased something."""
    return {WorkerId(holder) for holder in conn.execute(_HOLDERS).scalars()}


def requeue_lost(
    conn: Connection, dead: Sequence[WorkerId], max_losses: int, now: Micros
) -> list[Lease]:
    """Put back what dead workers had leased: as much as `PORTION`, the rest at the next call.

    Returns the leases that must not run again, still held by their dead worker: the caller must
    `finish` them as failed. They were lost too often, for something about such a task kills
    workers; or they had been sent to a channel that is never asked twice; or they are signalled.
    """
    lost = conn.execute(_LOST, {"workers": list(dead), "most": PORTION}).all()
    if not lost:
        return []
    # Tasks before their attempts, as in `start` and `finish`: one order of locks everywhere.
    ids = [row.id for row in lost]
    hopeless = {row.id for row in lost if row.losses + 1 >= max_losses}
    hopeless |= {row.id for row in lost if row.cancel_requested_at is not None}
    hopeless |= set(conn.execute(_NEVER_TWICE, {"ids": ids}).scalars())
    conn.execute(_COUNT_LOSS, {"ids": ids})
    conn.execute(_REQUEUE_LOST, {"ids": [id_ for id_ in ids if id_ not in hopeless]})
    conn.execute(_CLOSE_LOST, {"ids": ids, "now": now})
    return [lease_of(row) for row in lost if row.id in hopeless]


_HELD_BY_THEM: Final[tuple[ColumnElement[bool], ...]] = (
    in_state(QueueState.LEASED),
    task.c.worker_id.in_(bindparam("workers", expanding=True)),
)
_DUE: Final = (
    select(task.c.id)
    .where(
        in_state(QueueState.DELAYED),
        task.c.run_at > bindparam("behind"),
        task.c.run_at <= bindparam("until"),
    )
    .order_by(task.c.run_at)
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True)
    .cte("due")
    .prefix_with("MATERIALIZED")
)
_PROMOTE: Final = (
    update(task)
    .where(task.c.id.in_(select(_DUE.c.id)))
    .values(queue_state=QueueState.READY.value, run_at=null())
    # What counts the rows: Python's driver for SQLite counts none of an UPDATE behind a WITH.
    .returning(task.c.id)
)
_LOST: Final = (
    select(*LEASE_COLUMNS, task.c.cancel_requested_at)
    .where(*_HELD_BY_THEM)
    .order_by(task.c.id)
    .limit(bindparam("most"))
    # Another worker may be about to put the same back.
    .with_for_update(skip_locked=True)
)
NEVER_TWICE: Final = attempt.c.on_unknown == FAIL
_NEVER_TWICE: Final = select(attempt.c.task_id).where(
    attempt.c.task_id.in_(bindparam("ids", expanding=True)),
    attempt.c.outcome.is_(None),
    NEVER_TWICE,
)
_CLOSE_LOST: Final = (
    update(attempt)
    .where(attempt.c.task_id.in_(bindparam("ids", expanding=True)), attempt.c.outcome.is_(None))
    .values(outcome=Outcome.UNKNOWN.value, finished_at=bindparam("now"))
)
_THEM: Final = task.c.id.in_(bindparam("ids", expanding=True))
_COUNT_LOSS: Final = update(task).where(_THEM).values(losses=task.c.losses + 1)
_REQUEUE_LOST: Final = (
    update(task).where(_THEM).values(queue_state=QueueState.READY.value, worker_id=null())
)
_HOLDERS: Final = distinct_by_index(task.c.worker_id, in_state(QueueState.LEASED))
_LEASED_TO: Final = select(*LEASE_COLUMNS).where(*_HELD_BY_THEM)
