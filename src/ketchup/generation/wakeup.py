"""Wakeups: a commit in this process tells its loops at once, instead of at their next poll."""

from __future__ import annotations

from collections.abc import Callable


class Wakeup:
    """Call it to wake whoever listens. On the event loop only; nobody listening is fine."""

    def __init__(self) -> None:
        self._listeners: list[Callable[[], None]] = []

    def listen(self, wake: Callable[[], None]) -> None:
        """Have `wake` called each time; it must be quick and must not raise."""
        self._listeners.append(wake)

    def __call__(self) -> None:
        """Wake everybody who listens."""
        for wake in self._listeners:
            wake()
