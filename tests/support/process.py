"""`ketchup serve`, `api` or `worker` as a process, for tests that kill, starve or restart it."""

from __future__ import annotations

import asyncio
import os
import re
import select
import signal
import subprocess
import sys
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Final, Self

DEADLINE_SECONDS: Final = 30.0
KETCHUP: Final = (sys.executable, "-m", "ketchup")
COMMAND: Final = (*KETCHUP, "serve")
_READY: Final = re.compile(r"is ready at (\S+)|is working")


@dataclass
class ServerProcess:
    """A running server. Use as a context manager: it is killed at the end."""

    process: subprocess.Popen[str]
    data: Path
    base_url: str = ""
    is_ready: bool = False
    """Whether it has said so."""

    @classmethod
    def start(
        cls,
        data: Path,
        *options: str,
        role: str = "serve",
        environ: Mapping[str, str] | None = None,
        before: Sequence[str] = (),
    ) -> Self:
        """Start it on a free port and return when it is ready; `before` precedes the command."""
        server = cls.launch(data, *options, role=role, environ=environ, before=before)
        ready = server.wait_until_ready()
        if not ready:
            server.process.wait(DEADLINE_SECONDS)
            server.close()
        assert ready, server.log
        return server

    @classmethod
    def launch(
        cls,
        data: Path,
        *options: str,
        role: str = "serve",
        environ: Mapping[str, str] | None = None,
        before: Sequence[str] = (),
        command: Sequence[str] = KETCHUP,
    ) -> Self:
        """Start it on a free port and return at once."""
        port = () if role == "worker" else ("--port", "0")
        with _log(data).open("a") as log:
            process = subprocess.Popen(
                [*before, *command, role, *port, "--data", str(data), *options],
                cwd=data.parent,
                env={
                    **os.environ,
                    "KETCHUP_EGRESS_ALLOW": "127.0.0.0/8:1-65535",
                    "KETCHUP_EGRESS_FAILURES_LAST_SECONDS": "0",
                    **(environ or {}),
                },
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        return cls(process, data)

    def wait_until_ready(self) -> bool:
        """Return once it answers requests; False if it ended instead."""
        assert self.process.stdout is not None
        found = _READY.search(self.process.stdout.readline())
        if found is not None:
            self.base_url = found[1] or ""
            self.is_ready = True
        return self.is_ready

    @property
    def admin_token(self) -> str:
        return (self.data / "admin.token").read_text().strip()

    @property
    def log(self) -> str:
        """Everything that this folder's servers wrote on standard error."""
        return _log(self.data).read_text()

    @property
    def printed(self) -> str:
        """What it printed after its first line; waits for the end of the process."""
        assert self.process.stdout is not None
        return self.process.stdout.read()

    def kill(self) -> None:
        """Kill -9, and wait until it is gone."""
        self.process.kill()
        self.process.wait(DEADLINE_SECONDS)
        self.close()

    def terminate(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to stop, and return its exit code."""
        self.process.send_signal(number)
        return self.process.wait(DEADLINE_SECONDS)

    def close(self) -> None:
        assert self.process.stdout is not None
        self.process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_failure: object) -> None:
        if self.process.poll() is None:
            self.kill()
        self.close()


class Descendants:
    """The processes below one, held by descriptors that a reused number cannot confuse."""

    def __init__(self, pid: int) -> None:
        self._descriptors: dict[int, int] = {}
        weakref.finalize(self, _close_all, self._descriptors)
        for child in _descendants(pid):
            with suppress(ProcessLookupError):
                self._descriptors[child] = os.pidfd_open(child)

    @property
    def pids(self) -> list[int]:
        return list(self._descriptors)

    def left_after(self, seconds: float) -> list[int]:
        """Wait until all have ended, and return those that have not in time."""
        end = monotonic() + seconds
        left = []
        for pid, descriptor in self._descriptors.items():
            waiting = select.poll()
            waiting.register(descriptor, select.POLLIN)
            if not waiting.poll(max(end - monotonic(), 0.0) * 1000):
                left.append(pid)
        _close_all(self._descriptors)
        return left


def _close_all(descriptors: dict[int, int]) -> None:
    for descriptor in descriptors.values():
        os.close(descriptor)
    descriptors.clear()


def _descendants(pid: int) -> list[int]:
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):
                # The name in parentheses may hold anything; what follows it may not.
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                parents[int(entry.name)] = int(fields[1])
    found = [pid]
    for candidate in found:
        found += [child for child, parent in parents.items() if parent == candidate]
    return found[1:]


def _log(data: Path) -> Path:
    return data.parent / f"{data.name}.log"


async def until_gone(pid: int) -> None:
    """Wait for the end of a process that need not be a child of this one."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    gone = asyncio.Event()
    asyncio.get_running_loop().add_reader(process, gone.set)
    await asyncio.wait_for(gone.wait(), DEADLINE_SECONDS)
    asyncio.get_running_loop().remove_reader(process)
    os.close(process)
