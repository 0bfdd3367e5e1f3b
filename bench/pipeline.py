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

from bench import over_http
from bench.arena import Arena, Queue, opened
from bench.orders import Order
from bench.report import Goal, Part, at_least
from bench.servers import Servers

GOALS: Final = {Queue.KETCHUP_SQLITE: 2_000, Queue.KETCHUP_POSTGRES: 1_500}
MEMORY: Final = Path("/dev/shm")  # noqa: S108 a folder with a name nobody can guess is made in it
_TIMES_A_RIVAL: Final = 2
_AT_ONCE: Final = 256
"""Tasks in the engine. More than any machine renders; PgQueuer's workers have no limit either."""


class Pictures(StrEnum):
    """Where the pictures go."""

    DISK = "pictures on disk"
    MEMORY = "pictures in memory"

    @property
    def folder(self) -> Path | None:
        """The folder to make another one in; None for the contestant's own."""
        return None if self is Pictures.DISK else MEMORY


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    rounds: int = 3
    tasks: int = 5_000
    warm_up: int = 500
    http_seconds: float = 4.0
    """How long there are posts."""
    pictures: Sequence[Pictures] = tuple(Pictures)


Rates = dict[Queue, list[float]]
"""Tasks per second by contestant, in the order of the rounds."""


@dataclass(slots=True)
class Results:
    """The rates, by where the pictures went; and what was wrong."""

    rates: dict[Pictures, Rates] = field(default_factory=dict)
    over_http: dict[str, list[float]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


def measure(plan: Plan, queues: Sequence[Queue], servers: Servers, folder: Path) -> Results:
    """Run every round; the folder is filled with data folders."""
    results = Results()
    for pictures in plan.pictures:
        if pictures is Pictures.MEMORY and not os.access(MEMORY, os.W_OK):
            continue
        rates = results.rates[pictures] = {queue: [] for queue in queues}
        for n in range(plan.rounds):
            for queue in queues:
                place = folder / f"{queue.name}-{pictures.name}-{n}"
                with opened(
                    queue, servers, place, at_once=_AT_ONCE, pictures=pictures.folder
                ) as arena:
                    rates[queue].append(_rate(arena, plan))
                    results.faults += arena.faults()
    _measure_over_http(plan, servers, folder, results)
    return results


def _measure_over_http(plan: Plan, servers: Servers, folder: Path, results: Results) -> None:
    databases = {"SQLite": False} | ({"PostgreSQL": True} if servers.postgres else {})
    for n in range(plan.rounds):
        for database, on_postgres in databases.items():
            name = f"ketchup on {database}, over HTTP"
            place = folder / f"{database}-http-{n}"
            outcome = over_http.measure(servers, place, plan.http_seconds, on_postgres=on_postgres)
            results.over_http.setdefault(name, []).append(outcome.per_second)
            results.faults += [f"{name}: {fault}" for fault in outcome.faults]


def part(results: Results) -> Part:
    """Return the results as a part of the report."""
    return Part(
        name="pipeline",
        table=list(_tables(results))[:-1],
        goals=list(_goals(results.rates.get(Pictures.DISK, {}))),
        faults=results.faults,
        figures={"tasks_per_second": results.rates, "over_http": results.over_http},
    )


def _rate(arena: Arena, plan: Plan) -> float:
    arena.submit(Order(tasks=plan.warm_up, workspaces=arena.workspaces))
    arena.wait_until_done()
    began = time.perf_counter()
    arena.submit(Order(tasks=plan.tasks, workspaces=arena.workspaces))
    arena.wait_until_done()
    return plan.tasks / (time.perf_counter() - began)


def _tables(results: Results) -> Iterator[str]:
    for pictures in results.rates:
        yield from _table(results, pictures)
        yield ""


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
    if pictures is Pictures.DISK:
        for name, rates in results.over_http.items():
            yield f"| {name} | {median(rates):,.0f} ({max(rates):,.0f}) |" + " |" * len(ours)


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
