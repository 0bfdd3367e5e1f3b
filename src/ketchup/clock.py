"""Time, as a value that is passed in. Nothing else in the product reads a clock.

Two kinds, never mixed: `now` is the wall clock, for what is stored and shown, and may jump;
`monotonic` only goes forward and decides how long something has lasted, such as the trust in a
lease.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, NewType, Protocol

Micros = NewType("Micros", int)
"""A point in time: whole microseconds since 1970-01-01 UTC. What the database stores."""

SECOND: Final = 1_000_000


class Clock(Protocol):
    """Where the time comes from."""

    def now(self) -> Micros:
        """Return the wall-clock time."""
        ...

    def monotonic(self) -> float:
        """Return seconds from an arbitrary start; never goes back."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now(self) -> Micros:
        """Return the wall-clock time."""
        return Micros(time.time_ns() // 1_000)  # noqa: TID251 the one place that may

    def monotonic(self) -> float:
        """Return seconds from an arbitrary start."""
        return time.monotonic()


@dataclass
class FrozenClock:
    """A clock that stands still until it is told to move. Ships for tests and simulations."""

    at: Micros = Micros(1_757_499_740_010_000)  # 2025-09-10T10:22:20.010Z
    elapsed: float = 0.0

    def now(self) -> Micros:
        """Return the set wall-clock time."""
        return self.at

    def monotonic(self) -> float:
        """Return the seconds that `advance` has let pass."""
        return self.elapsed

    def advance(self, seconds: float) -> None:
        """Let both clocks go on."""
        self.at = after(self.at, seconds)
        self.elapsed += seconds


def after(at: Micros, seconds: float) -> Micros:
    """Return the time `seconds` later (earlier when negative)."""
    return Micros(at + round(seconds * SECOND))


def iso(at: Micros) -> str:
    """Format as the contract shows times: `2025-09-10T10:22:20.010Z`."""
    # Integer arithmetic: a float of today's microseconds is already rounded in its last digits.
    seconds, micros = divmod(at, SECOND)
    # Without a zone, `isoformat` writes none, and is three times as fast as a format string.
    whole = datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat()
    return f"{whole}.{micros // 1000:03d}Z"
