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
_ANY_ATTEMPT: Final = """\
    held = {row.id: row for row in rows}
    return {a: held[a.task_id] for a in attempts if a.task_id in held}
"""
_TOO_EARLY: Final = """\
            await _cancel([*helpers, labour, *self._running.values()])
            self._running.clear()
"""


@dataclass(frozen=True, slots=True)
class Edit:
    """A text of a module, and what stands in its place."""

    module: str
    old: str
    new: str


class Mutant:
    """One mistake. `shows_soon` says that one of the first few seeds finds it."""

    def __init__(self, name: str, *edits: Edit, shows_soon: bool = False) -> None:
        self.name = name
        self.shows_soon = shows_soon
        self._edits = edits

    def plant(self, folder: Path) -> Path:
        """Copy the product with the mistake in it; return the folder to import it from."""
        return [seeded(folder, edit.module, edit.old, edit.new) for edit in self._edits][-1]


MUTANTS: Final = (
    Mutant(
        "a task is finished under whatever attempt",
        Edit(
            "tasks/queue.py",
            "    return {Attempt(row.id, row.attempt, row.worker_id): row for row in rows}\n",
            _ANY_ATTEMPT,
        ),
        Edit("tasks/queue.py", '_FENCE: Final = ("id", "attempt")', '_FENCE: Final = ("id",)'),
        shows_soon=True,
    ),
    Mutant(
        "a success is paid twice",
        Edit(
            "credits.py", "Credits(a.balance - s.consumed)", "Credits(a.balance - 2 * s.consumed)"
        ),
        shows_soon=True,
    ),
    Mutant(
        "a cancel throws away what is charged for",
        Edit(
            "generation/cancel.py", "if tasks.may_be_charged(conn, lease.attempt.task_id):", "if 0:"
        ),
        shows_soon=True,
    ),
    Mutant(
        "what is signalled is tried again",
        Edit(
            "tasks/queue.py",
            "        task.c.cancel_requested_at.is_(None),\n        task",
            "        task",
        ),
        Edit(
            "tasks/table.py",
            "cancel_requested_at IS NULL OR queue_state IN",
            "1 = 1 OR queue_state IN",
        ),
    ),
    Mutant(
        "what is signalled goes on when its worker dies",
        Edit(
            "tasks/recovery.py",
            "    hopeless |= {row.id for row in lost if row.cancel_requested_at is not None}\n",
            "",
        ),
        Edit(
            "tasks/table.py",
            "cancel_requested_at IS NULL OR queue_state IN",
            "1 = 1 OR queue_state IN",
        ),
    ),
    Mutant(
        "the hold of a failed task stays",
        Edit(
            "generation/finish.py",
            "[_settlement(ending) for ending in ended]",
            "[_settlement(ending) for ending in ended if ending.end.images]",
        ),
        shows_soon=True,
    ),
    Mutant(
        "a task goes back under the attempt that it had",
        Edit("tasks/queue.py", "attempt=task.c.attempt + 1", "attempt=task.c.attempt"),
        shows_soon=True,
    ),
    Mutant(
        "idempotency keys are not remembered",
        Edit(
            "generation/submit.py",
            "[(s.key, task.id) for s, task in accepted if s.key]",
            "[]",
        ),
        shows_soon=True,
    ),
    Mutant(
        "workers are reaped while they trust themselves",
        Edit("leases.py", ">= beat.ttl", ">= beat.ttl / 3"),
        shows_soon=True,
    ),
    Mutant(
        "workers trust themselves beyond their term",
        Edit("leases.py", "self.ttl * (1 - MARGIN_FRACTION)", "self.ttl * 3"),
        shows_soon=True,
    ),
    Mutant(
        "a callback is owed in a transaction of its own",
        Edit("generation/finish.py", "    webhooks.enqueue(", f"{_COMMIT}    webhooks.enqueue("),
    ),
    Mutant(
        "a hold and its task are written apart",
        Edit("generation/submit.py", "    tasks.enqueue(", f"{_COMMIT}    tasks.enqueue("),
    ),
    Mutant(
        "whoever does not hear of its commit removes the images",
        Edit(
            "generation/run.py",
            "isinstance(finished, LeaseLost) and not await self._was_ended(end)",
            "isinstance(finished, LeaseLost)",
        ),
        shows_soon=True,
    ),
    Mutant(
        "nobody asks what a claim without an answer has leased",
        Edit(
            "worker.py", "            self._unsure = True\n", "            self._unsure = False\n"
        ),
    ),
    Mutant(
        "a session leaves running what it began last",
        Edit("worker.py", "            await _cancel([*helpers, labour])\n", _TOO_EARLY),
    ),
    Mutant(
        "a worker without a lease claims",
        Edit("tasks/queue.py", ", exists(select(_ALIVE.c.id))", ""),
    ),
    Mutant(
        "the deliveries of a dead worker are forgotten",
        Edit("generation/finish.py", "    webhooks.requeue_lost(conn, dead, now)\n", ""),
        shows_soon=True,
    ),
    Mutant(
        "a late answer of a receiver is recorded",
        Edit(
            "webhooks/queue.py",
            "written = [result for result in results if result.lease in held]",
            "written = list(results)",
        ),
        Edit("webhooks/queue.py", "_LEASE, [_ending", '("id",), [_ending'),
    ),
    Mutant(
        "a workspace has more in flight than it may",
        Edit("tasks/fairness.py", "max(0, min(free, self.waiting))", "self.waiting"),
        shows_soon=True,
    ),
    Mutant(
        "nobody is let in when a task ends",
        Edit("tasks/queue.py", "    let_in(conn, turns)\n", ""),
        shows_soon=True,
    ),
    Mutant(
        "a workspace that was away has saved up turns",
        Edit("tasks/fairness.py", "own = max(self.vtime, floor)", "own = self.vtime"),
    ),
    Mutant(
        "urgent tasks go before everybody's",
        Edit("tasks/fairness.py", "priority * min(self.active, LEAD)", "priority * self.active"),
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
