"""Turns: where each workspace stands in the queue, and when its next task becomes ready.

A workspace with ten thousand tasks does not delay another's first one: `fairness` says how.

A workspace has at most `capacity` tasks in flight: ready, delayed or leased. The others wait
outside of what a claim looks at, and one becomes ready when one has ended. That is decided where
tasks come in and where they end, under the lock of the workspace's row; a claim needs no lock of
it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Row, bindparam, or_, select, update

from ketchup.clock import Micros
from ketchup.db import Write, change, insertion, lock_names, write_many
from ketchup.ids import TaskId, WorkspaceId
from ketchup.tasks.fairness import Allowance, Entrant, Priority, TooDeep, TooSoon, Turn
from ketchup.tasks.table import Options, QueueState, in_state, queue_clock, task, turn

# How far the search for a task to overtake goes back from the end of the fair order.
_LOOK_BACK: Final = 1_000
# So many tasks of a workspace become ready in one transaction; `fill` makes the others so.
PORTION: Final = 500


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

    def withdraw(self, workspace: WorkspaceId) -> None:
        """Take one off what waits: it never had a place."""
        now_has = self.of(workspace)
        self._set(workspace, replace(now_has, waiting=now_has.waiting - 1))

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
        write_many(conn, *self.take_changes())

    def take_changes(self) -> tuple[Write, Write]:
        """Return what has changed, for the caller to write."""
        rows = [(workspace, self._rows[workspace]) for workspace in sorted(self._changed)]
        for workspace, row in rows:
            self._rows[workspace] = replace(row, is_first=False)
        self._changed.clear()
        new = [_row(workspace, row) for workspace, row in rows if row.is_first]
        old = [_row(workspace, row) for workspace, row in rows if not row.is_first]
        return change(turn, ("workspace_id",), old), insertion(turn, new)

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


def find_refusal(
    conn: Connection, workspace: WorkspaceId, allowance: Allowance, now: Micros
) -> TooSoon | TooDeep | None:
    """Say what would forbid one more task now. Locks nothing, so it decides nothing."""
    row = conn.execute(_LOOK, {"id": workspace}).first()
    decided = (_turn(row) if row else _NEW).admit(allowance, now)
    return None if isinstance(decided, Turn) else decided


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
        "workspace_id": workspace,
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


_CLOCK: Final = select(queue_clock.c.vtime)
_LOCK: Final = (
    select(turn, _CLOCK.scalar_subquery().label("passed"))
    .where(turn.c.workspace_id.in_(bindparam("ids", expanding=True)))
    .order_by(turn.c.workspace_id)
    .with_for_update()
)
_LOOK: Final = select(turn).where(turn.c.workspace_id == bindparam("id"))
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
