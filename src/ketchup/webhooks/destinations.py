"""Destinations: the receivers of a workspace that fail, and those that are disabled for it.

A destination is a workspace and an origin. One that answers has no row. Its failures are counted;
when there were several within a day, its clock starts, and when that has run for 120 hours without
one success, the next failure disables it: what waits for it is set aside, and so is what is owed to
it from then on. A 410 disables at once. One success, a test's too, and all is forgotten; what was
set aside can then be sent again. (After Svix, whose clock is the same.)

It is a workspace's own: what one customer's receiver does says nothing about another's.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Connection,
    Integer,
    Row,
    String,
    Table,
    bindparam,
    delete,
    select,
    tuple_,
    update,
)

from ketchup.clock import SECOND, Micros
from ketchup.db import CHURNS, insert_new, metadata
from ketchup.ids import WorkspaceId

_HOUR: Final = 3600 * SECOND
SEVERAL: Final = 5
"""Failures within a day that start the clock."""
_COUNTED_WITHIN: Final = 24 * _HOUR
PATIENCE: Final = 120 * _HOUR
"""How long only failures may come before the destination is disabled."""
SHOWN: Final = 100

Destination = tuple[WorkspaceId, str]
"""A workspace, and the origin of a receiver."""

destination: Final = Table(
    "destination",
    metadata,
    Column("workspace_id", String, primary_key=True),
    Column("origin", String, primary_key=True),
    Column("failures", Integer, nullable=False),
    Column("counted_since", BigInteger, nullable=False),
    # When the clock started; null while there were not several within a day.
    Column("failing_since", BigInteger),
    Column("last_failure_at", BigInteger, nullable=False),
    Column("disabled_at", BigInteger),
    Column("reason", String(12)),
    CheckConstraint("failures >= 0", name="counts_failures"),
    CheckConstraint("(disabled_at IS NULL) = (reason IS NULL)", name="disabled_by"),
    info={CHURNS: True},
    sqlite_with_rowid=False,
)


class Verdict(StrEnum):
    """What an attempt says about its destination."""

    GOOD = "good"
    BAD = "bad"
    GONE = "gone"


class Reason(StrEnum):
    """Why a destination was disabled."""

    FAILING = "failing"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Seen:
    """An attempt that ended."""

    destination: Destination
    at: Micros
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Health:
    """How a destination that fails does."""

    failures: int
    counted_since: Micros
    failing_since: Micros | None
    last_failure_at: Micros
    disabled_at: Micros | None = None
    reason: Reason | None = None


@dataclass(frozen=True, slots=True)
class Disabled:
    """A destination that has failed just now and is disabled, by that or before."""

    destination: Destination
    at: Micros


@dataclass(frozen=True, slots=True)
class ShownDestination:
    """A destination as its workspace sees it."""

    origin: str
    failures: int
    failing_since: Micros | None
    last_failure_at: Micros
    disabled_at: Micros | None
    reason: Reason | None


def after_attempt(health: Health | None, at: Micros, verdict: Verdict) -> Health | None:
    """Say how a destination does after an attempt; None when there is nothing to remember.

    Pure. One that is disabled stays so until a success.
    """
    if verdict is Verdict.GOOD:
        return None
    if health is None:
        health = Health(0, at, None, at)
    fresh = health.failing_since is None and at - health.counted_since > _COUNTED_WITHIN
    counted_since = at if fresh else health.counted_since
    failures = 1 if fresh else min(health.failures + 1, _MOST)
    since = health.failing_since
    if since is None and failures >= SEVERAL:
        since = at
    disabled_at, reason = health.disabled_at, health.reason
    if disabled_at is None and verdict is Verdict.GONE:
        disabled_at, reason = at, Reason.GONE
    elif disabled_at is None and since is not None and at - since >= PATIENCE:
        disabled_at, reason = at, Reason.FAILING
    return Health(
        failures, counted_since, since, max(at, health.last_failure_at), disabled_at, reason
    )


def judge(conn: Connection, seen: Sequence[Seen]) -> list[Disabled]:
    """Count these attempts in the order of their ends; return which receivers are disabled.

    One that was disabled before is among them: what was being tried then would go on otherwise.
    Where all is well nothing is written. Rows are locked in the order of their keys.
    """
    known = _locked(conn, {one.destination for one in seen})
    failed = {one.destination for one in seen if one.verdict is not Verdict.GOOD}
    bad = sorted(failed - known.keys())
    # Made first, so that two who see the first failure at once do not overwrite each other.
    if bad:
        conn.execute(insert_new(destination), [_unseen(one, seen) for one in bad])
        known |= _locked(conn, bad)
    disabled = []
    for key in sorted(known):
        health: Health | None = _health(known[key])
        for one in sorted((s for s in seen if s.destination == key), key=lambda s: s.at):
            health = after_attempt(health, one.at, one.verdict)
        _store(conn, key, health)
        if health is not None and health.disabled_at is not None:
            disabled.append(Disabled(key, health.last_failure_at))
    return disabled


def find_disabled(conn: Connection, wanted: Collection[Destination]) -> set[Destination]:
    """Return those of these destinations that are disabled."""
    rows = conn.execute(_DISABLED, {"wanted": sorted(wanted)})
    return {(WorkspaceId(row.workspace_id), row.origin) for row in rows}


def list_destinations(conn: Connection, workspace_id: WorkspaceId) -> list[ShownDestination]:
    """Return a workspace's destinations that fail, the disabled ones first; 100 at most."""
    c = destination.c
    rows = conn.execute(
        select(destination)
        .where(c.workspace_id == workspace_id)
        .order_by(c.disabled_at.is_(None), c.last_failure_at.desc(), c.origin)
        .limit(SHOWN)
    )
    return [_shown(row) for row in rows]


