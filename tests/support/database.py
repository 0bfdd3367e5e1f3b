"""Real databases with the schema that the migrations make: a SQLite file, or one on PostgreSQL.

The migrations run once per test process and kind; each test gets a copy of what they left.
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from pathlib import Path

from sqlalchemy import Engine

from ketchup import migrations
from ketchup.db import Database, Location, PostgresUrl, SqliteFile, engine_of


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


@asynccontextmanager
async def temporary_database(tmp_path: Path) -> AsyncIterator[Database]:
    async with open_database(migrated_file(tmp_path)) as database:
        yield database


@contextmanager
def temporary_engine(tmp_path: Path) -> Iterator[Engine]:
    with open_engine(migrated_file(tmp_path)) as engine:
        yield engine


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
        migrations.upgrade(engine)


@cache
def _template() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        file = SqliteFile(Path(folder) / "template.db")
        with open_engine(file) as engine:
            migrations.upgrade(engine)
        return file.path.read_bytes()
