"""SQLite: one file, one writer, a log that is kept short."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.pool import NullPool

LOG_LIMIT_BYTES: Final = 64 * 1024 * 1024
_LOG_WAIT_MS: Final = 250
_BUSY_MS: Final = 5000
_PRAGMAS: Final = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA foreign_keys=ON",
    f"PRAGMA busy_timeout={_BUSY_MS}",
    "PRAGMA cache_size=-32768",
    "PRAGMA temp_store=MEMORY",
)


def sqlite_engine(path: Path, *, read_only: bool = False) -> Engine:
    """Return an engine whose connections have our pragmas and explicit transactions."""
    engine = create_engine(
        f"sqlite+pysqlite:///{path}",
        poolclass=NullPool,
        # An error's text goes to the log; prompts and callback bodies must not.
        hide_parameters=True,
        connect_args={"check_same_thread": False, "isolation_level": None},
    )

    def set_up(connection: Any, _record: object) -> None:  # noqa: ANN401 any driver's connection
        for pragma in _PRAGMAS:
            connection.execute(pragma)
        if read_only:
            connection.execute("PRAGMA query_only=ON")

    def begin(connection: Connection) -> None:
        # A writer takes the write lock at once: a transaction that reads first and writes later
        # could find the lock taken half-way.
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

    event.listen(engine, "connect", set_up)
    event.listen(engine, "begin", begin)
    return engine


class Log:
    """The write-ahead log of a SQLite file, kept from growing for ever.

    SQLite starts its log over when it has been copied into the database and nobody reads from it.
    Reads that overlap without a gap never leave it such a moment. Beyond a limit the writer waits a
    little for one; the readers that come meanwhile read the database itself.
    """

    def __init__(self, path: Path, limit: int) -> None:
        """Keep the log of the database at `path` below `limit` bytes."""
        self._path = path.with_name(f"{path.name}-wal")
        self._step = limit
        self._limit = limit

    def keep_short(self, conn: Connection) -> None:
        """Start the log over if it is long. Between transactions only, on the one writer."""
        try:
            size = self._path.stat().st_size
        except OSError:
            return
        if size > self._limit:
            # One that a long read forbids is tried again when the log has grown as much again.
            self._limit = self._step + (0 if _start_log_over(conn) else size)


def _start_log_over(conn: Connection) -> bool:
    connection: Any = conn.connection.driver_connection
    try:
        connection.execute(f"PRAGMA busy_timeout={_LOG_WAIT_MS}")
        (blocked, *_) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.Error:
        # The disk fails: the next transaction will say so.
        return False
    finally:
        connection.execute(f"PRAGMA busy_timeout={_BUSY_MS}")
    return not blocked
