"""When to try again.

Pure: the schedule, the randomness and the other side's wish come in, a delay in seconds goes out.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Final

JITTER: Final = 0.2
# A receiver may slow us down, but not park a message for ever.
MAX_RETRY_AFTER_SECONDS: Final = 24 * 3600.0
_MOST_DOUBLINGS: Final = 64


def jittered(seconds: float, random: Random) -> float:
    """Spread a delay by ±20 %, so that what failed together does not come back together."""
    return seconds * random.uniform(1 - JITTER, 1 + JITTER)


def exponential(tries: int, random: Random, *, base: float = 1.0, ceiling: float = 60.0) -> float:
    """Return the delay after failure number `tries`: base, 2 base, 4 base… up to the ceiling."""
    # What fails for a day reaches tries whose power no float can hold.
    doublings = min(max(tries - 1, 0), _MOST_DOUBLINGS)
    return jittered(min(base * 2.0**doublings, ceiling), random)


def scheduled(
    schedule: Sequence[float], attempts: int, random: Random, *, retry_after: float | None = None
) -> float | None:
    """Return the delay before the next attempt, or None when the schedule is used up.

    `attempts` were made so far; `schedule[i]` is the pause before attempt i + 1. A `Retry-After`
    can only lengthen the pause, and only to a day.
    """
    if attempts >= len(schedule):
        return None
    delay = jittered(schedule[attempts], random)
    if retry_after is None:
        return delay
    return max(delay, min(retry_after, MAX_RETRY_AFTER_SECONDS))
