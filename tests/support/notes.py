"""A table of one column, for tests of the database itself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from sqlalchemy import Column, Connection, Engine, Integer, MetaData, Table, Text, event, text

from ketchup.db import Database, Location, engine_of
from ketchup.db.lanes import Lane

INSERT: Final = text("INSERT INTO note (word) VALUES (:word)")
_TABLE: Final = Table(
    "note",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("word", Text, unique=True, nullable=False),
)


class Notes:
    """A flush that writes words, and remembers how it was called."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def __call__(self, conn: Connection, words: Sequence[str]) -> list[str]:
        self.batches.append(len(words))
        conn.execute(INSERT, [{"word": word} for word in words])
        return [word.upper() for word in words]


@asynccontextmanager
async def noted(location: Location, **options: Any) -> AsyncIterator[Database]:  # noqa: ANN401 passed on
    """Open a database with the table."""
    database = Database(location, **options)
    await database.write(_TABLE.create)
    try:
        yield database
    finally:
        await database.close()


def stored(location: Location) -> list[str]:
    """Read the words that any other process would see, in the order in which they came."""
    engine = engine_of(location, read_only=True)
    try:
        with engine.begin() as conn:
            return list(conn.scalars(text("SELECT word FROM note ORDER BY id")))
    finally:
        engine.dispose()


def count(conn: Connection) -> int:
    return conn.scalar(text("SELECT count(*) FROM note")) or 0


def batch_engine(database: Database) -> Engine:
    """Return what the batches' connection is made from."""
    return database._lanes.named_writer("batches")._engine


def commits_of(database: Database) -> list[str]:
    """Return a list that grows by one at each commit of the batches."""
    commits: list[str] = []
    event.listen(batch_engine(database), "commit", lambda _conn: commits.append("commit"))
    return commits


def readers_of(database: Database) -> list[Lane]:
    """Return the lanes that plain reads go to."""
    lanes = database._lanes
    return [
        lane
        for lane in lanes.all()
        if lane is not lanes.hot_reader and "-reader" in lane._thread.name
    ]