def enable(conn: Connection, workspace_id: WorkspaceId, origin: str) -> bool:
    """Forget what a destination did, so that it is sent callbacks again; False if nothing was."""
    c = destination.c
    theirs = (c.workspace_id == workspace_id, c.origin == origin)
    return conn.execute(delete(destination).where(*theirs)).rowcount > 0


_MOST: Final = 1_000_000


def _locked(conn: Connection, wanted: Collection[Destination]) -> dict[Destination, Row[Any]]:
    rows = conn.execute(_LOCK, {"wanted": sorted(wanted)})
    return {(WorkspaceId(row.workspace_id), row.origin): row for row in rows}


def _unseen(key: Destination, seen: Sequence[Seen]) -> dict[str, Any]:
    """Return the row of a destination before its first failure is counted."""
    at = min(one.at for one in seen if one.destination == key)
    return {
        "workspace_id": key[0],
        "origin": key[1],
        "failures": 0,
        "counted_since": at,
        "last_failure_at": at,
    }


def _store(conn: Connection, key: Destination, health: Health | None) -> None:
    c = destination.c
    of_key = (c.workspace_id == key[0], c.origin == key[1])
    if health is None:
        conn.execute(delete(destination).where(*of_key))
    else:
        conn.execute(update(destination).where(*of_key).values(asdict(health)))


def _health(row: Row[Any]) -> Health:
    return Health(
        failures=row.failures,
        counted_since=row.counted_since,
        failing_since=row.failing_since,
        last_failure_at=row.last_failure_at,
        disabled_at=row.disabled_at,
        reason=None if row.reason is None else Reason(row.reason),
    )


def _shown(row: Row[Any]) -> ShownDestination:
    return ShownDestination(
        origin=row.origin,
        failures=row.failures,
        failing_since=row.failing_since,
        last_failure_at=Micros(row.last_failure_at),
        disabled_at=row.disabled_at,
        reason=None if row.reason is None else Reason(row.reason),
    )


_AMONG: Final = tuple_(destination.c.workspace_id, destination.c.origin).in_(
    bindparam("wanted", expanding=True)
)
_LOCK: Final = (
    select(destination)
    .where(_AMONG)
    .order_by(destination.c.workspace_id, destination.c.origin)
    .with_for_update()
)
_DISABLED: Final = select(destination.c.workspace_id, destination.c.origin).where(
    _AMONG, destination.c.disabled_at.is_not(None)
)
