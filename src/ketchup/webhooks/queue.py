"""The queue of deliveries: who may try one, and what came of it.

A lease is given by `claim`, ended by `record`, and taken from lost workers by `requeue_lost`. What
names another lease than the row's changes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final, assert_never

from sqlalchemy import Connection, Row, Select, exists, func, or_, select, tuple_, update

from ketchup.clock import Micros, after
from ketchup.db import change, distinct_by_index, insertion, write_many
from ketchup.ids import DeliveryId, TaskId, WorkerId, WorkspaceId
from ketchup.webhooks.decision import (
    GONE,
    Again,
    Answered,
    Dead,
    Decision,
    Delivered,
    HandedBack,
    Outcome,
    Unanswered,
)
from ketchup.webhooks.deliveries import (
    SET_ASIDE,
    TEST,
    DeliveryState,
    delivery,
    delivery_attempt,
)
from ketchup.webhooks.destinations import Destination, Seen, Verdict, judge

_PAGE: Final = 256
# What the column holds: a wall clock that was set by years must not keep a delivery.
_LONGEST_MS: Final = 2**31 - 1
_LOST: Final = "the worker was lost during this attempt"


_SOONEST: Final = select(func.min(delivery.c.next_at)).where(delivery.c.next_at.is_not(None))
_HOLDERS: Final = distinct_by_index(delivery.c.worker_id, delivery.c.worker_id.is_not(None))
_IN_FLIGHT: Final = (
    select(delivery.c.origin, func.count())
    .where(delivery.c.worker_id.is_not(None))
    .group_by(delivery.c.origin)
)


_NOTHING: Final[Mapping[WorkspaceId, int]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Lease:
    """The right of one worker to make one attempt at one delivery."""

    id: DeliveryId
    attempt: int
    worker_id: WorkerId


@dataclass(frozen=True, slots=True)
class Pending:
    """A delivery that was leased to be tried. `tries` were used up before."""

    lease: Lease
    tries: int
    task_id: TaskId
    workspace_id: WorkspaceId
    url: str
    origin: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Attempted:
    """An attempt that ended, and what follows from it. `tries` does not count this one."""

    lease: Lease
    tries: int
    started_at: Micros
    ended_at: Micros
    duration_ms: int
    outcome: Outcome
    decision: Decision | HandedBack


class Recording(StrEnum):
    """Whether a record was written. A late one named a lease that had been lost."""

    WRITTEN = "written"
    LATE = "late"


def claim(
    conn: Connection,
    worker_id: WorkerId,
    now: Micros,
    *,
    limit: int,
    per_destination: int,
    per_workspace: int | None = None,
    running: Mapping[WorkspaceId, int] = _NOTHING,
) -> list[Pending]:
    """Lease up to `limit` due deliveries, the longest due first.

    No workspace gets more than `per_workspace`, with the `running` ones that its worker names.

    No origin gets more than `per_destination` in flight, counted over all workers; claims that
    overlap on PostgreSQL do not see each other's leases and may exceed it for a moment.
    """
    most = limit if per_workspace is None else per_workspace
    chosen = _choose(conn, now, limit, per_destination, _Shares(most, running, limit))
    if not chosen:
        return []
    leased = conn.execute(
        update(delivery)
        .where(delivery.c.id.in_(chosen), delivery.c.next_at <= now)
        .values(attempt=delivery.c.attempt + 1, next_at=None, worker_id=worker_id, claimed_at=now)
        .returning(
            delivery.c.id,
            delivery.c.attempt,
            delivery.c.tries,
            delivery.c.task_id,
            delivery.c.workspace_id,
            delivery.c.url,
            delivery.c.origin,
            delivery.c.body,
        )
    )
    pending = {row.id: _pending(row, worker_id) for row in leased}
    return [pending[id_] for id_ in chosen if id_ in pending]


def record(conn: Connection, results: Sequence[Attempted]) -> list[Recording]:
    """End the leases of these attempts, and keep what came of each.

    A result whose lease was lost writes nothing: somebody else makes the next attempt, or has.
    """
    held = _held(conn, {result.lease.id for result in results})
    written = [result for result in results if result.lease in held]
    if written:
        write_many(
            conn,
            change(
                delivery,
                _LEASE,
                [_ending(result, is_test=held[result.lease].note == TEST) for result in written],
            ),
            insertion(delivery_attempt, [_attempt(result) for result in written]),
        )
        _judge_destinations(conn, written, held)
    return [Recording.WRITTEN if result.lease in held else Recording.LATE for result in results]


def list_holders(conn: Connection) -> set[WorkerId]:
    """Return every worker that has leased something."""
    return {WorkerId(holder) for holder in conn.execute(_HOLDERS).scalars()}


def requeue_lost(
    conn: Connection,
    worker_ids: Collection[WorkerId],
    now: Micros,
    *,
    keep: Collection[DeliveryId] = (),
) -> int:
    """Make what these workers hold due at once, except `keep`; return how many there were.

    The lost attempt keeps its number and uses up no try: nobody knows what the receiver answered.
    """
    lost = conn.execute(
        select(
            delivery.c.id,
            delivery.c.attempt,
            delivery.c.worker_id,
            delivery.c.tries,
            delivery.c.claimed_at,
        )
        .where(delivery.c.worker_id.in_(worker_ids), delivery.c.id.not_in(keep))
        .with_for_update(skip_locked=True)
    )
    results = [
        Attempted(
            Lease(id_, attempt, worker_id),
            tries,
            started_at=claimed_at,
            ended_at=now,
            duration_ms=min(max(now - claimed_at, 0) // 1000, _LONGEST_MS),
            outcome=Unanswered(_LOST),
            decision=HandedBack(),
        )
        for id_, attempt, worker_id, tries, claimed_at in lost
    ]
    return len(record(conn, results))


def bring_forward(conn: Connection, now: Micros, most: int) -> int:
    """Make due what waits by a clock that has been set back since, and return how much it was.

    What was enqueued or last tried at a time that has not come yet was written by that clock. Looks
    at everything that waits: call it when a clock was set back, and not all the time.
    """
    ahead = (
        select(delivery.c.id)
        .where(
            delivery.c.next_at > now,
            or_(
                delivery.c.created_at > now,
                exists().where(
                    delivery_attempt.c.delivery_id == delivery.c.id,
                    delivery_attempt.c.started_at > now,
                ),
            ),
        )
        .order_by(delivery.c.next_at, delivery.c.id)
        .limit(most)
        .with_for_update(skip_locked=True)
    )
    ids = conn.execute(ahead).scalars().all()
    if ids:
        conn.execute(update(delivery).where(delivery.c.id.in_(ids)).values(next_at=now))
    return len(ids)


def next_due(conn: Connection) -> Micros | None:
    """Return when the next delivery is due, or None when none waits."""
    due: Micros | None = conn.execute(_SOONEST).scalar_one()
    return due


def _pending(row: Row[Any], worker_id: WorkerId) -> Pending:
    return Pending(
        Lease(row.id, row.attempt, worker_id),
        tries=row.tries,
        task_id=row.task_id,
        workspace_id=row.workspace_id,
        url=row.url,
        origin=row.origin,
        body=row.body,
    )


class _Shares:
    """What each workspace may still be given of what a worker runs at once."""

    def __init__(self, most: int, running: Mapping[WorkspaceId, int], limit: int) -> None:
        self._most = most
        self._left = {workspace: most - count for workspace, count in running.items()}
        # Below that no workspace can get too much, whatever is chosen.
        self.are_tight = sum(running.values()) + limit > most

    def used_up(self) -> list[WorkspaceId]:
        return [workspace for workspace, left in self._left.items() if left <= 0]

    def take(self, workspace: WorkspaceId) -> bool:
        left = self._left.setdefault(workspace, self._most)
        self._left[workspace] = left - 1
        return left > 0


def _choose(
    conn: Connection, now: Micros, limit: int, per_destination: int, shares: _Shares
) -> list[DeliveryId]:
    in_flight = _in_flight(conn)
    chosen: list[DeliveryId] = []
    last: tuple[int, str] = (-1, "")
    while len(chosen) < limit:
        full = [origin for origin, count in in_flight.items() if count >= per_destination]
        due = _due(now, full, last)
        page = conn.execute(_not_of(due, shares.used_up()) if shares.are_tight else due).all()
        for row in page:
            last = (row.next_at, row.id)
            has_room = len(chosen) < limit and in_flight[row.origin] < per_destination
            if has_room and (not shares.are_tight or shares.take(row.workspace_id)):
                in_flight[row.origin] += 1
                chosen.append(row.id)
        # What this page passed over belongs to origins that are full by now, or to workspaces that
        # are, so the next page begins behind it.
        if len(page) < _PAGE:
            break
    return chosen


def _in_flight(conn: Connection) -> Counter[str]:
    return Counter(dict(conn.execute(_IN_FLIGHT).all()))


def _due(now: Micros, full: Collection[str], last: tuple[int, str]) -> Select[Any]:
    return (
        select(delivery.c.next_at, delivery.c.id, delivery.c.origin)
        .where(
            delivery.c.next_at <= now,
            tuple_(delivery.c.next_at, delivery.c.id) > last,
            delivery.c.origin.not_in(full),
        )
        .order_by(delivery.c.next_at, delivery.c.id)
        .limit(_PAGE)
        .with_for_update(skip_locked=True)
    )


def _not_of(due: Select[Any], workspaces: Collection[WorkspaceId]) -> Select[Any]:
    """Leave workspaces out. That reads the rows and not the index alone: for tight times."""
    named = due.add_columns(delivery.c.workspace_id)
    return named.where(delivery.c.workspace_id.not_in(workspaces))


def _judge_destinations(
    conn: Connection, written: Sequence[Attempted], held: Mapping[Lease, Row[*tuple[Any, ...]]]
) -> None:
    """Count what receivers answered; what waits for one that is disabled is set aside."""
    seen = [
        Seen(
            (held[result.lease].workspace_id, held[result.lease].origin),
            result.ended_at,
            _verdict(result.outcome, result.decision),
        )
        for result in written
        if not isinstance(result.decision, HandedBack)
    ]
    for disabled in judge(conn, seen):
        set_aside(conn, disabled.destination, disabled.at)


def _verdict(outcome: Outcome, decision: Decision | HandedBack) -> Verdict:
    if isinstance(decision, Delivered):
        return Verdict.GOOD
    gone = isinstance(outcome, Answered) and outcome.status == GONE
    return Verdict.GONE if gone else Verdict.BAD


def set_aside(conn: Connection, destination: Destination, now: Micros) -> None:
    """End what waits for a destination. What is being tried follows when it has failed."""
    workspace_id, origin = destination
    conn.execute(
        update(delivery)
        .where(
            delivery.c.next_at.is_not(None),
            delivery.c.workspace_id == workspace_id,
            delivery.c.origin == origin,
            delivery.c.note.is_(None),
        )
        .values(**SET_ASIDE, next_at=None, finished_at=now)
    )


def _held(conn: Connection, ids: Collection[DeliveryId]) -> dict[Lease, Row[*tuple[Any, ...]]]:
    rows = conn.execute(
        select(
            delivery.c.id,
            delivery.c.attempt,
            delivery.c.worker_id,
            delivery.c.workspace_id,
            delivery.c.origin,
            delivery.c.note,
        )
        .where(delivery.c.id.in_(ids), delivery.c.worker_id.is_not(None))
        .order_by(delivery.c.id)
        .with_for_update()
    )
    return {Lease(row.id, row.attempt, row.worker_id): row for row in rows}


# The rows that these attempts hold are locked.
_LEASE: Final = ("id", "attempt")


def _ending(result: Attempted, *, is_test: bool) -> dict[str, Any]:
    state, next_at, finished_at = DeliveryState.PENDING, None, None
    tries = result.tries + 1
    match result.decision:
        case Delivered():
            state, finished_at = DeliveryState.DELIVERED, result.ended_at
        case Dead():
            state, finished_at = DeliveryState.DEAD, result.ended_at
        case Again() if is_test:
            state, finished_at = DeliveryState.DEAD, result.ended_at
        case Again(delay=delay):
            next_at = after(result.ended_at, delay)
        case HandedBack():
            next_at, tries = result.ended_at, result.tries
        case _:
            assert_never(result.decision)
    return {
        "id": result.lease.id,
        "attempt": result.lease.attempt,
        "state": state,
        "tries": tries,
        "next_at": next_at,
        "worker_id": None,
        "claimed_at": None,
        "finished_at": finished_at,
    }


def _attempt(result: Attempted) -> dict[str, Any]:
    status_code, error = None, None
    match result.outcome:
        case Answered(status=status):
            status_code = status
        case Unanswered(reason=reason):
            error = reason
        case _:
            assert_never(result.outcome)
    return {
        "delivery_id": result.lease.id,
        "number": result.lease.attempt,
        "started_at": result.started_at,
        "duration_ms": result.duration_ms,
        "status_code": status_code,
        "error": error,
        "worker_id": result.lease.worker_id,
    }
