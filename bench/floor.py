"""The floor: Ketchup's own application, with nothing behind its endpoints.

Routing, authentication, parsing, judging and encoding are the product's own code. Only two things
are replaced: a submit is accepted at once with a fresh task id, and a poll finds its task without
looking. What Ketchup is slower than this is what storing durably costs.
"""

from __future__ import annotations

import asyncio
import dataclasses
import sys
from pathlib import Path
from typing import cast

from typing_extensions import override

from bench.prepare import settings_for
from bench.serving import runner, serve
from ketchup import ids
from ketchup.bootstrap import open_runtime
from ketchup.clock import Clock, SystemClock
from ketchup.data_folder import DataFolder
from ketchup.db import DEFAULT_CAPACITY, Batcher, Database, Flush, Item, Result
from ketchup.generation import Accepted, Decision, GenerationRequest, Submitter
from ketchup.ids import TaskId, WorkspaceId
from ketchup.money import Credits
from ketchup.protocol import HttpProtocol
from ketchup.server import create_app
from ketchup.service import settle_memory
from ketchup.tasks import Status, Task


async def main(folder: Path) -> None:
    """Serve a prepared folder, of which only the keys are read."""
    clock = SystemClock()
    with DataFolder.open(folder, clock) as owned:
        async with open_runtime(settings_for(folder), owned, base_url="http://127.0.0.1") as real:
            without = dataclasses.replace(
                real, submitter=_AcceptsAll(clock), database=_FindsAll(clock)
            )
            app = create_app(without)
            settle_memory()
            await serve(app, HttpProtocol)


class _AcceptsAll(Submitter):
    def __init__(self, clock: Clock) -> None:
        # Nothing of the real one: there is nothing to write to.
        self._clock = clock

    @override
    async def submit(self, request: GenerationRequest) -> Decision:
        return Accepted(ids.task_id(self._clock.now()))


class _FindsAll(Database):
    """A database whose only answer is a pending task of the id that was asked for."""

    def __init__(self, clock: Clock) -> None:
        self._loop = asyncio.get_running_loop()
        self._clock = clock

    @override
    def read_batcher(
        self, flush: Flush[Item, Result], *, capacity: int = DEFAULT_CAPACITY
    ) -> Batcher[Item, Result]:
        # The endpoints ask it for one kind of thing only, and call what they get.
        return cast("Batcher[Item, Result]", self._find)

    def _find(self, wanted: tuple[WorkspaceId, str]) -> asyncio.Future[Task]:
        found: asyncio.Future[Task] = self._loop.create_future()
        _, task_id = wanted
        now = self._clock.now()
        task = Task(TaskId(task_id), _MODEL, Status.PENDING, None, Credits(0), None, now)
        found.set_result(task)
        return found


_MODEL = "google/gempix2"


if __name__ == "__main__":
    with runner() as loop:
        loop.run(main(Path(sys.argv[1])))
