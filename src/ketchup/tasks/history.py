"""What a workspace sees of its own tasks: a list of them, and one with all that happened to it.

What is for the operator alone is never read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, Select, select

from ketchup.clock import Micros
from ketchup.db import LOOK_AT_MOST, Columns, read_page
from ketchup.ids import TaskId, WorkspaceId
from ketchup.money import Credits
from ketchup.tasks.table import Options, Status, attempt, of_workspaces, task


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which tasks of a workspace to list, newest first."""

    limit: int
    before: str | None = None
    """Only ids that sort before this one: where the page before has ended."""
    since: str | None = None
    """Only this id and later ones."""
    status: Status | None = None
    model: str | None = None


@dataclass(frozen=True, slots=True)
class Summary:
    """A task in a list: when it came to which status, and what it costs."""

    id: TaskId
    model: str
    status: Status
    price: Credits
    consumed: Credits
    reason: str | None
    created_at: Micros
    submitted_at: Micros | None
    started_at: Micros | None
    finished_at: Micros | None
    environment: str
    """Of the key that it was made with: `live` or `test`."""
    is_deleted: bool
    cancel_requested_at: Micros | None = None
    """Since when it is to run no more, though an engine that charges is at work on it."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some tasks, and the id to go on `before`; None behind the last page."""

    tasks: tuple[Summary, ...]
    following: str | None


@dataclass(frozen=True, slots=True)
class Try:
    """One attempt, without what is for the operator."""

    number: int
    sent_at: Micros
    finished_at: Micros | None
    outcome: str | None
    """None while it runs."""


@dataclass(frozen=True, slots=True)
class History:
    """Everything that a workspace may know of a task of its own."""

    summary: Summary
    prompt: str
    options: Options
    references: int
    """How many images came in."""
    callback_url: str | None
    images: tuple[str, ...] | None
    """The names of the stored images; None before success."""
    attempts: tuple[Try, ...]


def list_page(
    conn: Connection,
    workspace_id: WorkspaceId,
    wanted: Wanted,
    *,
    look_at_most: int = LOOK_AT_MOST,
) -> Page:
    """Return the newest tasks that are wanted.

    A page may have fewer than its limit, even none, while others follow.
    """
    span = _span(workspace_id, wanted)
    rows, following = read_page(
        conn, span, partial(_fits, wanted), wanted.limit, look_at_most=look_at_most
    )
    return Page(tuple(_summary(row) for row in rows), following)


def find_history(conn: Connection, workspace_id: WorkspaceId, task_id: str) -> History | None:
    """Return a task with its attempts; None when it is absent or belongs to another workspace."""
    columns = (*_SUMMARY, task.c.prompt, task.c.options, task.c.images, task.c.callback_url)
    found = select(*columns, task.c.result).where(
        task.c.id == task_id, task.c.workspace_id == workspace_id
    )
    row = conn.execute(found).first()
    return None if row is None else _history(row, _attempts(conn, task_id))


def find_summaries(
    conn: Connection, wanted: Sequence[tuple[WorkspaceId, str]]
) -> list[Summary | None]:
    """Return each task in order; None for one that is absent or belongs to another workspace."""
    ids = {task_id for _, task_id in wanted}
    statement = select(*_SUMMARY, task.c.workspace_id).where(
        task.c.id.in_(ids), of_workspaces({workspace for workspace, _ in wanted})
    )
    rows = {row.id: row for row in conn.execute(statement)}
    found = ((workspace, rows.get(task_id)) for workspace, task_id in wanted)
    return [
        _summary(row) if row is not None and row.workspace_id == workspace else None
        for workspace, row in found
    ]


def _span(workspace_id: WorkspaceId, wanted: Wanted) -> Select[Any]:
    statement = select(*_SUMMARY).where(task.c.workspace_id == workspace_id)
    if wanted.before is not None:
        statement = statement.where(task.c.id < wanted.before)
    if wanted.since is not None:
        statement = statement.where(task.c.id >= wanted.since)
    return statement.order_by(task.c.workspace_id.desc(), task.c.id.desc())


def _fits(wanted: Wanted, found: Columns) -> list[ColumnElement[bool]]:
    fits = [found.deleted_at.is_(None)]
    if wanted.status is not None:
        fits.append(found.status == wanted.status.value)
    if wanted.model is not None:
        fits.append(found.model == wanted.model)
    return fits


def _attempts(conn: Connection, task_id: str) -> tuple[Try, ...]:
    columns = (attempt.c.number, attempt.c.sent_at, attempt.c.finished_at, attempt.c.outcome)
    rows = select(*columns).where(attempt.c.task_id == task_id).order_by(attempt.c.number)
    return tuple(Try(*row) for row in conn.execute(rows))


def _history(row: Row[*tuple[Any, ...]], attempts: Sequence[Try]) -> History:
    return History(
        summary=_summary(row),
        prompt=row.prompt,
        options=msgspec.json.decode(row.options, type=Options),
        references=len(_NAMES.decode(row.images)),
        callback_url=row.callback_url,
        images=_NAMES.decode(row.result) if row.result is not None else None,
        attempts=tuple(attempts),
    )


def _summary(row: Row[*tuple[Any, ...]]) -> Summary:
    return Summary(
        id=TaskId(row.id),
        model=row.model,
        status=Status(row.status),
        price=Credits(row.price),
        consumed=Credits(row.consumed),
        reason=row.reason,
        created_at=Micros(row.created_at),
        submitted_at=row.submitted_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        environment=row.environment,
        is_deleted=row.deleted_at is not None,
        cancel_requested_at=row.cancel_requested_at,
    )


_NAMES: Final = msgspec.json.Decoder(tuple[str, ...])
_SUMMARY: Final = (
    task.c.id,
    task.c.model,
    task.c.status,
    task.c.price,
    task.c.consumed,
    task.c.reason,
    task.c.created_at,
    task.c.submitted_at,
    task.c.started_at,
    task.c.finished_at,
    task.c.environment,
    task.c.deleted_at,
    task.c.cancel_requested_at,
)
