"""The tables' registry, and what each database says in its own words about them."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Index, MetaData, TextClause, text

from ketchup.clock import Clock, Micros

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


def now(conn: Connection, clock: Clock) -> Micros:
    """Return the time that everybody who shares this database agrees on.

    PostgreSQL is asked, because the machines around it may disagree; a SQLite file has one process,
    and its clock counts.
    """
    if conn.dialect.name == "sqlite":
        return clock.now()
    return Micros(conn.execute(_POSTGRES_NOW).scalar_one())


_POSTGRES_NOW: Final = text("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")
