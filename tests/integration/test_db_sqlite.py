"""The database as a SQLite file: its log, its pragmas, and a disk that is full or gone."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError

from ketchup.db import BATCH_LIMIT, Batcher, Database, SqliteFile
from ketchup.errors import Unavailable
from tests.support.gate import Gate, held_writer
from tests.support.notes import INSERT, Notes, count, noted, stored

_BIG = "x" * 100_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "notes.db"


@pytest.fixture
async def database(path: Path) -> AsyncIterator[Database]:
    async with noted(SqliteFile(path)) as database:
        yield database


@contextmanager
def full_disk(path: Path) -> Iterator[None]:
    """Let no file of this process grow beyond the log as it is: writes fail with EFBIG."""
    size = path.with_name(f"{path.name}-wal").stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_full_batch_lets_other_writers_in_before_the_next(database: Database) -> None:
    add = database.write_batcher(Notes())

    async with held_writer(database):
        futures = [add(f"{i}") for i in range(BATCH_LIMIT + 1)]
        other = asyncio.create_task(
            database.write(lambda conn: conn.scalar(text("SELECT count(*) FROM note")))
        )
        await asyncio.sleep(0)  # the task has to reach the queue before the gate opens
    await asyncio.gather(*futures)

    assert await other == BATCH_LIMIT


async def test_the_log_that_a_long_read_keeps_is_cut_short_behind_it(path: Path) -> None:
    limit = 5 * len(_BIG)
    log = path.with_name(f"{path.name}-wal")
    gate = Gate()

    def read_for_long(conn: Connection) -> None:
        count(conn)
        gate.hold(conn)

    async with noted(SqliteFile(path), log_limit=limit) as database:
        add = database.write_batcher(Notes())

        async def write_ten(name: str) -> None:
            for number in range(10):
                await add(f"{name}{number}{_BIG}")

        reading = asyncio.create_task(database.read(read_for_long))
        await gate.entered()
        await write_ten("during")
        during = log.stat().st_size
        gate.open()
        await reading
        await write_ten("behind")
        await write_ten("later")

        # Each word is there twice, in the table and in its index.
        assert during > 10 * len(_BIG)
        assert log.stat().st_size < limit + 5 * len(_BIG)
        assert len(stored(SqliteFile(path))) == 30
        assert await database.write(lambda c: c.scalar(text("PRAGMA busy_timeout"))) == 5000


@pytest.mark.parametrize(
    ("pragma", "value"),
    [("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1), ("query_only", 0)],
)
async def test_the_writer_waits_for_the_disk_at_every_commit(
    database: Database, pragma: str, value: object
) -> None:
    assert await database.write(lambda conn: conn.scalar(text(f"PRAGMA {pragma}"))) == value


async def test_both_readers_are_read_only(database: Database) -> None:
    ask = text("PRAGMA query_only")

    assert await database.read(lambda conn: conn.scalar(ask)) == 1
    hot: Batcher[str, int] = database.read_batcher(lambda conn, _: [conn.scalar(ask)])
    assert await hot("hot") == 1


async def test_what_a_full_disk_refuses_is_unavailable_and_all_is_well_when_there_is_room_again(
    database: Database, path: Path
) -> None:
    add = database.write_batcher(Notes())
    await add("before")
    await database.read(count)  # a reader that is open needs no room to go on

    with full_disk(path):
        async with held_writer(database):
            futures = [add("a" + _BIG), add("b" + _BIG)]
        refused = await asyncio.gather(*futures, return_exceptions=True)
        with pytest.raises(Unavailable):
            await database.write(lambda conn: conn.execute(INSERT, {"word": _BIG}))
        readable = await database.read(count)

    assert [type(answer) for answer in refused] == [Unavailable, Unavailable]
    assert [type(getattr(answer, "__cause__", None)) for answer in refused] == [
        OperationalError
    ] * 2
    assert readable == 1
    assert stored(SqliteFile(path)) == ["before"]
    # Without a restart:
    assert await add("after") == "AFTER"
    assert stored(SqliteFile(path)) == ["before", "after"]
    assert await database.read(lambda conn: conn.scalar(text("PRAGMA integrity_check"))) == "ok"
    assert await database.write(lambda conn: conn.scalar(text("PRAGMA synchronous"))) == 2


async def test_a_database_at_its_page_limit_refuses_the_batch_as_one(
    database: Database, path: Path
) -> None:
    notes = Notes()
    add = database.write_batcher(notes)
    await database.write(lambda conn: conn.execute(text("PRAGMA max_page_count=3")).all())

    async with held_writer(database):
        futures = [add("small"), add(_BIG)]
    refused = await asyncio.gather(*futures, return_exceptions=True)

    assert [str(answer) for answer in refused] == [
        "the store is unavailable; try again shortly"
    ] * 2
    # It is the store that fails, not an item: it was asked once.
    assert notes.batches == [2]
    assert stored(SqliteFile(path)) == []
    # The limit was the connection's, and the connection that failed is not used again.
    assert await add(_BIG) == _BIG.upper()


async def test_a_folder_that_is_gone_is_unavailable_and_is_found_when_it_is_back(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "data"
    database = Database(SqliteFile(folder / "ketchup.db"))
    make = text("CREATE TABLE note (word TEXT)")
    with pytest.raises(Unavailable, match="store is unavailable"):
        await database.write(lambda conn: conn.execute(make))

    folder.mkdir()
    await database.write(lambda conn: conn.execute(make))
    assert await database.write_batcher(Notes())("found") == "FOUND"
    await database.close()
