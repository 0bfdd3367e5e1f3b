"""The database: threads that own connections, and calls that share a transaction.

A *lane* is one thread with one connection. SQLite gets one lane that writes, because two writing
connections can corrupt the WAL before SQLite 3.51.3, and two that read: one for the hot batched
reads, one for everything else. asyncio awaits futures and never touches a connection.

A `Batcher` turns concurrent calls of one kind into one list, one transaction and one commit, so
that a slow disk is waited for once per batch and not once per call. Its promises:

- a call is answered only after the commit of the transaction that holds it;
- a refusal is a value in the results; if a flush raises, nothing of it was kept and its items are
  tried one by one, so that one bad item fails alone;
- when the store itself fails (disk full, read-only, I/O error) every item gets `Unavailable` and
  the connection is thrown away: after a failed fsync the only safe state is the one on the disk;
- what waits is bounded; beyond that a call is refused with `Unavailable` at once.

No function that runs on a lane may do I/O other than SQL, and none commits by itself.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Index,
    MetaData,
    TextClause,
    create_engine,
    event,
    text,
)
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.pool import NullPool

from ketchup.errors import Unavailable

# Layers above name the connection's type without knowing the library behind it.
__all__ = [
    "Batcher",
    "Connection",
    "Database",
    "Flush",
    "metadata",
    "partial_index",
    "sqlite_engine",
]

Item = TypeVar("Item")
Result = TypeVar("Result")
Flush = Callable[[Connection, Sequence[Item]], Sequence[Result]]

metadata: Final = MetaData(
    naming_convention={
        "ix": "%(table_name)s_%(column_0_N_name)s",
        "uq": "%(table_name)s_%(column_0_N_name)s_unique",
        "ck": "%(table_name)s_%(constraint_name)s",
        "fk": "%(table_name)s_%(column_0_N_name)s_refers",
        "pk": "%(table_name)s_key",
    }
)
"""Every feature's tables are registered here."""

BATCH_LIMIT: Final = 512
DEFAULT_CAPACITY: Final = 10_000
_BUSY: Final = "the service is busy; try again shortly"
_DOWN: Final = "the store is unavailable; try again shortly"
LOG_LIMIT_BYTES: Final = 64 * 1024 * 1024
_LOG_WAIT_MS: Final = 250
_BUSY_MS: Final = 5000
_PRAGMAS: Final = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA foreign_keys=ON",
    f"PRAGMA busy_timeout={_BUSY_MS}",
    "PRAGMA cache_size=-32768",
    "PRAGMA temp_store=MEMORY",
)


class Database:
    """An open SQLite database. Build it inside a running event loop; close it there too."""

    def __init__(self, path: Path, *, log_limit: int = LOG_LIMIT_BYTES) -> None:
        self._loop = asyncio.get_running_loop()
        log = _Log(path.with_name(f"{path.name}-wal"), log_limit)
        self._writer = _Lane("ketchup-writer", sqlite_engine(path), after=log.keep_short)
        self._hot_reader = _Lane("ketchup-hot-reader", sqlite_engine(path, read_only=True))
        self._reader = _Lane("ketchup-reader", sqlite_engine(path, read_only=True))

    async def write(self, work: Callable[[Connection], Result]) -> Result:
        """Run `work` in a transaction of its own and return its result after the commit."""
        return await self._submit(self._writer, work)

    async def read(self, work: Callable[[Connection], Result]) -> Result:
        """Run `work` in a transaction that sees one moment and cannot write."""
        return await self._submit(self._reader, work)

    def write_batcher(
        self, flush: Flush[Item, Result], *, capacity: int = DEFAULT_CAPACITY
    ) -> Batcher[Item, Result]:
        """Return a batcher whose flushes are write transactions."""
        return Batcher(self._loop, self._writer, flush, capacity)

    def read_batcher(
        self, flush: Flush[Item, Result], *, capacity: int = DEFAULT_CAPACITY
    ) -> Batcher[Item, Result]:
        """Return a batcher whose flushes only read."""
        return Batcher(self._loop, self._hot_reader, flush, capacity)

    async def check_writable(self) -> None:
        """Commit a write that changes nothing, or raise Unavailable: the store works, or not."""
        await self.write(_rewrite_version)

    async def close(self) -> None:
        """Let what waits finish, then close the connections. Later calls get `Unavailable`."""
        lanes = (self._writer, self._hot_reader, self._reader)
        for lane in lanes:
            lane.refuse()
        # A batcher hands over what it was given at the end of the turn: not behind the lane's end.
        await asyncio.sleep(0)
        for lane in lanes:
            await asyncio.to_thread(lane.finish)

    async def _submit(self, lane: _Lane, work: Callable[[Connection], Result]) -> Result:
        future: asyncio.Future[Result] = self._loop.create_future()

        def run() -> None:
            outcome = lane.attempt(work)
            self._loop.call_soon_threadsafe(_resolve, [(None, future)], [outcome])

        lane.require_open()
        if lane.waiting >= DEFAULT_CAPACITY:
            raise Unavailable(_BUSY)
        lane.put(run)
        return await future


