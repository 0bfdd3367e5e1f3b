"""The laws of the queue: counts that are right, caps that hold, and a fair order.

Said anew, as in `laws`: from what `ketchup.tasks` promises, and not from how it does it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from ketchup.tasks import Priority
from ketchup.tasks.fairness import IMAGE_COST, LEAD
from tests.simulation.store import Change, Commit, Row

_IN_FLIGHT = ("ready", "delayed", "leased")
# The most images of a task that is served in the middle of its stretch, and of one that became
# ready in that moment.
_MORE = 2 * 4


@dataclass(frozen=True, slots=True)
class Ready:
    """A task that anybody may have, and how things were when it became so."""

    place: tuple[int, str]
    workspace: str
    clock: int
    served: Counter[str]
    """How many images of each workspace had been asked for by then, each for the first time."""


@dataclass
class QueueLaws:
    """Counts along, and knows who waits in front of whom."""

    _in_flight: Counter[str] = field(default_factory=Counter)
    _waiting: Counter[str] = field(default_factory=Counter)
    _ready: dict[str, Ready] = field(default_factory=dict)
    _served: Counter[str] = field(default_factory=Counter)
    _weights: Counter[str] = field(default_factory=Counter)
    """The most that each workspace ever weighed."""
    _lead: Counter[str] = field(default_factory=Counter)
    """How many images each workspace may be ahead of its turn, by the urgent tasks that it had."""
    _clock: int = 0

    def judge(self, commit: Commit) -> Iterator[str]:
        """Yield what this commit broke."""
        for change in commit.of("turn"):
            yield from self._turn(change)
        changes = commit.of("task")
        claims = sorted((c for c in changes if _is_claim(c)), key=lambda c: _place(c.new or {}))
        for claim in claims:
            yield from self._claim(claim.new or {})
        for change in changes:
            self._count(change)
        yield from self._order(claims)
        for change in commit.of("queue_clock"):
            self._clock = (change.new or {})["vtime"]
        yield from self._counts(commit)

    # -- counts and caps --------------------------------------------------------------------------

    def _count(self, change: Change) -> None:
        for row, sign in ((change.old, -1), (change.new, 1)):
            if row:
                workspace, state = row["workspace_id"], row["queue_state"]
                self._in_flight[workspace] += sign * (state in _IN_FLIGHT)
                self._waiting[workspace] += sign * (state == "waiting")
        new = change.new or {}
        self._ready.pop(new["id"], None)
        if new["priority"] > Priority.NORMAL:
            mine = new["workspace_id"]
            self._lead[mine] = max(self._lead[mine], LEAD * _images(new))
        if new["queue_state"] == "ready":
            served = Counter(self._served)
            ready = Ready(_place(new), new["workspace_id"], self._clock, served)
            self._ready[new["id"]] = ready

    def _turn(self, change: Change) -> Iterator[str]:
        row, before = change.new or {}, (change.old or {}).get("active", 0)
        workspace = row["workspace_id"]
        self._weights[workspace] = max(self._weights[workspace], row["weight"])
        if row["capacity"] and row["active"] > max(row["capacity"], before):
            yield f"{workspace} has {row['active']} in flight and may have {row['capacity']}"

    def _counts(self, commit: Commit) -> Iterator[str]:
        # A transaction may have the works of several callers: what it leaves behind counts.
        last = {row["workspace_id"]: row for c in commit.of("turn") if (row := c.new)}
        for workspace, row in last.items():
            counted = (row["active"], row["waiting"])
            there = (self._in_flight[workspace], self._waiting[workspace])
            if counted != there:
                yield f"{workspace} counts {counted} in flight and waiting, and has {there}"
            room = row["capacity"] == 0 or row["active"] < row["capacity"]
            if row["waiting"] and room:
                yield f"{workspace} lets tasks wait and has room: {dict(row)}"

    # -- order ------------------------------------------------------------------------------------

    def _claim(self, row: Row) -> Iterator[str]:
        """Nobody else's tasks were served before this one more often than its place says.

        A workspace moves on by the cost of each image, so that between the time that the queue has
        passed and this place there are only so many of its images. Urgency brings a task forward
        by so many tasks like it at most.
        """
        ready = self._ready.get(row["id"])
        if ready is None:
            yield f"{row['id']} was claimed and was not ready"
            return
        for other, served in self._served.items():
            if other == ready.workspace:
                continue
            ahead = max(0, ready.place[0] - ready.clock) * self._weights[other] // IMAGE_COST
            ahead += self._lead[other]
            overtaken = served - ready.served[other]
            if overtaken > ahead + _MORE:
                yield f"{row['id']} was overtaken by {overtaken} images of {other}, not by {ahead}"
        if row["attempt"] == 1:
            self._served[row["workspace_id"]] += _images(row)

    def _order(self, claims: list[Change]) -> Iterator[str]:
        """A claim takes those that come first."""
        if claims and self._ready:
            last = _place(claims[-1].new or {})
            first = min(ready.place for ready in self._ready.values())
            if first < last:
                yield f"{last} was claimed before {first}"


def _is_claim(change: Change) -> bool:
    old, new = change.old, change.new
    return bool(old and new and (old["queue_state"], new["queue_state"]) == ("ready", "leased"))


def _images(row: Row) -> int:
    count: int = json.loads(row["options"]).get("n", 1)
    return count


def _place(row: Row) -> tuple[int, str]:
    return row["vtime"], row["id"]
