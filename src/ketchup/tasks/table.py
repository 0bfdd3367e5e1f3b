"""The rows of tasks, their journal of attempts, and the queue's own bookkeeping."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Final

import msgspec
from sqlalchemy import (
    BigInteger,
    BindParameter,
    CheckConstraint,
    Column,
    ColumnElement,
    Connection,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    event,
    func,
    insert,
    literal,
    text,
)

from ketchup.db import CHURNS, metadata, partial_index


class Status(StrEnum):
    """What the client sees. The words are the contract's."""

    PENDING = "pending"
    SUBMITTED = "submitted"
    IN_PROGRESS = "in_progress"
    SUCCESS = "success"
    FAILED = "failed"


class QueueState(StrEnum):
    """Who may take the task."""

    WAITING = "waiting"  # nobody: its workspace has as many in flight as it may
    READY = "ready"  # anybody
    DELAYED = "delayed"  # nobody before `run_at`
    LEASED = "leased"  # `worker_id`, under number `attempt`
    DONE = "done"  # nobody, ever


class Options(msgspec.Struct, frozen=True, omit_defaults=True):
    """The optional fields of a request, as the caller gave them. None is not given."""

    aspect_ratio: str | None = None
    image_size: str | None = None
    n: int = 1
    seed: int | None = None
    output_format: str | None = None


def in_state(state: QueueState) -> ColumnElement[bool]:
    """Compare with a literal: SQLite uses a partial index only when it can read the value."""
    return task.c.queue_state == literal(state.value, String, literal_execute=True)


def of_workspaces(
    workspaces: Iterable[str] | BindParameter[Sequence[str]],
) -> ColumnElement[bool]:
    """Leave out what is another workspace's where it lies, and find what is by its id alone.

    A row that is read and then thrown away takes longer to deny than one that is absent. The
    function around the column keeps databases from going through every task of a workspace.
    """
    return func.coalesce(task.c.workspace_id, "").in_(workspaces)


task = Table(
    "task",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("workspace_id", String(40), nullable=False),
    Column("key_id", String(40), nullable=False),
    Column("request_id", String(40), nullable=False),
    Column("model", String(200), nullable=False),
    Column("prompt", Text, nullable=False),
    # JSON array: addresses as the caller gave them, or the names of blobs that hold data URIs.
    Column("images", Text, nullable=False),
    Column("callback_url", Text),
    # JSON object: `Options`.
    Column("options", Text, nullable=False),
    Column("status", String(12), nullable=False),
    Column("queue_state", String(8), nullable=False),
    # Frozen at submit: a later change of the catalogue does not change what was agreed.
    Column("price", BigInteger, nullable=False),
    # The task's place in the fair order, stamped when it becomes ready; lower goes first.
    Column("vtime", BigInteger, nullable=False),
    # Which of its workspace's tasks goes first; higher does.
    Column("priority", Integer, nullable=False),
    # Not before this time; null unless delayed.
    Column("run_at", BigInteger),
    # The fence. Grows at every claim and is never reused.
    Column("attempt", Integer, nullable=False),
    # Attempts that failed and were worth another; interruptions do not count.
    Column("tries", Integer, nullable=False),
    # Attempts whose worker died.
    Column("losses", Integer, nullable=False),
    # The worker that holds the lease; null unless leased.
    Column("worker_id", String(40)),
    # JSON array of blob names; only after success.
    Column("result", Text),
    Column("consumed", BigInteger, nullable=False),
    # Why it failed: one sentence for the customer.
    Column("reason", Text),
    Column("created_at", BigInteger, nullable=False),
    Column("submitted_at", BigInteger),
    Column("started_at", BigInteger),
    Column("finished_at", BigInteger),
    # Of the key that it was made with, `live` or `test`: who may render it, and what it costs.
    Column("environment", String(4), nullable=False, server_default="live"),
    # Since when its customer wants it gone; what it said and showed is emptied then.
    Column("deleted_at", BigInteger),
    # When its customer asked to cancel it while an engine that charges was at work on it.
    Column(
        "cancel_requested_at",
        BigInteger,
        # With its column: SQLite adds none to a table that is there.
        CheckConstraint(
            "cancel_requested_at IS NULL OR queue_state IN ('leased', 'done')",
            name="no_way_back_once_cancelled",
        ),
    ),
    CheckConstraint(
        "status IN ('pending', 'submitted', 'in_progress', 'success', 'failed')", name="status"
    ),
    CheckConstraint(
        "(status IN ('success', 'failed')) = (finished_at IS NOT NULL)", name="ends_with_a_time"
    ),
    CheckConstraint(
        "(status IN ('success', 'failed')) = (queue_state = 'done')", name="ends_in_the_queue_too"
    ),
    CheckConstraint("(queue_state = 'leased') = (worker_id IS NOT NULL)", name="leased_by_one"),
    CheckConstraint("(queue_state = 'delayed') = (run_at IS NOT NULL)", name="delayed_until"),
    CheckConstraint("(status = 'success') = (result IS NOT NULL)", name="success_has_images"),
    CheckConstraint("0 <= consumed AND consumed <= price", name="costs_what_was_agreed"),
    # A workspace's own list, newest first.
    Index("task_of_workspace", "workspace_id", "id"),
    partial_index("task_ready", "vtime", "id", where=text("queue_state = 'ready'")),
    partial_index(
        "task_waiting",
        "workspace_id",
        text("priority DESC"),
        "id",
        where=text("queue_state = 'waiting'"),
    ),
    partial_index("task_delayed", "run_at", where=text("queue_state = 'delayed'")),
    partial_index("task_leased", "worker_id", where=text("queue_state = 'leased'")),
    info={CHURNS: True},
    sqlite_with_rowid=False,
)

