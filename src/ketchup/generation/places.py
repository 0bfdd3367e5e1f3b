"""Places: room for the tasks that render at once. A task that fetches takes none.

Whoever runs a reference's server decides how long its fetch takes. So a task gives its place back
meanwhile, and waits for one again before it renders: ahead of what is claimed then. Few of one
workspace may be away like this, or its slow references would keep those of others out.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from ketchup.ids import WorkspaceId

_AWAY: Final = 256
_AWAY_PER_WORKSPACE: Final = 64


class NoRoom(Exception):
    """Too many tasks fetch, in all or of this workspace: this one has to wait in the queue."""


class Places:
    """On the event loop only. `freed` is called when one more task could be claimed."""

    def __init__(
        self,
        most: int,
        freed: Callable[[], None],
        *,
        away: int = _AWAY,
        away_per_workspace: int = _AWAY_PER_WORKSPACE,
    ) -> None:
        self._most = most
        self._freed = freed
        self._most_away = away
        self._most_per_workspace = away_per_workspace
        self._taken = 0
        self._away: Counter[WorkspaceId] = Counter()
        self._returning: deque[asyncio.Future[None]] = deque()

    @property
    def free(self) -> int:
        """How many tasks could begin now."""
        return max(self._most - self._taken, 0)

    def take(self) -> None:
        """Take a place for a task that begins."""
        self._taken += 1

    def leave(self) -> None:
        """Give a place to a task that comes back, or to what is claimed next."""
        while self._returning:
            back = self._returning.popleft()
            if not back.done():
                back.set_result(None)
                return
        self._taken -= 1
        self._freed()

    @asynccontextmanager
    async def lent(self, workspace: WorkspaceId) -> AsyncIterator[None]:
        """Give the task's place back while it fetches. Raises NoRoom.

        However it ends, the task has its place again, to `leave` it: at once when the fetch failed,
        as nothing is rendered then.
        """
        if (
            self._away.total() >= self._most_away
            or self._away[workspace] >= self._most_per_workspace
        ):
            raise NoRoom(workspace)
        self._away[workspace] += 1
        self.leave()
        try:
            yield
        except BaseException:
            self.take()
            raise
        finally:
            self._away[workspace] -= 1
            if not self._away[workspace]:
                del self._away[workspace]
        await self._come_back()

    async def _come_back(self) -> None:
        if self.free:
            self.take()
            return
        back: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._returning.append(back)
        try:
            await back
        except asyncio.CancelledError:
            # Unless it was given one at the same moment.
            if back.cancelled():
                self.take()
            raise
