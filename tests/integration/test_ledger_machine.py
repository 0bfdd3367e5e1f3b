"""Submit, claim, start, finish, retry, crash and come back late, in any order, against a model.

The model knows what the ledger owes to whom and nothing of SQL. After every step the database must
say the same, its audit must be consistent, and every task must have gone forward only.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

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
from sqlalchemy import func, select
from typing_extensions import override

from ketchup import credits, tasks, webhooks
from ketchup.clock import FrozenClock, Micros, after
from ketchup.credits import InsufficientCredits
from ketchup.db import Location, PostgresUrl, engine_of
from ketchup.errors import Conflict
from ketchup.generation import Accepted, Ending, recover
from ketchup.generation.finish import finish
from ketchup.generation.submit import Submission, _idempotency_key, submit
from ketchup.ids import TaskId, WorkerId, WorkspaceId
from ketchup.money import Credits
from ketchup.tasks import UNLIMITED, Conflicting, End, Lease, LeaseLost, Options, Sending, Status
from ketchup.tasks.table import task as task_table
from tests.support.database import migrated_file
from tests.support.factories import PRICE, claim, failure, new_workspace, request_of, success
from tests.support.postgres_pool import PostgresPool

MAX_LOSSES = 3
KEEP_SECONDS = 48 * 3600.0
CALLBACK = "https://example.com/hook"
WORKERS = [WorkerId("wrk_a"), WorkerId("wrk_b")]
ORDER = list(Status)
TERMINAL = {Status.SUCCESS, Status.FAILED}

State = Literal["ready", "delayed", "leased", "done"]
workspaces_drawn = st.integers(0, 1)
workers_drawn = st.sampled_from(WORKERS)
# How many claims ago: mostly the latest, which is still live more often than not.
leases_drawn = st.sampled_from([0, 0, 0, 1, 1, 2, 3, 5])


@dataclass
class Expected:
    """What the model knows of one task."""

    workspace: WorkspaceId
    price: int
    status: Status = Status.PENDING
    state: State = "ready"
    attempt: int = 0
    worker: WorkerId | None = None
    run_at: int = 0
    losses: int = 0

    def go_back(self, state: State) -> None:
        self.state, self.worker = state, None

    def end(self, status: Status) -> None:
        self.status, self.state, self.worker = status, "done", None


class Ledger(RuleBasedStateMachine):
    def __init__(self, opened: AbstractContextManager[Location]) -> None:
        super().__init__()
        self.clock = FrozenClock()
        self.closing = ExitStack()
        self.engine = engine_of(self.closing.enter_context(opened))
        self.closing.callback(self.engine.dispose)
        self.conn = self.closing.enter_context(self.engine.connect())
        self.workspaces: list[WorkspaceId] = []
        self.balances: dict[WorkspaceId, int] = {}
        self.expected: dict[TaskId, Expected] = {}
        self.keys: dict[tuple[WorkspaceId, str], tuple[str, int, TaskId, Micros]] = {}
        self.leases: list[Lease] = []
        self.seen: dict[TaskId, Status] = {}

    @initialize(grants=st.lists(st.integers(3, 20), min_size=2, max_size=2))
    def two_workspaces(self, grants: list[int]) -> None:
        with self.conn.begin():
            for grant in grants:
                workspace = new_workspace(self.conn, grant=grant * PRICE).id
                self.workspaces.append(workspace)
                self.balances[workspace] = grant * PRICE

    @override
    def teardown(self) -> None:
        self.closing.close()

    # -- what the model says ----------------------------------------------------------------------

    def held_by(self, workspace: WorkspaceId) -> int:
        return sum(
            one.price
            for one in self.expected.values()
            if one.workspace == workspace and one.state != "done"
        )

    def is_live(self, lease: Lease) -> bool:
        one, fence = self.expected[lease.attempt.task_id], lease.attempt
        return (one.state, one.attempt, one.worker) == ("leased", fence.number, fence.worker_id)

    def has(self, state: State) -> bool:
        return any(one.state == state for one in self.expected.values())

    def lease(self, number: int) -> Lease:
        """Pick any lease that there ever was, the latest more often than not."""
        return self.leases[-1 - number % len(self.leases)]

    def decide(self, workspace: WorkspaceId, key: str | None, prompt: str, price: int) -> str:
        known = self.keys.get((workspace, key)) if key else None
        if known and self.clock.now() - known[3] <= KEEP_SECONDS * 1_000_000:
            return "replayed" if known[:2] == (prompt, price) else "conflicting"
        enough = self.balances[workspace] - self.held_by(workspace) >= price
        return "accepted" if enough else "insufficient"

    # -- steps ------------------------------------------------------------------------------------

    @rule(
        who=workspaces_drawn,
        key=st.sampled_from([None, None, "k1", "k2"]),
        prompt=st.sampled_from(["a", "a", "b"]),
        images=st.integers(1, 3),
        copies=st.integers(1, 3),
    )
    def submits(self, who: int, key: str | None, prompt: str, images: int, copies: int) -> None:
        workspace, price = self.workspaces[who], images * PRICE
        request = request_of(
            workspace,
            prompt=prompt,
            idempotency_key=key,
            options=Options(n=images),
            callback_url=CALLBACK,
        )
        submission = Submission(request, _idempotency_key(request), (), UNLIMITED)
        now = self.clock.now()
        with self.conn.begin():
            decisions = submit(self.conn, [submission] * copies, lambda _plan: UNLIMITED, now)
        assert len(decisions) == copies
        for decision in decisions:
            awaited = self.decide(workspace, key, prompt, price)
            match decision:
                case Accepted(task_id, replayed=False):
                    assert awaited == "accepted"
                    assert task_id not in self.expected
                    self.expected[task_id] = Expected(workspace, price)
                    if key:
                        self.keys[workspace, key] = (prompt, price, task_id, now)
                case Accepted(task_id):
                    assert awaited == "replayed"
                    assert key
                    assert self.keys[workspace, key][2] == task_id
                case Conflicting():
                    assert awaited == "conflicting"
                case InsufficientCredits(available):
                    assert awaited == "insufficient"
                    assert available == self.balances[workspace] - self.held_by(workspace)
                case _:
                    raise AssertionError(decision)

    @precondition(lambda self: self.has("ready"))
    @rule(
        worker=workers_drawn, limit=st.integers(1, 3), starts=st.sampled_from([True, True, False])
    )
    def claims(self, worker: WorkerId, limit: int, starts: bool) -> None:
        ready = [task_id for task_id, one in self.expected.items() if one.state == "ready"]
        with self.conn.begin():
            leases = claim(self.conn, worker, limit, self.clock.now())

        assert len(leases) == min(limit, len(ready))
        for lease in leases:
            one = self.expected[lease.attempt.task_id]
            assert one.state == "ready"
            one.state, one.worker, one.attempt = "leased", worker, one.attempt + 1
            one.status = max(one.status, Status.SUBMITTED, key=ORDER.index)
            assert (lease.attempt.number, lease.price) == (one.attempt, one.price)
            self.leases.append(lease)
            if starts:
                self.starts(0)

    @precondition(lambda self: self.leases)
    @rule(number=leases_drawn)
    def starts(self, number: int) -> None:
        lease = self.lease(number)
        one = self.expected[lease.attempt.task_id]
        if self.is_live(lease) and one.status == Status.IN_PROGRESS:
            return  # an attempt is announced once; a second announcement is a bug, not a race
        with self.conn.begin():
            (started,) = tasks.start(
                self.conn, [Sending(lease.attempt, "studio")], self.clock.now()
            )

        assert isinstance(started, LeaseLost) != self.is_live(lease)
        if self.is_live(lease):
            one.status = Status.IN_PROGRESS

    @precondition(lambda self: self.leases)
    @rule(ends=st.lists(st.tuples(leases_drawn, st.booleans()), min_size=1, max_size=4))
    def finishes(self, ends: list[tuple[int, bool]]) -> None:
        leases = [(self.lease(number), succeeds) for number, succeeds in ends]
        endings = [
            Ending(lease, success(lease) if succeeds else failure(lease), b"{}")
            for lease, succeeds in leases
        ]
        with self.conn.begin():
            answers = finish(self.conn, endings, self.clock.now())

        for (lease, succeeds), answer in zip(leases, answers, strict=True):
            assert isinstance(answer, End) == self.is_live(lease)
            if self.is_live(lease):
                one = self.expected[lease.attempt.task_id]
                one.end(Status.SUCCESS if succeeds else Status.FAILED)
                self.balances[one.workspace] -= one.price if succeeds else 0

    @precondition(lambda self: self.leases)
    @rule(number=leases_drawn, seconds=st.sampled_from([0.0, 10.0, 100.0]))
    def retries(self, number: int, seconds: float) -> None:
        lease, run_at = self.lease(number), after(self.clock.now(), seconds)
        with self.conn.begin():
            back = tasks.retry(self.conn, lease.attempt, run_at, "busy", self.clock.now())

        assert back == self.is_live(lease)
        if back:
            one = self.expected[lease.attempt.task_id]
            one.go_back("delayed")
            one.run_at = run_at

    @precondition(lambda self: self.leases)
    @rule(number=leases_drawn)
    def hands_back(self, number: int) -> None:
        lease = self.lease(number)
        with self.conn.begin():
            back = tasks.hand_back(self.conn, lease.attempt, self.clock.now())

        assert back == self.is_live(lease)
        if back:
            self.expected[lease.attempt.task_id].go_back("ready")

    @precondition(lambda self: self.has("leased"))
    @rule(dead=st.lists(workers_drawn, unique=True, max_size=2))
    def workers_crash(self, dead: list[WorkerId]) -> None:
        with self.conn.begin():
            recover(self.conn, dead, MAX_LOSSES, lambda _lease, _why: b"{}", self.clock.now())

        for one in self.expected.values():
            if one.state == "leased" and one.worker in dead:
                one.losses += 1
                if one.losses < MAX_LOSSES:
                    one.go_back("ready")
                else:
                    one.end(Status.FAILED)

    @precondition(lambda self: self.has("delayed"))
    @rule()
    def delays_end(self) -> None:
        now = self.clock.now()
        delayed = [one for one in self.expected.values() if one.state == "delayed"]
        due = [one for one in delayed if one.run_at <= now]
        with self.conn.begin():
            assert tasks.promote_due(self.conn, now) == len(due)
        for one in due:
            one.go_back("ready")

    @rule(who=workspaces_drawn, amount=st.integers(-3, 3).filter(bool))
    def operator_grants(self, who: int, amount: int) -> None:
        workspace, change = self.workspaces[who], amount * PRICE
        fits = self.balances[workspace] + change >= self.held_by(workspace)
        try:
            with self.conn.begin():
                credits.grant(self.conn, workspace, Credits(change), None, self.clock.now())
        except Conflict:
            assert not fits
        else:
            assert fits
            self.balances[workspace] += change

    @rule(seconds=st.sampled_from([1.0, 60.0, KEEP_SECONDS, KEEP_SECONDS + 1]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    # -- after each step --------------------------------------------------------------------------

    @invariant()
    def every_account_adds_up_and_is_the_models(self) -> None:
        with self.conn.begin():
            for workspace in self.workspaces:
                audit = credits.audit(self.conn, workspace)
                assert audit.consistent, audit
                assert audit.account.balance == self.balances[workspace]
                assert audit.account.held == self.held_by(workspace)

    @invariant()
    def every_task_is_where_the_model_has_it_and_went_only_forward(self) -> None:
        with self.conn.begin():
            rows = self.conn.execute(select(task_table)).all()
        assert {row.id for row in rows} == set(self.expected)
        for row in rows:
            one = self.expected[row.id]
            found = (row.status, row.queue_state, row.attempt, row.worker_id, row.losses)
            assert found == (one.status, one.state, one.attempt, one.worker, one.losses)
            assert row.consumed == (one.price if one.status == Status.SUCCESS else 0)
            before = self.seen.get(row.id, Status.PENDING)
            assert ORDER.index(Status(row.status)) >= ORDER.index(before)
            assert before not in TERMINAL or row.status == before
            self.seen[row.id] = Status(row.status)

    @invariant()
    def a_callback_is_owed_for_each_task_that_ended_and_for_no_other(self) -> None:
        ended = {task_id for task_id, one in self.expected.items() if one.state == "done"}
        with self.conn.begin():
            owed = self.conn.scalars(select(webhooks.delivery.c.task_id)).all()
            count = self.conn.scalar(select(func.count()).select_from(webhooks.delivery))
        assert set(owed) == ended
        assert count == len(ended)


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
def test_the_ledger_of_a_sqlite_file_is_the_models() -> None:
    _compare(new_file)


@pytest.mark.timeout(400)
def test_the_ledger_on_postgresql_is_the_models(postgres: PostgresPool) -> None:
    @contextmanager
    def new_database() -> Iterator[Location]:
        with postgres.migrated() as url:
            yield PostgresUrl(url)

    _compare(new_database)


def _compare(new: Callable[[], AbstractContextManager[Location]]) -> None:
    run_state_machine_as_test(lambda: Ledger(new()), settings=EXAMPLES)  # type: ignore[arg-type] # it says that any factory will do
