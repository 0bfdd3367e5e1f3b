"""The bell: tells every process that shares a PostgreSQL database that there is something to do.

It is rung after a commit, on a connection of its own, and never inside a transaction: a commit that
carries a notification takes a lock of the whole server. Many rings within a few milliseconds are
one. Nothing depends on it: a ring that is lost is made up for by the next poll of whoever listens.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
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


class Bell(Protocol):
    """What wakes other processes, and is woken by them."""

    def ring(self) -> None:
        """Say that there is something to do. On the event loop; returns at once."""
        ...

    async def run(self, heard: Callable[[], None]) -> None:
        """Send and listen until cancelled; `heard` is called for each ring, our own too."""
        ...


def bell_of(location: Location) -> Bell:
    """Return the bell of a database."""
    return _NoBell() if isinstance(location, SqliteFile) else _PostgresBell(location.url)


class _NoBell:
    """A SQLite file has one process: whoever is to be told is told directly."""

    def ring(self) -> None:
        pass

    async def run(self, heard: Callable[[], None]) -> None:
        pass


class _PostgresBell:
    def __init__(self, url: str) -> None:
        self._url = f"{url}{'&' if '?' in url else '?'}{_OPTIONS}"
        self._rung = asyncio.Event()
        self._told = False

    def ring(self) -> None:
        self._rung.set()

    async def run(self, heard: Callable[[], None]) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep(self._send))
            group.create_task(self._keep(lambda connection: _listen(connection, heard)))

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
        while True:
            await self._rung.wait()
            self._rung.clear()
            await connection.execute(f"NOTIFY {_CHANNEL}")
            await asyncio.sleep(_RINGS_APART_SECONDS)


async def _listen(connection: Any, heard: Callable[[], None]) -> None:  # noqa: ANN401 as above
    await connection.execute(f"LISTEN {_CHANNEL}")
    # What was rung before this is not repeated to us.
    heard()
    async for _ in connection.notifies():
        heard()
