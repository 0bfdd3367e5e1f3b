"""Accept to success: every write of a task, with an engine that draws at once.

A round is every contestant once, each on empty tables and with its own processes, which share all
cores with its servers. The clock runs from the first submit to the commit behind which nothing is
held any more. Ratios are taken within a round, and the median round is reported.

Each contestant stores a picture per task as a file that survives a power cut. Where the system has
a file system in memory, everything is measured once more with the pictures there: what then remains
is what the queue and the books cost.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from statistics import median
from typing import Final

from bench.arena import Arena, Queue, opened
from bench.orders import Order
from bench.report import Goal, Part, at_least
from bench.servers import Servers

GOALS: Final = {Queue.KETCHUP_SQLITE: 2_000, Queue.KETCHUP_POSTGRES: 1_500}
MEMORY: Final = Path("/dev/shm")  # noqa: S108 a folder with a name nobody can guess is made in it
_TIMES_A_RIVAL: Final = 2


class Pictures(StrEnum):
    """Where the pictures go."""

    ON_DISK = "pictures on disk"
    IN_MEMORY = "pictures in memory"

    @property
    def folder(self) -> Path | None:
        """The folder to make another one in; None for the contestant's own."""
        return None if self is Pictures.ON_DISK else MEMORY


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    rounds: int = 3
    tasks: int = 5_000
    warm_up: int = 500


Rates = dict[Queue, list[float]]
"""Tasks per second by contestant, in the order of the rounds."""


@dataclass(slots=True)
class Results:
    """The rates, by where the pictures went; and what was wrong."""

    rates: dict[Pictures, Rates] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


def measure(plan: Plan, queues: Sequence[Queue], servers: Servers, folder: Path) -> Results:
    """Run every round; the folder is filled with data folders."""
    results = Results()
    for pictures in Pictures:
        if pictures is Pictures.IN_MEMORY and not os.access(MEMORY, os.W_OK):
            continue
        rates = results.rates[pictures] = {queue: [] for queue in queues}
        for n in range(plan.rounds):
            for queue in queues:
                place = folder / f"{queue.name}-{pictures.name}-{n}"
                with opened(queue, servers, place, pictures=pictures.folder) as arena:
                    rates[queue].append(_rate(arena, plan))
                    results.faults += arena.faults()
    return results


def part(results: Results) -> Part:
    """Return the results as a part of the report."""
    return Part(
        name="pipeline",
        table=[line for pictures in results.rates for line in _table(results, pictures)],
        goals=list(_goals(results.rates[Pictures.ON_DISK])),
        faults=results.faults,
        figures={"tasks_per_second": results.rates},
    )


def _rate(arena: Arena, plan: Plan) -> float:
    arena.submit(Order(tasks=plan.warm_up, workspaces=arena.workspaces))
    arena.wait_until_done()
    began = time.perf_counter()
    arena.submit(Order(tasks=plan.tasks, workspaces=arena.workspaces))
    arena.wait_until_done()
    return plan.tasks / (time.perf_counter() - began)


def _table(results: Results, pictures: Pictures) -> Iterator[str]:
    every = results.rates[pictures]
    ours = [queue for queue in every if queue.is_ours]
    yield f"| accept → success, {pictures} | tasks/s median (best) |" + "".join(
        f" {queue} is times as fast |" for queue in ours
    )
    yield "|---|---|" + "---|" * len(ours)
    for queue, rates in every.items():
        ratios = "".join(f" {_ratio(every, one, queue):.1f} |" for one in ours)
        yield f"| {queue} | {median(rates):,.0f} ({max(rates):,.0f}) |{ratios}"
    yield ""


def _goals(every: Rates) -> Iterator[Goal]:
    rivals = [queue for queue in every if not queue.is_ours]
    for queue, bound in GOALS.items():
        if queue not in every:
            continue
        rate = median(every[queue])
        yield at_least(f"{queue}, accept → success: ≥ {bound:,} tasks/s", rate, bound)
        for rival in rivals:
            text = f"{queue}, accept → success: ≥ {_TIMES_A_RIVAL} times {rival}"
            yield at_least(text, _ratio(every, queue, rival), _TIMES_A_RIVAL)


def _ratio(every: Rates, one: Queue, other: Queue) -> float:
    """Return how many times as fast one is as another, in the median round."""
    return median(a / b for a, b in zip(every[one], every[other], strict=True))
