"""A clock that can be set, as an operator or a time server sets the machine's."""

from __future__ import annotations

from typing_extensions import override

from ketchup.clock import SECOND, Micros, SystemClock, after


class AdjustableClock(SystemClock):
    """The machine's clocks, of which the one on the wall is wrong by as much as a test says."""

    def __init__(self) -> None:
        self._wrong_by = 0.0

    def adjust(self, seconds: float) -> None:
        """Set the wall clock forward, or back."""
        self._wrong_by += seconds

    @override
    def now(self) -> Micros:
        return after(super().now(), self._wrong_by)


class WallClock(AdjustableClock):
    """A mistake: what should only go forward follows the clock on the wall."""

    @override
    def monotonic(self) -> float:
        return self.now() / SECOND
