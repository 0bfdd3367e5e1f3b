"""How often one task may be polled: a burst, then an even pace, per key and task.

Kept in memory: a poll too many costs a read, nothing more, so the database need not decide. A limit
below one poll a second is not offered, because the contract always allows that.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

from ketchup.clock import Clock
from ketchup.errors import RateLimited

_REMEMBER_AT_MOST: Final = 100_000


class Pace:
    """The generic cell rate algorithm over any key."""

    def __init__(self, per_second: float, burst: int, clock: Clock) -> None:
        self._interval = 1.0 / per_second
        self._tolerance = self._interval * burst
        self._clock = clock
        self._arrivals: dict[Hashable, float] = {}

    def check(self, key: Hashable) -> None:
        """Count one more. Raises RateLimited with the seconds to wait."""
        now = self._clock.monotonic()
        arrival = max(self._arrivals.get(key, now), now) + self._interval
        early = arrival - now - self._tolerance
        # A float's rounding must not refuse the last poll of a burst.
        if early > self._interval * 1e-6:
            raise RateLimited("rate limit exceeded", retry_after=early)
        if len(self._arrivals) >= _REMEMBER_AT_MOST:
            self._make_room(now)
        self._arrivals[key] = arrival

    def _make_room(self, now: float) -> None:
        self._arrivals = {key: at for key, at in self._arrivals.items() if at > now}
        if len(self._arrivals) >= _REMEMBER_AT_MOST:
            self._arrivals.clear()
