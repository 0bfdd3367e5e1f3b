"""What a workspace sees of its callbacks: a list of them with their attempts, and one sent again.

Why a receiver could not be reached is for the operator: it could tell a stranger what our network
looks like inside.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    bindparam,
    case,
    func,
    null,
    select,
    update,
)

from ketchup.clock import Micros, after
from ketchup.db import LOOK_AT_MOST, Columns, read_page
from ketchup.ids import DeliveryId, TaskId, WorkspaceId
from ketchup.webhooks.deliveries import TEST, DeliveryState, delivery, delivery_attempt
from ketchup.webhooks.destinations import find_disabled

SHOWN_ATTEMPTS: Final = 20
"""Attempts of a delivery that are shown, the newest."""
MOST_ATTEMPTS: Final = 100
"""Attempts after which a delivery is not sent again."""
REST_SECONDS: Final = 10.0
"""How long a delivery that has ended rests before it is sent again."""
_UNREACHED: Final = "the address could not be reached"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which deliveries of a workspace to list, newest first."""

    limit: int
    before: str | None = None
    """Only ids that sort before this one: where the page before has ended."""
    task_id: str | None = None
    state: DeliveryState | None = None


@dataclass(frozen=True, slots=True)
class Try:
    """One attempt: the status that was answered, or a sentence for why none was."""

    number: int
    started_at: Micros
    status_code: int | None
    error: str | None


