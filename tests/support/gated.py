"""Ketchup with an engine that a test holds and lets go, as a process of its own.

    python -m tests.support.gated worker --data DATA

It takes what `ketchup` takes. Each request to the engine leaves a file in the folder that GATES
names, and is answered when the gate of its process is open.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from time import monotonic, sleep
from typing import Final

from ketchup import telemetry
from ketchup.bootstrap import open_folder
from ketchup.config import Settings, load
from ketchup.providers.base import GeneratedImage, ImageRequest, Progress
from ketchup.service import Role, Service, Started, bind, event_loop_runner
from tests.support.engines import plain_image

COMMAND: Final = (sys.executable, "-m", "tests.support.gated")
VARIABLE: Final = "GATES"
_DEADLINE_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.01


class Gates:
    """The engines of several processes, as their test sees and holds them."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self._folder = folder

    def begun(self) -> Sequence[tuple[int, str]]:
        """Return the process and the task of every request so far, in order."""
        files = sorted(self._folder.glob("*.begun"), key=lambda file: file.stat().st_mtime_ns)
        return [(int(pid), task) for pid, task in (file.stem.split(" ")[:2] for file in files)]

    def wait_for(self, count: int) -> Sequence[tuple[int, str]]:
        """Wait until there have been so many requests."""
        end = monotonic() + _DEADLINE_SECONDS
        while len(begun := self.begun()) < count:
            assert monotonic() < end, begun
            sleep(_POLL_SECONDS)
        return begun

    def open(self, pid: int) -> None:
        """Let this process's engine answer, from now on."""
        (self._folder / f"{pid}.open").touch()


class _GatedProvider:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0

    async def generate(
        self, request: ImageRequest, *, progress: Progress, cancelled: asyncio.Event
    ) -> Sequence[GeneratedImage]:
        pid = os.getpid()
        self._count += 1
        (self._folder / f"{pid} {request.task_id} {self._count}.begun").touch()
        while not (self._folder / f"{pid}.open").exists() and not cancelled.is_set():
            await asyncio.sleep(_POLL_SECONDS)
        progress(1.0)
        return [plain_image(request, place) for place in range(request.count)]

    async def close(self) -> None:
        pass


def main() -> None:
    """Run one role until a signal comes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("role")
    parser.add_argument("--port", type=int)
    parser.add_argument("--data")
    given = parser.parse_args()
    flags = {"port": given.port, "data": given.data}
    settings = load(os.environ, flags=flags, config=None).settings
    _run(settings, Role[given.role.upper()])


def _run(settings: Settings, role: Role) -> None:
    telemetry.configure(settings.log.level, settings.log.format, secrets=[])
    listening = nullcontext() if role is Role.WORKER else bind(settings.host, settings.port)
    engines = {"studio": _GatedProvider(Path(os.environ[VARIABLE]))}
    with open_folder(settings) as folder, listening as listener, event_loop_runner() as runner:
        runner.run(_serve(Service(settings, folder, listener, engines, role=role)))


async def _serve(service: Service) -> None:
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, service.stop)
    await service.run(_say_ready)


def _say_ready(started: Started) -> None:
    sys.stdout.write(f"is ready at {started.base_url}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