class Batcher(Generic[Item, Result]):
    """Calls of one kind, many at a time. Call it; await the future.

    A caller that stops waiting does not undo its call: the item is still flushed.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        lane: _Lane,
        flush: Flush[Item, Result],
        capacity: int,
    ) -> None:
        self._loop = loop
        self._lane = lane
        self._flush = flush
        self._capacity = capacity
        self._waiting: deque[tuple[Item, asyncio.Future[Result]]] = deque()
        self._scheduled = False

    def __call__(self, item: Item) -> asyncio.Future[Result]:
        """Queue the item; the future carries its result after the commit.

        Raises Unavailable at once when too many wait.
        """
        self._lane.require_open()
        if len(self._waiting) >= self._capacity:
            raise Unavailable(_BUSY)
        future: asyncio.Future[Result] = self._loop.create_future()
        # The item is in the queue before the flag is read, and the lane clears the flag before it
        # drains: whichever thread comes second, the item is seen.
        self._waiting.append((item, future))
        if not self._scheduled:
            self._scheduled = True
            # At the end of this turn of the event loop: what is called in one turn shares a batch,
            # and the thread is woken once for all of it.
            self._loop.call_soon(self._lane.put, self._drain)
        return future

    def _drain(self) -> None:
        self._scheduled = False
        batch: list[tuple[Item, asyncio.Future[Result]]] = []
        while self._waiting and len(batch) < BATCH_LIMIT:
            batch.append(self._waiting.popleft())
        if self._waiting and not self._scheduled:
            self._scheduled = True
            self._lane.put(self._drain)
        if batch:
            outcomes = self._outcomes([item for item, _ in batch])
            self._loop.call_soon_threadsafe(_resolve, batch, outcomes)

    def _outcomes(self, items: Sequence[Item]) -> Sequence[Result | _Raised]:
        together = self._lane.attempt(lambda conn: self._flushed(conn, items))
        if not isinstance(together, _Raised):
            return together
        if isinstance(together.error, Unavailable) or len(items) == 1:
            return [together] * len(items)
        return [self._alone(item) for item in items]

    def _alone(self, item: Item) -> Result | _Raised:
        results = self._lane.attempt(lambda conn: self._flushed(conn, [item]))
        return results if isinstance(results, _Raised) else results[0]

    def _flushed(self, conn: Connection, items: Sequence[Item]) -> list[Result]:
        results = list(self._flush(conn, items))
        # Judged inside the transaction: an answer too few would leave its caller waiting for ever.
        if len(results) != len(items):
            raise RuntimeError(f"{len(results)} results for {len(items)} items")
        return results


def partial_index(
    name: str, *keys: str | ColumnElement[Any] | TextClause, where: ColumnElement[bool] | TextClause
) -> Index:
    """Return an index of the rows that `where` holds for: small, however large the table grows.

    The one place that says it in a database's own terms. A query uses it when its condition says
    the same in literals.
    """
    return Index(name, *keys, sqlite_where=where)


def sqlite_engine(path: Path, *, read_only: bool = False) -> Engine:
    """Return an engine whose connections have our pragmas and explicit transactions."""
    engine = create_engine(
        f"sqlite+pysqlite:///{path}",
        poolclass=NullPool,
        # An error's text goes to the log; prompts and callback bodies must not.
        hide_parameters=True,
        connect_args={"check_same_thread": False, "isolation_level": None},
    )

    def set_up(connection: Any, _record: object) -> None:  # noqa: ANN401 any driver's connection
        for pragma in _PRAGMAS:
            connection.execute(pragma)
        if read_only:
            connection.execute("PRAGMA query_only=ON")

    def begin(connection: Connection) -> None:
        # A writer takes the write lock at once: a transaction that reads first and writes later
        # could find the lock taken half-way.
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

    event.listen(engine, "connect", set_up)
    event.listen(engine, "begin", begin)
    return engine


def _rewrite_version(conn: Connection) -> None:
    # A real write of one row that every migrated database has; without one it is not ready either.
    conn.execute(text("UPDATE alembic_version SET version_num = version_num"))


class _Log:
    """The write-ahead log of a SQLite file, kept from growing for ever.

    SQLite starts its log over when it has been copied into the database and nobody reads from it.
    Reads that overlap without a gap never leave it such a moment. Beyond a limit the writer waits a
    little for one; the readers that come meanwhile read the database itself.
    """

    def __init__(self, path: Path, limit: int) -> None:
        self._path = path
        self._step = limit
        self._limit = limit

    def keep_short(self, conn: Connection) -> None:
        """Start the log over if it is long. Between transactions only, on the one writer."""
        try:
            size = self._path.stat().st_size
        except OSError:
            return
        if size > self._limit:
            # One that a long read forbids is tried again when the log has grown as much again.
            self._limit = self._step + (0 if _start_log_over(conn) else size)


def _start_log_over(conn: Connection) -> bool:
    connection: Any = conn.connection.driver_connection
    try:
        connection.execute(f"PRAGMA busy_timeout={_LOG_WAIT_MS}")
        (blocked, *_) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.Error:
        # The disk fails: the next transaction will say so.
        return False
    finally:
        connection.execute(f"PRAGMA busy_timeout={_BUSY_MS}")
    return not blocked


class _Raised:
    """A call's exception, carried as a value from a lane to the event loop."""

    __slots__ = ("error",)

    def __init__(self, error: Exception) -> None:
        self.error = error


