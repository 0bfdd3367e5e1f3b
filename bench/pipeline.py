"""Accept to success: every write of a task, with an engine that draws at once.

A round is every contestant once, each on empty tables and with its own processes, which share all
cores with its servers. The clock runs from the first submit to the commit behind which nothing is
held any more. Ratios are taken within a round, and the median round is reported.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from bench.arena import Arena, Queue, opened
from bench.orders import Order
from bench.report import Goal, Part, at_least
from bench.servers import Servers

GOALS = {Queue.KETCHUP_SQLITE: 2_000}
_TIMES_A_RIVAL = 2


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    rounds: int = 3
    tasks: int = 5_000
    warm_up: int = 500


@dataclass(slots=True)
class Results:
    """Tasks per second by contestant, in the order of the rounds; and what was wrong."""

    rates: dict[Queue, list[float]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def ratio(self, one: Queue, other: Queue) -> float:
        """Return how many times as fast one is as another, in the median round."""
        pairs = zip(self.rates[one], self.rates[other], strict=True)
        return median(a / b for a, b in pairs)


def measure(plan: Plan, queues: Sequence[Queue], servers: Servers, folder: Path) -> Results:
    """Run every round; the folder is filled with data folders."""
    results = Results()
    for n in range(plan.rounds):
        for queue in queues:
            with opened(queue, servers, folder / f"{queue.name}-{n}") as arena:
                rate = _rate(arena, plan)
                results.rates.setdefault(queue, []).append(rate)
                results.faults += arena.faults()
    return results


def part(results: Results) -> Part:
    """Return the results as a part of the report."""
    return Part(
        name="pipeline",
        table=list(_table(results)),
        goals=list(_goals(results)),
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


def _table(results: Results) -> Iterator[str]:
    ours = [queue for queue in results.rates if queue.is_ours]
    yield "| accept → success | tasks/s median (best) |" + "".join(
        f" {queue} is times as fast |" for queue in ours
    )
    yield "|---|---|" + "---|" * len(ours)
    for queue, rates in results.rates.items():
        ratios = "".join(f" {results.ratio(one, queue):.1f} |" for one in ours)
        yield f"| {queue} | {median(rates):,.0f} ({max(rates):,.0f}) |{ratios}"


def _goals(results: Results) -> Iterator[Goal]:
    rivals = [queue for queue in results.rates if not queue.is_ours]
    for queue, bound in GOALS.items():
        if queue not in results.rates:
            continue
        rate = median(results.rates[queue])
        yield at_least(f"{queue}, accept → success: ≥ {bound:,} tasks/s", rate, bound)
        for rival in rivals:
            text = f"{queue}, accept → success: ≥ {_TIMES_A_RIVAL} times {rival}"
            yield at_least(text, results.ratio(queue, rival), _TIMES_A_RIVAL)
