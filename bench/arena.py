"""The arena: one contestant of the queue's parts, with its processes up and its books open.

A contestant has a producer, and worker processes unless it works in the process that submits, as
`ketchup serve` does. They are started for one measurement, on tables that are empty but for the
workspaces, and are told what to do by `orders`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec
from sqlalchemy import Engine

from bench import books, engine
from bench.orders import Order, Receipt, Setup
from bench.own import bring_up_to_date
from bench.servers import Servers
from ketchup.data_folder import paths
from ketchup.db import Location, PostgresUrl, SqliteFile, engine_of

WORKSPACES: Final = 64
_STOP_SECONDS: Final = 30


class Queue(StrEnum):
    """Who takes part."""

    KETCHUP_SQLITE = "ketchup on SQLite"
    KETCHUP_POSTGRES = "ketchup on PostgreSQL"
    KETCHUP_POSTGRES_ALONE = "ketchup on PostgreSQL, one process"
    PGQUEUER = "PgQueuer"
    PROCRASTINATE = "Procrastinate"
    CELERY = "Celery on Redis"

    @property
    def short(self) -> str:
        """Its name on the command line."""
        return self.name.lower().replace("_", "-")

    @property
    def is_ours(self) -> bool:
        """Whether it is Ketchup; the others must be given its tables."""
        return self.name.startswith("KETCHUP")


@dataclass(frozen=True, slots=True)
class Way:
    """How a contestant runs. A rival's module has the role `install` besides these."""

    module: str
    producer: str
    worker: str | None = None
    needs_postgres: bool = False
    needs_redis: bool = False


OWN: Final = "bench.own"
WAYS: Final = {
    Queue.KETCHUP_SQLITE: Way(OWN, "both"),
    Queue.KETCHUP_POSTGRES: Way(OWN, "submit", "work", needs_postgres=True),
    Queue.KETCHUP_POSTGRES_ALONE: Way(OWN, "both", needs_postgres=True),
    Queue.PGQUEUER: Way("bench.rivals.pgqueuer", "submit", "work", needs_postgres=True),
    Queue.PROCRASTINATE: Way("bench.rivals.procrastinate", "submit", "work", needs_postgres=True),
    Queue.CELERY: Way(
        "bench.rivals.celery", "submit", "work", needs_postgres=True, needs_redis=True
    ),
}


def taking_part(servers: Servers) -> list[Queue]:
    """Return the contestants whose servers are up."""
    return [queue for queue in WAYS if not _lacks(queue, servers)]


def left_out(servers: Servers) -> list[str]:
    """Return a line for each of the others."""
    return [f"Left out: {queue}. {lack}" for queue in WAYS if (lack := _lacks(queue, servers))]


@dataclass(slots=True)
class Arena:
    """A contestant that is up."""

    queue: Queue
    setup: Setup
    database: Engine
    workspaces: list[str]
    producer: subprocess.Popen[bytes]
    submitted: dict[str, int] = field(default_factory=dict)
    """Every task so far, with the moment at which its submit began."""

    def submit(self, order: Order) -> Receipt:
        """Have the producer fulfil an order."""
        assert self.producer.stdin is not None
        assert self.producer.stdout is not None
        self.producer.stdin.write(msgspec.json.encode(order) + b"\n")
        self.producer.stdin.flush()
        line = self.producer.stdout.readline()
        if not line:
            raise RuntimeError(f"the producer of {self.queue} ended")
        receipt = msgspec.json.decode(line, type=Receipt)
        self.submitted |= receipt.submitted
        return receipt

    def wait_until_done(self) -> None:
        """Return when every task that was submitted has ended."""
        books.wait_until_done(self.database)

    def starts(self) -> list[engine.Start]:
        """Return every task that reached the engine so far."""
        return engine.read_starts(self.setup.starts)

    def faults(self) -> list[str]:
        """Judge the books; call it when everything is done."""
        pictures = paths(self.setup.data).blobs
        with self.database.connect() as conn:
            found = list(books.faults(conn, self.workspaces, pictures, len(self.submitted)))
        return [f"{self.queue}: {fault}" for fault in found]

    def faults_so_far(self) -> list[str]:
        """Judge what must hold while tasks are still open."""
        with self.database.connect() as conn:
            found = list(books.faults_so_far(conn, self.workspaces, len(self.submitted)))
        return [f"{self.queue}: {fault}" for fault in found]


