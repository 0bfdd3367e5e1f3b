"""The database on PostgreSQL: servers that stop, refuse, collide and lose answers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from itertools import count
from typing import Final

import psycopg
import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from typing_extensions import override

from ketchup.clock import FrozenClock, Micros, after
from ketchup.db import Batcher, Database, PostgresUrl, now
from ketchup.errors import Unavailable
from tests.support.gate import DEADLINE, Gate, held_writer
from tests.support.notes import INSERT, Notes, noted, stored
from tests.support.notes import count as count_notes
from tests.support.postgres import Mode, PostgresServer, postgres_server
from tests.support.postgres_pool import PostgresPool

_NUMBERS = count(1)
_DOWN = "the store is unavailable; try again shortly"


@pytest.fixture
def location(postgres: PostgresPool) -> Iterator[PostgresUrl]:
    with postgres.empty() as url:
        yield PostgresUrl(url)


@pytest.fixture
async def database(location: PostgresUrl) -> AsyncIterator[Database]:
    async with noted(location) as database:
        yield database


@pytest.fixture(scope="module")
def lasting_server() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


@pytest.fixture
def own_server(lasting_server: PostgresServer) -> Iterator[PostgresServer]:
    """Return a server that a test may stop."""
    yield lasting_server
    if not lasting_server.is_running:
        lasting_server.start()


@pytest.fixture
async def fragile(own_server: PostgresServer) -> AsyncIterator[Database]:
    """Return a database on that server."""
    url = own_server.create_database(f"test_{next(_NUMBERS)}")
    async with noted(PostgresUrl(url)) as database:
        yield database


@pytest.fixture
def administrator(location: PostgresUrl) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    with psycopg.connect(location.url, autocommit=True) as conn:
        yield conn


async def server_process(database: Database) -> int:
    """Return the number of the process that serves the batches' connection."""
    ask: Batcher[None, int] = database.write_batcher(
        lambda conn, calls: [_pid(conn) for _ in calls]
    )
    return await ask(None)


def _pid(conn: Connection) -> int:
    return int(conn.execute(text("SELECT pg_backend_pid()")).scalar_one())


# -- a server that is gone ------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["fast", "immediate", "kill"])
async def test_a_server_that_is_gone_is_unavailable_and_all_is_well_when_it_is_back(
    own_server: PostgresServer, fragile: Database, mode: Mode
) -> None:
    notes = Notes()
    add = fragile.write_batcher(notes)
    counts: Batcher[None, int] = fragile.read_batcher(
        lambda conn, calls: [count_notes(conn) for _ in calls]
    )
    await add("before")
    await counts(None)

    own_server.stop(mode)
    refused = await asyncio.gather(
        add("a"),
        add("b"),
        fragile.write(count_notes),
        fragile.read(count_notes),
        counts(None),
        return_exceptions=True,
    )
    with pytest.raises(Unavailable):
        await fragile.check_writable()
    own_server.start()

    assert [str(error) for error in refused] == [_DOWN] * 5
    assert {type(error) for error in refused} == {Unavailable}
    # It is the store that fails, not an item: it was asked once.
    assert notes.batches == [1, 2]
    # Without a restart of this process:
    assert await add("after") == "AFTER"
    assert await counts(None) == 2
    assert await fragile.read(count_notes) == await fragile.write(count_notes) == 2


async def test_a_server_that_stops_in_the_middle_of_a_transaction_keeps_nothing_of_it(
    own_server: PostgresServer, fragile: Database
) -> None:
    gate = Gate()

    def write_and_wait(conn: Connection) -> None:
        conn.execute(INSERT, {"word": "half"})
        gate.hold(conn)

    writing = asyncio.create_task(fragile.write(write_and_wait))
    await gate.entered()
    own_server.restart("immediate")
    gate.open()

    with pytest.raises(Unavailable):
        await writing
    assert await fragile.read(count_notes) == 0


async def test_a_server_without_a_free_connection_is_unavailable_until_there_is_one() -> None:
    options = ("-c", "max_connections=5", "-c", "superuser_reserved_connections=0")
    with postgres_server(*options, "-c", "reserved_connections=0") as server:
        async with noted(PostgresUrl(server.create_database("small"))) as database:
            others = [psycopg.connect(server.url()) for _ in range(4)]
            with pytest.raises(Unavailable, match=_DOWN) as refused:
                await database.read(count_notes)
            for other in others:
                other.close()

            assert "too many clients" in str(refused.value.__cause__)
            # The processes that served the others end when they come to it.
            assert await _when_available(lambda: database.read(count_notes)) == 0


