"""Spending: what API keys with a cap have used of it, by day.

A row counts the prices of a key's tasks in the day, in UTC, on which they were accepted: those of
open holds and those that were captured. What a hold gives back is taken off the day that it was
put on, so a task that failed costs its key nothing. Only keys with a cap are counted.

A key that replaces another goes on with its count (`purse`), so rotating a key doubles no cap.

Whoever reads or writes here has locked the workspace's account before, as `credits` does: of two
transactions that meet on a purse the second sees what the first has spent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Connection,
    Integer,
    String,
    Table,
    bindparam,
    delete,
    select,
    update,
)

from ketchup.clock import SECOND, Micros
from ketchup.db import CHURNS, Write, addition, metadata
from ketchup.money import Credits

key_spend = Table(
    "key_spend",
    metadata,
    # The id of the first of the keys that have replaced each other.
    Column("purse", String(40), primary_key=True),
    # Since 1970-01-01.
    Column("day", Integer, primary_key=True, autoincrement=False),
    Column("spent", BigInteger, nullable=False),
    CheckConstraint("spent >= 0", name="is_not_negative"),
    info={CHURNS: True},
    sqlite_with_rowid=False,
)

# No month is longer, and no task is open for as long.
KEEP_DAYS: Final = 92


class Period(StrEnum):
    """What a cap is for."""

    DAY = "day"
    MONTH = "month"


@dataclass(frozen=True, slots=True)
class Cap:
    """What a key may spend in a day and in a calendar month, both in UTC; None is no limit."""

    purse: str
    day: Credits | None
    month: Credits | None


@dataclass(frozen=True, slots=True)
class CapReached:
    """The price is more than what is left of a key's cap. Nothing was written."""

    period: Period
    purse: str
    price: Credits


class Spent:
    """What some purses have spent this month, and what this transaction adds to today."""

    def __init__(self, today: int, by_day: dict[tuple[str, int], Credits]) -> None:
        self._today = today
        self._days = Counter[str]()
        self._months = Counter[str]()
        self._added = Counter[str]()
        for (purse, day), spent in by_day.items():
            self._months[purse] += spent
            if day == today:
                self._days[purse] += spent

    def refusal(self, cap: Cap, price: Credits) -> CapReached | None:
        """Say which cap forbids this price, if one does. What costs nothing is always allowed."""
        if not price:
            return None
        if cap.day is not None and self._days[cap.purse] + price > cap.day:
            return CapReached(Period.DAY, cap.purse, price)
        if cap.month is not None and self._months[cap.purse] + price > cap.month:
            return CapReached(Period.MONTH, cap.purse, price)
        return None

    def add(self, cap: Cap, price: Credits) -> None:
        """Count a price that was allowed."""
        for counts in (self._days, self._months, self._added):
            counts[cap.purse] += price

    def change(self) -> Write:
        """Return what was added, for the caller to write."""
        rows = [
            {"purse": purse, "day": self._today, "spent": spent}
            for purse, spent in sorted(self._added.items())
            if spent
        ]
        return addition(key_spend, ("purse", "day"), rows)


def load(conn: Connection, caps: Iterable[Cap], now: Micros) -> Spent:
    """Read what these purses have spent. Asks nothing when there is no cap."""
    purses = sorted({cap.purse for cap in caps})
    today = day_of(now)
    if not purses:
        return Spent(today, {})
    first, last = _month_of(now)
    rows = conn.execute(_OF_PURSES, {"purses": purses, "first": first, "last": last})
    return Spent(today, {(row.purse, row.day): Credits(row.spent) for row in rows})


def give_back(conn: Connection, amounts: Iterable[tuple[str, Micros, Credits]]) -> None:
    """Take amounts off the days on which they were held: purse, time of the hold, amount."""
    back = Counter[tuple[str, int]]()
    for purse, held_at, amount in amounts:
        back[purse, day_of(held_at)] += amount
    rows = [
        {"b_purse": purse, "b_day": day, "amount": amount}
        for (purse, day), amount in sorted(back.items())
        if amount
    ]
    if rows:
        conn.execute(_GIVE_BACK, rows)


def forget(conn: Connection, now: Micros) -> None:
    """Remove the days that no cap looks at any more."""
    conn.execute(_FORGET, {"before": day_of(now) - KEEP_DAYS})


def day_of(at: Micros) -> int:
    """Return the day of a time, as the table counts them."""
    return at // (86_400 * SECOND)


def _month_of(now: Micros) -> tuple[int, int]:
    """Return the first and the last day of the month that a time is in."""
    at = datetime.fromtimestamp(now // SECOND, UTC)
    first = at.replace(day=1, hour=0, minute=0, second=0)
    after = first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)
    return _day(first), _day(after) - 1


def _day(midnight: datetime) -> int:
    return int(midnight.timestamp()) // 86_400


_OF_PURSES: Final = select(key_spend).where(
    key_spend.c.purse.in_(bindparam("purses", expanding=True)),
    key_spend.c.day.between(bindparam("first"), bindparam("last")),
)
_GIVE_BACK: Final = (
    update(key_spend)
    .where(key_spend.c.purse == bindparam("b_purse"), key_spend.c.day == bindparam("b_day"))
    .values(spent=key_spend.c.spent - bindparam("amount"))
)
_FORGET: Final = delete(key_spend).where(key_spend.c.day < bindparam("before"))
