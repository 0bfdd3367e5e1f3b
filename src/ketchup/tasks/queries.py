"""Reading tasks. Every read names the workspace: there is no way to ask for a task without one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Row, bindparam, select

from ketchup.clock import Micros
from ketchup.ids import TaskId, WorkspaceId
from ketchup.money import Credits
from ketchup.tasks.table import Status, of_workspaces, task


@dataclass(frozen=True, slots=True)
class Task:
    """What a poll shows of a task."""

    id: TaskId
    model: str
    status: Status
    images: tuple[str, ...] | None
    """The names of the stored images; None before success."""
    consumed: Credits
    reason: str | None
    created_at: Micros


def get_many(conn: Connection, wanted: Sequence[tuple[WorkspaceId, str]]) -> list[Task | None]:
    """Return each task in order; None for one that is absent, deleted or another workspace's."""
    asked = {
        "ids": list({task_id for _, task_id in wanted}),
        "workspaces": list({workspace for workspace, _ in wanted}),
    }
    rows = {row.id: row for row in conn.execute(_BY_IDS, asked)}
    found = ((workspace, rows.get(task_id)) for workspace, task_id in wanted)
    return [
        _task(row) if row is not None and row.workspace_id == workspace else None
        for workspace, row in found
    ]


def _task(row: Row[*tuple[Any, ...]]) -> Task:
    return Task(
        id=TaskId(row.id),
        model=row.model,
        status=_STATUS[row.status],
        images=_IMAGES.decode(row.result) if row.result is not None else None,
        consumed=Credits(row.consumed),
        reason=row.reason,
        created_at=Micros(row.created_at),
    )


_STATUS: Final = {status.value: status for status in Status}
_IMAGES: Final = msgspec.json.Decoder(tuple[str, ...])
_BY_IDS: Final = select(
    task.c.id,
    task.c.workspace_id,
    task.c.model,
    task.c.status,
    task.c.result,
    task.c.consumed,
    task.c.reason,
    task.c.created_at,
).where(
    task.c.id.in_(bindparam("ids", expanding=True)),
    of_workspaces(bindparam("workspaces", expanding=True)),
    task.c.deleted_at.is_(None),
)
