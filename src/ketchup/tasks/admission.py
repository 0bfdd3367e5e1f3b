"""How tasks get in: whose turn it is, what was already asked, and the rows of what was accepted.

Fairness is start-time fair queueing: at submit a task gets its workspace's virtual time, and the
workspace's time moves on by what the task costs the engines. The queue serves the lowest time, so a
workspace with ten thousand waiting tasks does not delay another's first one.

An idempotency key is remembered in the transaction that accepts its task, and for nothing else: a
refused request may be sent again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, NewType

import msgspec
from sqlalchemy import Connection, bindparam, delete, insert, select, tuple_, update

from ketchup.clock import SECOND, Micros, after
from ketchup.ids import KeyId, RequestId, TaskId, WorkspaceId
from ketchup.money import Credits
from ketchup.tasks.table import (
    IDEMPOTENCY_SECONDS,
    Options,
    QueueState,
    Status,
    idempotency,
    queue_clock,
    task,
    turn,
)

Fingerprint = NewType("Fingerprint", bytes)
"""SHA-256 of the parsed request: what makes two requests the same one."""

# What one image moves a workspace's virtual time by. Plans will divide it by their weight.
IMAGE_COST: Final = 1_000


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
class TooSoon:
    """The workspace submits faster than it may; `retry_after` is in seconds."""

    retry_after: float


@dataclass(frozen=True, slots=True)
class Turn:
    """Where a workspace stands: what a task that it is allowed to submit now begins from."""

    vtime: int
    """Its next free place in the fair order."""
    arrival_at: int = 0
    """Its theoretical arrival time once the task is in."""
    is_first: bool = True
    """Whether it has never stood in the order before."""


@dataclass(frozen=True, slots=True)
class RateLimit:
    """Submits per minute with a burst, decided by the generic cell rate algorithm (ITU-T I.371)."""

    per_minute: int
    burst: int

    def admit(self, arrival_at: int, now: Micros) -> int | TooSoon:
        """Return the new theoretical arrival time, or how long to wait."""
        interval = 60 * SECOND // self.per_minute
        burst = interval * self.burst
        if arrival_at > now + burst:
            # Submits never lead further: the clock was set back or the limit was raised since.
            arrival_at = now + burst - interval
        arrival = max(arrival_at, now) + interval
        early = arrival - now - burst
        return TooSoon(early / SECOND) if early > 0 else arrival


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
    # A key past its 48 hours may still have its row: the sweeper comes by only now and then.
    conn.execute(_DROP_KEYS, {"keys": [key.name for key, _ in accepted]})
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


def take_turns(
    conn: Connection,
    requests: Sequence[WorkspaceId],
    limit: RateLimit | None,
    now: Micros,
) -> list[Turn | TooSoon]:
    """Give each request of a workspace its turn, or say: too soon. Nothing is written.

    Only `enqueue` moves a workspace on: what is refused after this costs it neither its place nor
    its rate.
    """
    turns = _lock_turns(conn, set(requests))
    floor = conn.scalar(select(queue_clock.c.vtime)) or 0
    decisions: list[Turn | TooSoon] = []
    for workspace in requests:
        before = turns.get(workspace, Turn(floor))
        arrival = limit.admit(before.arrival_at, now) if limit else before.arrival_at
        if isinstance(arrival, TooSoon):
            decisions.append(arrival)
            continue
        turns[workspace] = Turn(max(before.vtime, floor), arrival, before.is_first)
        decisions.append(turns[workspace])
    return decisions


def enqueue(conn: Connection, accepted: Sequence[tuple[NewTask, Turn]], now: Micros) -> None:
    """Insert the tasks, pending and ready to be claimed, and move their workspaces on."""
    if not accepted:
        return
    after_it: dict[WorkspaceId, Turn] = {}
    rows: list[dict[str, object]] = []
    for new, turn_taken in accepted:
        place = after_it.get(new.workspace_id, turn_taken).vtime
        rows.append(_row(new, place, now))
        after_it[new.workspace_id] = replace(turn_taken, vtime=place + new.options.n * IMAGE_COST)
    _store_turns(conn, after_it)
    conn.execute(insert(task), rows)


def _row(new: NewTask, place: int, now: Micros) -> dict[str, object]:
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
        "queue_state": QueueState.READY,
        "price": new.price,
        "vtime": place,
        "priority": 0,
        "attempt": 0,
        "tries": 0,
        "losses": 0,
        "consumed": 0,
        "created_at": now,
    }


def _lock_turns(conn: Connection, workspaces: Iterable[WorkspaceId]) -> dict[WorkspaceId, Turn]:
    rows = conn.execute(_LOCK_TURNS, {"ids": sorted(workspaces)})
    return {row.workspace_id: Turn(row.vtime, row.arrival_at, is_first=False) for row in rows}


def _store_turns(conn: Connection, turns: Mapping[WorkspaceId, Turn]) -> None:
    new = [_turn_row(workspace, t) for workspace, t in turns.items() if t.is_first]
    old = [_turn_row(workspace, t) for workspace, t in turns.items() if not t.is_first]
    if old:
        conn.execute(_UPDATE_TURN, old)
    if new:
        conn.execute(_INSERT_TURN, new)


def _turn_row(workspace: WorkspaceId, t: Turn) -> dict[str, object]:
    return {"b_id": workspace, "vtime": t.vtime, "arrival_at": t.arrival_at}


_LOCK_TURNS: Final = (
    select(turn)
    .where(turn.c.workspace_id.in_(bindparam("ids", expanding=True)))
    .order_by(turn.c.workspace_id)
    .with_for_update()
)
_UPDATE_TURN: Final = (
    update(turn)
    .where(turn.c.workspace_id == bindparam("b_id"))
    .values(vtime=bindparam("vtime"), arrival_at=bindparam("arrival_at"))
)
_INSERT_TURN: Final = insert(turn).values(
    workspace_id=bindparam("b_id"),
    vtime=bindparam("vtime"),
    arrival_at=bindparam("arrival_at"),
)
_SAME_KEY: Final = tuple_(idempotency.c.workspace_id, idempotency.c.key).in_(
    bindparam("keys", expanding=True)
)
_FIND_KEYS: Final = select(idempotency).where(
    _SAME_KEY, idempotency.c.created_at >= bindparam("oldest")
)
_DROP_KEYS: Final = delete(idempotency).where(_SAME_KEY)
_FORGET_KEYS: Final = delete(idempotency).where(
    tuple_(idempotency.c.workspace_id, idempotency.c.key).in_(
        select(idempotency.c.workspace_id, idempotency.c.key)
        .where(idempotency.c.created_at < bindparam("oldest"))
        .order_by(idempotency.c.created_at)
        .limit(bindparam("most"))
    )
)
