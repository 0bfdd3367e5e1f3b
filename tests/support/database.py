"""Real databases with the schema that the migrations make: a SQLite file, or one on PostgreSQL.

The migrations run once per test process and kind; each test gets a copy of what they left.
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import Connection, Engine, text

import ketchup.generation  # noqa: F401 its import registers every feature's tables
from ketchup import migrations
from ketchup.db import Database, Location, PostgresUrl, SqliteFile, engine_of, metadata


@asynccontextmanager
async def open_database(location: Location) -> AsyncIterator[Database]:
    database = Database(location)
    try:
        yield database
    finally:
        await database.close()


@contextmanager
def open_engine(location: Location) -> Iterator[Engine]:
    """Open it for tests of functions that take a connection: no threads, no event loop."""
    engine = engine_of(location)
    try:
        yield engine
    finally:
        engine.dispose()


def migrated_file(folder: Path) -> SqliteFile:
    """Return the database of a data folder, made with the migrations' rows if it is new."""
    path = folder / "ketchup.db"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_template())
    return SqliteFile(path)


def migrate(url: str) -> None:
    """Give an empty database on PostgreSQL the schema."""
    with open_engine(PostgresUrl(url)) as engine:
        migrations.upgrade(engine, newest=metadata)


def contents(location: Location) -> bytes:
    """Return all that is stored: the bytes of the files, or of every value in every row."""
    if isinstance(location, SqliteFile):
        files = sorted(location.path.parent.glob(f"{location.path.name}*"))
        return b"".join(file.read_bytes() for file in files)
    with psycopg.connect(location.url) as conn, conn.cursor() as cursor:
        tables = cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        names = [sql.Identifier(name) for (name,) in tables.fetchall()]
        return b"".join(_copied(cursor, name) for name in names)


def _copied(cursor: psycopg.Cursor[Any], table: sql.Identifier) -> bytes:
    command = sql.SQL("COPY (TABLE {}) TO STDOUT WITH (FORMAT binary)").format(table)
    with cursor.copy(command) as copy:
        return b"".join(bytes(part) for part in copy)


@cache
def _template() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        file = SqliteFile(Path(folder) / "template.db")
        with open_engine(file) as engine:
            migrations.upgrade(engine)
        return file.path.read_bytes()


def take_back_to_0002(conn: Connection) -> None:
    """Undo what the steps since made, as if the database had been migrated by the code before."""
    take_back_to_0003(conn)
    for statement in (
        "DROP TABLE channel",
        "DROP TABLE erasure",
        "DROP TABLE usage",
        "DROP INDEX delivery_of_workspace",
        "DROP TABLE fingerprint",
        "DROP TABLE fingerprint_band",
        "DROP INDEX attempt_in_flight",
        "DROP INDEX task_of_workspace",
        *(
            f"ALTER TABLE attempt DROP COLUMN {name}"
            for name in ("images", "cost", "on_unknown", "occupies_until")
        ),
        *(
            f"ALTER TABLE task DROP COLUMN {name}"
            for name in ("environment", "deleted_at", "cancel_requested_at")
        ),
        "UPDATE alembic_version SET version_num = '0002'",
        "UPDATE schema_support SET oldest_code = '0002'",
    ):
        conn.execute(text(statement))


def take_back_to_0003(conn: Connection) -> None:
    """Undo what step 0004 made, as if the database had been migrated by the code before."""
    for statement in (
        "DROP TABLE key_ring",
        "DROP TABLE provider_key",
        "DROP TABLE destination",
        "ALTER TABLE workspace DROP COLUMN sealed_secret",
        "ALTER TABLE workspace DROP COLUMN old_sealed_secret",
        "ALTER TABLE api_key DROP COLUMN pepper_id",
        "ALTER TABLE delivery DROP COLUMN note",
        "DROP TABLE key_spend",
        "ALTER TABLE hold DROP COLUMN purse",
        *(
            f"ALTER TABLE api_key DROP COLUMN {name}"
            for name in (
                "last_used_from",
                "networks",
                "day_cap",
                "month_cap",
                "purse",
                "replaced_by",
            )
        ),
        "UPDATE alembic_version SET version_num = '0003'",
        "UPDATE schema_support SET oldest_code = '0003'",
    ):
        conn.execute(text(statement))
