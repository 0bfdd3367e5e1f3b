"""Recovery: a worker process is killed with tasks in its engine. When do they run elsewhere?

Two workers have room for all the tasks. At some moment between two signs of life, the one that took
most of them is killed with SIGKILL; the clock runs until the last of its tasks has reached the
engine of the other.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Final

from bench.arena import Arena, Queue, opened
from bench.engine import Start
from bench.orders import Order
from bench.report import Goal, Part, at_most, number
from bench.servers import Servers

TASKS: Final = 4
TAKING_PART: Final = (Queue.KETCHUP_POSTGRES, Queue.PGQUEUER)
"""Those that recover by themselves, and whose workers are processes apart."""
_BEYOND_LEASE_SECONDS: Final = 1.0
_PATIENCE_SECONDS: Final = 60.0
_LOOK_EVERY_SECONDS: Final = 0.02


@dataclass(frozen=True, slots=True)
class Plan:
    """How often, and how long a worker may be silent."""

    kills: int = 5
    lease_seconds: float = 15.0


@dataclass(slots=True)
class Results:
    """How long the tasks were nobody's, in seconds, by contestant."""

    plan: Plan
    seconds: dict[Queue, list[float]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


def measure(plan: Plan, queues: Sequence[Queue], servers: Servers, folder: Path) -> Results:
    """Kill workers of each in turn; the folder is filled with data folders."""
    results = Results(plan)
    chance = random.Random(1)
    for queue in (queue for queue in TAKING_PART if queue in queues):
        for n in range(plan.kills):
            with opened(
                queue,
                servers,
                folder / f"{queue.name}-{n}",
                # Longer than the tasks must be held until the kill.
                engine_seconds=plan.lease_seconds / 3 + 3,
                at_once=TASKS,
                lease_seconds=plan.lease_seconds,
                workers=2,
            ) as arena:
                pause = chance.uniform(0, plan.lease_seconds / 3)
                results.seconds.setdefault(queue, []).append(_recovery(arena, pause))
                arena.wait_until_done()
                results.faults += arena.faults()
    return results


def part(results: Results) -> Part:
    """Return the results as a part of the report."""
    return Part(
        name="recovery",
        table=list(_table(results)),
        goals=list(_goals(results)),
        faults=results.faults,
        figures={"seconds": results.seconds, "lease": results.plan.lease_seconds},
    )


def _recovery(arena: Arena, pause: float) -> float:
    arena.submit(Order(tasks=TASKS, workspaces=arena.workspaces))
    begun = _wait_for_starts(arena, TASKS)
    [(victim, _)] = Counter(start.process for start in begun).most_common(1)
    lost = {start.task_id for start in begun if start.process == victim}
    time.sleep(pause)
    os.kill(victim, signal.SIGKILL)
    killed_at = time.monotonic_ns()
    again = _wait_for_starts(arena, TASKS + len(lost))[TASKS:]
    assert {start.task_id for start in again} == lost, "a task that was not lost ran again"
    return (max(start.at for start in again) - killed_at) / 1e9


def _wait_for_starts(arena: Arena, count: int) -> list[Start]:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while len(starts := arena.starts()) < count:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{arena.queue} began with {len(starts)} of {count} tasks")
        time.sleep(_LOOK_EVERY_SECONDS)
    return starts


def _table(results: Results) -> Iterator[str]:
    lease = results.plan.lease_seconds
    yield f"| worker killed, lease {lease:g} s | median s | longest s | kills |"
    yield "|---|---|---|---|"
    for queue, seconds in results.seconds.items():
        middle, longest = number(median(seconds)), number(max(seconds))
        yield f"| {queue} | {middle} | {longest} | {len(seconds)} |"


def _goals(results: Results) -> Iterator[Goal]:
    bound = results.plan.lease_seconds + _BEYOND_LEASE_SECONDS
    for queue, seconds in results.seconds.items():
        if queue.is_ours:
            text = f"{queue}, worker killed: its tasks run elsewhere within {bound:g} s"
            yield at_most(text, max(seconds), bound)
