"""The database: shared commits, answers that are durable, and a store that fails and comes back."""

from __future__ import annotations

import asyncio
import resource
import sqlite3
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Connection, event, text
from sqlalchemy.exc import IntegrityError, OperationalError

from ketchup.db import BATCH_LIMIT, DEFAULT_CAPACITY, Batcher, Database, SqliteFile
from ketchup.errors import InvalidRequest, Unavailable
from tests.support.gate import DEADLINE, Gate, held_writer

_INSERT = text("INSERT INTO note VALUES (:word)")
_BIG = "x" * 100_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "notes.db"


@pytest.fixture
async def database(path: Path) -> AsyncIterator[Database]:
    database = Database(SqliteFile(path))
    await database.write(lambda conn: conn.execute(text("CREATE TABLE note (word TEXT UNIQUE)")))
    yield database
    await database.close()


class Notes:
    """A flush that writes words, and remembers how it was called."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def __call__(self, conn: Connection, words: Sequence[str]) -> list[str]:
        self.batches.append(len(words))
        conn.execute(_INSERT, [{"word": word} for word in words])
        return [word.upper() for word in words]


def on_disk(path: Path) -> list[str]:
    """Read what any other process would see."""
    with closing(sqlite3.connect(path)) as other:
        return [word for (word,) in other.execute("SELECT word FROM note ORDER BY rowid")]


def commits_of(database: Database) -> list[str]:
    """Return a list that grows by one at each commit of the writer."""
    commits: list[str] = []
    event.listen(database._lanes.writer()._engine, "commit", lambda _conn: commits.append("commit"))
    return commits


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


# -- batches --------------------------------------------------------------------------------------


async def test_calls_that_wait_together_share_one_commit(database: Database, path: Path) -> None:
    notes = Notes()
    add = database.write_batcher(notes)
    commits = commits_of(database)

    async with held_writer(database) as gate:
        futures = [add(f"w{i:03}") for i in range(100)]
        gate.open()
        answers = await asyncio.gather(*futures)

    assert notes.batches == [100]
    assert len(commits) == 2  # the gate's own and one for all
    assert answers == [f"W{i:03}" for i in range(100)]
    assert on_disk(path) == [f"w{i:03}" for i in range(100)]


async def test_a_batch_has_a_limit_and_the_rest_follows_in_order(
    database: Database, path: Path
) -> None:
    notes = Notes()
    add = database.write_batcher(notes)
    count = 2 * BATCH_LIMIT + 7

    async with held_writer(database):
        futures = [add(f"{i:05}") for i in range(count)]
    await asyncio.gather(*futures)

    assert notes.batches == [BATCH_LIMIT, BATCH_LIMIT, 7]
    assert on_disk(path) == [f"{i:05}" for i in range(count)]


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


async def test_nobody_is_answered_before_the_commit(database: Database, path: Path) -> None:
    loop = asyncio.get_running_loop()
    seen: list[tuple[bool, list[str]]] = []

    async def turn_of_the_loop() -> None:
        """Come after everything that was handed to the loop before."""

    def at_commit(_conn: Connection) -> None:
        asyncio.run_coroutine_threadsafe(turn_of_the_loop(), loop).result(DEADLINE)
        seen.append((any(future.done() for future in futures), on_disk(path)))

    add = database.write_batcher(Notes())
    async with held_writer(database):
        futures = [add("one"), add("two")]
        event.listen(database._lanes.writer()._engine, "commit", at_commit)
    await asyncio.gather(*futures)

    assert seen[-1] == (False, [])
    assert on_disk(path) == ["one", "two"]


async def test_a_poisonous_item_fails_alone(database: Database, path: Path) -> None:
    notes = Notes()
    add = database.write_batcher(notes)
    await add("taken")

    async with held_writer(database):
        futures = [add("a"), add("taken"), add("b"), add("\ud800"), add("c")]
    answers = await asyncio.gather(*futures, return_exceptions=True)

    assert answers[0] == "A"
    assert isinstance(answers[1], IntegrityError)
    assert answers[2] == "B"
    assert isinstance(answers[3], UnicodeEncodeError)
    assert answers[4] == "C"
    assert on_disk(path) == ["taken", "a", "b", "c"]


async def test_of_a_flush_that_raises_nothing_is_kept(database: Database, path: Path) -> None:
    def flush(conn: Connection, words: Sequence[str]) -> list[str]:
        conn.execute(_INSERT, [{"word": word} for word in words])
        raise InvalidRequest("too late")

    add: Batcher[str, str] = database.write_batcher(flush)
    answers = await asyncio.gather(add("a"), add("b"), return_exceptions=True)

    assert [str(answer) for answer in answers] == ["too late", "too late"]
    assert on_disk(path) == []


async def test_a_flush_with_a_wrong_number_of_answers_leaves_nobody_waiting(
    database: Database, path: Path
) -> None:
    def flush(conn: Connection, words: Sequence[str]) -> list[str]:
        conn.execute(_INSERT, [{"word": word} for word in words])
        return []

    add: Batcher[str, str] = database.write_batcher(flush)
    async with asyncio.timeout(DEADLINE):
        answers = await asyncio.gather(add("a"), add("b"), return_exceptions=True)

    assert all(isinstance(answer, RuntimeError) for answer in answers)
    assert on_disk(path) == []


async def test_a_caller_that_stops_waiting_does_not_undo_its_call(
    database: Database, path: Path
) -> None:
    add = database.write_batcher(Notes())
    async with held_writer(database):
        left, stayed = add("left"), add("stayed")
        left.cancel()

    assert await stayed == "STAYED"
    assert left.cancelled()
    assert on_disk(path) == ["left", "stayed"]


async def test_beyond_the_capacity_a_call_is_refused_at_once(
    database: Database, path: Path
) -> None:
    add = database.write_batcher(Notes(), capacity=2)
    async with held_writer(database):
        futures = [add("one"), add("two")]
        with pytest.raises(Unavailable, match="busy") as refused:
            _ = add("three")
    await asyncio.gather(*futures)

    assert refused.value.retry_after > 0
    assert await add("four") == "FOUR"
    assert on_disk(path) == ["one", "two", "four"]


async def test_what_waits_for_a_plain_read_is_bounded_too(database: Database) -> None:
    gate = Gate()
    held = asyncio.create_task(database.read(gate.hold))
    await gate.entered()
    waiting = [asyncio.create_task(database.read(_count)) for _ in range(DEFAULT_CAPACITY)]
    await asyncio.sleep(0)  # each is in the queue

    with pytest.raises(Unavailable, match="busy") as refused:
        async with asyncio.timeout(5):
            await database.read(_count)
    gate.open()
    await held

    assert refused.value.retry_after > 0
    assert set(await asyncio.gather(*waiting)) == {0}
    assert await database.read(_count) == 0


# -- transactions ---------------------------------------------------------------------------------


async def test_a_write_that_raises_keeps_nothing_and_says_what_it_said(
    database: Database, path: Path
) -> None:
    def work(conn: Connection) -> None:
        conn.execute(_INSERT, {"word": "gone"})
        raise InvalidRequest("no")

    with pytest.raises(InvalidRequest, match=r"^no$"):
        await database.write(work)

    assert on_disk(path) == []
    assert await database.write(lambda conn: conn.execute(_INSERT, {"word": "kept"}).rowcount) == 1


async def test_a_reader_cannot_write(database: Database, path: Path) -> None:
    notes = Notes()
    with pytest.raises(Unavailable) as refused:
        await database.read(lambda conn: conn.execute(_INSERT, {"word": "no"}))
    with pytest.raises(Unavailable):
        await database.read_batcher(notes)("no")

    assert isinstance(refused.value.__cause__, OperationalError)
    assert "readonly" in str(refused.value.__cause__)
    assert on_disk(path) == []
    assert await database.read(lambda conn: conn.scalar(text("SELECT count(*) FROM note"))) == 0


async def test_a_reader_sees_one_moment(database: Database) -> None:
    loop = asyncio.get_running_loop()
    count = text("SELECT count(*) FROM note")

    def read_twice(conn: Connection) -> tuple[int, int]:
        before = conn.scalar(count)
        write = database.write(lambda writer: writer.execute(_INSERT, {"word": "new"}).rowcount)
        assert asyncio.run_coroutine_threadsafe(write, loop).result(DEADLINE) == 1
        return before or 0, conn.scalar(count) or 0

    assert await database.read(read_twice) == (0, 0)
    assert await database.read(lambda conn: conn.scalar(count)) == 1


async def test_the_log_that_a_long_read_keeps_is_cut_short_behind_it(path: Path) -> None:
    limit = 5 * len(_BIG)
    database = Database(SqliteFile(path), log_limit=limit)
    await database.write(lambda conn: conn.execute(text("CREATE TABLE note (word TEXT UNIQUE)")))
    log = path.with_name(f"{path.name}-wal")
    gate = Gate()

    def read_for_long(conn: Connection) -> None:
        conn.execute(text("SELECT count(*) FROM note"))
        gate.hold(conn)

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
    assert len(on_disk(path)) == 30
    assert await database.write(lambda c: c.scalar(text("PRAGMA busy_timeout"))) == 5000
    await database.close()


async def test_a_slow_read_holds_up_neither_writes_nor_batched_reads(database: Database) -> None:
    gate = Gate()
    slow = asyncio.create_task(database.read(gate.hold))
    await gate.entered()

    written = await database.write_batcher(Notes())("meanwhile")
    counts: Batcher[str, int] = database.read_batcher(
        lambda conn, asked: [_count(conn) for _ in asked]
    )
    seen = await counts("count")

    assert not slow.done()
    gate.open()
    await slow
    assert (written, seen) == ("MEANWHILE", 1)


def _count(conn: Connection) -> int:
    return conn.scalar(text("SELECT count(*) FROM note")) or 0


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


# -- a store that fails ---------------------------------------------------------------------------


async def test_what_a_full_disk_refuses_is_unavailable_and_all_is_well_when_there_is_room_again(
    database: Database, path: Path
) -> None:
    add = database.write_batcher(Notes())
    await add("before")
    await database.read(_count)  # a reader that is open needs no room to go on

    with full_disk(path):
        async with held_writer(database):
            futures = [add("a" + _BIG), add("b" + _BIG)]
        refused = await asyncio.gather(*futures, return_exceptions=True)
        with pytest.raises(Unavailable):
            await database.write(lambda conn: conn.execute(_INSERT, {"word": _BIG}))
        readable = await database.read(_count)

    assert [type(answer) for answer in refused] == [Unavailable, Unavailable]
    assert [type(getattr(answer, "__cause__", None)) for answer in refused] == [
        OperationalError
    ] * 2
    assert readable == 1
    assert on_disk(path) == ["before"]
    # Without a restart:
    assert await add("after") == "AFTER"
    assert on_disk(path) == ["before", "after"]
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
    assert on_disk(path) == []
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


# -- the end --------------------------------------------------------------------------------------


async def test_closing_lets_what_waits_finish(path: Path) -> None:
    database = Database(SqliteFile(path))
    await database.write(lambda conn: conn.execute(text("CREATE TABLE note (word TEXT UNIQUE)")))
    add = database.write_batcher(Notes())
    count = 2 * BATCH_LIMIT + 3

    async with asyncio.timeout(DEADLINE):
        async with held_writer(database):
            futures = [add(f"{i:05}") for i in range(count)]
            closing_down = asyncio.create_task(database.close())
            await asyncio.sleep(0)  # closing has begun; the writer is still held
            assert not closing_down.done()
        answers = await asyncio.gather(*futures)
        await closing_down

    assert answers == on_disk(path) == [f"{i:05}" for i in range(count)]


async def test_a_closed_database_refuses_and_writes_nothing(path: Path) -> None:
    database = Database(SqliteFile(path))
    await database.write(lambda conn: conn.execute(text("CREATE TABLE note (word TEXT UNIQUE)")))
    add = database.write_batcher(Notes())
    await database.close()

    for call in (database.write, database.read):
        with pytest.raises(Unavailable):
            await call(_count)
    for _ in range(2):
        with pytest.raises(Unavailable):
            _ = add("late")
    assert on_disk(path) == []


async def test_a_call_just_before_the_close_is_written(path: Path) -> None:
    database = Database(SqliteFile(path))
    await database.write(lambda conn: conn.execute(text("CREATE TABLE note (word TEXT UNIQUE)")))
    batcher = database.write_batcher(Notes())

    answer = batcher("last")
    async with asyncio.timeout(DEADLINE):
        await database.close()
        assert await answer == "LAST"
    assert on_disk(path) == ["last"]


async def test_calls_of_one_turn_share_a_batch(database: Database) -> None:
    notes = Notes()
    batcher = database.write_batcher(notes)

    await asyncio.gather(*(batcher(f"word {n}") for n in range(50)))

    assert notes.batches == [50]


async def test_a_call_during_the_close_is_refused_or_written_but_never_lost(path: Path) -> None:
    database = Database(SqliteFile(path))
    await database.write(lambda conn: conn.execute(text("CREATE TABLE note (word TEXT UNIQUE)")))
    add = database.write_batcher(Notes())

    async with asyncio.timeout(DEADLINE):
        async with held_writer(database):
            closing_down = asyncio.create_task(database.close())
            await asyncio.sleep(0)
            with pytest.raises(Unavailable):
                _ = add("late")
            with pytest.raises(Unavailable):
                await database.write(_count)
        await closing_down

    assert on_disk(path) == []
