"""Taking a task out of the queue before anybody runs it, or finding and signalling who does.

A signal is for the engines that charge: whoever has the task goes on, for the pictures are paid
for, and no way leads back to the queue any more. Only then is `cancel_requested_at` written.

The turn is locked before the task here, and not behind it as elsewhere: whoever lets waiting tasks
in holds the turn and then changes them. So a task that another transaction has is not waited for
but passed over, as in `turns.overtake`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec
from sqlalchemy import Connection, bindparam, null, or_, select, update

from ketchup.clock import Micros
from ketchup.ids import KeyId, TaskId, WorkspaceId
from ketchup.tasks.lease import LEASE_COLUMNS, Attempt, Lease, lease_of
from ketchup.tasks.recovery import NEVER_TWICE
from ketchup.tasks.table import QueueState, Status, attempt, in_state, task
from ketchup.tasks.turns import let_in, lock_turns


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """A task that has left the queue: what is to be settled with it."""

    id: TaskId
    callback_url: str | None
    model: str
    key_id: KeyId
    environment: str
    images: tuple[str, ...]
    """What its row keeps of its references."""


def lock_leased(conn: Connection, workspace_id: WorkspaceId, task_id: str) -> Lease | None:
    """Lock a workspace's task and return the lease that holds it; None when nobody has it."""
    row = conn.execute(_LOCK_LEASED, {"id": task_id, "workspace": workspace_id}).first()
    return None if row is None else lease_of(row)


def may_be_charged(conn: Connection, task_id: TaskId) -> bool:
    """Whether an engine has the task now that charges for it, as far as is known.

    Exact for who has locked the task: a start writes to the journal under that lock.
    """
    return conn.execute(_MAY_BE_CHARGED, {"id": task_id}).first() is not None


def signal(conn: Connection, task_id: TaskId, now: Micros) -> None:
    """Let a task that is locked and leased never go back to the queue; the first signal counts."""
    conn.execute(_SIGNAL, {"b_id": task_id, "now": now})


def lock_signalled(conn: Connection, a: Attempt) -> Lease | None:
    """Lock the task that this attempt holds, and return the lease when it is signalled."""
    fence = {"id": a.task_id, "number": a.number, "worker": a.worker_id}
    row = conn.execute(_LOCK_SIGNALLED, fence).first()
    return None if row is None else lease_of(row)


def withdraw(
    conn: Connection, workspace_id: WorkspaceId, task_id: str, reason: str, now: Micros
) -> Withdrawn | None:
    """End a task as failed that no worker has, and let in what waited behind it.

    Returns None when there is no such task in the queue, or when another transaction is moving it.
    Settle its hold in the same transaction.
    """
    turns = lock_turns(conn, [workspace_id])
    row = conn.execute(_LOCK_QUEUED, {"id": task_id, "workspace": workspace_id}).first()
    if row is None:
        return None
    conn.execute(_END, {"b_id": task_id, "b_reason": reason, "now": now})
    if row.queue_state == QueueState.WAITING:
        turns.withdraw(workspace_id)
    else:
        turns.leave({workspace_id: 1})
    let_in(conn, turns)
    turns.store(conn)
    return Withdrawn(
        TaskId(row.id),
        row.callback_url,
        row.model,
        KeyId(row.key_id),
        row.environment,
        _NAMES.decode(row.images),
    )


_NAMES: Final = msgspec.json.Decoder(tuple[str, ...])
_OWN: Final = (task.c.id == bindparam("id"), task.c.workspace_id == bindparam("workspace"))
_QUEUED: Final = (QueueState.WAITING.value, QueueState.READY.value, QueueState.DELAYED.value)
_LOCK_LEASED: Final = (
    select(*LEASE_COLUMNS).where(*_OWN, in_state(QueueState.LEASED)).with_for_update()
)
_MAY_BE_CHARGED: Final = select(attempt.c.task_id).where(
    attempt.c.task_id == bindparam("id"),
    attempt.c.outcome.is_(None),
    or_(NEVER_TWICE, attempt.c.cost > 0),
)
_SIGNAL: Final = (
    update(task)
    .where(
        task.c.id == bindparam("b_id"),
        task.c.cancel_requested_at.is_(None),
        in_state(QueueState.LEASED),
    )
    .values(cancel_requested_at=bindparam("now"))
)
_LOCK_SIGNALLED: Final = (
    select(*LEASE_COLUMNS)
    .where(
        task.c.id == bindparam("id"),
        task.c.attempt == bindparam("number"),
        task.c.worker_id == bindparam("worker"),
        task.c.cancel_requested_at.is_not(None),
        in_state(QueueState.LEASED),
    )
    .with_for_update()
)
_LOCK_QUEUED: Final = (
    select(
        task.c.id,
        task.c.queue_state,
        task.c.callback_url,
        task.c.model,
        task.c.key_id,
        task.c.environment,
        task.c.images,
    )
    .where(*_OWN, task.c.queue_state.in_(_QUEUED))
    .with_for_update(skip_locked=True)
)
_END: Final = (
    update(task)
    .where(task.c.id == bindparam("b_id"), task.c.queue_state.in_(_QUEUED))
    .values(
        status=Status.FAILED.value,
        queue_state=QueueState.DONE.value,
        run_at=null(),
        reason=bindparam("b_reason"),
        finished_at=bindparam("now"),
    )
)
