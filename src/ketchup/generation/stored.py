"""Stored: the pictures of an attempt in the store, before any task names them.

An attempt may be cancelled at any moment: its customer did, its worker stops, its lease is lost.
What it had stored by then would stay until its retention is over, and nobody could ever see it. So
it is removed, unless the task did end with it: a write that was under way is waited for first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from functools import partial
from typing import Final, TypeVar

from ketchup import ids, storage, tasks, telemetry, workspaces
from ketchup.clock import Clock
from ketchup.db import Database
from ketchup.errors import Unavailable
from ketchup.ids import Entropy, WorkspaceId
from ketchup.providers.base import ImageFormat
from ketchup.storage import Storage
from ketchup.tasks import End

T = TypeVar("T")
log = telemetry.logger(__name__)

_LAST_SECONDS: Final = 5.0


class Stored:
    """Names, puts and removes pictures. Whoever calls repeats what raises Unavailable."""

    def __init__(self, database: Database, store: Storage, clock: Clock, entropy: Entropy) -> None:
        self._database = database
        self._storage = store
        self._clock = clock
        self._entropy = entropy
        self._numbers: dict[WorkspaceId, int] = {}

    async def names(
        self, workspace_id: WorkspaceId, formats: Sequence[ImageFormat]
    ) -> tuple[str, ...]:
        """Return names that nobody else has."""
        number = await self._number_of(workspace_id)
        now, bits = self._clock.now(), partial(ids.name_bits, self._entropy)
        return tuple(
            storage.image_key(number, now, image_format, bits(), sequence=place)
            for place, image_format in enumerate(formats)
        )

    async def put(self, key: str, data: bytes) -> None:
        """Store a picture. Who is cancelled meanwhile is so when it is there, or is not."""
        await whole(self._storage.put(key, data))

    async def remove(self, keys: Sequence[str]) -> None:
        """Remove pictures that no task names, or leave them to the sweep."""
        try:
            for key in keys:
                await self._storage.delete(key)
        except Unavailable as error:
            log.warning("images are left to the sweep", cause=str(error.__cause__))

    async def forget(self, end: End, keys: Sequence[str]) -> None:
        """Remove the pictures of an attempt that was cancelled, unless its task ended with them.

        Not before every write that it began is over. In doubt they are left to the sweep.
        """
        await whole(self._forget(end, keys))

    async def _forget(self, end: End, keys: Sequence[str]) -> None:
        try:
            async with asyncio.timeout(_LAST_SECONDS):
                if not await self._database.read(lambda conn: tasks.was_ended(conn, end)):
                    await self.remove(keys)
        except (Unavailable, TimeoutError) as error:
            log.warning("images are left to the sweep", cause=repr(error))

    async def _number_of(self, workspace_id: WorkspaceId) -> int:
        number = self._numbers.get(workspace_id)
        if number is None:
            found = await self._database.read(lambda conn: workspaces.get(conn, workspace_id))
            number = self._numbers[workspace_id] = found.number
        return number


async def whole(work: Awaitable[T]) -> T:
    """Wait for work to its own end, however often this is cancelled meanwhile; then it is."""
    task, cancelled = asyncio.ensure_future(work), None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        # Nobody else asks for what it came to.
        if not task.cancelled():
            task.exception()
        raise cancelled
    return task.result()
