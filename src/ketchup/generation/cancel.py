"""Cancel: a customer ends a task before its images are there, and pays nothing.

A task that no worker has leaves the queue. One that a worker has is ended under the attempt that
holds it, as its worker would: from then on that attempt has lost its lease, can write nothing any
more, and its worker lets go of the engine at its next sweep. Either way the row, the hold, the turn
and the callback change in one transaction, so cancel and finish cannot both have happened. The
references that came with it are named there, and deleted behind it.

What an engine has that charges for it is signalled: its worker goes on, for a cancel that threw
paid pictures away would let customers have the operator pay for nothing, again and again. They are
delivered when they come. In every other case nothing more is spent: where the task would go back to
the queue, it ends as cancelled (`end_signalled`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from ketchup import credits, tasks, usage, webhooks
from ketchup.clock import Micros
from ketchup.credits import Settlement
from ketchup.db import Connection
from ketchup.errors import Conflict, NotFound, Unavailable
from ketchup.generation.finish import (
    CANCELLED,
    cancelled,
    cancelled_callback,
    end_without_worker,
)
from ketchup.generation.inputs import blobs_among
from ketchup.ids import WorkspaceId
from ketchup.money import Credits
from ketchup.tasks import Status, Withdrawn
from ketchup.usage import Used
from ketchup.webhooks import NewDelivery

_BY_CUSTOMER: Final = "cancelled by the customer"


def cancel(conn: Connection, workspace_id: WorkspaceId, task_id: str, now: Micros) -> None:
    """End a task as failed and give its credits back, or signal it; the same again is no error.

    Raises NotFound, Conflict when it has ended, and Unavailable when it is changing hands just now:
    nothing was written then.
    """
    if _end_or_signal(conn, workspace_id, task_id, now):
        return
    if _end_queued(conn, workspace_id, task_id, now):
        return
    found = tasks.find_history(conn, workspace_id, task_id)
    if found is None:
        raise NotFound("task not found")
    if found.summary.status in {Status.SUCCESS, Status.FAILED}:
        raise Conflict("the task has ended")
    raise Unavailable("the task is changing hands; try again", retry_after=1.0)


def _end_or_signal(conn: Connection, workspace_id: WorkspaceId, task_id: str, now: Micros) -> bool:
    lease = tasks.lock_leased(conn, workspace_id, task_id)
    if lease is None:
        return False
    # Behind the lock, which a start takes too: it is sent now, or never under this lease.
    if tasks.may_be_charged(conn, lease.attempt.task_id):
        tasks.signal(conn, lease.attempt.task_id, now)
        return True
    ending = cancelled(lease, _BY_CUSTOMER)
    # The engine draws until its worker hears of this.
    ending = replace(ending, end=replace(ending.end, lets_go=False))
    return end_without_worker(conn, ending, now)


def _end_queued(conn: Connection, workspace_id: WorkspaceId, task_id: str, now: Micros) -> bool:
    left = tasks.withdraw(conn, workspace_id, task_id, CANCELLED, now)
    if left is None:
        return False
    credits.settle(conn, [Settlement(left.id, workspace_id, Credits(0))], now)
    usage.record(conn, [_used(left, workspace_id)], now)
    tasks.doom(conn, left.id, blobs_among(left.images))
    if left.callback_url is not None:
        owed = NewDelivery(left.id, workspace_id, left.callback_url, cancelled_callback(left.id))
        webhooks.enqueue(conn, [owed], now)
    return True


def _used(left: Withdrawn, workspace_id: WorkspaceId) -> Used:
    return Used(
        workspace_id,
        left.model,
        left.key_id,
        left.environment,
        Status.FAILED,
        images=0,
        credits=Credits(0),
    )
