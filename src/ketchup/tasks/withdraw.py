"""Taking a task out of the queue before anybody runs it, or finding who does.

The turn is locked before the task here, and not behind it as elsewhere: whoever lets waiting tasks
in holds the turn and then changes them. So a task that another transaction has is not waited for
but passed over, as in `turns.overtake`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec
from sqlalchemy import Connection, bindparam, null, select, update

from ketchup.clock import Micros
from ketchup.ids import KeyId, TaskId, WorkspaceId
from ketchup.tasks.queue import LEASE_COLUMNS, Lease, lease_of
from ketchup.tasks.table import QueueState, Status, in_state, task
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
