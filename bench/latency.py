"""How long a task waits on an idle system: from the call that submits it to the engine's start.

Tasks come one by one at an even pace that nobody finds hard, so what is measured is how a worker
hears of a new task, not how it works off many.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench.arena import Arena, Queue, opened
from bench.orders import Order
from bench.report import Goal, Part, at_most, number, quantile
from bench.servers import Servers

PER_SECOND: Final = 20
_WARM_UP: Final = 100
_P50_MS: Final = 5
_P99_MS: Final = 20


@dataclass(slots=True)
class Results:
    """The waits by contestant, in milliseconds; and what was wrong."""

    waits: dict[Queue, list[float]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


def measure(tasks: int, queues: Sequence[Queue], servers: Servers, folder: Path) -> Results:
    """Submit that many tasks to each in turn; the folder is filled with data folders."""
    results = Results()
    for queue in queues:
        with opened(queue, servers, folder / queue.name) as arena:
            results.waits[queue] = _waits(arena, tasks)
            results.faults += arena.faults()
    return results


def part(results: Results) -> Part:
    """Return the results as a part of the report."""
    return Part(
        name="latency",
        table=list(_table(results)),
        goals=list(_goals(results)),
        faults=results.faults,
        figures={"milliseconds": results.waits},
    )


def _waits(arena: Arena, tasks: int) -> list[float]:
    arena.submit(Order(tasks=_WARM_UP, workspaces=arena.workspaces))
    arena.wait_until_done()
    order = Order(tasks=tasks, workspaces=arena.workspaces, per_second=PER_SECOND)
    submitted = arena.submit(order).submitted
    arena.wait_until_done()
    begun = {start.task_id: start.at for start in arena.starts()}
    return [(begun[task_id] - at) / 1e6 for task_id, at in submitted.items()]


def _table(results: Results) -> Iterator[str]:
    yield f"| submit → started at {PER_SECOND} tasks/s | p50 ms | p99 ms | samples |"
    yield "|---|---|---|---|"
    for queue, waits in results.waits.items():
        p50, p99 = (number(quantile(waits, share)) for share in (0.5, 0.99))
        yield f"| {queue} | {p50} | {p99} | {len(waits)} |"


def _goals(results: Results) -> Iterator[Goal]:
    for queue, waits in results.waits.items():
        if queue.is_ours:
            for name, share, bound in (("p50", 0.5, _P50_MS), ("p99", 0.99, _P99_MS)):
                text = f"{queue}, submit → started: {name} ≤ {bound} ms"
                yield at_most(text, quantile(waits, share), bound)
