"""Routing: which channel renders a task. Nothing here reads or writes; `run` asks it under a lock.

A channel is chosen among those that serve the model, are well and have room: the highest priority
first, by weight among equals, and one that this task has not tried yet before one that it has.
A model may name another one, which is asked only when all its own channels are out.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random
from typing import Final, Protocol

from ketchup.clock import Micros, after
from ketchup.money import Credits
from ketchup.providers.base import Provider
from ketchup.providers.catalog import Catalog
from ketchup.workspaces import Environment

_NOTHING: Final = Credits(0)
FULL_SECONDS: Final = 0.5
"""How long a task waits before it looks again for room among the images in flight."""


class Unknown(StrEnum):
    """What becomes of a task when nobody can say whether its channel rendered and charged it."""

    RESUBMIT = "resubmit"
    FAIL_AND_RELEASE = "fail_and_release"


@dataclass(frozen=True, slots=True)
class Channel:
    """A provider with its limits and its share. 0 is no limit."""

    name: str
    provider: str
    """The name under which its provider was built."""
    priority: int = 0
    """Higher goes first."""
    weight: int = 1
    images_in_flight: int = 0
    images_per_minute: int = 0
    cost: Credits = _NOTHING
    """What one image costs the operator."""
    unknown: Unknown = Unknown.RESUBMIT

    @property
    def is_limited(self) -> bool:
        """Whether it has any limit to keep to."""
        return bool(self.images_in_flight or self.images_per_minute)

    def holds(self, images: int) -> bool:
        """Whether one task may have so many: they go together."""
        return not any(0 < one < images for one in (self.images_in_flight, self.images_per_minute))


class Condition(Protocol):
    """How a channel is, as the database remembers it."""

    def free_at(self, images: int, per_minute: int, now: Micros) -> Micros: ...  # noqa: D102 see channels.State
    @property
    def closed_until(self) -> int: ...  # noqa: D102 as above
    @property
    def is_out(self) -> bool: ...  # noqa: D102 as above
    @property
    def out_since(self) -> int: ...  # noqa: D102 as above


@dataclass(frozen=True, slots=True)
class Route:
    """One model's channels; `model` is what the provider is asked for."""

    model: str
    channels: Sequence[Channel]


@dataclass(frozen=True, slots=True)
class Engines:
    """What renders: the catalogue's models, the channels that serve each, and their providers.

    A model without channels of its own has its provider as its only one, without limits. What keys
    for tests ask for never goes to any of these: it has channels of its own, or the one provider
    that costs nothing.
    """

    catalog: Catalog
    providers: Mapping[str, Provider]
    channels: Mapping[str, Sequence[Channel]] = field(default_factory=dict)
    test_channels: Mapping[str, Sequence[Channel]] = field(default_factory=dict)
    test_provider: str | None = None

    def routes(self, model: str, environment: str) -> list[Route]:
        """Return where a model may be rendered, the model that stands in for it last."""
        if environment != Environment.LIVE:
            return self._test_routes(model)
        found = self.catalog.find(model)
        if found is None:
            return []
        names = [found.id] if found.fallback is None else [found.id, found.fallback]
        routes = [Route(name, self._channels_of(name)) for name in names]
        return [route for route in routes if route.channels]

    def _test_routes(self, model: str) -> list[Route]:
        found = self.catalog.find(model)
        if found is None:
            return []
        # A name that no setting can give: its failures close no live channel.
        name = f"test:{self.test_provider}"
        alone = () if self.test_provider is None else (Channel(name, self.test_provider),)
        own = self.test_channels.get(found.id, alone)
        usable = [channel for channel in own if channel.provider in self.providers]
        return [Route(found.id, usable)] if usable else []

    def _channels_of(self, model: str) -> Sequence[Channel]:
        found = self.catalog.find(model)
        if found is None:
            return ()
        alone = (Channel(found.provider, found.provider),)
        own = self.channels.get(found.id, alone)
        return [channel for channel in own if channel.provider in self.providers]


@dataclass(frozen=True, slots=True)
class Chosen:
    """Send it here."""

    channel: Channel
    model: str


@dataclass(frozen=True, slots=True)
class Wait:
    """No channel takes it before this time."""

    until: Micros


@dataclass(frozen=True, slots=True)
class GivenUp:
    """All channels have been out for longer than the task may wait for one."""

    detail: str


def wide_enough(routes: Sequence[Route], images: int) -> list[Route]:
    """Leave out the channels that never take a task of so many images.

    By the settings each model has one that does; some tasks were accepted under earlier ones.
    """
    left = (Route(r.model, [c for c in r.channels if c.holds(images)]) for r in routes)
    return [route for route in left if route.channels]


def choose(
    routes: Sequence[Route],
    conditions: Mapping[str, Condition],
    in_flight: Mapping[str, int],
    images: int,
    *,
    tried: Collection[str],
    now: Micros,
    random: Random,
) -> Chosen | Wait:
    """Choose a channel for so many images; the next route counts only when all of one are out.

    The caller has left out the channels that are not wide enough.
    """
    waits: list[Micros] = []
    for route in routes:
        free_at = {
            c: _free_at(c, conditions[c.name], in_flight, images, now) for c in route.channels
        }
        if free := [channel for channel, at in free_at.items() if at <= now]:
            return Chosen(_best(free, tried, random), route.model)
        waits += free_at.values()
        if not all(_is_away(conditions[c.name], now) for c in route.channels):
            break
    return Wait(min(waits))


def gives_up_at(
    routes: Sequence[Route], conditions: Mapping[str, Condition], since: Micros, patience: float
) -> Micros | None:
    """Return when a task that has waited since then stops waiting; None while a channel is well.

    What counts is how long all of them have been out: a channel that is full is worth waiting for.
    """
    them = [conditions[channel.name] for route in routes for channel in route.channels]
    if not all(one.is_out for one in them):
        return None
    return after(Micros(max(since, *(one.out_since for one in them))), patience)


def _best(free: Sequence[Channel], tried: Collection[str], random: Random) -> Channel:
    fresh = [channel for channel in free if channel.name not in tried] or free
    highest = max(channel.priority for channel in fresh)
    equals = [channel for channel in fresh if channel.priority == highest]
    if len(equals) == 1:
        return equals[0]
    return random.choices(equals, [channel.weight for channel in equals])[0]


def _is_away(condition: Condition, now: Micros) -> bool:
    return condition.is_out and condition.closed_until > now


def _free_at(
    channel: Channel, condition: Condition, in_flight: Mapping[str, int], images: int, now: Micros
) -> Micros:
    """Return when a channel could take so many images, as far as it is known."""
    at = max(now, condition.closed_until)
    if channel.images_per_minute:
        at = max(at, condition.free_at(images, channel.images_per_minute, now))
    inside = in_flight.get(channel.name, 0)
    if channel.images_in_flight and inside + images > channel.images_in_flight:
        at = max(at, after(now, FULL_SECONDS))
    return Micros(at)
