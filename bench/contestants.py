"""The servers that are compared: each in a process and on a data folder of its own.

They are started together and stay up while they take turns, so that whatever else the machine does
hits all of them alike. All share one core, which the load does not touch; the ones whose turn it is
not are idle.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO, Final

import msgspec

from bench.load import Job, Outcome
from bench.prepare import Prepared

_READY: Final = re.compile(r"ready at http://127\.0\.0\.1:(\d+)")
_STOP_SECONDS: Final = 30


class Name(StrEnum):
    """Who takes part."""

    KETCHUP = "ketchup"
    KETCHUP_POSTGRES = "ketchup on PostgreSQL"
    FLOOR = "floor"
    BASELINE = "baseline"


@dataclass(frozen=True, slots=True)
class Cores:
    """Where the servers and the load run; None where the system does not let us choose."""

    server: int | None
    load: int | None

    @classmethod
    def choose(cls) -> Cores:
        """Take the first two cores that this process may use."""
        if not hasattr(os, "sched_getaffinity"):
            return cls(None, None)
        allowed = sorted(os.sched_getaffinity(0))
        return cls(allowed[0], allowed[1]) if len(allowed) > 1 else cls(None, None)


@dataclass(frozen=True, slots=True)
class Contestant:
    """A server that is up."""

    name: Name
    prepared: Prepared
    process: subprocess.Popen[str]
    port: int

    def load(self, job: Job) -> tuple[Outcome, float | None]:
        """Send a job's load from another process; return the outcome and our CPU µs per request."""
        before = _cpu_seconds(self.process.pid)
        outcome = send(msgspec.structs.replace(job, port=self.port, key=self.prepared.key))
        after = _cpu_seconds(self.process.pid)
        if before is None or after is None:
            return outcome, None
        return outcome, (after - before) * 1e6 / max(1, sum(outcome.statuses.values()))


def send(job: Job) -> Outcome:
    """Send a job's load from a process of its own."""
    # Files, not pipes: both are far larger than a pipe, and neither side shall wait for it.
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as made:
        given.write(msgspec.json.encode(job))
        given.seek(0)
        command = [sys.executable, "-m", "bench.load"]
        subprocess.run(command, stdin=given, stdout=made, check=True)
        made.seek(0)
        return msgspec.json.decode(made.read(), type=Outcome)


@contextlib.contextmanager
def started(name: Name, prepared: Prepared, core: int | None) -> Iterator[Contestant]:
    """Run a server, and stop it gracefully."""
    with running(command_of(name, prepared), core) as (process, port):
        yield Contestant(name, prepared, process, port)


@contextlib.contextmanager
def running(
    command: list[str], core: int | None, log: IO[bytes] | None = None
) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run a command that tells its address when it is ready; yield its process and port."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as process:
        if core is not None:
            # Before it has made a thread: they inherit this.
            os.sched_setaffinity(process.pid, {core})
        try:
            yield process, _port(process)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def command_of(name: Name, prepared: Prepared) -> list[str]:
    """Return how a server is started on a folder."""
    folder = str(prepared.folder)
    if name in (Name.FLOOR, Name.BASELINE):
        return [sys.executable, "-m", f"bench.{name}", folder]
    command = [sys.executable, "-m", "ketchup", "serve", "--concurrency", "0"]
    database = ["--database", prepared.database] if prepared.database else []
    return [*command, "--data", folder, "--port", "0", *database]


def _port(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    for line in process.stdout:
        if found := _READY.search(line):
            return int(found[1])
    raise RuntimeError(f"a server ended with {process.wait()} before it was ready")


def _cpu_seconds(pid: int) -> float | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    # Fields 14 and 15 of proc(5): user and system time, in ticks.
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
