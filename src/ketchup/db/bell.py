"""The bell: tells every other process that shares a PostgreSQL database what there is to do.

It is rung after a commit, on a connection of its own, and never inside a transaction: a commit that
carries a notification takes a lock of the whole server. Many rings within a few milliseconds are
one. Nothing depends on it: a ring that is lost is made up for by the next poll of whoever listens.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import StrEnum
from typing import Any, Final, Protocol

from ketchup import telemetry
from ketchup.db.database import Location, SqliteFile

log = telemetry.logger(__name__)

_CHANNEL: Final = "ketchup_ready"
_RINGS_APART_SECONDS: Final = 0.005
_RECONNECT_SECONDS: Final = 1.0
# A listener never sends: only the keep-alive tells it that the other end is gone.
_OPTIONS: Final = (
    "application_name=ketchup-bell&connect_timeout=5"
    "&keepalives_idle=10&keepalives_interval=5&keepalives_count=3"
)


class News(StrEnum):
    """What a ring says: who has nothing to do with it goes on sleeping."""

    READY = "ready"  # tasks are ready
    ENDED = "ended"  # tasks have ended
    DUE = "due"  # deliveries are due


class Bell(Protocol):
    """What wakes other processes, and is woken by them."""

    def ring(self, news: News) -> None:
        """Say what has happened. On the event loop; returns at once."""
        ...

    async def run(self, heard: Callable[[News], None]) -> None:
        """Send and listen until cancelled; `heard` is called for what others ring."""
        ...


def bell_of(location: Location) -> Bell:
    """Return the bell of a database."""
    return _NoBell() if isinstance(location, SqliteFile) else _PostgresBell(location.url)


class _NoBell:
    """A SQLite file has one process: whoever is to be told is told directly."""

    def ring(self, news: News) -> None:
        pass

    async def run(self, heard: Callable[[News], None]) -> None:
        pass


class _PostgresBell:
    def __init__(self, url: str) -> None:
        self._url = f"{url}{'&' if '?' in url else '?'}{_OPTIONS}"
        self._rung = asyncio.Event()
        self._news: set[News] = set()
        self._sender: int | None = None
        self._told = False

    def ring(self, news: News) -> None:
        self._news.add(news)
        self._rung.set()

    async def run(self, heard: Callable[[News], None]) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep(self._send))
            group.create_task(self._keep(lambda connection: self._listen(connection, heard)))

    async def _keep(self, work: Callable[[Any], Any]) -> None:
        import psycopg  # noqa: PLC0415 loaded where a server is used

        while True:
            try:
                connecting = psycopg.AsyncConnection.connect(self._url, autocommit=True)
                async with await connecting as connection:
                    self._told = False
                    await work(connection)
            except psycopg.Error as error:
                if not self._told:
                    log.warning("no notifications: polling instead", cause=str(error))
                self._told = True
            await asyncio.sleep(_RECONNECT_SECONDS)

    async def _send(self, connection: Any) -> None:  # noqa: ANN401 its module is loaded late
        self._sender = connection.info.backend_pid
        while True:
            await self._rung.wait()
            self._rung.clear()
            told = " ".join(sorted(self._news))
            self._news.clear()
            await connection.execute(f"NOTIFY {_CHANNEL}, '{told}'")
            await asyncio.sleep(_RINGS_APART_SECONDS)

    async def _listen(self, connection: Any, heard: Callable[[News], None]) -> None:  # noqa: ANN401 as above
        await connection.execute(f"LISTEN {_CHANNEL}")
        # What was rung before this is not repeated to us.
        _tell(heard, _EVERYTHING)
        async for ring in connection.notifies():
            # Our own loops have been woken already.
            if ring.pid != self._sender:
                _tell(heard, ring.payload or _EVERYTHING)


def _tell(heard: Callable[[News], None], told: str) -> None:
    for news in News:
        if news in told.split():
            heard(news)


# What the release before this one means, which says nothing.
_EVERYTHING: Final = " ".join(News)
