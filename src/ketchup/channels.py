"""Channels: how each is, what it was sent lately, and when it may be asked again.

Shared by all processes on a database. A row is there once a channel has a limit or has failed; who
changes it has locked it. Channels are locked in the order of their names, **before tasks**: only a
start takes both, and whoever ends an attempt takes no lock here.

`images_per_minute` holds for every sixty seconds, wherever they begin: what was sent in the last
minute stands in the row, and a task is let through when its own images fit in beside that. Tasks
are spread evenly besides: behind one of n images nothing is sent for n times the even pause.

What is in flight is not counted here: the journal's attempts are (`tasks.in_flight`), so nothing
has to be counted down, and a dead worker's images leave by themselves.

    well ──FAILURES in a row, or a bad key──▶ closed until a time ──one probe──▶ well
                                                                         └─────▶ closed for longer

The start that probes closes the channel to all others for the next pause. A probe whose worker
dies is therefore followed by another one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

import msgspec
from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Connection,
    Integer,
    Row,
    String,
    Table,
    Text,
    bindparam,
    select,
    update,
)

from ketchup.clock import SECOND, Micros, after
from ketchup.db import CHURNS, insert_new, lock_names, metadata, storable

FAILURES: Final = 5
"""Failures in a row that close a channel."""
SHORTEST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 300.0
_MINUTE: Final = 60 * SECOND

channel = Table(
    "channel",
    metadata,
    Column("name", String(100), primary_key=True),
    # When the next task is sent, so that they are spread evenly.
    Column("arrival_at", BigInteger, nullable=False),
    # What was sent in the last minute: JSON of `Recent`. Empty without a limit per minute.
    Column("recent", Text, nullable=False),
    # Failures since the last success.
    Column("failures", Integer, nullable=False),
    # Nobody asks it before this time; 0 when it is well.
    Column("closed_until", BigInteger, nullable=False),
    # When that began; 0 when it is well. A pause that an upstream asked for is no such time.
    Column("out_since", BigInteger, nullable=False),
    # Why it was taken out, for the operator; null unless its settings are wrong.
    Column("taken_out", Text),
    CheckConstraint("failures >= 0", name="counts_failures"),
    info={CHURNS: True},
    sqlite_with_rowid=False,
)

Recent: TypeAlias = tuple[tuple[int, int], ...]
"""When images were sent, and how many, the earliest first: one entry for a second at most."""


@dataclass(frozen=True, slots=True)
class State:
    """How one channel is."""

    arrival_at: int = 0
    recent: Recent = ()
    failures: int = 0
    closed_until: int = 0
    out_since: int = 0
    taken_out: str | None = None

    @property
    def is_out(self) -> bool:
        """Whether its breaker is open or its settings are wrong: who asks it now is the probe."""
        return self.taken_out is not None or self.failures >= FAILURES

    @property
    def is_well(self) -> bool:
        """Whether nothing is to be remembered but its pace."""
        return not self.failures and not self.closed_until and self.taken_out is None

    def free_at(self, images: int, per_minute: int, now: Micros) -> Micros:
        """Return when so many images, `per_minute` at most, may be sent: two minutes on at most.

        What lies further ahead was written before the clock was set back, and is not waited for.
        """
        at = self._arrival(now)
        room = per_minute
        for sent_at, count in reversed(self._last_minute(now)):
            room -= count
            if room < images:
                return Micros(max(at, sent_at + _MINUTE))
        return Micros(at)

    def sent(self, images: int, per_minute: int, now: Micros) -> State:
        """Return how it is after so many images were sent to it; 0 per minute is any number."""
        state = self
        if per_minute:
            # Rounded up: sixty seconds must not have room for one more.
            arrival = self._arrival(now) - (-images * _MINUTE // per_minute)
            state = replace(state, arrival_at=arrival, recent=self._with(images, now))
        if state.is_out:
            state = replace(state, closed_until=after(now, _pause(state.failures)))
        return state

    def failed(self, now: Micros, retry_after: float | None) -> State:
        """Return how it is after one more failure, which may have said when to come again."""
        failures = self.failures + 1
        pause = _pause(failures) if failures >= FAILURES else 0.0
        pause = max(pause, min(retry_after or 0.0, LONGEST_PAUSE))
        until = after(now, pause) if pause else self.closed_until
        failed = replace(self, failures=failures, closed_until=max(self.closed_until, until))
        return replace(failed, out_since=self._out_since(now) if failed.is_out else 0)

    def misconfigured(self, cause: str, now: Micros) -> State:
        """Return how it is once its key or its settings turned out to be wrong."""
        failures = max(self.failures + 1, FAILURES)
        until = after(now, _pause(failures))
        return replace(
            self,
            failures=failures,
            closed_until=until,
            out_since=self._out_since(now),
            taken_out=cause,
        )

    def _arrival(self, now: Micros) -> int:
        return max(now, self.arrival_at) if self.arrival_at <= now + _MINUTE else now

    def _last_minute(self, now: Micros) -> Recent:
        return tuple(one for one in self.recent if now - _MINUTE < one[0] <= now + _MINUTE)

    def _with(self, images: int, now: Micros) -> Recent:
        """Return what is to be remembered. What a second sent counts until its last leaves."""
        before = self._last_minute(now)
        others = [one for one in before if one[0] // SECOND != now // SECOND]
        same = sum(count for one, count in before if one // SECOND == now // SECOND)
        return tuple(sorted([*others, (int(now), same + images)]))

    def _out_since(self, now: Micros) -> int:
        return self.out_since if self.is_out else now

    def succeeded(self) -> State:
        """Return how it is after a success."""
        return State(arrival_at=self.arrival_at, recent=self.recent)


def _pause(failures: int) -> float:
    doublings = min(max(failures - FAILURES, 0), 10)
    return min(SHORTEST_PAUSE * 2.0**doublings, LONGEST_PAUSE)


def look(conn: Connection, names: Iterable[str]) -> dict[str, State]:
    """Return how these channels are, without locking them."""
    return _states(conn, _LOOK, names)


def lock(conn: Connection, names: Iterable[str]) -> dict[str, State]:
    """Lock these channels, in order of their names, and return how they are."""
    wanted = sorted(set(names))
    found = conn.execute(_LOCK, {"names": wanted}).all()
    if new := set(wanted) - {row.name for row in found}:
        lock_names(conn, channel.name, new)
        rows = [_row(name, State()) for name in sorted(new)]
        conn.execute(insert_new(channel), rows)
    return _states(conn, _LOCK, wanted)


def store(conn: Connection, name: str, state: State) -> None:
    """Write how a channel is. The caller has locked it."""
    row = _row(name, state)
    conn.execute(_STORE, {"b_name": row.pop("name"), **row})


def record_failure(
    conn: Connection, name: str, now: Micros, *, retry_after: float | None = None
) -> State:
    """Count a failure, and return how the channel is now."""
    state = lock(conn, [name])[name].failed(now, retry_after)
    store(conn, name, state)
    return state


def take_out(conn: Connection, name: str, cause: str, now: Micros) -> bool:
    """Take a channel out because of its settings; True when it was not out for them before."""
    before = lock(conn, [name])[name]
    store(conn, name, before.misconfigured(storable(cause), now))
    return before.taken_out is None


def record_success(conn: Connection, name: str) -> None:
    """Forget the failures of a channel, and let everybody ask it again."""
    store(conn, name, lock(conn, [name])[name].succeeded())


def bring_back(conn: Connection) -> None:
    """Let every channel be asked that was taken out: its settings may have been corrected."""
    taken = conn.execute(_TAKEN_OUT).scalars().all()
    for name, state in (lock(conn, taken) if taken else {}).items():
        store(conn, name, state.succeeded())


def _states(conn: Connection, query: Any, names: Iterable[str]) -> dict[str, State]:  # noqa: ANN401 a statement
    return {row.name: _state(row) for row in conn.execute(query, {"names": sorted(names)})}


def _state(row: Row[*tuple[Any, ...]]) -> State:
    recent = _RECENT.decode(row.recent)
    return State(
        row.arrival_at, recent, row.failures, row.closed_until, row.out_since, row.taken_out
    )


def _row(name: str, state: State) -> dict[str, object]:
    return {
        "name": name,
        "arrival_at": state.arrival_at,
        "recent": msgspec.json.encode(state.recent).decode(),
        "failures": state.failures,
        "closed_until": state.closed_until,
        "out_since": state.out_since,
        "taken_out": state.taken_out,
    }


_RECENT: Final = msgspec.json.Decoder(Recent)
_LOOK: Final = select(channel).where(channel.c.name.in_(bindparam("names", expanding=True)))
_LOCK: Final = _LOOK.order_by(channel.c.name).with_for_update()
_STORE: Final = (
    update(channel)
    .where(channel.c.name == bindparam("b_name"))
    .values({key: bindparam(key) for key in _row("", State()) if key != "name"})
)
_TAKEN_OUT: Final = select(channel.c.name).where(channel.c.taken_out.is_not(None))
