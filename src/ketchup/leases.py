"""Leases: how a worker process proves that it still lives, and when it must stop trusting itself.

The protocol. A worker process has a random id and one row here, whatever number of tasks it holds.
It moves `expires_at` forward every third of the time to live (`ttl`). Any worker may reap a row
that has expired: what it had leased goes back to the queue under a new attempt number, and the old
attempt can write nothing any more, because every write names (id, attempt, worker).

A lease is only as good as its worker's row. A worker that slept through its own reaping may still
claim before it notices, and one may leave something behind when it stops: what is held by a worker
without a row is lost too, and goes back at the next sweep.

The row is judged by the wall clock, because several processes share it. The worker judges itself by
its monotonic clock, from the moment *before* it sent the renewal, and lets go `margin` earlier:

    trusted until = sent + ttl - margin          reaped not before = written + ttl

`sent <= written`, so a worker has stopped before anybody else starts. A worker never reaps itself:
a wall clock that jumps forward would make it throw away its own work.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import BigInteger, Column, Connection, String, Table, delete, insert, select, update

from ketchup.clock import Clock, Micros, after
from ketchup.db import metadata
from ketchup.ids import WorkerId

worker = Table(
    "worker",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("started_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
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


def register(conn: Connection, worker_id: WorkerId, terms: Terms, now: Micros) -> None:
    """Enter a new worker process."""
    row = {"id": worker_id, "started_at": now, "expires_at": after(now, terms.ttl)}
    conn.execute(insert(worker), row)


def renew_unless_reaped(conn: Connection, worker_id: WorkerId, terms: Terms, now: Micros) -> bool:
    """Prolong the lease. False means that another worker has taken over."""
    prolonged = conn.execute(
        update(worker).where(worker.c.id == worker_id).values(expires_at=after(now, terms.ttl))
    )
    return prolonged.rowcount == 1


def reap_expired(conn: Connection, now: Micros, *, reaper: WorkerId) -> list[WorkerId]:
    """Remove the rows of dead workers and return their ids.

    The caller requeues what they held in the same transaction, else it would be nobody's.
    """
    dead = delete(worker).where(worker.c.expires_at < now, worker.c.id != reaper)
    return [row.id for row in conn.execute(dead.returning(worker.c.id))]


def remove(conn: Connection, worker_ids: Sequence[WorkerId]) -> None:
    """Take workers off the list that are known to have ended."""
    conn.execute(delete(worker).where(worker.c.id.in_(worker_ids)))


def without_row(conn: Connection, holders: Collection[WorkerId]) -> list[WorkerId]:
    """Return those of these workers that have no row: what they hold is nobody's."""
    known = set(conn.execute(select(worker.c.id).where(worker.c.id.in_(holders))).scalars())
    return sorted(set(holders) - known)


def list_others(conn: Connection, worker_id: WorkerId) -> list[WorkerId]:
    """Return every other worker's id: after a start on SQLite they are all dead."""
    return [row.id for row in conn.execute(select(worker.c.id).where(worker.c.id != worker_id))]
