"""Finish and recover: the transactions in which tasks end or go back to the queue."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from ketchup import credits, leases, tasks, telemetry, usage, webhooks
from ketchup.clock import Micros
from ketchup.credits import HoldMissing, Settlement
from ketchup.db import Connection, IntegrityError
from ketchup.generation.inputs import blobs_among
from ketchup.ids import TaskId, WorkerId
from ketchup.money import Credits
from ketchup.provenance import Fingerprint
from ketchup.provenance import log as fingerprints
from ketchup.provenance.log import Logged
from ketchup.tasks import Attempt, End, Lease, LeaseLost, Status
from ketchup.usage import Used
from ketchup.webhooks import NewDelivery

log = telemetry.logger(__name__)

LOST_TOO_OFTEN: Final = "The image could not be rendered."
CANCELLED: Final = "The task was cancelled."
_DIED: Final = "its worker died"


@dataclass(frozen=True, slots=True)
class Ending:
    """All that ends with a task: its row, its hold, and the callback that it owes."""

    lease: Lease
    end: End
    callback: bytes | None
    prints: Mapping[str, Fingerprint] = field(default_factory=dict)
    """What its pictures are known by, by the name that they are stored under."""


def finish(conn: Connection, endings: Sequence[Ending], now: Micros) -> list[End | LeaseLost]:
    """End tasks, settle their holds, sum them up, owe callbacks, log pictures: all or nothing.

    So the log holds exactly the pictures that tasks name.
    """
    ends = tasks.finish(conn, [ending.end for ending in endings], now)
    ended = [e for e, end in zip(endings, ends, strict=True) if isinstance(end, End)]
    credits.settle(conn, [_settlement(ending) for ending in ended], now)
    usage.record(conn, [_used(ending) for ending in ended], now)
    webhooks.enqueue(conn, [d for ending in ended if (d := _delivery(ending))], now)
    if pictures := [one for ending in ended for one in _pictures(ending, now)]:
        fingerprints.record(conn, pictures)
    return ends


def recover(
    conn: Connection,
    dead: Sequence[WorkerId],
    max_losses: int,
    failed_callback: Callable[[Lease, str], bytes | None],
    now: Micros,
) -> None:
    """Put back what dead workers held. What must not run again ends as failed, and is free."""
    if not dead:
        return
    webhooks.requeue_lost(conn, dead, now)
    for lease in tasks.requeue_lost(conn, dead, max_losses, now):
        _give_up(conn, lease, failed_callback, now)


def recover_lost(
    conn: Connection,
    max_losses: int,
    failed_callback: Callable[[Lease, str], bytes | None],
    now: Micros,
) -> int:
    """Recover what is held by workers that have no row any more; return how many they were."""
    holders = tasks.list_holders(conn) | webhooks.list_holders(conn)
    dead = leases.without_row(conn, holders)
    recover(conn, dead, max_losses, failed_callback, now)
    return len(dead)


def _give_up(
    conn: Connection,
    lease: Lease,
    failed_callback: Callable[[Lease, str], bytes | None],
    now: Micros,
) -> None:
    """End a task as failed, or leave it for somebody to look at: it must not keep the others."""
    try:
        with conn.begin_nested():
            if not end_signalled(conn, lease.attempt, _DIED, now, is_unknown=True):
                end_without_worker(conn, _given_up(lease, failed_callback), now)
    except (HoldMissing, IntegrityError):
        log.exception("a task cannot be given up", task_id=lease.attempt.task_id)


def end_without_worker(conn: Connection, ending: Ending, now: Micros) -> bool:
    """Finish a task whose worker will not; False when the lease was lost.

    That worker would delete its references. Here the chores do, or the caller does.
    """
    lease = ending.lease
    [end] = finish(conn, [ending], now)
    if isinstance(end, LeaseLost):
        return False
    tasks.doom(conn, lease.attempt.task_id, blobs_among(lease.images))
    return True


def end_signalled(
    conn: Connection, attempt: Attempt, detail: str, now: Micros, *, is_unknown: bool = False
) -> bool:
    """End a task as cancelled that would go back to the queue and may not.

    False when it is not signalled, or the lease was lost.
    """
    lease = tasks.lock_signalled(conn, attempt)
    if lease is None:
        return False
    ending = cancelled(lease, detail)
    end = replace(ending.end, is_unknown=is_unknown)
    return end_without_worker(conn, replace(ending, end=end), now)


def cancelled(lease: Lease, detail: str) -> Ending:
    """Return the ending of a task that its customer has cancelled."""
    callback = None
    if lease.callback_url is not None:
        callback = cancelled_callback(lease.attempt.task_id)
    return Ending(lease, failed_end(lease, CANCELLED, detail), callback)


def cancelled_callback(task_id: TaskId) -> bytes:
    """Return what the callback of a cancelled task says."""
    return webhooks.callback_body(task_id, Status.FAILED, None, Credits(0), CANCELLED)


def failed_end(lease: Lease, reason: str, detail: str) -> End:
    """Return the end of a task that gives its credits back; `reason` is for the customer."""
    return End(lease.attempt, images=None, consumed=Credits(0), reason=reason, detail=detail)


def _given_up(lease: Lease, failed_callback: Callable[[Lease, str], bytes | None]) -> Ending:
    end = failed_end(lease, LOST_TOO_OFTEN, "its workers died too often")
    return Ending(lease, end, failed_callback(lease, LOST_TOO_OFTEN))


def _settlement(ending: Ending) -> Settlement:
    lease = ending.lease
    return Settlement(lease.attempt.task_id, lease.workspace_id, ending.end.consumed)


def _used(ending: Ending) -> Used:
    lease, end = ending.lease, ending.end
    return Used(
        lease.workspace_id,
        lease.model,
        lease.key_id,
        lease.environment,
        end.status,
        images=len(end.images or ()),
        credits=end.consumed,
    )


def _pictures(ending: Ending, now: Micros) -> list[Logged]:
    lease = ending.lease
    return [
        Logged(key, lease.attempt.task_id, lease.workspace_id, prints, now)
        for key, prints in ending.prints.items()
    ]


def _delivery(ending: Ending) -> NewDelivery | None:
    url = ending.lease.callback_url
    if url is None or ending.callback is None:
        return None
    lease = ending.lease
    return NewDelivery(lease.attempt.task_id, lease.workspace_id, url, ending.callback)
