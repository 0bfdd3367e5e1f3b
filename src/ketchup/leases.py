"""Leases: how a worker process proves that it still lives, and when it must stop trusting itself.

The protocol. A worker process has a random id and one row here, whatever number of tasks it holds.
It raises the row's `beat` every third of the time to live (`ttl`). Every worker watches the rows of
all others; one whose beat has not changed for `ttl` is dead, and whoever sees it first removes the
row. What it had leased goes back to the queue under a new attempt number, and the old attempt can
write nothing any more, because every write names (id, attempt, worker).

A lease is only as good as its worker's row: what is held by a worker without one is lost too, and
goes back at the next sweep. Who claims locks the row, so that nobody can be given anything while it
is being removed.

No wall clock takes part: the clocks of several machines disagree, and each may jump. A worker
judges itself by its own monotonic clock, from the moment *before* it sent the renewal, and lets go
`margin` earlier; a watcher judges by its own, from the moment *after* it read the beat:

    trusted until = sent + ttl - margin          removed not before = read + ttl

`sent <= read`, so a worker has stopped before anybody else starts. A row is removed only with the
beat that was watched: a watcher that was asleep itself does no harm.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Select,
    String,
    Table,
    bindparam,
    delete,
    insert,
    select,
    update,
)

from ketchup.clock import Clock, Micros
from ketchup.db import CHURNS, metadata
from ketchup.ids import WorkerId

worker = Table(
    "worker",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("started_at", BigInteger, nullable=False),
    # Raised by each renewal.
    Column("beat", BigInteger, nullable=False),
    # Milliseconds without a new beat after which it is dead. Its own: others may be set otherwise.
    Column("ttl_ms", BigInteger, nullable=False),
    info={CHURNS: True},
    sqlite_with_rowid=False,
)

MARGIN_FRACTION: Final = 0.2


@dataclass(frozen=True, slots=True)
class Terms:
    """How long a lease lasts, in seconds."""

    ttl: float = 15.0

    @property
    def renew_every(self) -> float:
        """Two renewals may be lost before the lease is."""
        return self.ttl / 3

    @property
    def trusted_for(self) -> float:
        """How long after asking for a renewal the worker may still act on it."""
        return self.ttl * (1 - MARGIN_FRACTION)


_DEFAULT_TERMS: Final = Terms()


class Trust:
    """A worker's own view of its lease."""

    def __init__(self, terms: Terms, clock: Clock) -> None:
        self._terms = terms
        self._clock = clock
        self._until = clock.monotonic()

    def renewed(self, sent: float) -> None:
        """Trust the lease for another term, counted from `sent` on the monotonic clock."""
        self._until = sent + self._terms.trusted_for

    @property
    def remaining(self) -> float:
        """Seconds left; zero or less means: let go of everything now."""
        return self._until - self._clock.monotonic()


@dataclass(frozen=True, slots=True)
class Beat:
    """What a worker's row says: how often it has renewed, and for how many seconds that counts."""

    count: int
    ttl: float


class Watch:
    """A worker's view of all the others: since when it has not seen each one's beat change."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seen: dict[WorkerId, tuple[Beat, float]] = {}

    def find_silent(self, beats: Mapping[WorkerId, Beat]) -> dict[WorkerId, Beat]:
        """Take note of beats that were just read; return those that have lasted a whole term."""
        now = self._clock.monotonic()
        self._seen = {
            worker_id: before
            if (before := self._seen.get(worker_id)) and before[0] == beat
            else (beat, now)
            for worker_id, beat in beats.items()
        }
        return {
            worker_id: beat
            for worker_id, (beat, since) in self._seen.items()
            if now - since >= beat.ttl
        }


def register(
    conn: Connection, worker_id: WorkerId, now: Micros, terms: Terms = _DEFAULT_TERMS
) -> None:
    """Enter a new worker process."""
    row = {"id": worker_id, "started_at": now, "beat": 0, "ttl_ms": round(terms.ttl * 1000)}
    conn.execute(insert(worker), row)


def renew_unless_reaped(conn: Connection, worker_id: WorkerId) -> bool:
    """Prolong the lease. False means that another worker has taken over."""
    return conn.execute(_RENEW, {"b_id": worker_id}).rowcount == 1


def alive(worker_id: ColumnElement[str]) -> Select[tuple[str]]:
    """Select the worker's id if it may claim; then nobody removes it before the transaction ends.

    For a claim that asks in its own statement.
    """
    # Locked against removal, and not against a renewal.
    return (
        select(worker.c.id)
        .where(worker.c.id == worker_id)
        .with_for_update(read=True, key_share=True)
    )


def lock_alive(conn: Connection, worker_id: WorkerId) -> bool:
    """Whether the worker may claim; if so, nobody removes it before this transaction ends."""
    return conn.execute(_LOCK_ALIVE, {"b_id": worker_id}).first() is not None


def lock_alone(conn: Connection, worker_id: WorkerId) -> bool:
    """Do the same behind every claim of this worker, also one whose commit is still under way."""
    return conn.execute(_LOCK_ALONE, {"b_id": worker_id}).first() is not None


def beats_of_others(conn: Connection, worker_id: WorkerId) -> dict[WorkerId, Beat]:
    """Return the beat of every other worker. One never reaps itself: it would know better."""
    rows = conn.execute(select(worker).where(worker.c.id != worker_id))
    return {WorkerId(row.id): Beat(row.beat, row.ttl_ms / 1000) for row in rows}


def reap_silent(conn: Connection, silent: Mapping[WorkerId, Beat]) -> int:
    """Remove the rows of workers that still have the beat that was watched; return how many.

    The caller requeues what they held in the same transaction, else it would be nobody's.
    """
    return sum(
        conn.execute(_REAP, {"b_id": worker_id, "b_beat": beat.count}).rowcount
        for worker_id, beat in sorted(silent.items())
    )


def remove(conn: Connection, worker_ids: Sequence[WorkerId]) -> None:
    """Take workers off the list that are known to have ended."""
    conn.execute(delete(worker).where(worker.c.id.in_(worker_ids)))


def without_row(conn: Connection, holders: Collection[WorkerId]) -> list[WorkerId]:
    """Return those of these workers that have no row: what they hold is nobody's."""
    if not holders:
        return []
    known = set(conn.execute(select(worker.c.id).where(worker.c.id.in_(holders))).scalars())
    return sorted(set(holders) - known)


def list_others(conn: Connection, worker_id: WorkerId) -> list[WorkerId]:
    """Return every other worker's id: after a start on SQLite they are all dead."""
    return list(beats_of_others(conn, worker_id))


_RENEW: Final = (
    update(worker).where(worker.c.id == bindparam("b_id")).values(beat=worker.c.beat + 1)
)
_LOCK_ALIVE: Final = alive(bindparam("b_id"))
_LOCK_ALONE: Final = select(worker.c.id).where(worker.c.id == bindparam("b_id")).with_for_update()
_REAP: Final = delete(worker).where(
    worker.c.id == bindparam("b_id"), worker.c.beat == bindparam("b_beat")
)
