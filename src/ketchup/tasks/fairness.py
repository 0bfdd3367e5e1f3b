"""Fairness: how the place of a task is decided, from numbers alone. `turns` reads and writes them.

Fairness is start-time fair queueing (Goyal, Vin and Cheng, 1996): a task that becomes ready gets
its workspace's virtual time, and the workspace's time moves on by what the task costs the engines,
divided by its plan's weight. The queue serves the lowest time, so a workspace with ten thousand
tasks does not delay another's first one.

Priority counts among a workspace's own tasks. It decides who becomes ready next, and it moves a
task within the stretch that the workspace occupies in the order, by a few tasks at most: other
workspaces are served as if there were none, but for that lead.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Final

from ketchup.clock import SECOND, Micros
from ketchup.ids import TaskId, WorkspaceId

# What one image moves a workspace of weight 1 on by. Divisible by every weight that is likely.
IMAGE_COST: Final = 720_720
# How many of its own tasks an urgent one may pass in the fair order. A workspace whose tasks are
# all urgent is ahead of others by so many, once; without a bound, each of them would come first.
LEAD: Final = 16


class Priority(IntEnum):
    """Higher goes first, among the tasks of one workspace."""

    LOW = -1
    NORMAL = 0
    HIGH = 1


@dataclass(frozen=True, slots=True)
class TooDeep:
    """The workspace has as many tasks in the queue as it may: `depth`."""

    depth: int


@dataclass(frozen=True, slots=True)
class RateLimit:
    """Submits per minute with a burst, decided by the generic cell rate algorithm (ITU-T I.371)."""

    per_minute: int
    burst: int

    def admit(self, arrival_at: int, now: Micros) -> int | TooSoon:
        """Return the new theoretical arrival time, or how long to wait."""
        interval = 60 * SECOND // self.per_minute
        burst = interval * self.burst
        if arrival_at > now + burst:
            # Submits never lead further: the clock was set back or the limit was raised since.
            arrival_at = now + burst - interval
        arrival = max(arrival_at, now) + interval
        early = arrival - now - burst
        return TooSoon(early / SECOND, self) if early > 0 else arrival


@dataclass(frozen=True, slots=True)
class TooSoon:
    """The workspace submits faster than it may; `retry_after` is in seconds."""

    retry_after: float
    rate: RateLimit | None = field(default=None, compare=False)
    """What it may."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a workspace's plan allows it in the queue. 0 is no limit."""

    rate: RateLimit | None = None
    depth: int = 0
    """Tasks in the queue at most, waiting or in flight."""
    capacity: int = 0
    """Tasks in flight at most."""
    weight: int = 1
    """Its share of the engines, to the shares of others."""


UNLIMITED: Final = Allowance()


@dataclass(frozen=True, slots=True)
class Turn:
    """Where a workspace stands."""

    vtime: int = 0
    arrival_at: int = 0
    active: int = 0
    waiting: int = 0
    capacity: int = 0
    weight: int = 1
    is_first: bool = True
    """Whether it has never stood in the queue before."""

    @property
    def room(self) -> int:
        """How many of its waiting tasks may become ready."""
        free = self.capacity - self.active if self.capacity else self.waiting
        return max(0, min(free, self.waiting))

    def admit(self, allowance: Allowance, now: Micros) -> Turn | TooSoon | TooDeep:
        """Let one more task wait, or say what forbids it."""
        rate, depth = allowance.rate, allowance.depth
        arrival = rate.admit(self.arrival_at, now) if rate else self.arrival_at
        if isinstance(arrival, TooSoon):
            return arrival
        if depth and self.active + self.waiting >= depth:
            return TooDeep(depth)
        return replace(
            self,
            arrival_at=arrival,
            waiting=self.waiting + 1,
            capacity=allowance.capacity,
            weight=allowance.weight,
        )

    def enter(self, images: int, priority: Priority, floor: int) -> tuple[int, Turn]:
        """Let a waiting task become ready: return its place, and where the workspace stands then.

        No place lies before `floor`, which the queue has already passed.
        """
        cost = self._cost(images)
        own = max(self.vtime, floor)
        place = max(floor, own - priority * min(self.active, LEAD) * cost)
        after = replace(self, vtime=own + cost, waiting=self.waiting - 1, active=self.active + 1)
        return place, after

    def exchange(self, comes: int, goes: int) -> Turn:
        """Let a task of `comes` images have the place that one of `goes` images has paid for."""
        return replace(self, vtime=self.vtime + self._cost(comes) - self._cost(goes))

    def _cost(self, images: int) -> int:
        return images * IMAGE_COST // self.weight


@dataclass(frozen=True, slots=True)
class Entrant:
    """What of a task decides its place."""

    task_id: TaskId
    workspace_id: WorkspaceId
    images: int
    priority: Priority
