"""The engine that all contestants share: it draws the same tiny picture, at once or after a time.

Whenever a worker process hands it a task, it appends a record to one file: which task, which
process, when. `time.monotonic_ns` is one clock for all processes of a machine, so the difference
to the moment at which the task was submitted is what its customer waited.
"""

from __future__ import annotations

import asyncio
import base64
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ketchup.providers.base import GeneratedImage, ImageFormat, ImageRequest, Progress

PICTURE: Final = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGM4IacBAALAAQ/aQIG5AAAAAElFTkSuQmCC"
)
"""A whole PNG of one pixel."""


@dataclass(frozen=True, slots=True)
class Start:
    """An engine began with a task."""

    task_id: str
    process: int
    at: int
    """On the monotonic clock, in nanoseconds."""


class Starts:
    """The file of starts, as a worker process writes it."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def note(self, task_id: str) -> None:
        """Append a record; lines of several processes do not mix, because each is one write."""
        os.write(self._file, f"{task_id} {os.getpid()} {time.monotonic_ns()}\n".encode())


def read_starts(path: Path) -> list[Start]:
    """Return every start so far, in the order of the file."""
    if not path.exists():
        return []
    records = (line.split() for line in path.read_text().splitlines())
    return [Start(task_id, int(process), int(at)) for task_id, process, at in records]


class Engine:
    """Draws; as a provider of Ketchup's, or by a rival's task that calls `draw`."""

    def __init__(self, starts: Path, seconds: float = 0.0) -> None:
        self._starts = Starts(starts)
        self._seconds = seconds

    async def draw(self, task_id: str) -> bytes:
        """Return the picture when the time is over."""
        self._starts.note(task_id)
        if self._seconds:
            await asyncio.sleep(self._seconds)
        return PICTURE

    def draw_blocking(self, task_id: str) -> bytes:
        """Do the same for a worker that has a process for each task."""
        self._starts.note(task_id)
        time.sleep(self._seconds)
        return PICTURE

    async def generate(
        self,
        request: ImageRequest,
        *,
        progress: Progress,  # noqa: ARG002 the protocol has it; nothing to tell in between
        cancelled: asyncio.Event,  # noqa: ARG002 the protocol has it; a cancelled sleep ends
    ) -> Sequence[GeneratedImage]:
        picture = await self.draw(request.task_id)
        return [GeneratedImage(picture, ImageFormat.PNG, 1, 1)]

    async def close(self) -> None:
        """Nothing is held but a file, which ends with the process."""
