"""Fairness: one tenant floods the queue. How long does a task of another one wait?

The engine takes its time and has few places, so the flood would keep it busy for minutes. In the
order of arrival, the other tenant's task would wait for all of it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench.arena import Arena, Queue, opened
from bench.orders import Order
from bench.report import Goal, Part, at_most, number, quantile
from bench.servers import Servers

ENGINE_SECONDS: Final = 0.1
PLACES: Final = 4
_P99_MS: Final = 500
_START_SECONDS: Final = 60.0
_LOOK_EVERY_SECONDS: Final = 0.01


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    flood: int = 10_000
    singles: int = 20


@dataclass(slots=True)
class Results:
    """How long the single tasks waited, in milliseconds, by contestant."""

    plan: Plan
    waits: dict[Queue, list[float]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


def measure(plan: Plan, queues: Sequence[Queue], servers: Servers, folder: Path) -> Results:
    """Flood each of ours in turn; the folder is filled with data folders."""
    results = Results(plan)
    for queue in queues:
        if queue.is_ours:
            place = folder / queue.name
            with opened(
                queue, servers, place, engine_seconds=ENGINE_SECONDS, at_once=PLACES
            ) as arena:
                results.waits[queue] = _waits(arena, plan)
                results.faults += arena.faults_so_far()
    return results


def part(results: Results) -> Part:
    """Return the results as a part of the report."""
    return Part(
        name="fair",
        table=list(_table(results)),
        goals=list(_goals(results)),
        faults=results.faults,
        figures={"milliseconds": results.waits},
    )


def _waits(arena: Arena, plan: Plan) -> list[float]:
    flooding, other, *_ = arena.workspaces
    arena.submit(Order(tasks=plan.flood, workspaces=[flooding]))
    chance = random.Random(1)
    waits: list[float] = []
    for _ in range(plan.singles):
        # At any moment of the time that a place is taken.
        time.sleep(chance.uniform(0, 2 * ENGINE_SECONDS))
        receipt = arena.submit(Order(tasks=1, workspaces=[other]))
        [(task_id, at)] = receipt.submitted.items()
        waits.append((_started_at(arena, task_id) - at) / 1e6)
    return waits


def _started_at(arena: Arena, task_id: str) -> int:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        for start in arena.starts():
            if start.task_id == task_id:
                return start.at
        time.sleep(_LOOK_EVERY_SECONDS)
    raise RuntimeError(f"{arena.queue} has not started {task_id} in {_START_SECONDS:.0f} s")


def _table(results: Results) -> Iterator[str]:
    plan = results.plan
    in_order = plan.flood * ENGINE_SECONDS / PLACES
    yield (
        f"| one task beside {plan.flood:,} of another tenant "
        f"({in_order:.0f} s in order of arrival) | p50 ms | p99 ms | samples |"
    )
    yield "|---|---|---|---|"
    for queue, waits in results.waits.items():
        p50, p99 = (number(quantile(waits, share)) for share in (0.5, 0.99))
        yield f"| {queue} | {p50} | {p99} | {len(waits)} |"


def _goals(results: Results) -> Iterator[Goal]:
    for queue, waits in results.waits.items():
        text = f"{queue}, a task beside a flood: starts in p99 ≤ {_P99_MS} ms"
        yield at_most(text, quantile(waits, 0.99), _P99_MS)
