"""A real database in a temporary folder, with the schema that the migrations make.

The migrations run once per test process; each test gets a copy of the file that they left.
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from pathlib import Path

from sqlalchemy import Engine

from ketchup import migrations
from ketchup.db import Database, SqliteFile, engine_of


@asynccontextmanager
async def temporary_database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(SqliteFile(migrated_file(tmp_path)))
    try:
        yield database
    finally:
        await database.close()


@contextmanager
def temporary_engine(tmp_path: Path) -> Iterator[Engine]:
    """The same file for tests of functions that take a connection: no threads, no event loop."""
    engine = engine_of(SqliteFile(migrated_file(tmp_path)))
    try:
        yield engine
    finally:
        engine.dispose()


def migrated_file(folder: Path) -> Path:
    """Return the path of the folder's database, made with the migrations' rows if it is new."""
    path = folder / "ketchup.db"
    if not path.exists():
        path.write_bytes(_template())
    return path


@cache
def _template() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "template.db"
        engine = engine_of(SqliteFile(path))
        migrations.upgrade(engine)
        engine.dispose()
        return path.read_bytes()
