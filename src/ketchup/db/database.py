"""An open database: which lanes it has, and who uses which."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, TypeVar

from sqlalchemy import Connection, Engine, text
from sqlalchemy.engine import make_url
from typing_extensions import override

from ketchup.db.batches import Batcher, Flush, resolve
from ketchup.db.lanes import BUSY, Lane
from ketchup.db.sqlite import LOG_LIMIT_BYTES, Log, sqlite_engine
from ketchup.errors import Unavailable

Item = TypeVar("Item")
Result = TypeVar("Result")

DEFAULT_CAPACITY: Final = 10_000
# So many threads do what has no lane of its own, on PostgreSQL.
_GENERAL_LANES: Final = 2


@dataclass(frozen=True, slots=True)
class SqliteFile:
    """A file that one process owns."""

    path: Path

    @override
    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True, slots=True)
class PostgresUrl:
    """A database that any number of processes share: `postgresql://user@host/name`."""

    url: str

    @override
    def __str__(self) -> str:
        # Nothing behind the question mark: a password may stand there as well.
        url = make_url(self.url).set(query={}, password=None)
        host = self.url.partition("host=")[2].partition("&")[0] if not url.host else ""
        return url.render_as_string().partition("://")[2] + (f" at {host}" if host else "")


Location = SqliteFile | PostgresUrl


def engine_of(location: Location, *, read_only: bool = False, lasting: bool = False) -> Engine:
    """Return an engine on the database; `lasting` work has no time limits of ours."""
    if isinstance(location, SqliteFile):
        return sqlite_engine(location.path, read_only=read_only)
    from ketchup.db.postgres import postgres_engine  # noqa: PLC0415 see that module

    return postgres_engine(location.url, read_only=read_only, lasting=lasting)


class Database:
    """An open database. Build it inside a running event loop; close it there too."""

    def __init__(self, location: Location, *, log_limit: int = LOG_LIMIT_BYTES) -> None:
        """Open it. Connections are made when they are first needed."""
        self._loop = asyncio.get_running_loop()
        self._lanes: _Lanes = (
            _OneWriter(location, log_limit)
            if isinstance(location, SqliteFile)
            else _ManyWriters(location)
        )

    async def write(self, work: Callable[[Connection], Result]) -> Result:
        """Run `work` in a transaction of its own and return its result after the commit.

        Where transactions meet, one is undone and runs again: `work` changes nothing but rows.
        """
        return await self._submit(self._lanes.writer(), work)

    async def read(self, work: Callable[[Connection], Result]) -> Result:
        """Run `work` in a transaction that sees one moment and cannot write."""
        return await self._submit(self._lanes.reader(), work)

    def write_batcher(
        self, flush: Flush[Item, Result], *, lane: str = "batches", capacity: int = DEFAULT_CAPACITY
    ) -> Batcher[Item, Result]:
        """Return a batcher whose flushes are write transactions.

        Where there are several writers, batchers of different lanes do not wait for each other.
        """
        return Batcher(self._loop, self._lanes.named_writer(lane), flush, capacity)

    def read_batcher(
        self, flush: Flush[Item, Result], *, capacity: int = DEFAULT_CAPACITY
    ) -> Batcher[Item, Result]:
        """Return a batcher whose flushes only read."""
        return Batcher(self._loop, self._lanes.hot_reader, flush, capacity)

    async def check_writable(self) -> None:
        """Commit a write that changes nothing, or raise Unavailable: the store works, or not."""
        await self.write(_rewrite_version)

    async def close(self) -> None:
        """Let what waits finish, then close the connections. Later calls get `Unavailable`."""
        lanes = self._lanes.all()
        for lane in lanes:
            lane.refuse()
        # A batcher hands over what it was given at the end of the turn: not behind the lane's end.
        await asyncio.sleep(0)
        for lane in lanes:
            await asyncio.to_thread(lane.finish)

    async def _submit(self, lane: Lane, work: Callable[[Connection], Result]) -> Result:
        future: asyncio.Future[Result] = self._loop.create_future()

        def run() -> None:
            outcome = lane.attempt(work)
            self._loop.call_soon_threadsafe(resolve, [(None, future)], [outcome])

        lane.require_open()
        if lane.waiting >= DEFAULT_CAPACITY:
            raise Unavailable(BUSY)
        lane.put(run)
        return await future


class _Lanes(Protocol):
    """The lanes of a database."""

    @property
    def hot_reader(self) -> Lane: ...

    def writer(self) -> Lane: ...

    def named_writer(self, name: str) -> Lane: ...

    def reader(self) -> Lane: ...

    def all(self) -> Sequence[Lane]: ...


class _OneWriter:
    """SQLite's: every write goes through one thread."""

    def __init__(self, location: SqliteFile, log_limit: int) -> None:
        log = Log(location.path, log_limit)
        self._writer = Lane("ketchup-writer", engine_of(location), after=log.keep_short)
        self.hot_reader = Lane("ketchup-hot-reader", engine_of(location, read_only=True))
        self._reader = Lane("ketchup-reader", engine_of(location, read_only=True))

    def writer(self) -> Lane:
        return self._writer

    def named_writer(self, _name: str) -> Lane:
        return self._writer

    def reader(self) -> Lane:
        return self._reader

    def all(self) -> Sequence[Lane]:
        return self._writer, self.hot_reader, self._reader


class _ManyWriters:
    """PostgreSQL's: a few connections, so that work of different kinds runs side by side."""

    def __init__(self, location: PostgresUrl) -> None:
        self._location = location
        self._named: dict[str, Lane] = {}
        self._writers = [self._lane(f"writer-{n}") for n in range(_GENERAL_LANES)]
        self._readers = [self._lane(f"reader-{n}", read_only=True) for n in range(_GENERAL_LANES)]
        self.hot_reader = self._lane("hot-reader", read_only=True)

    def writer(self) -> Lane:
        return _least_busy(self._writers)

    def named_writer(self, name: str) -> Lane:
        if name not in self._named:
            self._named[name] = self._lane(name)
        return self._named[name]

    def reader(self) -> Lane:
        return _least_busy(self._readers)

    def all(self) -> Sequence[Lane]:
        return [*self._named.values(), *self._writers, self.hot_reader, *self._readers]

    def _lane(self, name: str, *, read_only: bool = False) -> Lane:
        return Lane(f"ketchup-{name}", engine_of(self._location, read_only=read_only))


def _least_busy(lanes: Sequence[Lane]) -> Lane:
    return min(lanes, key=lambda lane: lane.load)


def _rewrite_version(conn: Connection) -> None:
    # A real write of one row that every migrated database has; without one it is not ready either.
    conn.execute(text("UPDATE alembic_version SET version_num = version_num"))
