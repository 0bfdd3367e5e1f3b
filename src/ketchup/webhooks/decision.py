"""What follows from an attempt. Pure: the answer, the schedule and the randomness come in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Final, assert_never

from ketchup.backoff import scheduled

GONE: Final = 410
_MINUTE: Final = 60.0
_HOUR: Final = 3600.0

SCHEDULE: Final = (
    0.0,
    5.0,
    5 * _MINUTE,
    30 * _MINUTE,
    2 * _HOUR,
    5 * _HOUR,
    10 * _HOUR,
    14 * _HOUR,
    20 * _HOUR,
    24 * _HOUR,
)
"""The pause before each attempt in seconds: ten attempts in 75 hours and 35 minutes."""


@dataclass(frozen=True, slots=True)
class Answered:
    """The receiver answered. `retry_after` is its wish in seconds, if it has one."""

    status: int
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class Unanswered:
    """No answer came: refused, reset, too slow, or an address that may not be called."""

    reason: str


Outcome = Answered | Unanswered


@dataclass(frozen=True, slots=True)
class Delivered:
    """The receiver has it."""


@dataclass(frozen=True, slots=True)
class Again:
    """It will be tried again, `delay` seconds after this attempt ended."""

    delay: float


@dataclass(frozen=True, slots=True)
class Dead:
    """It will not be tried again: the receiver is gone or the schedule is used up."""


@dataclass(frozen=True, slots=True)
class HandedBack:
    """Due again at once, and no try used up: we ended the attempt, the receiver did not."""


Decision = Delivered | Again | Dead


def decide(outcome: Outcome, tries: int, schedule: Sequence[float], random: Random) -> Decision:
    """Say what follows from the outcome of try number `tries`, the first being 1.

    Only 2xx is delivered: a redirect is a failure like any other, and 410 is a receiver's way of
    asking us to stop.
    """
    match outcome:
        case Answered(status=status) if 200 <= status < 300:  # noqa: PLR2004 the range is its name
            return Delivered()
        case Answered(status=status) if status == GONE:
            return Dead()
        case Answered(retry_after=wish):
            pause = scheduled(schedule, tries, random, retry_after=wish)
        case Unanswered():
            pause = scheduled(schedule, tries, random)
        case _:
            assert_never(outcome)
    return Dead() if pause is None else Again(pause)
