"""The trace: everything that happened, in order. Two runs are the same when its hash is."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from tests.simulation.schedule import Schedule
from tests.simulation.store import Change

_KEYS: Final = {
    "task": ("id",),
    "attempt": ("task_id", "number"),
    "hold": ("task_id",),
    "entry": ("id", "task_id"),
    "account": ("workspace_id",),
    "turn": ("workspace_id",),
    "queue_clock": ("id",),
    "idempotency": ("workspace_id", "key"),
    "worker": ("id",),
    "delivery": ("id",),
    "delivery_attempt": ("delivery_id", "number"),
}


class Trace:
    """Hashes every line, and hands it to `show`."""

    def __init__(self, schedule: Schedule, show: Callable[[str], object] | None = None) -> None:
        self.happened: Counter[str] = Counter()
        """How often each kind of thing did: what shows that a run was worth something."""
        self._schedule = schedule
        self._show = show
        self._hash = hashlib.blake2b(digest_size=16)
        self._aliases: dict[str, str] = {}

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()

    def alias(self, random_id: str, name: str) -> None:
        """Write an id that is not drawn from the seed as this name."""
        self._aliases[random_id] = name

    def readable(self, text: str) -> str:
        """Return a text with every alias in the place of its id."""
        for random_id, name in self._aliases.items():
            text = text.replace(random_id, name)
        return text

    def note(self, who: str, what: str, kind: str | None = None) -> None:
        """Write down what somebody did, and count it as one of its kind."""
        line = f"{self._schedule.now:13.6f} {who:<10} {what}"
        if kind is not None:
            self.happened[kind] += 1
        self._hash.update(line.encode())
        if self._show:
            self._show(line)

    def note_change(self, who: str, change: Change) -> None:
        row = change.new or change.old or {}
        key = " ".join(self._text(row[column]) for column in _KEYS[change.table])
        self.note(who, f"  {change.table} {key} {self._difference(change)}")

    def _difference(self, change: Change) -> str:
        if change.new is None:
            return "removed"
        old = change.old or {}
        return ", ".join(
            f"{column}={self._text(value)}"
            for column, value in change.new.items()
            if (value is not None and old.get(column) != value)
            or (column in old and value != old[column])
        )

    def _text(self, value: Any) -> str:  # noqa: ANN401 a column of any kind
        if isinstance(value, bytes):
            return hashlib.blake2b(value, digest_size=4).hexdigest()
        text = str(value)
        return self._aliases.get(text, text)
