"""Databases on PostgreSQL, one per test: used ones are emptied, which is faster than making them.

The server is the one that `KETCHUP_TEST_POSTGRES` names, whose user may create databases, or else a
new one. Databases that a killed run left on a server are dropped by the next run there: a run holds
an advisory lock of its number for as long as it lives.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from itertools import count
from typing import Any, Final

import psycopg
from psycopg import sql

from tests.support.postgres import database_url, postgres_server

VARIABLE: Final = "KETCHUP_TEST_POSTGRES"
PREFIX: Final = "ketchup_test"
_LOCKS: Final = 0x6B74  # our part of the server's advisory locks

_OTHERS: Final = """
SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
WHERE datname = current_database() AND pid != pg_backend_pid() AND backend_type = 'client backend'
"""
_TABLES: Final = """
SELECT oid::regclass::text, pg_relation_size(oid) FROM pg_class
WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY 1
"""
_REWIND: Final = """
SELECT setval(format('%I.%I', schemaname, sequencename), start_value, false) FROM pg_sequences
WHERE last_value IS NOT NULL
"""
# What a copy has in common with its template, as long as nobody changes it.
_SHAPE: Final = """
SELECT
    (SELECT array_agg((oid, relname) ORDER BY oid) FROM pg_class WHERE oid >= 16384)::text,
    (SELECT array_agg((attrelid, attnum, attname, atttypid, attnotnull) ORDER BY attrelid, attnum)
     FROM pg_attribute WHERE attrelid >= 16384)::text,
    (SELECT array_agg(oid ORDER BY oid) FROM pg_constraint WHERE oid >= 16384)::text,
    (SELECT array_agg(oid ORDER BY oid) FROM pg_trigger)::text,
    (SELECT array_agg(oid ORDER BY oid) FROM pg_proc WHERE oid >= 16384)::text,
    (SELECT array_agg(setconfig) FROM pg_db_role_setting JOIN pg_database d ON d.oid = setdatabase
     WHERE datname = current_database())::text
"""


class PostgresPool:
    """The databases of one test run. Made by `postgres_pool`."""

    def __init__(
        self, server: str, admin: psycopg.Connection[Any], migrate: Callable[[str], object]
    ) -> None:
        self._server = server
        self._admin = admin
        self._migrate = migrate
        self._run = secrets.randbelow(2**31)
        self._numbers = count()
        self._template = ""
        self._shape: Any = None
        self._rows: dict[str, list[Any]] = {}
        self._migrated: list[str] = []

    def url(self, name: str) -> str:
        return database_url(self._server, name)

    @contextmanager
    def migrated(self) -> Iterator[str]:
        """Give out a database with the newest schema and its first rows, for the body."""
        if not self._template:
            self._make_template()
        name = self._migrated.pop() if self._migrated else self._create(self._template)
        try:
            yield self.url(name)
        finally:
            if self._restored(name):
                self._migrated.append(name)
            else:
                self._drop(name)

    @contextmanager
    def empty(self) -> Iterator[str]:
        """Give out a database without tables, for the body."""
        name = self._create("template0")
        try:
            yield self.url(name)
        finally:
            self._drop(name)

    def open(self) -> None:
        """Tell other runs that this one lives, and drop what dead ones left."""
        self._admin.execute("SELECT pg_advisory_lock(%s, %s)", (_LOCKS, self._run))
        for name in self._names(f"{PREFIX}\\_%"):
            lock = (_LOCKS, int(name.split("_")[2]))
            if self._admin.execute("SELECT pg_try_advisory_lock(%s, %s)", lock).fetchone() == (
                True,
            ):
                self._drop(name)
                self._admin.execute("SELECT pg_advisory_unlock(%s, %s)", lock)

    def close(self) -> None:
        for name in self._names(f"{PREFIX}\\_{self._run}\\_%"):
            self._drop(name)

    def _make_template(self) -> None:
        name = self._create("template0")
        self._migrate(self.url(name))
        with self._connected(name) as conn:
            self._shape = conn.execute(_SHAPE).fetchone()
            for table, _ in conn.execute(_TABLES).fetchall():
                if rows := _rows_of(conn, table):
                    self._rows[table] = rows
        self._template = name

    def _restored(self, name: str) -> bool:
        """Make a used database as new; False when somebody changed more than rows."""
        with suppress(psycopg.OperationalError), self._connected(name) as conn:
            conn.execute(_OTHERS)
            if conn.execute(_SHAPE).fetchone() != self._shape:
                return False
            self._restore_rows(conn)
            conn.execute(_REWIND)
            return True
        return False

    def _restore_rows(self, conn: psycopg.Connection[Any]) -> None:
        tables = conn.execute(_TABLES).fetchall()
        used = [table for table, size in tables if size and table not in self._rows]
        if used:
            names = sql.SQL(", ").join(sql.SQL(table) for table in used)
            conn.execute(sql.SQL("TRUNCATE {} CASCADE").format(names))
        for table, rows in self._rows.items():
            if _rows_of(conn, table) != rows:
                _replace(conn, table, rows)

    def _create(self, template: str) -> str:
        name = f"{PREFIX}_{self._run}_{next(self._numbers)}"
        self._admin.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {} ENCODING 'UTF8'").format(
                sql.Identifier(name), sql.Identifier(template)
            )
        )
        return name

    def _drop(self, name: str) -> None:
        drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
        self._admin.execute(drop.format(sql.Identifier(name)))

    def _names(self, pattern: str) -> list[str]:
        found = self._admin.execute(
            "SELECT datname FROM pg_database WHERE datname LIKE %s", (pattern,)
        )
        return [name for (name,) in found]

    def _connected(self, name: str) -> psycopg.Connection[Any]:
        return psycopg.connect(self.url(name), autocommit=True)


def _rows_of(conn: psycopg.Connection[Any], table: str) -> list[Any]:
    return conn.execute(sql.SQL("TABLE {} ORDER BY 1").format(sql.SQL(table))).fetchall()


def _replace(conn: psycopg.Connection[Any], table: str, rows: Sequence[Sequence[Any]]) -> None:
    name = sql.SQL(table)
    conn.execute(sql.SQL("DELETE FROM {}").format(name))
    values = sql.SQL(", ").join(sql.Placeholder() * len(rows[0]))
    with conn.cursor() as cursor:
        cursor.executemany(sql.SQL("INSERT INTO {} VALUES ({})").format(name, values), rows)


@contextmanager
def postgres_pool(migrate: Callable[[str], object]) -> Iterator[PostgresPool]:
    """Open the pool of a test run; `migrate` is given the URL of the first, empty database."""
    named = os.environ.get(VARIABLE, "")
    with (
        nullcontext(named) if named else _own_server() as server,
        psycopg.connect(server, autocommit=True) as admin,
    ):
        pool = PostgresPool(server, admin, migrate)
        pool.open()
        try:
            yield pool
        finally:
            pool.close()


@contextmanager
def _own_server() -> Iterator[str]:
    with postgres_server() as server:
        yield server.url()
