"""Mistakes, put into a copy of the product: each must be found within a few seeds.

A simulation that finds nothing proves nothing unless it is known what it would find.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Final

from tests.simulation.world import Outcome
from tests.support.seeded import seeded

_COMMIT: Final = """\
    conn.exec_driver_sql("COMMIT")
    conn.exec_driver_sql("BEGIN IMMEDIATE")
"""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One mistake: texts of the product and what stands there instead."""

    name: str
    edits: tuple[tuple[str, str, str], ...]

    def plant(self, folder: Path) -> Path:
        """Copy the product with the mistake in it; return the folder to import it from."""
        return [seeded(folder, module, old, new) for module, old, new in self.edits][-1]


MUTANTS: Final = (
    Mutant(
        "a task is finished under whatever attempt",
        (
            (
                "tasks/queue.py",
                "    return {Attempt(row.id, row.attempt, row.worker_id): row for row in rows}\n",
                "    found = {row.id: row for row in rows}\n"
                "    return {a: found[a.task_id] for a in attempts if a.task_id in found}\n",
            ),
            ("tasks/queue.py", '_FENCE: Final = ("id", "attempt")', '_FENCE: Final = ("id",)'),
        ),
    ),
    Mutant(
        "a success is paid twice",
        (("credits.py", "Credits(a.balance - s.consumed)", "Credits(a.balance - 2 * s.consumed)"),),
    ),
    Mutant(
        "the hold of a failed task stays",
        (
            (
                "generation/finish.py",
                "[_settlement(ending) for ending in ended]",
                "[_settlement(ending) for ending in ended if ending.end.images]",
            ),
        ),
    ),
    Mutant(
        "a task goes back under the attempt that it had",
        (("tasks/queue.py", "attempt=task.c.attempt + 1", "attempt=task.c.attempt"),),
    ),
    Mutant(
        "idempotency keys are not remembered",
        (
            (
                "generation/submit.py",
                "for s, task in accepted if s.key], now)",
                "for s, task in []], now)",
            ),
        ),
    ),
    Mutant(
        "workers are reaped while they trust themselves",
        (("leases.py", ">= self._terms.ttl", ">= self._terms.trusted_for / 2"),),
    ),
    Mutant(
        "workers trust themselves beyond their term",
        (("leases.py", "self.ttl * (1 - MARGIN_FRACTION)", "self.ttl * 3"),),
    ),
    Mutant(
        "a callback is owed in a transaction of its own",
        (("generation/finish.py", "    webhooks.enqueue(", f"{_COMMIT}    webhooks.enqueue("),),
    ),
    Mutant(
        "a hold and its task are written apart",
        (("generation/submit.py", "    tasks.enqueue(", f"{_COMMIT}    tasks.enqueue("),),
    ),
    Mutant(
        "whoever does not hear of its commit removes the images",
        (
            (
                "generation/run.py",
                "isinstance(finished, LeaseLost) and not await self._was_ended(end)",
                "isinstance(finished, LeaseLost)",
            ),
        ),
    ),
    Mutant(
        "nobody asks what a claim without an answer has leased",
        (("worker.py", "            self._unsure = True\n", "            self._unsure = False\n"),),
    ),
    Mutant(
        "a session leaves running what it began last",
        (
            (
                "worker.py",
                "            await _cancel([*helpers, labour])\n",
                "            await _cancel([*helpers, labour, *self._running.values()])\n"
                "            self._running.clear()\n",
            ),
        ),
    ),
    Mutant(
        "a worker without a lease claims",
        (("generation/run.py", "if not leases.lock_alive(conn, worker_id):", "if False:"),),
    ),
    Mutant(
        "the deliveries of a dead worker are forgotten",
        (("generation/finish.py", "    webhooks.requeue_lost(conn, dead, now)\n", ""),),
    ),
    Mutant(
        "a late answer of a receiver is recorded",
        (
            (
                "webhooks/queue.py",
                "written = [result for result in results if result.lease in held]",
                "written = list(results)",
            ),
            ("webhooks/queue.py", "_LEASE, [_ending", '("id",), [_ending'),
        ),
    ),
    Mutant(
        "a workspace has more in flight than it may",
        (("tasks/turns.py", "max(0, min(free, self.waiting))", "self.waiting"),),
    ),
    Mutant(
        "nobody is let in when a task ends",
        (("tasks/queue.py", "    let_in(conn, turns)\n", ""),),
    ),
    Mutant(
        "a workspace that was away has saved up turns",
        (("tasks/turns.py", "own = max(self.vtime, floor)", "own = self.vtime"),),
    ),
)


@contextmanager
def imported_from(package: Path) -> Iterator[Callable[[int, float], Outcome]]:
    """Import the product from there, and the simulation anew on top of it; give it all back."""
    ours = _take_out()
    sys.path.insert(0, str(package))
    importlib.invalidate_caches()
    try:
        yield importlib.import_module("tests.simulation.world").simulate
    finally:
        sys.path.remove(str(package))
        _take_out()
        sys.modules.update(ours)
        for name in ("simulation", "support"):
            setattr(sys.modules["tests"], name, ours[f"tests.{name}"])


def _take_out() -> dict[str, ModuleType]:
    names = [name for name in sys.modules if f"{name}.".startswith(_REPLACED)]
    return {name: sys.modules.pop(name) for name in names}


_REPLACED: Final = ("ketchup.", "tests.simulation.", "tests.support.")
