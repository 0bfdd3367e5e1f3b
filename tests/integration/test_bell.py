"""The bell between processes: rung after a commit, heard elsewhere, and dispensable."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import psycopg
import pytest

from ketchup.db import Bell, News, PostgresUrl, SqliteFile, bell_of
from tests.support.postgres_pool import PostgresPool

DEADLINE = 20.0


@pytest.fixture
def url(postgres: PostgresPool) -> Iterator[str]:
    with postgres.empty() as url:
        yield url


@asynccontextmanager
async def listening(url: str) -> AsyncIterator[tuple[Bell, asyncio.Queue[News]]]:
    """Run a process's bell. It is listening when it has been heard once."""
    heard: asyncio.Queue[News] = asyncio.Queue()
    bell = bell_of(PostgresUrl(url))
    running = asyncio.create_task(bell.run(heard.put_nowait))
    try:
        assert {await told(heard) for _ in News} == set(News)
        yield bell, heard
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def told(heard: asyncio.Queue[News]) -> News:
    async with asyncio.timeout(DEADLINE):
        return await heard.get()


async def test_what_one_process_rings_another_hears(url: str) -> None:
    async with listening(url) as (ours, _), listening(url) as (_, heard):
        ours.ring(News.DUE)
        assert await told(heard) is News.DUE

        ours.ring(News.READY)
        ours.ring(News.ENDED)
        assert {await told(heard), await told(heard)} == {News.READY, News.ENDED}
        assert heard.empty()


async def test_a_process_does_not_hear_itself(url: str) -> None:
    async with listening(url) as (ours, heard), listening(url) as (theirs, heard_there):
        ours.ring(News.READY)
        await told(heard_there)
        theirs.ring(News.ENDED)

        assert await told(heard) is News.ENDED


async def test_a_ring_that_says_nothing_may_mean_anything(url: str) -> None:
    async with listening(url) as (_, heard):
        with psycopg.connect(url, autocommit=True) as other:
            other.execute("NOTIFY ketchup_ready")
            other.execute("NOTIFY ketchup_ready, 'what nobody knows'")
            other.execute("NOTIFY ketchup_ready, 'due'")

        assert {await told(heard) for _ in News} == set(News)
        assert await told(heard) is News.DUE


async def test_many_rings_at_once_are_few_notifications(url: str) -> None:
    async with listening(url) as (ours, _):
        with psycopg.connect(url, autocommit=True) as other:
            other.execute("LISTEN ketchup_ready")

            for _ in range(1000):
                ours.ring(News.READY)

            assert 0 < await asyncio.to_thread(_count, other) < 10


def _count(connection: psycopg.Connection[tuple[object, ...]]) -> int:
    """Wait for one notification, and a little for more."""
    first = next(connection.notifies(timeout=DEADLINE), None)
    return bool(first) + len(list(connection.notifies(timeout=0.2)))


async def test_a_bell_whose_connection_breaks_is_heard_again(url: str) -> None:
    async with listening(url) as (ours, _), listening(url) as (_, heard):
        with psycopg.connect(url, autocommit=True) as administrator:
            administrator.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'ketchup-bell' AND datname = current_database()"
            )
        # Whoever comes back assumes that it has missed something.
        assert {await told(heard) for _ in News} == set(News)

        async with asyncio.timeout(DEADLINE):
            while heard.empty():
                ours.ring(News.READY)
                await asyncio.sleep(0.05)


async def test_a_file_has_no_bell_and_needs_none(tmp_path: Path) -> None:
    bell = bell_of(SqliteFile(tmp_path / "ketchup.db"))

    bell.ring(News.READY)
    await bell.run(lambda _: None)