@dataclass(frozen=True, slots=True)
class Shown:
    """A delivery as its workspace sees it."""

    id: DeliveryId
    task_id: TaskId
    url: str
    state: DeliveryState
    created_at: Micros
    next_at: Micros | None
    """When it is tried next; None while it is being tried, and when it has ended."""
    finished_at: Micros | None
    is_test: bool
    attempts: tuple[Try, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """Some deliveries, and the id to go on `before`; None behind the last page."""

    deliveries: tuple[Shown, ...]
    following: str | None


class Redelivery(StrEnum):
    """What came of asking for another delivery."""

    OWED = "owed"
    ABSENT = "absent"  # or another workspace's
    OPEN = "open"  # it has not ended
    RESTING = "resting"  # it has ended just now
    EMPTY = "empty"  # its task was deleted
    WORN = "worn"  # it was tried too often
    DISABLED = "disabled"  # its destination is


def list_page(
    conn: Connection,
    workspace_id: WorkspaceId,
    wanted: Wanted,
    *,
    look_at_most: int = LOOK_AT_MOST,
) -> Page:
    """Return the newest deliveries that are wanted.

    A page may have fewer than its limit, even none, while others follow.
    """
    span = _span(workspace_id, wanted)
    rows, following = read_page(
        conn, span, partial(_fits, wanted), wanted.limit, look_at_most=look_at_most
    )
    return Page(_with_attempts(conn, rows), following)


def find(conn: Connection, workspace_id: WorkspaceId, delivery_id: str) -> Shown | None:
    """Return one delivery; None when it is absent or belongs to another workspace."""
    found = select(*_SHOWN).where(
        delivery.c.id == delivery_id, delivery.c.workspace_id == workspace_id
    )
    shown = _with_attempts(conn, conn.execute(found).all())
    return shown[0] if shown else None


def redeliver(
    conn: Connection, workspace_id: WorkspaceId, delivery_id: str, now: Micros
) -> Redelivery:
    """Owe a delivery that has ended once more, with its id, its bytes and a whole schedule.

    The numbers of its attempts go on.
    """
    row = conn.execute(_LOCK, {"id": delivery_id, "workspace": workspace_id}).first()
    if row is None:
        return Redelivery.ABSENT
    outcome = _hindrance(row, now)
    if outcome is not Redelivery.OWED:
        return outcome
    if find_disabled(conn, {(workspace_id, row.origin)}):
        return Redelivery.DISABLED
    conn.execute(_OWE, {"b_id": delivery_id, "now": now})
    return Redelivery.OWED


def _hindrance(row: Row[*tuple[Any, ...]], now: Micros) -> Redelivery:
    if row.state == DeliveryState.PENDING:
        return Redelivery.OPEN
    if not row.size:
        return Redelivery.EMPTY
    if row.attempt >= MOST_ATTEMPTS:
        return Redelivery.WORN
    # Clocks differ a little, and one that was set back must not keep it for long.
    rests = after(now, -REST_SECONDS) < row.finished_at < after(now, REST_SECONDS)
    # What was set aside has bothered nobody.
    return Redelivery.RESTING if rests and row.note is None else Redelivery.OWED


def _span(workspace_id: WorkspaceId, wanted: Wanted) -> Select[Any]:
    c = delivery.c
    span = select(*_SHOWN).where(c.workspace_id == workspace_id)
    if wanted.before is not None:
        span = span.where(c.id < wanted.before)
    if wanted.task_id is not None:
        span = span.where(c.task_id == wanted.task_id)
    return span.order_by(c.workspace_id.desc(), c.id.desc())


def _fits(wanted: Wanted, found: Columns) -> list[ColumnElement[bool]]:
    match wanted.state:
        case None:
            return []
        case DeliveryState.DISABLED:
            return [found.note == DeliveryState.DISABLED.value]
        case DeliveryState.DEAD:
            is_set_aside = func.coalesce(found.note, "") == DeliveryState.DISABLED.value
            return [found.state == DeliveryState.DEAD.value, ~is_set_aside]
        case state:
            return [found.state == state.value]


def _with_attempts(conn: Connection, rows: Sequence[Row[Any]]) -> tuple[Shown, ...]:
    ids = [row.id for row in rows]
    attempts: dict[str, list[Try]] = {one: [] for one in ids}
    for row in conn.execute(_ATTEMPTS, {"ids": ids}) if ids else ():
        error = None if row.error is None else _told(row.error)
        attempts[row.delivery_id].append(Try(row.number, row.started_at, row.status_code, error))
    return tuple(_shown(row, attempts[row.id]) for row in rows)


def _shown(row: Row[Any], attempts: Iterable[Try]) -> Shown:
    return Shown(
        id=DeliveryId(row.id),
        task_id=TaskId(row.task_id),
        url=row.url,
        state=DeliveryState.DISABLED
        if row.note == DeliveryState.DISABLED.value
        else DeliveryState(row.state),
        is_test=row.note == TEST,
        created_at=Micros(row.created_at),
        next_at=row.next_at,
        finished_at=row.finished_at,
        attempts=tuple(attempts),
    )


def _told(error: str) -> str:
    return error if error.startswith(_TELLABLE) else _UNREACHED


# What the sender itself says, which quotes nobody and tells nothing of our network.
_TELLABLE: Final = ("the worker ", "no answer within ")
_SHOWN: Final = tuple(
    delivery.c[name]
    for name in ("id", "task_id", "url", "state", "created_at", "next_at", "finished_at", "note")
)
_AGE: Final = func.row_number().over(
    partition_by=delivery_attempt.c.delivery_id, order_by=delivery_attempt.c.number.desc()
)
_OF_THEM: Final = (
    select(delivery_attempt, _AGE.label("age"))
    .where(delivery_attempt.c.delivery_id.in_(bindparam("ids", expanding=True)))
    .subquery()
)
_ATTEMPTS: Final = (
    select(_OF_THEM)
    .where(_OF_THEM.c.age <= SHOWN_ATTEMPTS)
    .order_by(_OF_THEM.c.delivery_id, _OF_THEM.c.number)
)
_LOCK: Final = (
    select(
        delivery.c.state,
        delivery.c.finished_at,
        delivery.c.attempt,
        delivery.c.origin,
        delivery.c.note,
        func.length(delivery.c.body).label("size"),
    )
    .where(delivery.c.id == bindparam("id"), delivery.c.workspace_id == bindparam("workspace"))
    .with_for_update()
)
_OWE: Final = (
    update(delivery)
    .where(delivery.c.id == bindparam("b_id"))
    .values(
        state=DeliveryState.PENDING.value,
        tries=0,
        next_at=bindparam("now"),
        finished_at=null(),
        note=case((delivery.c.note == TEST, TEST), else_=null()),
    )
)
