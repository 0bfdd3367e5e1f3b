"""Start: the transaction in which a task is given a channel, and the journal says so."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from ketchup import channels, tasks
from ketchup.clock import Micros
from ketchup.db import Connection
from ketchup.generation.routing import Channel, Chosen, Route, Unknown, Wait, choose
from ketchup.money import Credits
from ketchup.tasks import Lease, LeaseLost, Sending


@dataclass(frozen=True, slots=True)
class Start:
    """A claimed task, and where it may be rendered."""

    lease: Lease
    routes: Sequence[Route]


@dataclass(frozen=True, slots=True)
class Sent:
    """The journal has it."""

    chosen: Chosen
    was_well: bool
    has_others: bool
    """Whether there are channels that this task has not tried."""


def start(
    conn: Connection, starts: Sequence[Start], now: Micros, random: Random
) -> list[Sent | Wait | None]:
    """Choose a channel for each and write it to the journal; None where the lease was lost.

    Channels are locked before tasks, and only those with a limit or a failure.
    """
    room = _Room.of(conn, {c for s in starts for route in s.routes for c in route.channels})
    journal = tasks.sent_before(conn, [s.lease.attempt.task_id for s in starts])
    decided: list[Sent | Wait] = []
    for one in starts:
        sent = journal.get(one.lease.attempt.task_id, {})
        decided.append(_decide(one, sent, room, now, random))
    room.store(conn)
    sendings = [
        _sending(one.lease, d.chosen.channel)
        for one, d in zip(starts, decided, strict=True)
        if isinstance(d, Sent)
    ]
    lost = {a.attempt for a in tasks.start(conn, sendings, now) if isinstance(a, LeaseLost)}
    return [
        None if one.lease.attempt in lost else d for one, d in zip(starts, decided, strict=True)
    ]


@dataclass(slots=True)
class _Room:
    """How the channels are while starts are decided one after the other."""

    states: dict[str, channels.State]
    in_flight: dict[str, int]
    locked: Collection[str]

    @classmethod
    def of(cls, conn: Connection, them: Collection[Channel]) -> _Room:
        names = {channel.name for channel in them}
        limited = {channel.name for channel in them if channel.is_limited}
        states = {name: channels.State() for name in names} | channels.look(conn, names)
        locked = limited | {name for name, state in states.items() if not state.is_well}
        if locked:
            states |= channels.lock(conn, locked)
        return cls(states, tasks.images_in_flight(conn, limited) if limited else {}, locked)

    def take(self, channel: Channel, images: int, now: Micros) -> None:
        self.in_flight[channel.name] = self.in_flight.get(channel.name, 0) + images
        state = self.states[channel.name]
        self.states[channel.name] = state.sent(images, channel.images_per_minute, now)

    def store(self, conn: Connection) -> None:
        for name in sorted(self.locked):
            channels.store(conn, name, self.states[name])


def _decide(
    one: Start, sent: Mapping[int, str], room: _Room, now: Micros, random: Random
) -> Sent | Wait:
    by_name = {c.name: Chosen(c, r.model) for r in reversed(one.routes) for c in r.channels}
    images = one.lease.options.n
    # A start is repeated when nobody heard of its commit: it is in the journal then.
    journalled = by_name.get(sent.get(one.lease.attempt.number, ""))
    chosen = journalled or choose(
        one.routes, room.states, room.in_flight, images, tried=sent.values(), now=now, random=random
    )
    if isinstance(chosen, Wait):
        return chosen
    name = chosen.channel.name
    was_well = journalled is None and room.states[name].is_well
    if journalled is None:
        room.take(chosen.channel, images, now)
    return Sent(chosen, was_well, bool(by_name.keys() - {name, *sent.values()}))


def _sending(lease: Lease, channel: Channel) -> Sending:
    images = lease.options.n
    return Sending(
        lease.attempt,
        channel.name,
        images=images,
        cost=Credits(channel.cost * images),
        is_resubmitted=channel.unknown is Unknown.RESUBMIT,
    )
