"""The tables of webhooks, and how a delivery comes to be owed.

A row of `delivery` is in one of three places, and CHECK constraints allow no fourth:

    waiting    pending, `next_at` says when it is due
    leased     pending, `worker_id` says who tries it since `claimed_at`
    ended      delivered or dead, `finished_at` says since when

`attempt` numbers the leases and never goes back; `tries` counts those that used up a step of the
schedule, which an interrupted or lost attempt does not. `delivery_attempt` keeps what came of each
attempt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from urllib.parse import urlsplit

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Connection,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    bindparam,
    insert,
    null,
    update,
)

from ketchup.clock import Micros
from ketchup.db import CHURNS, metadata, partial_index
from ketchup.ids import TaskId, WorkspaceId, delivery_id
from ketchup.webhooks.destinations import find_disabled

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


class DeliveryState(StrEnum):
    """How far a delivery is. Only pending is not final."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"
    DISABLED = "disabled"
    """Not sent, because its destination is disabled. Stored as dead, with this as its note."""


delivery: Final = Table(
    "delivery",
    metadata,
    Column("id", String, primary_key=True),
    Column("workspace_id", String, nullable=False),
    Column("task_id", String, nullable=False, unique=True),
    Column("url", String, nullable=False),
    Column("origin", String, nullable=False),
    Column("state", String, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("next_at", BigInteger),
    Column("worker_id", String),
    Column("claimed_at", BigInteger),
    Column("created_at", BigInteger, nullable=False),
    Column("finished_at", BigInteger),
    # Last, so that what reads the columns above never walks through a large body.
    Column("body", LargeBinary, nullable=False),
    # A test, or what is not sent because its destination is disabled.
    Column(
        "note",
        String(12),
        CheckConstraint(
            "note IS NULL OR note = 'test' OR (note = 'disabled' AND state = 'dead')",
            name="note_is_known",
        ),
    ),
    CheckConstraint("state IN ('pending', 'delivered', 'dead')", name="state_is_known"),
    CheckConstraint(
        "(state = 'pending') = (next_at IS NOT NULL OR worker_id IS NOT NULL)",
        name="pending_waits_or_is_leased",
    ),
    CheckConstraint("next_at IS NULL OR worker_id IS NULL", name="leased_is_not_due"),
    CheckConstraint("(worker_id IS NULL) = (claimed_at IS NULL)", name="leased_since"),
    CheckConstraint("(state = 'pending') = (finished_at IS NULL)", name="ended_since"),
    CheckConstraint("tries >= 0 AND tries <= attempt", name="tries_are_attempts"),
    # A workspace's own list, newest first.
    Index("delivery_of_workspace", "workspace_id", "id"),
    info={CHURNS: True},
    sqlite_with_rowid=False,
)
"""One row per callback owed."""

# Both conditions follow from any comparison with the column, so that both databases use these
# indexes without being shown the condition. They stay as small as what waits or is leased.
_WAITING: Final = delivery.c.next_at.is_not(None)
_LEASED: Final = delivery.c.worker_id.is_not(None)
partial_index("delivery_due", delivery.c.next_at, delivery.c.id, delivery.c.origin, where=_WAITING)
partial_index("delivery_leased", delivery.c.worker_id, delivery.c.origin, where=_LEASED)

delivery_attempt: Final = Table(
    "delivery_attempt",
    metadata,
    Column("delivery_id", ForeignKey(delivery.c.id, ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("started_at", BigInteger, nullable=False),
    Column("duration_ms", Integer, nullable=False),
    Column("status_code", Integer),
    Column("error", String),
    Column("worker_id", String, nullable=False),
    CheckConstraint("(status_code IS NULL) <> (error IS NULL)", name="answered_or_not"),
    CheckConstraint("number > 0 AND duration_ms >= 0", name="counts_forward"),
    sqlite_with_rowid=False,
)
"""One row per attempt: the status that was answered, or a short private reason for no answer."""


@dataclass(frozen=True, slots=True)
class NewDelivery:
    """A callback to be owed. `url` was judged when the task was accepted."""

    task_id: TaskId
    workspace_id: WorkspaceId
    url: str
    body: bytes


def enqueue(conn: Connection, deliveries: Sequence[NewDelivery], now: Micros) -> None:
    """Owe these callbacks from now on. Call it in the transaction that ends their tasks.

    The sender of this process learns of them by `Sender.wake` after the commit.
    """
    if not deliveries:
        return
    disabled = find_disabled(conn, {(new.workspace_id, origin_of(new.url)) for new in deliveries})
    rows = [_row(new, now) for new in deliveries]
    for row in rows:
        if (row["workspace_id"], row["origin"]) in disabled:
            row.update(SET_ASIDE, next_at=None, finished_at=now)
    conn.execute(insert(delivery), rows)


def enqueue_test(conn: Connection, new: NewDelivery, now: Micros) -> None:
    """Owe one attempt at a receiver, disabled or not. Its success enables it again."""
    conn.execute(insert(delivery), _row(new, now) | {"note": TEST})


def forget(conn: Connection, task_id: str, now: Micros) -> None:
    """Empty the body of a task's callback, because the task is deleted; one still owed is dead.

    Whoever tries it just now loses its lease, and what comes of that is not kept.
    """
    conn.execute(_EMPTY, {"task": task_id})
    conn.execute(_GIVE_UP, {"task": task_id, "now": now})


def origin_of(url: str) -> str:
    """Return `scheme://host:port`: what counts as one receiver.

    A URL that cannot be split is its own origin: it must not keep its task from ending, and its
    attempts will fail one after another.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or _DEFAULT_PORTS[parts.scheme]
    except (ValueError, KeyError):
        return url
    host = (parts.hostname or "").rstrip(".")
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def _row(new: NewDelivery, now: Micros) -> dict[str, str | int | bytes | None]:
    return {
        "id": delivery_id(new.task_id),
        "workspace_id": new.workspace_id,
        "task_id": new.task_id,
        "url": new.url,
        "origin": origin_of(new.url),
        "state": DeliveryState.PENDING,
        "attempt": 0,
        "tries": 0,
        "next_at": now,
        "created_at": now,
        "finished_at": None,
        "body": new.body,
        "note": None,
    }


TEST: Final = "test"
SET_ASIDE: Final = {"state": DeliveryState.DEAD.value, "note": DeliveryState.DISABLED.value}
_OF_TASK: Final = delivery.c.task_id == bindparam("task")
_EMPTY: Final = update(delivery).where(_OF_TASK).values(body=b"")
_GIVE_UP: Final = (
    update(delivery)
    .where(_OF_TASK, delivery.c.state == DeliveryState.PENDING.value)
    .values(
        state=DeliveryState.DEAD.value,
        next_at=null(),
        worker_id=null(),
        claimed_at=null(),
        finished_at=bindparam("now"),
    )
)
