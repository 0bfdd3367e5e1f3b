"""The simulated store: one real SQLite in memory, shared by all machines, and what can go wrong.

A transaction happens at one instant, whole or not at all, as behind a real one's locks. What is
simulated is everything around that instant: the wait before it, the wait for the answer, a store
that is down, a commit that is undone because the power went, a commit that nobody hears of.

Triggers show every row that a transaction changed, whoever changed it. That is what is judged: not
what the product's functions say they did.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy import Connection

from ketchup.db import SqliteFile, engine_of, metadata
from tests.simulation.machines import Machine

Result = TypeVar("Result")
Row = Mapping[str, Any]

OBSERVED: Final = (
    "task",
    "attempt",
    "hold",
    "entry",
    "account",
    "turn",
    "queue_clock",
    "idempotency",
    "worker",
    "delivery",
    "delivery_attempt",
)


@dataclass(frozen=True, slots=True)
class Change:
    """One row before and after: None before it was made, and after it was removed."""

    table: str
    old: Row | None
    new: Row | None


@dataclass(frozen=True, slots=True)
class Commit:
    """A transaction that was kept."""

    at: float
    asked_at: float
    """When the machine asked for it: it may have waited since."""
    machine: Machine
    changes: Sequence[Change]

    def of(self, table: str) -> list[Change]:
        """Return what it changed in a table, in order."""
        return [change for change in self.changes if change.table == table]


class Undone(Exception):
    """The power went before the commit."""


class Store:
    """The rows that all machines share."""

    def __init__(self, *, reverse: bool) -> None:
        """Open an empty store. `reverse` turns the order of rows for which none was asked."""
        self.engine = engine_of(SqliteFile(Path(":memory:")))
        self._conn = self.engine.connect()
        self._raw = _raw(self._conn)
        self._raw.deserialize(_schema())
        self._raw.execute(f"PRAGMA reverse_unordered_selects={'ON' if reverse else 'OFF'}")
        self._changes: list[Change] = []
        self._watch()

    def transact(self, work: Callable[[Connection], Result], *, undo: bool = False) -> Result:
        """Run `work` in one transaction; raises Undone in the place of a commit if told to."""
        self._changes.clear()
        with self._conn.begin():
            result = work(self._conn)
            if undo:
                raise Undone
        return result

    def take_changes(self) -> Sequence[Change]:
        """Return what the last transaction changed, in its order."""
        changes = list(self._changes)
        self._changes.clear()
        return changes

    def query(self, sql: str) -> list[Any]:
        """Look at the rows from outside, as no machine can."""
        return self._raw.execute(sql).fetchall()

    def close(self) -> None:
        self._conn.close()
        self.engine.dispose()

    def _watch(self) -> None:
        for name in OBSERVED:
            columns = [row[1] for row in self._raw.execute(f"PRAGMA table_info({name})")]
            for event, shown in (("INSERT", "NEW"), ("UPDATE", "OLD NEW"), ("DELETE", "OLD")):
                seen = f"seen_{event.lower()}_{name}"
                self._raw.create_function(seen, -1, self._observer(name, columns, event))
                values = ", ".join(f"{row}.{c}" for row in shown.split() for c in columns)
                self._raw.execute(
                    f"CREATE TEMP TRIGGER {seen} AFTER {event} ON main.{name} "
                    f"BEGIN SELECT {seen}({values}); END"
                )

    def _observer(self, table: str, columns: Sequence[str], event: str) -> Callable[..., None]:
        count = len(columns)

        def seen(*values: object) -> None:
            rows = [
                dict(zip(columns, values[i:], strict=False)) for i in range(0, len(values), count)
            ]
            old = None if event == "INSERT" else rows[0]
            new = None if event == "DELETE" else rows[-1]
            self._changes.append(Change(table, old, new))

        return seen


def _raw(conn: Connection) -> sqlite3.Connection:
    raw: Any = conn.connection.driver_connection
    assert isinstance(raw, sqlite3.Connection)
    return raw


@cache
def _schema() -> bytes:
    """Return an empty database: made once, because making it takes longer than an hour in it."""
    engine = engine_of(SqliteFile(Path(":memory:")))
    with engine.connect() as conn:
        with conn.begin():
            metadata.create_all(conn)
        return _raw(conn).serialize()