@contextlib.contextmanager
def opened(
    queue: Queue,
    servers: Servers,
    folder: Path,
    *,
    engine_seconds: float = 0.0,
    at_once: int = 64,
    lease_seconds: float = 15.0,
    workers: int = 1,
    pictures: Path | None = None,
) -> Iterator[Arena]:
    """Prepare a contestant's tables, start its processes, and stop them at the end.

    `pictures` is a folder in which to make another one for its pictures: on another disk than its
    data, or on none.
    """
    way = WAYS[queue]
    folder.mkdir(parents=True)
    with contextlib.ExitStack() as stack:
        location: Location = SqliteFile(paths(folder).database)
        if way.needs_postgres:
            location = stack.enter_context(servers.new_database())
        setup = Setup(
            folder=str(folder),
            postgres=location.url if isinstance(location, PostgresUrl) else None,
            redis=servers.redis_port if way.needs_redis else None,
            engine_seconds=engine_seconds,
            at_once=at_once,
            lease_seconds=lease_seconds,
        )
        database = engine_of(location, lasting=True)
        stack.callback(database.dispose)
        workspaces = _prepared(queue, setup, database)
        if pictures is not None:
            elsewhere = stack.enter_context(tempfile.TemporaryDirectory(dir=pictures))
            paths(folder).blobs.rmdir()
            paths(folder).blobs.symlink_to(elsewhere)
        if way.worker is not None:
            for _ in range(workers):
                stack.enter_context(_started((way.module, way.worker), setup))
        producer = stack.enter_context(_started((way.module, way.producer), setup))
        yield Arena(queue, setup, database, workspaces, producer)


def _prepared(queue: Queue, setup: Setup, database: Engine) -> list[str]:
    """Make the tables, and return the ids of new workspaces."""
    bring_up_to_date(setup)
    if not queue.is_ours:
        with database.begin() as conn:
            books.drop_our_indexes(conn)
        with (setup.data / "install.log").open("wb") as log:
            command = _command((WAYS[queue].module, "install"), setup)
            subprocess.run(command, check=True, stderr=log)
    with database.begin() as conn:
        return books.open_workspaces(conn, WORKSPACES)


def _lacks(queue: Queue, servers: Servers) -> str | None:
    way = WAYS[queue]
    if way.needs_postgres and servers.postgres is None:
        return servers.missing["postgres"]
    if way.needs_redis and servers.redis_port is None:
        return servers.missing["redis"]
    return None


@contextlib.contextmanager
def _started(process: tuple[str, str], setup: Setup) -> Iterator[subprocess.Popen[bytes]]:
    log = setup.data / f"{process[1]}.log"
    with (
        log.open("ab") as written,
        subprocess.Popen(
            _command(process, setup),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=written,
            start_new_session=True,
        ) as started,
    ):
        try:
            _wait_until_ready(started, log)
            yield started
        finally:
            _stop(started)


def _command(process: tuple[str, str], setup: Setup) -> list[str]:
    module, role = process
    return [sys.executable, "-m", module, role, msgspec.json.encode(setup).decode()]


def _wait_until_ready(process: subprocess.Popen[bytes], log: Path) -> None:
    assert process.stdout is not None
    # Some greet before they are ready.
    if b"ready\n" not in process.stdout:
        raise RuntimeError(f"{process.args!r} ended before it was ready:\n{log.read_text()}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Close its standard input, which means that nothing more will come, and insist if need be."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
