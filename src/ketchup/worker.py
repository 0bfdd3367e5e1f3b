"""The worker: claims tasks, keeps its lease alive, sweeps, sends webhooks, and stops gracefully.

A worker lives in *sessions*. A session has one worker id, which is what leases are made out to. It
ends when the worker is told to stop, or when its lease could not be renewed in time: then
everything it runs is abandoned at once, because somebody else may be about to run it, and a new
session begins under a new id. Nothing that a dead session still does can reach the database: its id
holds no lease.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random
from typing import Final, Protocol

from ketchup import backoff, db, ids, leases, telemetry
from ketchup.bootstrap import Runtime
from ketchup.clock import Clock
from ketchup.db import Database, News
from ketchup.errors import Unavailable
from ketchup.generation import Claimed, Places, Runner
from ketchup.generation.alarm import wait_for
from ketchup.ids import Entropy, WorkerId
from ketchup.leases import Terms, Trust, Watch
from ketchup.tasks import Attempt

log = telemetry.logger(__name__)

IMAGES: Final = "images"
WEBHOOKS: Final = "webhooks"
LANES: Final = frozenset({IMAGES, WEBHOOKS})
_RETRY_SECONDS: Final = 0.5


class DeliverySender(Protocol):
    """What brings webhooks to their receivers, for one session."""

    async def run(self) -> None:
        """Send until stopped, then let what is under way end."""
        ...

    def stop(self) -> None:
        """Ask `run` to come to an end."""
        ...

    def wake(self) -> None:
        """Say that something may be due."""
        ...


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """How a worker works. `concurrency` 0 runs no task: deliveries and sweeps go on."""

    concurrency: int
    terms: Terms
    lanes: frozenset[str] = LANES
    drain_seconds: float = 20.0
    poll_seconds: float = 0.5
    sweep_seconds: float = 0.4
    chores_seconds: float = 30.0


def create_worker(runtime: Runtime) -> Worker:
    """Build the worker of this process, and have it woken by what is committed here."""
    rules = runtime.rules
    worker = Worker(
        runtime.database,
        runtime.runner,
        runtime.make_sender,
        runtime.chores.run,
        clock=runtime.clock,
        random=Random(),
        settings=WorkerSettings(
            concurrency=rules.concurrency,
            lanes=rules.lanes,
            terms=Terms(ttl=rules.lease_seconds),
            drain_seconds=rules.drain_seconds,
        ),
    )
    # An end lets in what waited behind it.
    for ready in (runtime.accepted, runtime.ended):
        ready.listen(worker.wake)
    for news in (News.READY, News.ENDED):
        runtime.elsewhere[news].listen(worker.wake)
    for due in (runtime.due, runtime.elsewhere[News.DUE]):
        due.listen(worker.wake_sender)
    return worker


class Worker:
    """One worker process's loops. `run` until `stop`."""

    def __init__(
        self,
        database: Database,
        runner: Runner,
        sender: Callable[[WorkerId], DeliverySender],
        chores: Callable[[], Awaitable[None]],
        *,
        clock: Clock,
        random: Random,
        settings: WorkerSettings,
        entropy: Entropy = os.urandom,
    ) -> None:
        self._database = database
        self._runner = runner
        self._make_sender = sender
        self._chores = chores
        self._clock = clock
        self._random = random
        self._settings = settings
        self._entropy = entropy
        self._stopping = asyncio.Event()
        self._work = asyncio.Event()
        self._sender: DeliverySender | None = None
        self._running: dict[Attempt, asyncio.Task[None]] = {}
        self._places = Places(settings.concurrency, self._work.set)
        # Stopped half-way: they take room on their channels until that is written.
        self._stopped: list[Attempt] = []
        # Leased to us, and not run again: their end could not be written.
        self._stuck: set[Attempt] = set()
        # A claim whose commit was not confirmed may have leased something all the same.
        self._unsure = False
        self._outage = _Outage()

    def wake(self) -> None:
        """Say that a task may be ready."""
        self._work.set()

    def wake_sender(self) -> None:
        """Say that a delivery may be due."""
        if self._sender is not None:
            self._sender.wake()

    def stop(self) -> None:
        """Stop claiming; `run` returns when running tasks have ended or been handed back."""
        self._stopping.set()
        self._work.set()
        if self._sender is not None:
            self._sender.stop()

    async def run(self, *, sole_owner: bool) -> None:
        """Work until stopped. `sole_owner` says that no other worker can be alive.

        That is so on SQLite, where one process owns the file: what an earlier process left
        behind is taken up at once instead of after its lease.
        """
        failures = 0
        while not self._stopping.is_set():
            worker_id = ids.worker_id(self._entropy)
            try:
                trust = await self._register(worker_id)
                failures = 0
                if sole_owner:
                    await self._runner.take_over(worker_id)
                await self._session(worker_id, trust)
            except Unavailable as error:
                failures += 1
                self._outage.tell("worker waits for the store", error)
                await self._pause(backoff.exponential(failures, self._random, ceiling=5.0))
            except Exception:
                log.exception("worker session crashed")
                await self._pause(_RETRY_SECONDS)

    # -- one session ------------------------------------------------------------------------------

    async def _register(self, worker_id: WorkerId) -> Trust:
        trust = Trust(self._settings.terms, self._clock)
        sent = self._clock.monotonic()
        await self._database.write(
            lambda conn: leases.register(
                conn, worker_id, db.now(conn, self._clock), self._settings.terms
            )
        )
        trust.renewed(sent)
        self._outage.over()
        return trust

    async def _session(self, worker_id: WorkerId, trust: Trust) -> None:
        sender = self._sender = self._make_sender(worker_id)
        watch = Watch(self._clock)
        if self._stopping.is_set():
            sender.stop()
        helpers = [
            asyncio.create_task(
                self._repeat(lambda: self._sweep(worker_id, watch), self._until_sweep)
            ),
            asyncio.create_task(self._repeat(self._chores, self._until_chores)),
        ]
        labour = asyncio.create_task(self._labour(worker_id, sender))
        is_kept = False
        try:
            is_kept = await self._keep_lease(worker_id, trust, labour)
            if is_kept:
                await self._runner.leave(worker_id)
            else:
                log.error("lease lost: abandoning what runs", running=len(self._running))
        finally:
            await _cancel([*helpers, labour])
            # Only now: until its end, labour began what it had claimed.
            await _cancel([*self._running.values()])
            self._running.clear()
            self._stuck.clear()
        if not is_kept and self._stopping.is_set():
            # Nothing of it runs any more, and nobody comes after us who could be in its way.
            await self._runner.leave(worker_id)

    async def _labour(self, worker_id: WorkerId, sender: DeliverySender) -> None:
        """Claim and send until stopped, then bring what runs to an end."""
        async with asyncio.TaskGroup() as group:
            if WEBHOOKS in self._settings.lanes:
                group.create_task(sender.run())
            group.create_task(self._claim_loop(worker_id))
        await self._drain()

    async def _keep_lease(
        self, worker_id: WorkerId, trust: Trust, labour: asyncio.Task[None]
    ) -> bool:
        """Renew until the labour is done; False when the lease was lost."""
        terms = self._settings.terms
        while not labour.done():
            await asyncio.wait([labour], timeout=min(terms.renew_every, trust.remaining))
            if trust.remaining <= 0:
                return False
            sent = self._clock.monotonic()
            try:
                # A store that does not answer must not keep us from noticing that time is up.
                async with asyncio.timeout(trust.remaining):
                    renewed = await self._renew(worker_id)
            except (Unavailable, TimeoutError):
                await self._pause(min(_RETRY_SECONDS, max(trust.remaining, 0.0)))
                continue
            if not renewed:
                return False
            trust.renewed(sent)
            self._outage.over()
        labour.result()
        return True

    async def _renew(self, worker_id: WorkerId) -> bool:
        return await self._database.write(lambda conn: leases.renew_unless_reaped(conn, worker_id))

    # -- tasks ------------------------------------------------------------------------------------

    async def _claim_loop(self, worker_id: WorkerId) -> None:
        if self._settings.concurrency == 0 or IMAGES not in self._settings.lanes:
            await self._stopping.wait()
        while not self._stopping.is_set():
            free = self._places.free
            # Cleared before the queue is read: what comes in afterwards sets it again.
            self._work.clear()
            claimed = await self._claim(worker_id, free) if free else []
            for one in claimed:
                self._begin(one)
            if free == 0 or len(claimed) < free:
                await wait_for(self._work, self._settings.poll_seconds)

    async def _claim(self, worker_id: WorkerId, free: int) -> list[Claimed]:
        try:
            if self._unsure:
                known = {*self._running, *self._stuck}
                missed = await self._runner.find_missed(worker_id, known)
                self._unsure = False
                if missed:
                    return missed
            return await self._runner.claim(worker_id, free)
        except Unavailable as error:
            self._unsure = True
            self._outage.tell("cannot claim", error)
            await self._pause(_RETRY_SECONDS)
            return []

    def _begin(self, claimed: Claimed) -> None:
        attempt = claimed.lease.attempt
        running = self._running[attempt] = asyncio.create_task(
            self._runner.run(claimed, self._places)
        )
        self._places.take()

        def ended(task: asyncio.Task[None]) -> None:
            self._running.pop(attempt, None)
            self._places.leave()
            if task.cancelled():
                self._stopped.append(attempt)
            if not task.cancelled() and (error := task.exception()):
                # It stays leased until this worker leaves: somebody must look at it first.
                self._stuck.add(attempt)
                log.error("a task cannot be ended", task_id=attempt.task_id, exc_info=error)

        running.add_done_callback(ended)

    async def _drain(self) -> None:
        """Let running tasks end within the grace period, and hand back the others."""
        running = dict(self._running)
        if not running:
            return
        await asyncio.wait(running.values(), timeout=self._settings.drain_seconds)
        late = {attempt: task for attempt, task in running.items() if not task.done()}
        await _cancel(list(late.values()))
        for attempt in late:
            await self._runner.hand_back(attempt)

    # -- chores -----------------------------------------------------------------------------------

    async def _sweep(self, worker_id: WorkerId, watch: Watch) -> None:
        await self._let_go()
        if await self._runner.sweep(worker_id, watch):
            self.wake()
            self.wake_sender()

    async def _let_go(self) -> None:
        """Stop what customers have cancelled: the engine hears of it, and its place is free.

        It has lost its lease already, so it could not have written anything more.
        """
        running = dict(self._running)
        for attempt in await self._runner.find_cancelled(list(running)):
            # Once: a second time would tear it out of letting go of its engine.
            if not running[attempt].cancelling():
                log.info("cancelled task let go", task_id=attempt.task_id)
                running[attempt].cancel()
        if stopped := list(self._stopped):
            await self._runner.let_go(stopped)
            del self._stopped[: len(stopped)]

    async def _until_sweep(self) -> None:
        await self._runner.until_due(self._settings.sweep_seconds)

    async def _until_chores(self) -> None:
        await asyncio.sleep(self._settings.chores_seconds)

    async def _repeat(
        self, work: Callable[[], Awaitable[None]], pause: Callable[[], Awaitable[None]]
    ) -> None:
        while True:
            try:
                await work()
            except Unavailable as error:
                self._outage.tell("a chore waits for the store", error)
            except Exception:
                log.exception("a chore failed")
            await pause()

    async def _pause(self, seconds: float) -> None:
        await wait_for(self._stopping, seconds)


class _Outage:
    """Says once that the store is down, whoever finds out, and once that it is back."""

    def __init__(self) -> None:
        self._told = False

    def tell(self, event: str, error: Unavailable) -> None:
        if not self._told:
            log.warning(event, cause=str(error.__cause__))
        self._told = True

    def over(self) -> None:
        if self._told:
            log.info("the store is back")
        self._told = False


async def _cancel(running: list[asyncio.Task[None]]) -> None:
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
