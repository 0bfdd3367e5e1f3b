"""Chores: what has to be tidied up now and then.

Everything is done in small portions, and until nothing is left: others have the database and the
disk in between, and what comes in faster than a portion per round does not pile up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ketchup import db, spending, storage, tasks, telemetry, webhooks, workspaces
from ketchup.clock import SECOND, Clock, Micros, after
from ketchup.db import Database
from ketchup.generation.erase import Eraser
from ketchup.storage import Storage
from ketchup.workspaces import Authenticator, Plans

log = telemetry.logger(__name__)

_DAY: Final = 86_400.0
# Their tasks have ended long before: what is this old was left by a crash.
_KEEP_REFERENCES_SECONDS: Final = 7 * _DAY
# An image past its time is no longer served. To look for such files goes through every folder, and
# time is kept in days.
_SWEEP_FILES_EVERY: Final = 3600.0
PORTION: Final = 500
_OFF_SECONDS: Final = 3600.0
_SET_BACK_SECONDS: Final = 5.0
# Of each, as many tasks as `tasks.fill` takes at once.
_WORKSPACES_AT_ONCE: Final = 10


class Chores:
    """Writes down when keys were used, lets tasks in that wait without need, removes old things.

    `ready` is called after each commit that made tasks ready.
    """

    def __init__(
        self,
        database: Database,
        store: Storage,
        authenticator: Authenticator,
        plans: Plans,
        clock: Clock,
        eraser: Eraser,
        *,
        ready: Callable[[], None],
    ) -> None:
        self._database = database
        self._storage = store
        self._authenticator = authenticator
        self._plans = plans
        self._clock = clock
        self._eraser = eraser
        self._ready = ready
        self._sweep_files_at = clock.monotonic()
        self._looked: tuple[Micros, float] | None = None
        """At what time the chores were done before, by both clocks."""

    async def run(self) -> None:
        """Do what is due. Raises Unavailable; what is left is done the next time."""
        now = self._clock.now()
        await self._authenticator.write_uses()
        await self._let_in()
        await self._forget_keys()
        await self._database.write(lambda conn: spending.forget(conn, db.now(conn, self._clock)))
        await self._make_room()
        await self._eraser.finish()
        if await self._was_set_back():
            await self._bring_forward()
        if self._clock.monotonic() >= self._sweep_files_at and await self._is_right(now):
            await self._sweep_files(now)
            self._sweep_files_at = self._clock.monotonic() + _SWEEP_FILES_EVERY

    async def _let_in(self) -> None:
        while await self._database.write(lambda conn: tasks.fill(conn, _WORKSPACES_AT_ONCE)):
            self._ready()

    async def _forget_keys(self) -> None:
        forgotten = PORTION
        while forgotten == PORTION:
            # By the time that they were written by: a key that is forgotten early is paid twice.
            forgotten = await self._database.write(
                lambda conn: tasks.forget_keys(conn, db.now(conn, self._clock), PORTION)
            )

    async def _make_room(self) -> None:
        """Forget what dead workers were sending, once no engine can be drawing it."""
        await self._database.write(lambda conn: tasks.make_room(conn, db.now(conn, self._clock)))

    async def _was_set_back(self) -> bool:
        """Whether the clock that everybody shares may have been set back since the last time."""
        now, elapsed = await self._shared_time(), self._clock.monotonic()
        before, self._looked = self._looked, (now, elapsed)
        return before is None or now < after(before[0], elapsed - before[1] - _SET_BACK_SECONDS)

    async def _bring_forward(self) -> None:
        brought = PORTION
        while brought == PORTION:
            brought = await self._database.write(
                lambda conn: webhooks.bring_forward(conn, db.now(conn, self._clock), PORTION)
            )

    async def _shared_time(self) -> Micros:
        return await self._database.read(lambda conn: db.now(conn, self._clock))

    async def _is_right(self, now: Micros) -> bool:
        """Whether this machine's clock may judge the age of files: deleting cannot be undone."""
        off = (now - await self._shared_time()) / SECOND
        if abs(off) > _OFF_SECONDS:
            log.error("the clock differs from the database's: no files are swept", seconds=off)
        return abs(off) <= _OFF_SECONDS

    async def _sweep_files(self, now: Micros) -> None:
        for workspace in await self._database.read(workspaces.list_all):
            # Deleting cannot be undone: a name that is missing in the settings may be a mistake.
            if workspace.plan not in self._plans:
                continue
            kept_since = after(now, -self._plans.find(workspace.plan).retention_seconds)
            await self._sweep(storage.image_folder(workspace.number), kept_since)
        await self._sweep(storage.REFERENCES, after(now, -_KEEP_REFERENCES_SECONDS))

    async def _sweep(self, folder: str, before: Micros) -> None:
        while await self._storage.sweep(folder, before, limit=PORTION) == PORTION:
            pass
