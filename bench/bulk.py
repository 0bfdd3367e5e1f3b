"""Many rows of the past at once, into a database that nobody else uses meanwhile.

What makes this quick would lose everything in a crash, and nothing of it is left when it is done:
the rows are on disk, and the database is as an operator's would be after it had grown for months.
"""

from __future__ import annotations

import itertools
import os
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path

import psycopg

from ketchup.db import Location, PostgresUrl

Rows = Iterator[Mapping[str, object]]


def load(location: Location, table: str, rows: Rows) -> None:
    """Insert rows that all have the same columns."""
    first = next(rows, None)
    if first is None:
        return
    columns, every = list(first), itertools.chain([first], rows)
    if isinstance(location, PostgresUrl):
        _copy(location.url, table, columns, every)
    else:
        _insert(location.path, table, columns, every)


def _insert(path: Path, table: str, columns: list[str], rows: Rows) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    # Out of the write-ahead log for the time being: it would grow as large as the table.
    connection.execute("PRAGMA journal_mode=DELETE")
    connection.execute("PRAGMA journal_mode=OFF")
    connection.execute("PRAGMA synchronous=OFF")
    connection.execute("BEGIN")
    places = ", ".join("?" * len(columns))
    insert = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})"  # noqa: S608 our own names
    connection.executemany(insert, (tuple(row.values()) for row in rows))
    connection.execute("COMMIT")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.close()
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _copy(url: str, table: str, columns: list[str], rows: Rows) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        copy = f"COPY {table} ({', '.join(columns)}) FROM STDIN"
        with connection.cursor() as cursor, cursor.copy(copy.encode()) as stream:
            for row in rows:
                stream.write_row(tuple(row.values()))
        # What autovacuum would have done along the way.
        connection.execute(f"VACUUM (ANALYZE) {table}".encode())
        connection.execute("CHECKPOINT")
