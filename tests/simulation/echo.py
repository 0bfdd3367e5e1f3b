"""Echoes: answers that come so late that somebody else has the work since, or that come twice.

They go straight to the product's functions, under leases that are lost: nothing may change, but
that a worker that let go of its engine leaves room on its channel.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Final

from ketchup import tasks, webhooks
from ketchup.clock import Micros, after
from ketchup.db import Connection
from ketchup.generation.finish import Ending, failed_end, finish
from ketchup.ids import DeliveryId, KeyId, RequestId, TaskId, WorkerId, WorkspaceId
from ketchup.money import Credits
from ketchup.tasks import Attempt, End, Lease, Options, Sending
from ketchup.webhooks import Answered, Attempted, Delivered
from tests.simulation.laws import is_vacated
from tests.simulation.machines import Machine
from tests.simulation.store import Change, Commit, Row

if TYPE_CHECKING:
    from tests.simulation.world import World

_ECHOES_PER_DAY: Final = 60
_OK: Final = 200


class Echo:
    """Remembers every lease that was given out, and speaks up for it when it is no longer good."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._machine = Machine(world.schedule, "echo", world.plan.seed)
        self._random = Random(f"{world.plan.seed}/echo")
        self._leases: list[Change] = []

    def hear(self, change: Change) -> None:
        """Remember a lease that was given out."""
        if change.new and change.new.get("worker_id") and change.table in ("task", "delivery"):
            self._leases.append(change)

    async def live(self) -> None:
        while await self._world.rest(self._random, _ECHOES_PER_DAY):
            if self._leases:
                self._speak(self._random.choice(self._leases))

    def _speak(self, lease: Change) -> None:
        row = lease.new or {}
        holds = self._world.laws.rows[row["id"]]
        if (holds["attempt"], holds["worker_id"]) == (row["attempt"], row["worker_id"]):
            return  # still good: not ours to speak for
        acts = self._of_task(row) if lease.table == "task" else self._of_delivery(row)
        act = self._random.choice(acts)
        self._world.trace.note("echo", f"{act.__name__} of {row['id']}", "echo")
        self._world.store.transact(act)
        changes = self._world.store.take_changes()
        if changes:
            now = self._world.schedule.now
            self._world.committed(Commit(now, now, self._machine, changes))
        if not all(is_vacated(change) for change in changes):
            self._world.complain(f"a lost lease of {row['id']} was written by: {act.__name__}")

    def _of_task(self, row: Row) -> list[Callable[[Connection], object]]:
        now = self._machine.clock.now()
        attempt = Attempt(TaskId(row["id"]), row["attempt"], WorkerId(row["worker_id"]))
        lease = _lease(attempt, row)
        success = End(attempt, images=("a.png",), consumed=lease.price, reason=None)

        def succeed(conn: Connection) -> object:
            return finish(conn, [Ending(lease, success, b"{}")], now)

        def fail(conn: Connection) -> object:
            return finish(conn, [Ending(lease, failed_end(lease, "no", "no"), b"{}")], now)

        def start(conn: Connection) -> object:
            return tasks.start(conn, [Sending(attempt, "echo")], now)

        def retry(conn: Connection) -> object:
            return tasks.retry(conn, attempt, after(now, 1.0), "echo", now)

        def hand_back(conn: Connection) -> object:
            return tasks.hand_back(conn, attempt, now)

        return [succeed, fail, start, retry, hand_back]

    def _of_delivery(self, row: Row) -> list[Callable[[Connection], object]]:
        now = self._machine.clock.now()
        lease = webhooks.Lease(DeliveryId(row["id"]), row["attempt"], WorkerId(row["worker_id"]))
        result = Attempted(lease, row["tries"], now, now, 0, Answered(_OK), Delivered())

        def record(conn: Connection) -> object:
            return webhooks.record(conn, [result])

        return [record]


def _lease(attempt: Attempt, row: Row) -> Lease:
    return Lease(
        attempt=attempt,
        workspace_id=WorkspaceId(row["workspace_id"]),
        request_id=RequestId(row["request_id"]),
        model=row["model"],
        prompt=row["prompt"],
        images=(),
        callback_url=row["callback_url"],
        options=Options(),
        price=Credits(row["price"]),
        tries=row["tries"],
        key_id=KeyId(row["key_id"]),
        environment=row["environment"],
        first_leased_at=Micros(row["submitted_at"]),
    )
