"""The words of the queue: a lease, the attempt that fences it, what is sent, and how it ends."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import msgspec
from sqlalchemy import Row

from ketchup.clock import Micros
from ketchup.ids import KeyId, RequestId, TaskId, WorkerId, WorkspaceId
from ketchup.money import Credits
from ketchup.tasks.table import Options, Status, task

_NOTHING: Final = Credits(0)
# What the journal says of an attempt whose outcome stays unknown.
RESUBMIT: Final = "resubmit"
FAIL: Final = "fail_and_release"


@dataclass(frozen=True, slots=True)
class Attempt:
    """The fence: this task, this try, this worker."""

    task_id: TaskId
    number: int
    worker_id: WorkerId


@dataclass(frozen=True, slots=True)
class Sending:
    """What is about to be sent, and where to: a line of the journal."""

    attempt: Attempt
    channel: str
    images: int = 1
    cost: Credits = _NOTHING
    """What it costs the operator when it is charged."""
    is_resubmitted: bool = True
    """Whether the task may be sent again when this attempt's outcome is unknown."""
    engine_seconds: float = 300.0
    """How long the engine may draw for it at most."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A claimed task: all that is needed to run it."""

    attempt: Attempt
    workspace_id: WorkspaceId
    request_id: RequestId
    model: str
    prompt: str
    images: tuple[str, ...]
    callback_url: str | None
    options: Options
    price: Credits
    tries: int
    key_id: KeyId
    environment: str
    """`live` or `test`: of the key that the task was made with."""
    first_leased_at: Micros


@dataclass(frozen=True, slots=True)
class End:
    """How a task ends: with images, or with a sentence for the customer."""

    attempt: Attempt
    images: tuple[str, ...] | None
    consumed: Credits
    reason: str | None
    detail: str | None = None
    """For the operator; only in the journal."""
    is_unknown: bool = False
    """Whether nobody can say what its attempt came to; the task then fails."""
    lets_go: bool = True
    """Whether its worker is done with the engine: not when others end the task over its head."""

    @property
    def status(self) -> Status:
        """`success` exactly when there are images."""
        return Status.SUCCESS if self.images else Status.FAILED


@dataclass(frozen=True, slots=True)
class LeaseLost:
    """Another worker has the task now, or it is over. Nothing was written of it."""

    attempt: Attempt


class Outcome(StrEnum):
    """How an attempt ended, in the journal."""

    SUCCESS = "success"
    FAILED = "failed"
    RETRY = "retry"
    UNKNOWN = "unknown"  # its worker died; the engine may have rendered
    INTERRUPTED = "interrupted"  # shut down in good order


def lease_of(row: Row[*tuple[Any, ...]]) -> Lease:
    """Return the lease of a row with `LEASE_COLUMNS`."""
    return Lease(
        attempt=Attempt(TaskId(row.id), row.attempt, WorkerId(row.worker_id)),
        workspace_id=WorkspaceId(row.workspace_id),
        request_id=RequestId(row.request_id),
        model=row.model,
        prompt=row.prompt,
        images=msgspec.json.decode(row.images, type=tuple[str, ...]),
        callback_url=row.callback_url,
        options=msgspec.json.decode(row.options, type=Options),
        price=Credits(row.price),
        tries=row.tries,
        key_id=KeyId(row.key_id),
        environment=row.environment,
        first_leased_at=Micros(row.submitted_at),
    )


LEASE_COLUMNS: Final = (
    task.c.id,
    task.c.attempt,
    task.c.worker_id,
    task.c.workspace_id,
    task.c.request_id,
    task.c.model,
    task.c.prompt,
    task.c.images,
    task.c.callback_url,
    task.c.options,
    task.c.price,
    task.c.tries,
    task.c.losses,
    task.c.vtime,
    task.c.key_id,
    task.c.environment,
    task.c.submitted_at,
)