async def _when_available(call: Callable[[], Awaitable[int]]) -> int:
    async with asyncio.timeout(DEADLINE):
        while True:
            with suppress(Unavailable):
                return await call()
            await asyncio.sleep(0.01)


# -- a server that refuses ------------------------------------------------------------------------


async def test_a_server_that_only_reads_is_unavailable_for_writes_until_it_writes_again(
    own_server: PostgresServer, fragile: Database
) -> None:
    add = fragile.write_batcher(Notes())
    await add("before")
    await fragile.write(
        lambda conn: conn.execute(text("CREATE TABLE alembic_version (version_num text)"))
    )

    with own_server.settings(default_transaction_read_only="on"):
        with pytest.raises(Unavailable, match=_DOWN) as refused:
            await add("no")
        with pytest.raises(Unavailable):
            await fragile.check_writable()
        readable = await fragile.read(count_notes)

    assert "read-only" in str(refused.value.__cause__)
    assert readable == 1
    assert await add("after") == "AFTER"


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT 1 / 0",
        "SELECT nonsense",
        "SELEKT 1",
        "SELECT 'x'::int",
        "INSERT INTO note (word) VALUES (NULL)",
        "SELECT 2147483647 + 1",
    ],
)
async def test_a_wrong_statement_is_a_mistake_and_no_outage(
    database: Database, statement: str
) -> None:
    serving = await server_process(database)

    def flush(conn: Connection, calls: Sequence[None]) -> Sequence[None]:
        conn.execute(text(statement))
        return calls

    with pytest.raises(DBAPIError) as raised:
        await database.write_batcher(flush)(None)

    assert not isinstance(raised.value, Unavailable)
    # The connection is good, and stays.
    assert await server_process(database) == serving


async def test_an_errors_text_tells_no_value(database: Database) -> None:
    add = database.write_batcher(Notes())
    await add("a customer's words")

    with pytest.raises(IntegrityError) as raised:
        await add("a customer's words")

    assert "note_word" in str(raised.value)
    assert "customer" not in str(raised.value)
    assert "customer" not in str(raised.value.__cause__)


async def test_what_waits_too_long_for_a_lock_is_unavailable(
    database: Database, administrator: psycopg.Connection[tuple[object, ...]]
) -> None:
    def impatient(conn: Connection) -> int:
        conn.execute(text("SET LOCAL lock_timeout = '1ms'"))
        return conn.execute(INSERT, {"word": "late"}).rowcount

    with administrator.transaction():
        administrator.execute("LOCK TABLE note")
        with pytest.raises(Unavailable, match=_DOWN) as refused:
            await database.write(impatient)

    assert "lock timeout" in str(refused.value.__cause__)
    assert await database.write(impatient) == 1


async def test_a_process_that_stood_still_in_a_transaction_begins_it_anew(
    database: Database,
    location: PostgresUrl,
    administrator: psycopg.Connection[tuple[object, ...]],
) -> None:
    gate, serving = Gate(), list[int]()

    def stand_still(conn: Connection) -> None:
        serving.append(_pid(conn))
        conn.execute(INSERT, {"word": "half"})
        if len(serving) == 1:
            conn.execute(text("SET idle_in_transaction_session_timeout = '1ms'"))
            gate.hold(conn)
        conn.execute(INSERT, {"word": "whole"})

    standing = asyncio.create_task(database.write(stand_still))
    await gate.entered()
    in_transaction = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND backend_type = 'client backend' AND state LIKE 'idle in transaction%'"
    )
    async with asyncio.timeout(DEADLINE):
        while administrator.execute(in_transaction).fetchone() != (0,):
            await asyncio.sleep(0.005)
    gate.open()

    await standing
    assert len(set(serving)) == 2
    assert stored(location) == ["half", "whole"]


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("idle_in_transaction_session_timeout", "5s"),
        ("lock_timeout", "10s"),
        ("statement_timeout", "30s"),
        ("synchronous_commit", "on"),
    ],
)
async def test_nothing_waits_for_ever_and_a_commit_waits_for_the_disk(
    database: Database, setting: str, value: str
) -> None:
    assert await database.write(lambda conn: conn.scalar(text(f"SHOW {setting}"))) == value


# -- writers side by side -------------------------------------------------------------------------


