"""A store that works, and refuses what a test names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, event, text

from ketchup.db import Database


@contextmanager
def only_reading(database: Database) -> Iterator[None]:
    """Let every transaction that begins in the body be refused its writes, as by a full standby."""
    engines = {lane._engine for lane in database._lanes.all()}

    def begin(conn: Connection) -> None:
        if conn.dialect.name == "sqlite":
            conn.exec_driver_sql("PRAGMA query_only=ON")
        else:
            conn.exec_driver_sql("SET TRANSACTION READ ONLY")

    for engine in engines:
        event.listen(engine, "begin", begin)
    try:
        yield
    finally:
        for engine in engines:
            event.remove(engine, "begin", begin)


def refuse(conn: Connection, change: str, table: str) -> None:
    """Have each INSERT into a table, or each UPDATE of it, fail as a mistake does."""
    trigger = f"CREATE TRIGGER broken BEFORE {change} ON {table}"
    if conn.dialect.name == "sqlite":
        conn.execute(text(f"{trigger} BEGIN SELECT RAISE(ABORT, 'the store is broken'); END"))
    else:
        raising = "BEGIN RAISE ''the store is broken''; END"
        conn.execute(
            text(f"CREATE FUNCTION broken() RETURNS trigger LANGUAGE plpgsql AS '{raising}'")
        )
        conn.execute(text(f"{trigger} EXECUTE FUNCTION broken()"))


def accept_again(conn: Connection, table: str) -> None:
    """Undo `refuse`."""
    if conn.dialect.name == "sqlite":
        conn.execute(text("DROP TRIGGER broken"))
    else:
        conn.execute(text(f"DROP TRIGGER broken ON {table}"))
        conn.execute(text("DROP FUNCTION broken"))
