"""The database: shared commits, and answers that are durable, on SQLite and on PostgreSQL alike."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from functools import partial

import pytest
from sqlalchemy import Connection, event, text
from sqlalchemy.exc import IntegrityError

from ketchup.db import BATCH_LIMIT, DEFAULT_CAPACITY, Batcher, Database, Location
from ketchup.db.lanes import Lane
from ketchup.errors import InvalidRequest, Unavailable
from tests.support.gate import DEADLINE, Gate, held_writer
from tests.support.notes import (
    INSERT,
    Notes,
    batch_engine,
    commits_of,
    count,
    noted,
    readers_of,
    stored,
)


@pytest.fixture
async def database(empty_location: Location) -> AsyncIterator[Database]:
    async with noted(empty_location) as database:
        yield database


# -- batches --------------------------------------------------------------------------------------


async def test_calls_that_wait_together_share_one_commit(
    database: Database, empty_location: Location
) -> None:
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
    assert stored(empty_location) == [f"w{i:03}" for i in range(100)]


async def test_a_batch_has_a_limit_and_the_rest_follows_in_order(
    database: Database, empty_location: Location
) -> None:
    notes = Notes()
    add = database.write_batcher(notes)
    count = 2 * BATCH_LIMIT + 7

    async with held_writer(database):
        futures = [add(f"{i:05}") for i in range(count)]
    await asyncio.gather(*futures)

    assert notes.batches == [BATCH_LIMIT, BATCH_LIMIT, 7]
    assert stored(empty_location) == [f"{i:05}" for i in range(count)]


async def test_nobody_is_answered_before_the_commit(
    database: Database, empty_location: Location
) -> None:
    loop = asyncio.get_running_loop()
    seen: list[tuple[bool, list[str]]] = []

    async def turn_of_the_loop() -> None:
        """Come after everything that was handed to the loop before."""

    def at_commit(_conn: Connection) -> None:
        asyncio.run_coroutine_threadsafe(turn_of_the_loop(), loop).result(DEADLINE)
        seen.append((any(future.done() for future in futures), stored(empty_location)))

    add = database.write_batcher(Notes())
    async with held_writer(database):
        futures = [add("one"), add("two")]
        event.listen(batch_engine(database), "commit", at_commit)
    await asyncio.gather(*futures)

    assert seen[-1] == (False, [])
    assert stored(empty_location) == ["one", "two"]


async def test_a_poisonous_item_fails_alone(database: Database, empty_location: Location) -> None:
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
    assert stored(empty_location) == ["taken", "a", "b", "c"]


async def test_of_a_flush_that_raises_nothing_is_kept(
    database: Database, empty_location: Location
) -> None:
    def flush(conn: Connection, words: Sequence[str]) -> list[str]:
        conn.execute(INSERT, [{"word": word} for word in words])
        raise InvalidRequest("too late")

    add: Batcher[str, str] = database.write_batcher(flush)
    answers = await asyncio.gather(add("a"), add("b"), return_exceptions=True)

    assert [str(answer) for answer in answers] == ["too late", "too late"]
    assert stored(empty_location) == []


async def test_a_flush_with_a_wrong_number_of_answers_leaves_nobody_waiting(
    database: Database, empty_location: Location
) -> None:
    def flush(conn: Connection, words: Sequence[str]) -> list[str]:
        conn.execute(INSERT, [{"word": word} for word in words])
        return []

    add: Batcher[str, str] = database.write_batcher(flush)
    async with asyncio.timeout(DEADLINE):
        answers = await asyncio.gather(add("a"), add("b"), return_exceptions=True)

    assert all(isinstance(answer, RuntimeError) for answer in answers)
    assert stored(empty_location) == []


async def test_a_caller_that_stops_waiting_does_not_undo_its_call(
    database: Database, empty_location: Location
) -> None:
    add = database.write_batcher(Notes())
    async with held_writer(database):
        left, stayed = add("left"), add("stayed")
        left.cancel()

    assert await stayed == "STAYED"
    assert left.cancelled()
    assert stored(empty_location) == ["left", "stayed"]


async def test_beyond_the_capacity_a_call_is_refused_at_once(
    database: Database, empty_location: Location
) -> None:
    add = database.write_batcher(Notes(), capacity=2)
    async with held_writer(database):
        futures = [add("one"), add("two")]
        with pytest.raises(Unavailable, match="busy") as refused:
            _ = add("three")
    await asyncio.gather(*futures)

    assert refused.value.retry_after > 0
    assert await add("four") == "FOUR"
    assert stored(empty_location) == ["one", "two", "four"]


def _attempt(lane: Lane, gate: Gate) -> None:
    lane.attempt(gate.hold)


async def test_what_waits_for_a_plain_read_is_bounded_too(database: Database) -> None:
    gates = [Gate() for _ in readers_of(database)]
    for gate, lane in zip(gates, readers_of(database), strict=True):
        lane.put(partial(_attempt, lane, gate))
        await gate.entered()
    waiting = [
        asyncio.create_task(database.read(count)) for _ in range(DEFAULT_CAPACITY * len(gates))
    ]
    await asyncio.sleep(0)  # each is in the queue

    with pytest.raises(Unavailable, match="busy") as refused:
        async with asyncio.timeout(5):
            await database.read(count)
    for gate in gates:
        gate.open()

    assert refused.value.retry_after > 0
    assert set(await asyncio.gather(*waiting)) == {0}
    assert await database.read(count) == 0


# -- transactions ---------------------------------------------------------------------------------


async def test_a_write_that_raises_keeps_nothing_and_says_what_it_said(
    database: Database, empty_location: Location
) -> None:
    def work(conn: Connection) -> None:
        conn.execute(INSERT, {"word": "gone"})
        raise InvalidRequest("no")

    with pytest.raises(InvalidRequest, match=r"^no$"):
        await database.write(work)

    assert stored(empty_location) == []
    assert await database.write(lambda conn: conn.execute(INSERT, {"word": "kept"}).rowcount) == 1


async def test_a_reader_cannot_write(database: Database, empty_location: Location) -> None:
    notes = Notes()
    with pytest.raises(Unavailable) as refused:
        await database.read(lambda conn: conn.execute(INSERT, {"word": "no"}))
    with pytest.raises(Unavailable):
        await database.read_batcher(notes)("no")

    assert re.search("read-?only", str(refused.value.__cause__))
    assert stored(empty_location) == []
    assert await database.read(lambda conn: conn.scalar(text("SELECT count(*) FROM note"))) == 0


async def test_a_reader_sees_one_moment(database: Database) -> None:
    loop = asyncio.get_running_loop()
    count = text("SELECT count(*) FROM note")

    def read_twice(conn: Connection) -> tuple[int, int]:
        before = conn.scalar(count)
        write = database.write(lambda writer: writer.execute(INSERT, {"word": "new"}).rowcount)
        assert asyncio.run_coroutine_threadsafe(write, loop).result(DEADLINE) == 1
        return before or 0, conn.scalar(count) or 0

    assert await database.read(read_twice) == (0, 0)
    assert await database.read(lambda conn: conn.scalar(count)) == 1


async def test_a_slow_read_holds_up_neither_writes_nor_batched_reads(database: Database) -> None:
    gate = Gate()
    slow = asyncio.create_task(database.read(gate.hold))
    await gate.entered()

    written = await database.write_batcher(Notes())("meanwhile")
    counts: Batcher[str, int] = database.read_batcher(
        lambda conn, asked: [count(conn) for _ in asked]
    )
    seen = await counts("count")

    assert not slow.done()
    gate.open()
    await slow
    assert (written, seen) == ("MEANWHILE", 1)


# -- the end --------------------------------------------------------------------------------------


async def test_closing_lets_what_waits_finish(database: Database, empty_location: Location) -> None:
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

    assert answers == stored(empty_location) == [f"{i:05}" for i in range(count)]


async def test_a_closed_database_refuses_and_writes_nothing(
    database: Database, empty_location: Location
) -> None:
    add = database.write_batcher(Notes())
    await database.close()

    for call in (database.write, database.read):
        with pytest.raises(Unavailable):
            await call(count)
    for _ in range(2):
        with pytest.raises(Unavailable):
            _ = add("late")
    assert stored(empty_location) == []


async def test_a_call_just_before_the_close_is_written(
    database: Database, empty_location: Location
) -> None:
    batcher = database.write_batcher(Notes())

    answer = batcher("last")
    async with asyncio.timeout(DEADLINE):
        await database.close()
        assert await answer == "LAST"
    assert stored(empty_location) == ["last"]


async def test_calls_of_one_turn_share_a_batch(database: Database) -> None:
    notes = Notes()
    batcher = database.write_batcher(notes)

    await asyncio.gather(*(batcher(f"word {n}") for n in range(50)))

    assert notes.batches == [50]


async def test_a_call_during_the_close_is_refused_or_written_but_never_lost(
    database: Database, empty_location: Location
) -> None:
    add = database.write_batcher(Notes())

    async with asyncio.timeout(DEADLINE):
        async with held_writer(database):
            closing_down = asyncio.create_task(database.close())
            await asyncio.sleep(0)
            with pytest.raises(Unavailable):
                _ = add("late")
            with pytest.raises(Unavailable):
                await database.write(count)
        await closing_down

    assert stored(empty_location) == []