attempt = Table(
    "attempt",
    metadata,
    # The journal: written before anything is sent to an engine, so that after a crash it is known
    # what may have been sent.
    Column("task_id", String(40), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("worker_id", String(40), nullable=False),
    Column("channel", String(100), nullable=False),
    Column("sent_at", BigInteger, nullable=False),
    # Null while it runs. success | failed | retry | unknown | interrupted
    Column("outcome", String(12)),
    # For the operator.
    Column("detail", Text),
    Column("finished_at", BigInteger),
    Column("images", Integer, nullable=False, server_default="1"),
    # What the engine charged the operator for it, or may have.
    Column("cost", BigInteger, nullable=False, server_default="0"),
    # What becomes of the task when this attempt's outcome is unknown: a word of `Unknown`.
    Column("on_unknown", String(16), nullable=False, server_default="resubmit"),
    # Null once its worker has let go of the engine. Until then it takes room on its channel: while
    # it is open, and until this time where somebody else has closed it.
    Column("occupies_until", BigInteger),
    # What is in flight on each channel.
    partial_index("attempt_in_flight", "channel", where=text("occupies_until IS NOT NULL")),
    sqlite_with_rowid=False,
)

erasure = Table(
    "erasure",
    metadata,
    # A blob that nobody needs any more. The row goes when the blob is gone.
    Column("key", String(255), primary_key=True),
    Column("task_id", String(40), nullable=False),
    Index("erasure_of_task", "task_id"),
    sqlite_with_rowid=False,
)

turn = Table(
    "turn",
    metadata,
    # One row per workspace that ever submitted: its place in the fair order, its submit rate, and
    # what it has in the queue. Whoever changes any of it has locked the row.
    Column("workspace_id", String(40), primary_key=True),
    # The virtual time at which its next task may become ready.
    Column("vtime", BigInteger, nullable=False),
    # Theoretical arrival time of the rate limit (GCRA), microseconds.
    Column("arrival_at", BigInteger, nullable=False),
    # Tasks in flight: ready, delayed or leased.
    Column("active", Integer, nullable=False, server_default="0"),
    Column("waiting", Integer, nullable=False, server_default="0"),
    # How many may be in flight, 0 for any number, and its share: what its plan said last.
    Column("capacity", Integer, nullable=False, server_default="0"),
    Column("weight", Integer, nullable=False, server_default="1"),
    CheckConstraint("active >= 0 AND waiting >= 0", name="counts_what_is_there"),
    CheckConstraint("capacity >= 0 AND weight > 0", name="has_a_share"),
    info={CHURNS: True},
    sqlite_with_rowid=False,
)

queue_clock = Table(
    "queue_clock",
    metadata,
    # One row: the virtual time of the latest claim. A workspace that was away starts from here, and
    # cannot save up turns.
    Column("id", Integer, primary_key=True),
    Column("vtime", BigInteger, nullable=False),
    info={CHURNS: True},
)


@event.listens_for(queue_clock, "after_create")
def _set_clock(_table: Table, conn: Connection, **_options: object) -> None:
    """Begin at nothing, as the migration does."""
    conn.execute(insert(queue_clock).values(id=1, vtime=0))


idempotency = Table(
    "idempotency",
    metadata,
    Column("workspace_id", String(40), primary_key=True),
    Column("key", String(255), primary_key=True),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("task_id", String(40), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Index("idempotency_by_age", "created_at"),
    sqlite_with_rowid=False,
)

IDEMPOTENCY_SECONDS: Final = 48 * 3600