async def test_two_writers_that_lock_each_other_out_both_come_through(
    database: Database, location: PostgresUrl
) -> None:
    notes = database.write_batcher(Notes())
    await asyncio.gather(notes("a"), notes("b"))
    meet = threading.Barrier(2, timeout=DEADLINE)
    tries: list[str] = []

    def crossing(first: str, second: str) -> Batcher[str, str]:
        append = text("UPDATE note SET word = word || :end WHERE word LIKE :start")

        def flush(conn: Connection, ends: Sequence[str]) -> list[str]:
            tries.append(first)
            conn.execute(append, {"start": f"{first}%", "end": ends[0]})
            if len(tries) <= 2:
                meet.wait()
            conn.execute(append, {"start": f"{second}%", "end": ends[0]})
            return list(ends)

        return database.write_batcher(flush, lane=f"lane {first}")

    async with asyncio.timeout(DEADLINE):
        answers = await asyncio.gather(crossing("a", "b")("1"), crossing("b", "a")("2"))

    assert [*answers] == ["1", "2"]
    assert len(tries) >= 3
    assert {"".join(sorted(word)) for word in stored(location)} == {"12a", "12b"}


async def test_collisions_that_do_not_end_are_given_up(database: Database) -> None:
    tries: list[int] = []

    def collide(conn: Connection) -> None:
        tries.append(1)
        conn.execute(text("DO $$ BEGIN RAISE EXCEPTION 'again' USING ERRCODE = '40001'; END $$"))

    async with asyncio.timeout(DEADLINE):
        with pytest.raises(Unavailable):
            await database.write(collide)

    assert 1 < len(tries) <= 20
    assert await database.write(count_notes) == 0


async def test_the_servers_time_is_asked_once_a_second(database: Database) -> None:
    clock = FrozenClock()

    # One connection: another one asks for itself.
    told: Batcher[None, Micros] = database.write_batcher(
        lambda conn, calls: [now(conn, clock) for _ in calls]
    )

    first = await told(None)
    clock.advance(0.9)
    assert await told(None) == after(first, 0.9)
    # The server's own clock has gone on by much less: it is asked again.
    clock.advance(0.2)
    assert await told(None) < after(first, 0.9)


async def test_an_answer_that_took_long_says_only_what_time_it_was(database: Database) -> None:
    clock = HesitantClock()
    first = await database.write(lambda conn: now(conn, clock))

    second = await database.write(lambda conn: now(conn, clock))

    assert second < after(first, HesitantClock.SECONDS)


class HesitantClock(FrozenClock):
    """A clock by which half a second goes by whenever it is looked at."""

    SECONDS: Final = 0.5

    @override
    def monotonic(self) -> float:
        self.elapsed += self.SECONDS
        return self.elapsed


async def test_lanes_do_not_wait_for_each_other(database: Database) -> None:
    async with asyncio.timeout(DEADLINE), held_writer(database, "held"):
        assert await database.write_batcher(Notes(), lane="free")("one") == "ONE"
        assert await database.write(count_notes) == 1


async def test_a_slow_write_or_read_does_not_hold_up_the_next(database: Database) -> None:
    gates = Gate(), Gate()
    slow = [
        asyncio.create_task(database.read(gates[0].hold)),
        asyncio.create_task(database.write(gates[1].hold)),
    ]
    for gate in gates:
        await gate.entered()

    async with asyncio.timeout(DEADLINE / 2):
        assert await database.read(count_notes) == await database.write(count_notes) == 0
    for gate in gates:
        gate.open()
    await asyncio.gather(*slow)


# -- answers that are lost ------------------------------------------------------------------------


async def test_a_commit_whose_answer_is_lost_is_unavailable_and_is_there(
    own_server: PostgresServer, fragile: Database
) -> None:
    await fragile.write(count_notes)
    # The commit is on the disk, and its answer waits for a second server that does not exist.
    with (
        psycopg.connect(own_server.url(), autocommit=True) as administrator,
        own_server.settings(synchronous_standby_names="nobody"),
    ):
        writing = asyncio.create_task(
            fragile.write(lambda conn: conn.execute(INSERT, {"word": "kept"}).rowcount)
        )
        waits = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
        async with asyncio.timeout(DEADLINE):
            while not (found := administrator.execute(waits).fetchall()):
                await asyncio.sleep(0.005)
        administrator.execute("SELECT pg_terminate_backend(%s)", found[0])

        with pytest.raises(Unavailable, match=_DOWN):
            await writing

    assert await fragile.read(count_notes) == 1
    assert await fragile.write(count_notes) == 1
