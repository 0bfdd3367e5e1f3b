"""Deleting a task: what it said and showed is emptied, and its row stays for the books.

The names of its blobs move to `erasure` in the same transaction, and leave it when the blobs are
gone. So a crash in between loses none of them: `list_doomed` finds what is still there. The
references of a task that ended without its worker take the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Final

import msgspec
from sqlalchemy import Connection, bindparam, delete, null, select, update

from ketchup.clock import Micros
from ketchup.db import insertion_of_new, write_many
from ketchup.ids import WorkspaceId
from ketchup.tasks.table import QueueState, attempt, erasure, task


class Erasure(StrEnum):
    """What came of deleting a task."""

    ERASED = "erased"  # or it had been before
    ABSENT = "absent"  # or another workspace's
    OPEN = "open"  # it has not ended; nothing was written


def erase(
    conn: Connection,
    workspace_id: WorkspaceId,
    task_id: str,
    blobs_among: Callable[[Sequence[str]], Sequence[str]],
    now: Micros,
) -> Erasure:
    """Empty the row of a task that has ended, and remember its blobs to be deleted.

    `blobs_among` says which of the references that a row keeps are blobs.
    """
    row = conn.execute(_LOCK, {"id": task_id, "workspace": workspace_id}).first()
    if row is None:
        return Erasure.ABSENT
    if row.deleted_at is not None:
        return Erasure.ERASED
    if row.queue_state != QueueState.DONE:
        return Erasure.OPEN
    result = [] if row.result is None else _NAMES.decode(row.result)
    doomed = [*result, *blobs_among(_NAMES.decode(row.images))]
    doom(conn, task_id, doomed)
    # A success has a result, also when there is nothing in it any more.
    emptied = null() if row.result is None else _NOTHING
    conn.execute(_EMPTY.values(result=emptied), {"b_id": task_id, "now": now})
    conn.execute(_FORGET_DETAILS, {"b_id": task_id})
    return Erasure.ERASED


def doom(conn: Connection, task_id: str, keys: Sequence[str]) -> None:
    """Remember a task's blobs to be deleted, in the transaction that ends the need for them."""
    if keys:
        rows = [{"key": key, "task_id": task_id} for key in keys]
        write_many(conn, insertion_of_new(erasure, rows))


def list_doomed(conn: Connection, task_id: str | None, most: int) -> list[str]:
    """Return the names of blobs that are still to be deleted: a task's, or anybody's."""
    found = select(erasure.c.key).order_by(erasure.c.key).limit(most)
    if task_id is not None:
        found = found.where(erasure.c.task_id == task_id)
    return list(conn.execute(found).scalars())


def forget_doomed(conn: Connection, keys: Sequence[str]) -> None:
    """Strike out blobs that are gone."""
    if keys:
        conn.execute(_FORGET, {"keys": list(keys)})


_NAMES: Final = msgspec.json.Decoder(tuple[str, ...])
_NOTHING: Final = "[]"
_LOCK: Final = (
    select(task.c.queue_state, task.c.result, task.c.images, task.c.deleted_at)
    .where(task.c.id == bindparam("id"), task.c.workspace_id == bindparam("workspace"))
    .with_for_update()
)
_EMPTY: Final = (
    update(task)
    .where(task.c.id == bindparam("b_id"))
    .values(prompt="", images=_NOTHING, reason=null(), deleted_at=bindparam("now"))
)
_FORGET_DETAILS: Final = (
    update(attempt).where(attempt.c.task_id == bindparam("b_id")).values(detail=null())
)
_FORGET: Final = delete(erasure).where(erasure.c.key.in_(bindparam("keys", expanding=True)))
