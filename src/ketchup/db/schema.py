"""The tables' registry, and what each database says in its own words about them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Index,
    MetaData,
    Select,
    TextClause,
    func,
    select,
    text,
)

from ketchup.clock import Clock, Micros, after

metadata: Final = MetaData(
    naming_convention={
        "ix": "%(table_name)s_%(column_0_N_name)s",
        "uq": "%(table_name)s_%(column_0_N_name)s_unique",
        "ck": "%(table_name)s_%(constraint_name)s",
        "fk": "%(table_name)s_%(column_0_N_name)s_refers",
        "pk": "%(table_name)s_key",
    }
)
"""Every feature's tables are registered here."""

WHERE: Final = "where"
CHURNS: Final = "churns"
"""`info={CHURNS: True}` on a table: its rows are updated again and again while they are wanted."""


def partial_index(
    name: str, *keys: str | ColumnElement[Any] | TextClause, where: ColumnElement[bool] | TextClause
) -> Index:
    """Return an index of the rows that `where` holds for: small, however large the table grows.

    A query uses it when its condition says the same in literals. PostgreSQL is told by
    `postgres.teach`, because its own argument would load its dialect at every start on SQLite.
    """
    return Index(name, *keys, sqlite_where=where, info={WHERE: where})


def distinct_by_index(column: Column[Any], where: ColumnElement[bool]) -> Select[Any]:
    """Return a query for the different values of a column that leads an index of these rows.

    It steps from value to value; DISTINCT would read every row.
    """
    step = select(func.min(column).label("value")).where(where).cte("step", recursive=True)
    following = select(func.min(column)).where(where, column > step.c.value).scalar_subquery()
    steps = step.union_all(select(following).where(step.c.value.is_not(None)))
    return select(steps.c.value).where(steps.c.value.is_not(None))


def now(conn: Connection, clock: Clock) -> Micros:
    """Return the time that everybody who shares this database agrees on.

    PostgreSQL is asked, once a second by each connection, because the machines around it may
    disagree; a SQLite file has one process, and its clock counts.
    """
    if conn.dialect.name == "sqlite":
        return clock.now()
    began = clock.monotonic()
    known: tuple[Micros, float] | None = conn.info.get(_READ)
    if known is None or not 0 <= began - known[1] < _READ_EVERY_SECONDS:
        told = Micros(conn.execute(_POSTGRES_NOW).scalar_one())
        known = told, clock.monotonic()
        if known[1] - began < _READ_WITHIN_SECONDS:
            conn.info[_READ] = known
        return told
    # A question for the time at each transaction would be a fifth of what a worker asks.
    told, told_at = known
    return after(told, began - told_at)


def storable(text: str) -> str:
    """Replace what PostgreSQL cannot keep: NUL, and halves of characters.

    For texts that others have written; what callers send is judged where it comes in.
    """
    return text.replace("\0", "?").encode(errors="replace").decode()


def lock_names(conn: Connection, table: str, names: Iterable[str]) -> None:
    """Keep others from making these rows until this transaction ends: they cannot be locked yet.

    Whoever calls this for the same rows waits, and then has to look for them again. SQLite has one
    writer.
    """
    if conn.dialect.name == "sqlite":
        return
    for name in sorted(names):
        conn.execute(_POSTGRES_LOCK, {"name": f"{table} {name}"})


_READ: Final = "ketchup_time"
"""Where a connection keeps the server's time, and the moment at which it was read."""
_READ_EVERY_SECONDS: Final = 1.0
_READ_WITHIN_SECONDS: Final = 0.05  # an answer that took longer may be as much behind
_POSTGRES_LOCK: Final = text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))")
_POSTGRES_NOW: Final = text("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")
