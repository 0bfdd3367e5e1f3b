"""A real database in a temporary folder, with every table of the modules that were imported."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from ketchup.db import Database, metadata


@asynccontextmanager
async def temporary_database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(tmp_path / "ketchup.db")
    try:
        await database.write(metadata.create_all)
        yield database
    finally:
        await database.close()
