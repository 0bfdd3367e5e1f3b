"""In flight: how many images each channel may be drawing, over all workers.

An attempt takes room from its start until its worker lets go of the engine. Mostly that is when it
is closed, by the same statement. Where others close it over its worker's head (a customer cancels,
a sweep takes the worker for dead), the engine may still be drawing: it takes room until its worker
says otherwise, or `occupies_until` has passed: an engine's time, counted from the start, for a
worker that never comes back.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from sqlalchemy import Connection, bindparam, func, null, or_, select, tuple_, update

from ketchup.clock import Micros, after
from ketchup.ids import TaskId, WorkerId
from ketchup.tasks.lease import Attempt
from ketchup.tasks.queue import vacate
from ketchup.tasks.table import attempt, task

_AHEAD_SECONDS: Final = 60.0


def images_in_flight(conn: Connection, channels: Iterable[str], now: Micros) -> dict[str, int]:
    """Return how many images each channel may be drawing.

    Those whose worker has not let go of the engine, at most until its time is up where that worker
    was taken for dead. Exact for who has locked the channels: only a start makes them more.
    """
    found = conn.execute(_IN_FLIGHT, {"channels": sorted(channels), "now": now})
    return {row.channel: row.images for row in found}


def let_go(conn: Connection, attempts: Collection[Attempt]) -> None:
    """Take no more room for these: their worker is done with the engine, whoever ended them."""
    # Tasks before their attempts: one order of locks everywhere.
    conn.execute(_LOCK, {"ids": [a.task_id for a in attempts]}).all()
    vacate(conn, attempts)


def let_go_of_all(conn: Connection, worker_id: WorkerId) -> None:
    """Take no more room for anything that this worker was sending: nothing of it runs."""
    found = conn.execute(_OCCUPYING, {"worker": worker_id})
    let_go(conn, [Attempt(TaskId(row.task_id), row.number, worker_id) for row in found])


def make_room(conn: Connection, now: Micros) -> None:
    """Take no more room for closed attempts whose time is up, so that their index stays small.

    Also not for what seems to be sent later than now: the clock was set back.
    """
    conn.execute(_MAKE_ROOM, {"now": now, "soon": after(now, _AHEAD_SECONDS)})


_LOCK: Final = (
    select(task.c.id)
    .where(task.c.id.in_(bindparam("ids", expanding=True)))
    .order_by(task.c.id)
    .with_for_update()
)
_OCCUPIES: Final = attempt.c.occupies_until.is_not(None)
_IN_FLIGHT: Final = (
    select(attempt.c.channel, func.sum(attempt.c.images).label("images"))
    .where(
        attempt.c.channel.in_(bindparam("channels", expanding=True)),
        _OCCUPIES,
        or_(attempt.c.outcome.is_(None), attempt.c.occupies_until > bindparam("now")),
    )
    .group_by(attempt.c.channel)
)
_OCCUPYING: Final = select(attempt.c.task_id, attempt.c.number).where(
    _OCCUPIES, attempt.c.worker_id == bindparam("worker")
)
_TIME_IS_UP: Final = (
    select(attempt.c.task_id, attempt.c.number)
    .where(
        _OCCUPIES,
        attempt.c.outcome.is_not(None),
        or_(attempt.c.occupies_until <= bindparam("now"), attempt.c.sent_at > bindparam("soon")),
    )
    # Whoever has locked one is about to let go of it.
    .with_for_update(skip_locked=True)
    .cte("time_is_up")
    .prefix_with("MATERIALIZED")
)
_MAKE_ROOM: Final = (
    update(attempt)
    .where(
        tuple_(attempt.c.task_id, attempt.c.number).in_(
            select(_TIME_IS_UP.c.task_id, _TIME_IS_UP.c.number)
        )
    )
    .values(occupies_until=null())
)
