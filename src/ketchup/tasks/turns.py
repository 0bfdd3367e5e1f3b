"""Turns: where each workspace stands in the queue, and when its next task becomes ready.

Fairness is start-time fair queueing (Goyal, Vin and Cheng, 1996): a task that becomes ready gets
its workspace's virtual time, and the workspace's time moves on by what the task costs the engines,
divided by its plan's weight. The queue serves the lowest time, so a workspace with ten thousand
tasks does not delay another's first one.

A workspace has at most `capacity` tasks in flight: ready, delayed or leased. The others wait
outside of what a claim looks at, and one becomes ready when one has ended. That is decided where
tasks come in and where they end, under the lock of the workspace's row; a claim needs no lock of
it.

Priority counts among a workspace's own tasks. It decides who becomes ready next, and it moves a
task within the stretch that the workspace occupies in the order, by a few tasks at most: other
workspaces are served as if there were none, but for that lead.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Row, bindparam, insert, or_, select, update

from ketchup.clock import SECOND, Micros
from ketchup.db import lock_names
from ketchup.ids import TaskId, WorkspaceId
from ketchup.tasks.priority import Priority
from ketchup.tasks.table import Options, QueueState, in_state, queue_clock, task, turn

# What one image moves a workspace of weight 1 on by. Divisible by every weight that is likely.
IMAGE_COST: Final = 720_720
# How many of its own tasks an urgent one may pass in the fair order. A workspace whose tasks are
# all urgent is ahead of others by so many, once; without a bound, each of them would come first.
LEAD: Final = 16
# How far the search for a task to overtake goes back from the end of the fair order.
_LOOK_BACK: Final = 1_000
# So many tasks of a workspace become ready in one transaction; `fill` makes the others so.
PORTION: Final = 500


@dataclass(frozen=True, slots=True)
class TooSoon:
    """The workspace submits faster than it may; `retry_after` is in seconds."""

    retry_after: float


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
        return TooSoon(early / SECOND) if early > 0 else arrival


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


class Turns:
    """The rows of some workspaces, locked until the transaction ends. Made by `lock_turns`."""

    def __init__(self, rows: Mapping[WorkspaceId, Turn], floor: int) -> None:
        """`floor` is the virtual time that the queue has already passed."""
        self._rows = dict(rows)
        self._floor = floor
        self._changed: set[WorkspaceId] = set()

    def refusals(
        self, wanted: Sequence[tuple[WorkspaceId, Allowance]], now: Micros
    ) -> list[TooSoon | TooDeep | None]:
        """Say what forbids each of these tasks, in order, if those before it get in.

        Nothing changes: what is refused for another reason costs neither place nor rate.
        """
        ahead: dict[WorkspaceId, Turn] = {}
        refusals: list[TooSoon | TooDeep | None] = []
        for workspace, allowance in wanted:
            decided = ahead.get(workspace, self.of(workspace)).admit(allowance, now)
            if isinstance(decided, Turn):
                ahead[workspace] = decided
                refusals.append(None)
            else:
                refusals.append(decided)
        return refusals

    def admit(self, entrant: Entrant, allowance: Allowance, now: Micros) -> int | None:
        """Let a task in that nothing forbids; return its place, or None when it has to wait."""
        was = self.of(entrant.workspace_id)
        admitted = was.admit(allowance, now)
        if not isinstance(admitted, Turn):
            raise TypeError(f"a task that is refused cannot come in: {admitted}")
        self._set(entrant.workspace_id, admitted)
        # Those that wait already go first.
        return None if was.waiting or not admitted.room else self.enter(entrant)

    def enter(self, entrant: Entrant) -> int:
        """Take one that waits into what is in flight, and return its place."""
        turn_now = self.of(entrant.workspace_id)
        place, after = turn_now.enter(entrant.images, entrant.priority, self._floor)
        self._set(entrant.workspace_id, after)
        return place

    def exchange(self, comes: Entrant, goes: Entrant) -> None:
        """Let one that waits have the place of one that is ready, which waits again."""
        workspace = comes.workspace_id
        self._set(workspace, self.of(workspace).exchange(comes.images, goes.images))

    def would_change(self, workspace: WorkspaceId, allowance: Allowance) -> bool:
        """Whether letting a task in would give a workspace another share than it has."""
        row = self.of(workspace)
        return (row.capacity, row.weight) != (allowance.capacity, allowance.weight)

    def leave(self, ended: Mapping[WorkspaceId, int]) -> None:
        """Take tasks that have ended off what is in flight."""
        for workspace, count in ended.items():
            now_has = self.of(workspace)
            self._set(workspace, replace(now_has, active=now_has.active - count))

    def set_share(self, workspace: WorkspaceId, capacity: int, weight: int) -> None:
        """Let a workspace have another share from now on."""
        self._set(workspace, replace(self.of(workspace), capacity=capacity, weight=weight))

    def with_room(self) -> dict[WorkspaceId, int]:
        """Return how many waiting tasks of each workspace may become ready."""
        return {workspace: row.room for workspace, row in self._rows.items() if row.room}

    def of(self, workspace: WorkspaceId) -> Turn:
        """Return where a workspace stands."""
        return self._rows.get(workspace, _NEW)

    def store(self, conn: Connection) -> None:
        """Write what has changed."""
        rows = [(workspace, self._rows[workspace]) for workspace in sorted(self._changed)]
        new = [_row(workspace, row) for workspace, row in rows if row.is_first]
        old = [_row(workspace, row) for workspace, row in rows if not row.is_first]
        if old:
            conn.execute(_UPDATE, old)
        if new:
            conn.execute(_INSERT, new)
        for workspace, row in rows:
            self._rows[workspace] = replace(row, is_first=False)
        self._changed.clear()

    def _set(self, workspace: WorkspaceId, row: Turn) -> None:
        self._rows[workspace] = row
        self._changed.add(workspace)


def lock_turns(conn: Connection, workspaces: Iterable[WorkspaceId]) -> Turns:
    """Lock where these workspaces stand, in order of their ids.

    Two transactions that meet on the same two workspaces would otherwise wait for each other.
    """
    wanted = set(workspaces)
    rows, passed = _lock(conn, wanted)
    if new := wanted - rows.keys():
        # Another node may be about to make the same row: the first of us does, the other locks it.
        lock_names(conn, turn.name, new)
        added, _ = _lock(conn, new)
        rows |= added
    if passed is None:
        passed = conn.scalar(_CLOCK) or 0
    return Turns(rows, passed)


def _lock(
    conn: Connection, workspaces: Iterable[WorkspaceId]
) -> tuple[dict[WorkspaceId, Turn], int | None]:
    """Return the rows, and with any of them the virtual time that the queue has passed."""
    rows = conn.execute(_LOCK, {"ids": sorted(workspaces)}).all()
    turns = {WorkspaceId(row.workspace_id): _turn(row) for row in rows}
    return turns, rows[0].passed if rows else None


def let_in(conn: Connection, turns: Turns) -> int:
    """Make waiting tasks ready where there is room for them, and return how many.

    There may be room for a million when a plan has changed: those behind the first `PORTION` of a
    workspace are left to the next call.
    """
    entered: list[dict[str, object]] = []
    for workspace, room in turns.with_room().items():
        most = {"workspace": workspace, "most": min(room, PORTION)}
        chosen = conn.execute(_NEXT, most).all()
        entered += [{"b_id": row.id, "place": turns.enter(_entrant(row))} for row in chosen]
    if entered:
        conn.execute(_MAKE_READY, entered)
    return len(entered)


def overtake(conn: Connection, turns: Turns, urgent: Sequence[Entrant]) -> None:
    """Let urgent tasks that wait change places with lesser ones of their workspaces.

    Looks at the end of the fair order, where a workspace with much in flight has its last ones; who
    finds none there waits for the next place as others do.
    """
    for (workspace, priority), entrants in _alike(urgent).items():
        lesser = {"workspace": workspace, "priority": int(priority), "most": len(entrants)}
        found = conn.execute(_LESSER, lesser).all()
        for entrant, row in zip(entrants, found, strict=False):
            # It may have become ready in the meantime, for there was room.
            if conn.execute(_MAKE_READY, {"b_id": entrant.task_id, "place": row.vtime}).rowcount:
                conn.execute(_MAKE_WAIT, {"b_id": row.id})
                turns.exchange(entrant, _entrant(row))


def fill(conn: Connection, most: int) -> int:
    """Let in what has room, of up to `most` workspaces, and return how many became ready.

    For what a change of plans has left waiting, as often as it takes.
    """
    found = conn.execute(_LEFT_OUT, {"most": most}).scalars().all()
    if not found:
        return 0
    turns = lock_turns(conn, found)
    entered = let_in(conn, turns)
    turns.store(conn)
    return entered


def set_share(conn: Connection, workspace: WorkspaceId, capacity: int, weight: int) -> int:
    """Give a workspace another share, at once; return how many tasks became ready by it.

    Of many, `fill` makes the others ready. A workspace that never submitted has nothing to change:
    each submit says what its plan allows.
    """
    turns = lock_turns(conn, [workspace])
    if turns.of(workspace).is_first:
        return 0
    turns.set_share(workspace, capacity, weight)
    entered = let_in(conn, turns)
    turns.store(conn)
    return entered


_NEW: Final = Turn()


def _turn(row: Row[*tuple[Any, ...]]) -> Turn:
    return Turn(
        vtime=row.vtime,
        arrival_at=row.arrival_at,
        active=row.active,
        waiting=row.waiting,
        capacity=row.capacity,
        weight=row.weight,
        is_first=False,
    )


def _row(workspace: WorkspaceId, row: Turn) -> dict[str, object]:
    return {
        "b_id": workspace,
        "vtime": row.vtime,
        "arrival_at": row.arrival_at,
        "active": row.active,
        "waiting": row.waiting,
        "capacity": row.capacity,
        "weight": row.weight,
    }


def _alike(urgent: Sequence[Entrant]) -> dict[tuple[WorkspaceId, Priority], list[Entrant]]:
    alike: dict[tuple[WorkspaceId, Priority], list[Entrant]] = {}
    for entrant in urgent:
        alike.setdefault((entrant.workspace_id, entrant.priority), []).append(entrant)
    return alike


def _entrant(row: Row[*tuple[Any, ...]]) -> Entrant:
    options = msgspec.json.decode(row.options, type=Options)
    return Entrant(TaskId(row.id), row.workspace_id, options.n, Priority(row.priority))


_VALUES: Final[dict[str, Any]] = {
    name: bindparam(name)
    for name in ("vtime", "arrival_at", "active", "waiting", "capacity", "weight")
}
_CLOCK: Final = select(queue_clock.c.vtime)
_LOCK: Final = (
    select(turn, _CLOCK.scalar_subquery().label("passed"))
    .where(turn.c.workspace_id.in_(bindparam("ids", expanding=True)))
    .order_by(turn.c.workspace_id)
    .with_for_update()
)
_UPDATE: Final = update(turn).where(turn.c.workspace_id == bindparam("b_id")).values(_VALUES)
_INSERT: Final = insert(turn).values(workspace_id=bindparam("b_id"), **_VALUES)
_LEFT_OUT: Final = (
    select(turn.c.workspace_id)
    .where(turn.c.waiting > 0, or_(turn.c.capacity == 0, turn.c.active < turn.c.capacity))
    .limit(bindparam("most"))
)
_NEXT: Final = (
    select(task.c.id, task.c.workspace_id, task.c.options, task.c.priority)
    .where(task.c.workspace_id == bindparam("workspace"), in_state(QueueState.WAITING))
    .order_by(task.c.priority.desc(), task.c.id)
    .limit(bindparam("most"))
)
_MAKE_READY: Final = (
    update(task)
    .where(task.c.id == bindparam("b_id"), task.c.queue_state == QueueState.WAITING.value)
    .values(queue_state=QueueState.READY.value, vtime=bindparam("place"))
)
_MAKE_WAIT: Final = (
    update(task).where(task.c.id == bindparam("b_id")).values(queue_state=QueueState.WAITING.value)
)
_LAST_READY: Final = (
    select(task.c.id, task.c.vtime, task.c.workspace_id, task.c.priority)
    .where(in_state(QueueState.READY))
    .order_by(task.c.vtime.desc(), task.c.id.desc())
    .limit(_LOOK_BACK)
    .subquery()
)
_LESSER: Final = (
    select(task.c.id, task.c.vtime, task.c.workspace_id, task.c.options, task.c.priority)
    .where(
        task.c.id.in_(
            select(_LAST_READY.c.id).where(
                _LAST_READY.c.workspace_id == bindparam("workspace"),
                _LAST_READY.c.priority < bindparam("priority"),
            )
        ),
        in_state(QueueState.READY),
    )
    # The least of them, and of those the last one.
    .order_by(task.c.priority, task.c.vtime.desc(), task.c.id.desc())
    .limit(bindparam("most"))
    # One that a worker is about to take is not in the way any more.
    .with_for_update(skip_locked=True)
)
