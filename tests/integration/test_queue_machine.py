"""The queue under every order of events: counts that are right, caps that hold, and who is next.

After each step the rows are compared with those before it: what may have moved, moved by the rules.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Row, select
from typing_extensions import override

from ketchup import tasks
from ketchup.clock import FrozenClock, after
from ketchup.db import Location, PostgresUrl, engine_of
from ketchup.ids import WorkerId, WorkspaceId
from ketchup.tasks import Allowance, End, Lease, NewTask, Options, Priority, Sending, TooDeep
from ketchup.tasks.table import task, turn
from tests.support.database import migrated_file
from tests.support.factories import claim, failure, new_task, success
from tests.support.postgres_pool import PostgresPool

WORKSPACES: Final = [WorkspaceId("ws_a"), WorkspaceId("ws_b")]
WORKERS: Final = [WorkerId("wrk_a"), WorkerId("wrk_b")]
MAX_LOSSES: Final = 3
IN_FLIGHT: Final = {"ready", "delayed", "leased"}

whose = st.sampled_from(WORKSPACES)
worker_drawn = st.sampled_from(WORKERS)
shares = st.tuples(st.integers(0, 4), st.sampled_from([1, 4]))
priorities = st.sampled_from([Priority.NORMAL, Priority.NORMAL, Priority.HIGH, Priority.LOW])
# How many claims ago: mostly the latest, which is still live more often than not.
leases_drawn = st.sampled_from([0, 0, 0, 1, 1, 2, 3, 5])


@dataclass(frozen=True, slots=True)
class Seen:
    """A task as the database has it."""

    workspace: WorkspaceId
    state: str
    priority: int
    place: int
    attempt: int

    def goes_before(self, id_: str, other: Seen, other_id: str) -> bool:
        return (-self.priority, id_) < (-other.priority, other_id)


class Queue(RuleBasedStateMachine):
    def __init__(self, opened: AbstractContextManager[Location]) -> None:
        super().__init__()
        self.clock = FrozenClock()
        self.closing = ExitStack()
        self.engine = engine_of(self.closing.enter_context(opened))
        self.closing.callback(self.engine.dispose)
        self.conn = self.closing.enter_context(self.engine.connect())
        self.shares: dict[WorkspaceId, tuple[int, int]] = {}
        self.leases: list[Lease] = []
        self.before: dict[str, Seen] = {}
        self.urgent: set[str] = set()
        """The urgent tasks that the latest step let in: they alone may put others off."""

    @initialize(drawn=st.lists(shares, min_size=2, max_size=2))
    def two_workspaces(self, drawn: list[tuple[int, int]]) -> None:
        self.shares = dict(zip(WORKSPACES, drawn, strict=True))

    @override
    def teardown(self) -> None:
        self.closing.close()

    # -- what is there ----------------------------------------------------------------------------

    def look(self) -> dict[str, Seen]:
        with self.conn.begin():
            rows = self.conn.execute(select(task)).all()
        return {
            row.id: Seen(row.workspace_id, row.queue_state, row.priority, row.vtime, row.attempt)
            for row in rows
        }

    def turns(self) -> dict[WorkspaceId, Row[tuple[object, ...]]]:
        with self.conn.begin():
            return {row.workspace_id: row for row in self.conn.execute(select(turn))}

    def lease(self, number: int) -> Lease:
        return self.leases[-1 - number % len(self.leases)]

    def has(self, state: str) -> bool:
        return any(one.state == state for one in self.before.values())

    # -- steps ------------------------------------------------------------------------------------

    @rule(
        wanted=st.lists(st.tuples(whose, priorities, st.integers(1, 4)), min_size=1, max_size=5),
        depth=st.sampled_from([0, 0, 3, 8]),
    )
    def tasks_come_in(self, wanted: list[tuple[WorkspaceId, Priority, int]], depth: int) -> None:
        now = self.clock.now()
        new = [
            new_task(workspace, priority=priority, options=Options(n=images))
            for workspace, priority, images in wanted
        ]
        with self.conn.begin():
            locked = tasks.lock_turns(self.conn, [one.workspace_id for one in new])
            asked = [(one, self.allowance(one.workspace_id, depth)) for one in new]
            refusals = locked.refusals([(one.workspace_id, may) for one, may in asked], now)
            self.judge(new, refusals, depth)
            accepted = [one for one, refusal in zip(asked, refusals, strict=True) if not refusal]
            tasks.enqueue(self.conn, locked, accepted, now)
        self.urgent = {one.id for one, _ in accepted if one.priority is Priority.HIGH}

    def allowance(self, workspace: WorkspaceId, depth: int) -> Allowance:
        capacity, weight = self.shares[workspace]
        return Allowance(depth=depth, capacity=capacity, weight=weight)

    def judge(self, new: Sequence[NewTask], refusals: Sequence[object], depth: int) -> None:
        """Exactly as many come in as the depth leaves room for."""
        inside = Counter(one.workspace for one in self.before.values() if one.state != "done")
        for one, refusal in zip(new, refusals, strict=True):
            is_full = depth > 0 and inside[one.workspace_id] >= depth
            assert refusal == (TooDeep(depth) if is_full else None)
            inside[one.workspace_id] += refusal is None

    @precondition(lambda self: self.has("ready"))
    @rule(worker=worker_drawn, limit=st.integers(1, 4), starts=st.booleans())
    def claims(self, worker: WorkerId, limit: int, starts: bool) -> None:
        ready = [(one.place, id_) for id_, one in self.before.items() if one.state == "ready"]
        with self.conn.begin():
            leases = claim(self.conn, worker, limit, self.clock.now())
            if starts:
                journal = [Sending(lease.attempt, "studio") for lease in leases]
                tasks.start(self.conn, journal, self.clock.now())

        taken = [lease.attempt.task_id for lease in leases]
        assert taken == [id_ for _, id_ in sorted(ready)[:limit]]
        assert all(
            lease.attempt.number == self.before[lease.attempt.task_id].attempt + 1
            for lease in leases
        )
        self.leases += leases

    @precondition(lambda self: self.leases)
    @rule(ends=st.lists(st.tuples(leases_drawn, st.booleans()), min_size=1, max_size=4))
    def finishes(self, ends: list[tuple[int, bool]]) -> None:
        wanted = [
            success(self.lease(number)) if succeeds else failure(self.lease(number))
            for number, succeeds in ends
        ]
        with self.conn.begin():
            ended = tasks.finish(self.conn, wanted, self.clock.now())
        known = {end.attempt.task_id for end in ended if isinstance(end, End)}
        now = self.look()
        assert known == {
            id_
            for id_, one in now.items()
            if one.state == "done" and self.before[id_].state != "done"
        }

    @precondition(lambda self: self.leases)
    @rule(number=leases_drawn, seconds=st.sampled_from([0.0, 10.0, 10_000.0]))
    def retries(self, number: int, seconds: float) -> None:
        now = self.clock.now()
        with self.conn.begin():
            attempt = self.lease(number).attempt
            tasks.retry(self.conn, attempt, after(now, seconds), "busy", now)

    @precondition(lambda self: self.leases)
    @rule(number=leases_drawn)
    def hands_back(self, number: int) -> None:
        with self.conn.begin():
            tasks.hand_back(self.conn, self.lease(number).attempt, self.clock.now())

    @precondition(lambda self: self.has("leased"))
    @rule(dead=st.lists(worker_drawn, unique=True, min_size=1, max_size=2))
    def workers_are_lost(self, dead: list[WorkerId]) -> None:
        now = self.clock.now()
        with self.conn.begin():
            hopeless = tasks.requeue_lost(self.conn, dead, MAX_LOSSES, now)
            tasks.finish(self.conn, [failure(lease) for lease in hopeless], now)

    @precondition(lambda self: self.has("delayed"))
    @rule(seconds=st.sampled_from([0.0, 10.0, 900.0, -3600.0]))
    def delays_end(self, seconds: float) -> None:
        self.clock.at = after(self.clock.at, seconds)
        with self.conn.begin():
            promoted = tasks.promote_due(self.conn, self.clock.now())
        delayed = sum(one.state == "delayed" for one in self.before.values())
        left = sum(one.state == "delayed" for one in self.look().values())
        assert promoted == delayed - left
        # No pause is longer than this, and no clock that was set back lengthens it.
        assert left == 0 or abs(seconds) < 900

    @rule(workspace=whose, share=shares)
    def the_share_changes(self, workspace: WorkspaceId, share: tuple[int, int]) -> None:
        self.shares[workspace] = share
        with self.conn.begin():
            entered = tasks.set_share(self.conn, workspace, *share)
        now = self.look()
        assert entered == sum(
            one.state == "waiting" and now[id_].state == "ready" for id_, one in self.before.items()
        )

    @rule()
    def chores_are_done(self) -> None:
        with self.conn.begin():
            assert tasks.fill(self.conn, 10) == 0

    # -- after each step --------------------------------------------------------------------------

    @invariant()
    def all_moved_by_the_rules(self) -> None:
        now, turns = self.look(), self.turns()
        for workspace in WORKSPACES:
            before = {id_: one for id_, one in self.before.items() if one.workspace == workspace}
            after_it = {id_: one for id_, one in now.items() if one.workspace == workspace}
            active = self.assert_counted(turns.get(workspace), after_it)
            self.assert_capped(workspace, active, before, after_it)
            self.assert_in_order(before, after_it)
        assert all(one.state == "done" for id_, one in now.items() if self.was(id_) == "done")
        self.before, self.urgent = now, set()

    def was(self, id_: str) -> str | None:
        return self.before[id_].state if id_ in self.before else None

    def assert_counted(self, row: Row[tuple[object, ...]] | None, now: dict[str, Seen]) -> int:
        active = sum(one.state in IN_FLIGHT for one in now.values())
        waiting = sum(one.state == "waiting" for one in now.values())
        counted = (row.active, row.waiting) if row else (0, 0)
        assert counted == (active, waiting)
        return active

    def assert_capped(
        self,
        workspace: WorkspaceId,
        active: int,
        before: dict[str, Seen],
        now: dict[str, Seen],
    ) -> None:
        capacity, _ = self.shares[workspace]
        had = sum(one.state in IN_FLIGHT for one in before.values())
        assert capacity == 0 or active <= max(capacity, had)
        if any(one.state == "waiting" for one in now.values()):
            assert capacity
            assert active >= capacity

    def assert_in_order(self, before: dict[str, Seen], now: dict[str, Seen]) -> None:
        """The most urgent of those that waited became ready, and of those the oldest."""
        put_off = {
            id_
            for id_, one in before.items()
            if one.state == "ready" and now[id_].state == "waiting"
        }
        entered = {
            id_
            for id_, one in now.items()
            if one.state == "ready" and self.was(id_) in {None, "waiting"}
        }
        overtaking = entered & self.urgent
        assert len(put_off) <= len(overtaking)
        self.assert_least_put_off(put_off, now)
        left = {id_ for id_, one in now.items() if one.state == "waiting"} - put_off
        for id_ in entered - overtaking:
            # Who comes in finds a place in the order of arrival, behind those that wait already.
            rivals = left if self.was(id_) else {one for one in left if self.was(one)}
            assert not any(now[one].goes_before(one, now[id_], id_) for one in rivals)

    def assert_least_put_off(self, put_off: set[str], now: dict[str, Seen]) -> None:
        ready = {id_ for id_, one in now.items() if one.state == "ready"}
        for id_ in put_off:
            assert now[id_].priority < Priority.HIGH
            # Whoever was ready before and still is, is at least as urgent.
            stayed = {one for one in ready if self.was(one) == "ready"}
            assert all(now[one].priority >= now[id_].priority for one in stayed)


# The same examples in every run: what fails here fails everywhere. `--hypothesis-seed` varies them.
EXAMPLES = settings(
    max_examples=40, stateful_step_count=40, deadline=None, derandomize=True, print_blob=True
)


@contextmanager
def new_file() -> Iterator[Location]:
    with tempfile.TemporaryDirectory() as folder:
        yield migrated_file(Path(folder))


# Thousands of commits, each of which waits for the disk.
@pytest.mark.timeout(400)
def test_the_queue_of_a_sqlite_file_keeps_its_rules() -> None:
    _run(new_file)


@pytest.mark.timeout(400)
def test_the_queue_on_postgresql_keeps_its_rules(postgres: PostgresPool) -> None:
    @contextmanager
    def new_database() -> Iterator[Location]:
        with postgres.migrated() as url:
            yield PostgresUrl(url)

    _run(new_database)


def _run(new: Callable[[], AbstractContextManager[Location]]) -> None:
    run_state_machine_as_test(lambda: Queue(new()), settings=EXAMPLES)  # type: ignore[arg-type] # it says that any factory will do
