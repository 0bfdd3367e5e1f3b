"""Clocks that can be set: a machine's, as by an operator or a time server, a database's, a loop's."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from itertools import count
from typing import Any, Final

import psycopg
from sqlalchemy.engine import make_url
from typing_extensions import override

from ketchup.clock import SECOND, FrozenClock, Micros, SystemClock, after

_SCHEMA: Final = """
CREATE SCHEMA testing;
CREATE SEQUENCE testing.time;
CREATE FUNCTION testing.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS $$
    SELECT CASE WHEN is_called
        THEN to_timestamp(0) + last_value * interval '1 microsecond'
        ELSE pg_catalog.clock_timestamp() END
    FROM testing.time
$$
"""
_FOUND_FIRST: Final = "-csearch_path=public,testing,pg_catalog"


def install_clock(url: str) -> None:
    """Give a database on PostgreSQL a clock that shows the real time until it is set."""
    with psycopg.connect(url) as conn:
        conn.execute(_SCHEMA)


def by_its_clock(url: str) -> str:
    """Return the URL with which that clock is what `clock_timestamp()` asks."""
    given = make_url(url).update_query_dict({"options": _FOUND_FIRST})
    return given.render_as_string(hide_password=False)


class DatabaseClock(FrozenClock):
    """A clock that stands still, and with it the one of a database."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        super().__init__()
        self._connection = connection
        self._show()

    @override
    def advance(self, seconds: float) -> None:
        super().advance(seconds)
        self._show()

    def _show(self) -> None:
        # A sequence: what it is set to is seen at once, also by transactions that have begun.
        self._connection.execute("SELECT setval('testing.time', %s)", (self.at,))


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


class SimulatedLoop:
    """An event loop whose clock only a test moves; all but time is the loop's own."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._now = 0.0
        self._order = count()
        self._timers: list[tuple[float, int, asyncio.Handle]] = []

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 as the loop has it
        return getattr(self._loop, name)

    def time(self) -> float:
        """Return the seconds since it was made."""
        return self._now

    def call_later(
        self, seconds: float, call: Callable[..., object], *args: object
    ) -> asyncio.Handle:
        """Call once the clock has moved so far."""
        handle = asyncio.Handle(call, args, self._loop)
        heapq.heappush(self._timers, (self._now + seconds, next(self._order), handle))
        return handle

    def advance(self, seconds: float) -> None:
        """Move the clock, and call what is due by then, in order."""
        until = self._now + seconds
        while self._timers and self._timers[0][0] <= until:
            self._now, _, handle = heapq.heappop(self._timers)
            if not handle.cancelled():
                handle._run()
        self._now = until
