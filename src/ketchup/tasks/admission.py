"""How tasks get in: what was already asked, and the rows of what was accepted.

An idempotency key is remembered in the transaction that accepts its task, and for nothing else: a
refused request may be sent again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NewType

import msgspec
from sqlalchemy import Connection, bindparam, delete, insert, select, tuple_

from ketchup.clock import Micros, after
from ketchup.db import insertion, write_many
from ketchup.ids import KeyId, RequestId, TaskId, WorkspaceId
from ketchup.money import Credits
from ketchup.tasks.fairness import Allowance, Entrant, Priority
from ketchup.tasks.table import (
    IDEMPOTENCY_SECONDS,
    Options,
    QueueState,
    Status,
    idempotency,
    task,
)
from ketchup.tasks.turns import Turns, let_in, overtake

Fingerprint = NewType("Fingerprint", bytes)
"""SHA-256 of the parsed request: what makes two requests the same one."""


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """The caller's own name for a request."""

    workspace_id: WorkspaceId
    key: str
    fingerprint: Fingerprint

    @property
    def name(self) -> tuple[str, str]:
        """What it is found by: two workspaces may use the same key."""
        return self.workspace_id, self.key


@dataclass(frozen=True, slots=True)
class Conflicting:
    """The key was used with another request."""


@dataclass(frozen=True, slots=True)
class NewTask:
    """Everything that is kept of an accepted request."""

    id: TaskId
    workspace_id: WorkspaceId
    key_id: KeyId
    request_id: RequestId
    model: str
    prompt: str
    images: tuple[str, ...]
    callback_url: str | None
    options: Options
    price: Credits
    priority: Priority = Priority.NORMAL
    environment: str = "live"
    """Of its key."""

    @property
    def entrant(self) -> Entrant:
        """What of it decides its place in the queue."""
        return Entrant(self.id, self.workspace_id, self.options.n, self.priority)


def find_keys(
    conn: Connection, keys: Sequence[IdempotencyKey], now: Micros
) -> dict[tuple[str, str], tuple[Fingerprint, TaskId]]:
    """Return what each known key stands for, by its name; a new key is absent."""
    if not keys:
        return {}
    names = list({key.name for key in keys})
    oldest = after(now, -IDEMPOTENCY_SECONDS)
    rows = conn.execute(_FIND_KEYS, {"keys": names, "oldest": oldest})
    return {
        (row.workspace_id, row.key): (Fingerprint(row.fingerprint), TaskId(row.task_id))
        for row in rows
    }


def remember_keys(
    conn: Connection, accepted: Sequence[tuple[IdempotencyKey, TaskId]], now: Micros
) -> None:
    """Keep which task each key stands for."""
    if not accepted:
        return
    # A key past its 48 hours may still have its row: the sweeper comes by only now and then. A
    # younger row is another node's, and makes the insert below fail: then this batch is undone.
    names = [key.name for key, _ in accepted]
    conn.execute(_DROP_KEYS, {"keys": names, "oldest": after(now, -IDEMPOTENCY_SECONDS)})
    conn.execute(
        insert(idempotency),
        [
            {
                "workspace_id": key.workspace_id,
                "key": key.key,
                "fingerprint": key.fingerprint,
                "task_id": task_id,
                "created_at": now,
            }
            for key, task_id in accepted
        ],
    )


def forget_keys(conn: Connection, now: Micros, limit: int) -> int:
    """Remove up to `limit` keys that are past their 48 hours, and return how many."""
    oldest = after(now, -IDEMPOTENCY_SECONDS)
    return conn.execute(_FORGET_KEYS, {"oldest": oldest, "most": limit}).rowcount


def enqueue(
    conn: Connection,
    turns: Turns,
    accepted: Sequence[tuple[NewTask, Allowance]],
    now: Micros,
) -> None:
    """Insert the tasks, pending, and move their workspaces on.

    Each is ready to be claimed, or waits when its workspace has as many in flight as it may.
    """
    if not accepted:
        return
    rows: list[dict[str, object]] = []
    urgent: list[Entrant] = []
    for new, allowance in accepted:
        place = turns.admit(new.entrant, allowance, now)
        rows.append(_row(new, place, now))
        if place is None and new.priority > Priority.NORMAL:
            urgent.append(new.entrant)
    if not urgent and not turns.with_room():
        # Nobody else's place changes: one statement for both.
        write_many(conn, insertion(task, rows), *turns.take_changes())
        return
    write_many(conn, insertion(task, rows))
    let_in(conn, turns)
    overtake(conn, turns, urgent)
    turns.store(conn)


def _row(new: NewTask, place: int | None, now: Micros) -> dict[str, object]:
    state = QueueState.WAITING if place is None else QueueState.READY
    return {
        "id": new.id,
        "workspace_id": new.workspace_id,
        "key_id": new.key_id,
        "request_id": new.request_id,
        "model": new.model,
        "prompt": new.prompt,
        "images": msgspec.json.encode(new.images).decode(),
        "callback_url": new.callback_url,
        "options": msgspec.json.encode(new.options).decode(),
        "status": Status.PENDING,
        "queue_state": state,
        "price": new.price,
        "vtime": place or 0,
        "priority": new.priority,
        "attempt": 0,
        "tries": 0,
        "losses": 0,
        "consumed": 0,
        "created_at": now,
        "environment": new.environment,
    }


_SAME_KEY: Final = tuple_(idempotency.c.workspace_id, idempotency.c.key).in_(
    bindparam("keys", expanding=True)
)
_FIND_KEYS: Final = select(idempotency).where(
    _SAME_KEY, idempotency.c.created_at >= bindparam("oldest")
)
_DROP_KEYS: Final = delete(idempotency).where(
    _SAME_KEY, idempotency.c.created_at < bindparam("oldest")
)
_FORGET_KEYS: Final = delete(idempotency).where(
    tuple_(idempotency.c.workspace_id, idempotency.c.key).in_(
        select(idempotency.c.workspace_id, idempotency.c.key)
        .where(idempotency.c.created_at < bindparam("oldest"))
        .order_by(idempotency.c.created_at)
        .limit(bindparam("most"))
    )
)