class _Lane:
    """One thread, one connection, one job at a time, in order."""

    def __init__(
        self, name: str, engine: Engine, *, after: Callable[[Connection], None] | None = None
    ) -> None:
        """Start the thread. `after` is called behind each commit, and must not raise."""
        self._engine = engine
        self._after = after
        self._connection: Connection | None = None
        self._jobs: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._refusing = False
        self._finished = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def require_open(self) -> None:
        if self._refusing:
            raise Unavailable(_DOWN)

    @property
    def waiting(self) -> int:
        """How many jobs are in the queue."""
        return self._jobs.qsize()

    def put(self, job: Callable[[], None]) -> None:
        """Queue a job: on the event loop after `require_open`, or from another job at any time."""
        self._jobs.put(job)

    def attempt(self, work: Callable[[Connection], Result]) -> Result | _Raised:
        """Run `work` in one transaction; on the lane's own thread only."""
        try:
            connection = self._connected()
            with connection.begin():
                result = work(connection)
        except (OperationalError, InterfaceError) as error:
            self._discard()
            unavailable = Unavailable(_DOWN)
            unavailable.__cause__ = error
            return _Raised(unavailable)
        except Exception as error:  # noqa: BLE001 it is raised again where the call is awaited
            if isinstance(error, DBAPIError) and error.connection_invalidated:
                self._discard()
            return _Raised(error)
        if self._after is not None:
            self._after(connection)
        return result

    def refuse(self) -> None:
        """Take no new calls; on the event loop, so that none can slip in behind the end."""
        self._refusing = True

    def finish(self) -> None:
        """Wait until what was queued has run, then end the thread."""
        self._jobs.put(self._end)
        self._thread.join()

    def _end(self) -> None:
        # A batch may have put its rest behind this job.
        if self._jobs.empty():
            self._finished = True
        else:
            self._jobs.put(self._end)

    def _run(self) -> None:
        while not self._finished:
            self._jobs.get()()
        self._discard()
        self._engine.dispose()

    def _connected(self) -> Connection:
        if self._connection is None:
            self._connection = self._engine.connect()
        return self._connection

    def _discard(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.close()
            except DBAPIError:
                connection.invalidate()


def _resolve(
    batch: Sequence[tuple[Any, asyncio.Future[Result]]], outcomes: Sequence[Result | _Raised]
) -> None:
    for (_, future), outcome in zip(batch, outcomes, strict=True):
        if future.done():
            continue
        if isinstance(outcome, _Raised):
            future.set_exception(outcome.error)
        else:
            future.set_result(outcome)
