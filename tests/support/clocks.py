"""Clocks that can be set: a machine's, as by an operator or a time server, and a database's."""

from __future__ import annotations

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
