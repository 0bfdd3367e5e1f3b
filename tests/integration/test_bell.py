"""The bell between processes: rung after a commit, heard elsewhere, and dispensable."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import psycopg
import pytest

from ketchup.db import Bell, PostgresUrl, SqliteFile, bell_of
from tests.support.postgres_pool import PostgresPool

DEADLINE = 20.0


@pytest.fixture
def url(postgres: PostgresPool) -> Iterator[str]:
    with postgres.empty() as url:
        yield url


@asynccontextmanager
async def listening(url: str) -> AsyncIterator[tuple[Bell, asyncio.Event]]:
    """Run a process's bell. It is listening when it has been heard once."""
    bell, heard = bell_of(PostgresUrl(url)), asyncio.Event()
    running = asyncio.create_task(bell.run(heard.set))
    try:
        await told(heard)
        yield bell, heard
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def told(heard: asyncio.Event) -> None:
    async with asyncio.timeout(DEADLINE):
        await heard.wait()
    heard.clear()


async def test_what_one_process_rings_another_hears(url: str) -> None:
    async with listening(url) as (ours, _), listening(url) as (_, heard):
        ours.ring()

        await told(heard)


async def test_many_rings_at_once_are_few_notifications(url: str) -> None:
    async with listening(url) as (ours, _):
        with psycopg.connect(url, autocommit=True) as other:
            other.execute("LISTEN ketchup_ready")

            for _ in range(1000):
                ours.ring()

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
        await told(heard)

        async with asyncio.timeout(DEADLINE):
            while not heard.is_set():
                ours.ring()
                await asyncio.sleep(0.05)


async def test_a_file_has_no_bell_and_needs_none(tmp_path: Path) -> None:
    bell = bell_of(SqliteFile(tmp_path / "ketchup.db"))

    bell.ring()
    await bell.run(lambda: None)
