"""Erase: a customer deletes a task that has ended, and with it every byte that it said or showed.

    the row is emptied, the callback given up, the blobs named    one transaction: it is gone
    the blobs are deleted
    their names are struck out                                    another transaction

The row stays for the books, and of its pictures the log of fingerprints alone remains. Whoever dies
between the two leaves names behind, and the chores go on from there.
"""

from __future__ import annotations

from typing import Final, assert_never

from ketchup import db, tasks, telemetry, webhooks
from ketchup.clock import Clock
from ketchup.db import Connection, Database
from ketchup.errors import Conflict, NotFound, Unavailable
from ketchup.generation.inputs import blobs_among
from ketchup.generation.results import Results
from ketchup.ids import WorkspaceId
from ketchup.tasks import Erasure

log = telemetry.logger(__name__)

PORTION: Final = 100
"""Blobs that are deleted between two transactions."""


class Eraser:
    """Deletes tasks and what they left."""

    def __init__(self, database: Database, results: Results, clock: Clock) -> None:
        self._database = database
        self._results = results
        self._clock = clock

    async def erase(self, workspace_id: WorkspaceId, task_id: str) -> None:
        """Delete a task with its bytes; again is no error.

        Raises NotFound, Conflict for a task that has not ended, and Unavailable: the task is gone
        then or not, but a blob may be there until it is asked again or the chores come by.
        """
        await self._database.write(lambda conn: self._empty(conn, workspace_id, task_id))
        await self._delete_blobs(task_id)

    async def delete_references(self, task_id: str) -> None:
        """Delete what came with a task that was ended without its worker; the chores would, too."""
        try:
            await self._delete_blobs(task_id)
        except Unavailable as error:
            log.warning("references are left to the chores", cause=str(error.__cause__))

    async def finish(self) -> None:
        """Delete what was left by those who stopped half-way. Raises Unavailable."""
        await self._delete_blobs(None)

    def _empty(self, conn: Connection, workspace_id: WorkspaceId, task_id: str) -> None:
        now = db.now(conn, self._clock)
        match tasks.erase(conn, workspace_id, task_id, blobs_among, now):
            case Erasure.ABSENT:
                raise NotFound("task not found")
            case Erasure.OPEN:
                raise Conflict("the task has not ended; cancel it first")
            case Erasure.ERASED:
                webhooks.forget(conn, task_id, now)
            case never:
                assert_never(never)

    async def _delete_blobs(self, task_id: str | None) -> None:
        doomed = [""] * PORTION
        while len(doomed) == PORTION:
            doomed = await self._database.read(
                lambda conn: tasks.list_doomed(conn, task_id, PORTION)
            )
            await self._results.remove(doomed)
            await self._strike_out(doomed)

    async def _strike_out(self, keys: list[str]) -> None:
        if keys:
            await self._database.write(lambda conn: tasks.forget_doomed(conn, keys))
