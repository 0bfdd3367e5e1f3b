"""Start: the transaction in which a task is given a channel, and the journal says so."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random

from ketchup import channels, tasks
from ketchup.clock import Micros
from ketchup.db import Connection
from ketchup.generation.routing import (
    Channel,
    Chosen,
    GivenUp,
    Route,
    Unknown,
    Wait,
    choose,
    gives_up_at,
    wide_enough,
)
from ketchup.money import Credits
from ketchup.tasks import Attempt, Lease, LeaseLost, Sending


@dataclass(frozen=True, slots=True)
class Start:
    """A claimed task, and where it may be rendered."""

    lease: Lease
    routes: Sequence[Route]
    patience_seconds: float = float("inf")
    """How long it waits while all their channels are out."""
    engine_seconds: float = 300.0
    """How long an engine may draw for it at most."""


@dataclass(frozen=True, slots=True)
class Sent:
    """The journal has it."""

    chosen: Chosen
    was_well: bool
    has_others: bool
    """Whether there are channels that this task has not tried."""
    has_peers: bool
    """Whether some of these serve the model that was chosen."""


def peek(conn: Connection, one: Start, now: Micros, random: Random) -> Wait | GivenUp | None:
    """Say whether a start would have to wait now. Locks and writes nothing, so it may be wrong."""
    room = _Room.seen(conn, {c for route in one.routes for c in route.channels}, now)
    decided = _decide(one, {}, room, now, random)
    return None if isinstance(decided, Sent) else decided


def start(
    conn: Connection, starts: Sequence[Start], now: Micros, random: Random
) -> list[Sent | Wait | GivenUp | None]:
    """Choose a channel for each and write it to the journal; None where the lease was lost.

    Channels are locked before tasks, and only those with a limit or a failure.
    """
    them = {c for s in starts for route in s.routes for c in route.channels}
    room = _Room.locked_by(conn, them, now)
    journal = tasks.sent_before(conn, [s.lease.attempt.task_id for s in starts])
    decided: list[Sent | Wait | GivenUp] = []
    for one in starts:
        sent = journal.get(one.lease.attempt.task_id, {})
        decided.append(_decide(one, sent, room, now, random))
    room.store(conn)
    sendings = [
        sending(one, d) for one, d in zip(starts, decided, strict=True) if isinstance(d, Sent)
    ]
    lost = {a.attempt for a in tasks.start(conn, sendings, now) if isinstance(a, LeaseLost)}
    return [
        None if one.lease.attempt in lost else d for one, d in zip(starts, decided, strict=True)
    ]


def choose_at_claim(
    conn: Connection, starts: Sequence[Start], now: Micros, random: Random
) -> dict[Attempt, Sent]:
    """Choose a channel for tasks that are being claimed; those left out are started later.

    That is so for all but the first attempt, for references, which are fetched before, and where a
    channel has a limit or is not well: its row is locked before tasks. `start` is for all of these.
    """
    fresh = [s for s in starts if s.lease.attempt.number == 1 and not s.lease.images]
    room = _Room.seen(conn, {c for s in fresh for route in s.routes for c in route.channels}, now)
    chosen: dict[Attempt, Sent] = {}
    for one in fresh:
        if not _is_simple(one, room):
            continue
        decided = _decide(one, {}, room, now, random)
        if isinstance(decided, Sent):
            chosen[one.lease.attempt] = decided
    return chosen


def _is_simple(one: Start, room: _Room) -> bool:
    them = [channel for route in one.routes for channel in route.channels]
    return not _limited(them) and all(room.states[channel.name].is_well for channel in them)


def sending(one: Start, sent: Sent) -> Sending:
    """Return the line of the journal for a task that is sent there."""
    channel, images = sent.chosen.channel, one.lease.options.n
    return Sending(
        one.lease.attempt,
        channel.name,
        images=images,
        cost=Credits(channel.cost * images),
        is_resubmitted=channel.unknown is Unknown.RESUBMIT,
        engine_seconds=one.engine_seconds,
    )


@dataclass(slots=True)
class _Room:
    """How the channels are while starts are decided one after the other."""

    states: dict[str, channels.State]
    in_flight: dict[str, int]
    locked: Collection[str]

    @classmethod
    def seen(cls, conn: Connection, them: Collection[Channel], now: Micros) -> _Room:
        return cls(_look(conn, them), _in_flight(conn, them, now), ())

    @classmethod
    def locked_by(cls, conn: Connection, them: Collection[Channel], now: Micros) -> _Room:
        states = _look(conn, them)
        locked = _limited(them) | {name for name, state in states.items() if not state.is_well}
        if locked:
            states |= channels.lock(conn, locked)
        # Behind the lock: what is in flight cannot become more from here.
        return cls(states, _in_flight(conn, them, now), locked)

    def take(self, channel: Channel, images: int, now: Micros) -> None:
        self.in_flight[channel.name] = self.in_flight.get(channel.name, 0) + images
        state = self.states[channel.name]
        self.states[channel.name] = state.sent(images, channel.images_per_minute, now)

    def store(self, conn: Connection) -> None:
        for name in sorted(self.locked):
            channels.store(conn, name, self.states[name])


def _limited(them: Collection[Channel]) -> set[str]:
    return {channel.name for channel in them if channel.is_limited}


def _look(conn: Connection, them: Collection[Channel]) -> dict[str, channels.State]:
    names = {channel.name for channel in them}
    return {name: channels.State() for name in names} | channels.look(conn, names)


def _in_flight(conn: Connection, them: Collection[Channel], now: Micros) -> dict[str, int]:
    limited = _limited(them)
    return tasks.images_in_flight(conn, limited, now) if limited else {}


def _decide(
    one: Start, sent: Mapping[int, str], room: _Room, now: Micros, random: Random
) -> Sent | Wait | GivenUp:
    by_name = {c.name: Chosen(c, r.model) for r in reversed(one.routes) for c in r.channels}
    images = one.lease.options.n
    routes = wide_enough(one.routes, images)
    # A start is repeated when nobody heard of its commit: it is in the journal then.
    journalled = by_name.get(sent.get(one.lease.attempt.number, ""))
    if not (journalled or routes):
        return GivenUp(f"no channel takes {images} images at once")
    chosen = journalled or choose(
        routes, room.states, room.in_flight, images, tried=sent.values(), now=now, random=random
    )
    if isinstance(chosen, Wait):
        return _wait(replace(one, routes=routes), chosen, room, now)
    name = chosen.channel.name
    was_well = journalled is None and room.states[name].is_well
    if journalled is None:
        room.take(chosen.channel, images, now)
    fresh = by_name.keys() - {name, *sent.values()}
    has_peers = any(by_name[one].model == chosen.model for one in fresh)
    return Sent(chosen, was_well, bool(fresh), has_peers)


def _wait(one: Start, wait: Wait, room: _Room, now: Micros) -> Wait | GivenUp:
    ends = gives_up_at(one.routes, room.states, one.lease.first_leased_at, one.patience_seconds)
    if ends is None:
        return wait
    if ends <= now:
        causes = (f"{name}: {state.taken_out or 'fails'}" for name, state in room.states.items())
        return GivenUp(f"all channels are out ({', '.join(sorted(causes))})")
    return Wait(min(wait.until, ends))
