"""The plan of one simulation, drawn from its seed: who there is, and how much goes wrong.

Every seed leaves out about half of the faults and draws the strength of the others over orders of
magnitude: where everything always fails, nothing gets far enough to fail in a new way.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Final

from ketchup.webhooks import SCHEDULE

HOUR: Final = 3600.0
DAY: Final = 24 * HOUR
SHORT_DAY: Final = 1 / 24
"""In days: an hour, with everything that makes up a day, only sooner."""


@dataclass(frozen=True, slots=True)
class Faults:
    """How often what goes wrong. None of it, unless it is said."""

    # Times per day and machine.
    kills: float = 0.0
    pauses: float = 0.0
    stops: float = 0.0
    """Graceful ones, as for a new release."""
    jumps: float = 0.0
    """Of the wall clock."""
    # Times per day.
    outages: float = 0.0
    """Of the store, for all machines."""
    # Chances, per occasion.
    undone: float = 0.0
    """A transaction is rolled back at its commit."""
    unheard: float = 0.0
    """A commit is kept and reported as failed."""
    stalls: float = 0.0
    """A transaction waits for as long as leases last."""
    mortal: float = 0.0
    """A machine dies just when it has asked for something or done something to the world."""
    drowsy: float = 0.0
    """A machine is paused there."""
    lost: float = 0.0
    """A request or its answer is lost between customer and service."""
    engine: float = 0.0
    hangs: float = 0.0
    blobs: float = 0.0
    receivers: float = 0.0
    gone: float = 0.0
    """A receiver answers 410: it never wants to hear of it again."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One simulated day. Times are in seconds."""

    seed: str
    day: float
    alone: bool
    """One process does everything, as on SQLite; else workers and API servers come and go."""
    apis: int
    workers: int
    concurrency: int
    ttl: float
    poll: float
    render: float
    """How long an engine takes, on average."""
    schedule: tuple[float, ...]
    customers: int
    tasks: int
    """About how many are submitted in the day."""
    jump: float
    """How far a wall clock may be off, either way."""
    reverse: bool
    """The store returns rows the other way round, where no order was asked for."""
    faults: Faults

    @property
    def patience(self) -> float:
        """How long everything may take to come to an end, once nothing goes wrong any more."""
        # The last pauses of the schedule, what a wrong clock put off, and lost leases.
        return 1.5 * sum(self.schedule) + 3 * HOUR + 20 * self.ttl


def draw(seed: int, days: float) -> Plan:
    """Return the plan of a seed."""
    random = Random(f"{seed}/plan")
    day = days * DAY
    alone = random.random() < 1 / 3
    poll = min(day / 40, 120.0) * random.choice((0.5, 1.0))
    return Plan(
        seed=str(seed),
        day=day,
        alone=alone,
        apis=1 if alone else random.randint(1, 2),
        workers=1 if alone else random.randint(2, 3),
        concurrency=random.randint(1, 4),
        ttl=poll * random.choice((2.0, 4.0)),
        poll=poll,
        render=poll * random.choice((0.05, 0.5, 2.0)),
        schedule=tuple(pause * min(days / 4, 1.0) for pause in SCHEDULE),
        customers=random.randint(1, 5),
        tasks=round(random.uniform(20, 60) * max(1.0, 6 * days)),
        jump=min(HOUR, day / 6),
        reverse=random.random() < 0.5,
        faults=_faults(random),
    )


def _faults(random: Random) -> Faults:
    def some(most: float) -> float:
        return 0.0 if random.random() < 0.5 else most * 10 ** random.uniform(-1.5, 0)

    return Faults(
        kills=some(12),
        pauses=some(12),
        stops=some(6),
        jumps=some(6),
        outages=some(6),
        undone=some(0.2),
        unheard=some(0.2),
        stalls=some(0.02),
        mortal=some(0.05),
        drowsy=some(0.05),
        lost=some(0.1),
        engine=some(0.3),
        hangs=some(0.05),
        blobs=some(0.1),
        receivers=some(0.5),
        gone=some(0.2),
    )
