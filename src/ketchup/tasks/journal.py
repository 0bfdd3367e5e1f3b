"""What the operator sees of a task: each time that it was sent, where to, and what that cost.

The prompt and the pictures are the customer's, and not here. For the admin API alone: no workspace
is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, select

from ketchup.clock import Micros
from ketchup.ids import TaskId, WorkspaceId
from ketchup.money import Credits
from ketchup.tasks.table import Status, attempt, task


@dataclass(frozen=True, slots=True)
class Entry:
    """One attempt."""

    number: int
    channel: str
    worker_id: str
    sent_at: Micros
    finished_at: Micros | None
    outcome: str | None
    """None while it runs."""
    detail: str | None
    images: int
    cost: Credits
    """What the operator was charged, or may have been."""


@dataclass(frozen=True, slots=True)
class Journal:
    """A task and its attempts, oldest first."""

    id: TaskId
    workspace_id: WorkspaceId
    model: str
    environment: str
    status: Status
    cancel_requested_at: Micros | None
    price: Credits
    consumed: Credits
    attempts: tuple[Entry, ...]


def find_journal(conn: Connection, task_id: str) -> Journal | None:
    """Return what was sent for a task, whoever's it is; None when there is none."""
    c = task.c
    columns = (c.id, c.workspace_id, c.model, c.environment, c.status, c.price, c.consumed)
    found = select(*columns, c.cancel_requested_at).where(c.id == task_id)
    row = conn.execute(found).first()
    if row is None:
        return None
    return Journal(
        id=TaskId(row.id),
        workspace_id=WorkspaceId(row.workspace_id),
        model=row.model,
        environment=row.environment,
        status=Status(row.status),
        cancel_requested_at=row.cancel_requested_at,
        price=Credits(row.price),
        consumed=Credits(row.consumed),
        attempts=_entries(conn, task_id),
    )


def _entries(conn: Connection, task_id: str) -> tuple[Entry, ...]:
    columns = (attempt.c[name] for name in Entry.__slots__)
    found = select(*columns).where(attempt.c.task_id == task_id).order_by(attempt.c.number)
    return tuple(Entry(*row) for row in conn.execute(found))
