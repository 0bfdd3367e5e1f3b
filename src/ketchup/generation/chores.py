"""Chores: what has to be tidied up now and then, in small portions."""

from __future__ import annotations

from typing import Final

from ketchup import storage, tasks, workspaces
from ketchup.clock import Clock, after
from ketchup.db import Database
from ketchup.storage import Storage
from ketchup.workspaces import Authenticator

_DAY: Final = 86_400.0
# Their tasks have ended long before: what is this old was left by a crash.
_KEEP_REFERENCES_SECONDS: Final = 7 * _DAY


class Chores:
    """Writes down when keys were used, and removes what is past its time."""

    def __init__(
        self, database: Database, store: Storage, authenticator: Authenticator, clock: Clock
    ) -> None:
        self._database = database
        self._storage = store
        self._authenticator = authenticator
        self._clock = clock

    async def run(self) -> None:
        """Do all of it once. Raises Unavailable; what is left is done the next time."""
        now = self._clock.now()
        await self._authenticator.write_uses()
        await self._database.write(lambda conn: tasks.forget_keys(conn, now))
        for workspace in await self._database.read(workspaces.list_all):
            kept_since = after(now, -workspace.retention_days * _DAY)
            await self._storage.sweep(storage.image_folder(workspace.number), kept_since)
        await self._storage.sweep(storage.REFERENCES, after(now, -_KEEP_REFERENCES_SECONDS))
