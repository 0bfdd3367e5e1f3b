"""How many strangers' pictures are verified at once, and how often one workspace may ask.

Each is held in memory and worked on for up to a second. One process works on one of them at a time,
beside those that finish paid pictures, so whoever asks too often makes others wait who ask the
same, and nobody else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Final

from ketchup.errors import RateLimited, Unavailable

AT_ONCE: Final = 8
OF_ONE_WORKSPACE: Final = 2


class Verifying:
    """The places for pictures that are verified. On the event loop only."""

    def __init__(self, check_pace: Callable[[Hashable], None] | None = None) -> None:
        """Take what counts one more and raises RateLimited; without it only places are counted."""
        self._check_pace = check_pace
        self._held: Counter[Hashable] = Counter()

    @contextmanager
    def place(self, workspace: Hashable) -> Iterator[None]:
        """Hold one place, from before the body is read. Nobody waits for one.

        Raises RateLimited when the workspace has enough, Unavailable when all are taken.
        """
        if self._held[workspace] >= OF_ONE_WORKSPACE:
            raise RateLimited("too many pictures are verified at once", retry_after=1.0)
        if self._held.total() >= AT_ONCE:
            raise Unavailable("too many pictures are verified at once")
        if self._check_pace is not None:
            self._check_pace(workspace)
        self._held[workspace] += 1
        try:
            yield
        finally:
            self._held[workspace] -= 1
            if not self._held[workspace]:
                del self._held[workspace]
