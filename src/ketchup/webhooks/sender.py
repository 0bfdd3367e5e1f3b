"""The loop that brings callbacks to their receivers.

It claims what is due, posts each in a task of its own, and records what came of it. It owns no
thread and no connection. Its worker's lease is renewed elsewhere: whoever does that must `stop`
it, or cancel `run`, when the lease can no longer be trusted.

A receiver that lets us wait must not delay another's first attempt: an attempt that lasts gives its
place to the next and goes on beside, and no workspace has more than half of all that runs.

Nothing that happens to one delivery ends the loop: an answer, an error, a bug in the poster or a
store that is down for a while are all logged, counted in `tally`, and lead to a later attempt.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from random import Random
from typing import Final, Protocol, assert_never

from sqlalchemy import Connection

from ketchup import db, leases, signing, telemetry
from ketchup.backoff import exponential
from ketchup.clock import SECOND, Clock, Micros
from ketchup.db import Database
from ketchup.errors import Unavailable
from ketchup.ids import DeliveryId, WorkerId, WorkspaceId
from ketchup.webhooks.decision import (
    SCHEDULE,
    Again,
    Answered,
    Dead,
    Decision,
    Delivered,
    HandedBack,
    Outcome,
    Unanswered,
    decide,
)
from ketchup.webhooks.queue import (
    Attempted,
    Lease,
    Pending,
    Recording,
    claim,
    next_due,
    record,
    requeue_lost,
)

_REASON_LENGTH: Final = 200
_STOPPED: Final = Unanswered("the worker stopped during this attempt")
# A claim walks over what is due at receivers that are full. However long that queue is, claims
# take at most a tenth of the writer's time.
_PAUSE_PER_CLAIM_TIME: Final = 9.0
_LONGEST_PAUSE: Final = 1.0

log = telemetry.logger(__name__)

Secrets = Callable[[WorkspaceId], Awaitable[Sequence[str]]]
"""Returns the `whsec_…` secrets that sign a workspace's callbacks: two during a rotation."""


class Reply(Protocol):
    """What a receiver answered."""

    @property
    def status(self) -> int:
        """The HTTP status."""
        ...

    @property
    def retry_after(self) -> float | None:
        """The seconds of its `Retry-After`, if it sent one."""
        ...


class Poster(Protocol):
    """Posts to addresses that customers chose. It judges them, and follows no redirect."""

    async def post(self, url: str, *, body: bytes, headers: Mapping[str, str]) -> Reply:
        """Return the answer, whatever its status; raise when there was none."""
        ...


@dataclass(frozen=True, slots=True)
class SenderSettings:
    """How a sender behaves. All times are in seconds."""

    schedule: Sequence[float] = SCHEDULE
    timeout: float = 15.0
    concurrency: int = 256
    slow: int = 512
    """Attempts that go on beside those, when they have lasted for `slow_after`."""
    slow_after: float = 1.0
    per_destination: int = 4
    grace: float = 5.0
    poll: float = 1.0


@dataclass(slots=True)
class Tally:
    """Counts what a sender does. On the event loop only."""

    delivered: int = 0
    again: int = 0
    dead: int = 0
    handed_back: int = 0
    unrecorded: int = 0
    faults: int = 0

    def attempted(self, decision: Decision | HandedBack) -> None:
        """Count an attempt that was recorded."""
        match decision:
            case Delivered():
                self.delivered += 1
            case Again():
                self.again += 1
            case Dead():
                self.dead += 1
            case HandedBack():
                self.handed_back += 1
            case _:
                assert_never(decision)

    def unrecordable(self) -> None:
        """Count an attempt whose lease was lost, or that ended while the store was down."""
        self.unrecorded += 1

    def faulty(self) -> None:
        """Count an exception that nobody expected, or a call to a store that was down."""
        self.faults += 1


class Sender:
    """Sends the callbacks that one worker process claims. `run` it once."""

    def __init__(
        self,
        database: Database,
        poster: Poster,
        *,
        worker_id: WorkerId,
        secrets: Secrets,
        clock: Clock,
        random: Random,
        settings: SenderSettings | None = None,
        errors: tuple[type[Exception], ...] = (),
        tally: Tally | None = None,
    ) -> None:
        """Build a sender. `errors` are what the poster raises when there is no answer."""
        self.tally = tally or Tally()
        self._database = database
        self._poster = poster
        self._worker_id = worker_id
        self._secrets = secrets
        self._clock = clock
        self._random = random
        self._settings = settings or SenderSettings()
        self._errors = errors
        self._record = database.write_batcher(self._record_all, lane="deliver")
        # By lease: what lost its lease may run on here beside the next attempt.
        self._tasks: dict[Lease, asyncio.Task[None]] = {}
        self._posting: set[Lease] = set()
        self._slow: set[Lease] = set()
        self._running: Counter[WorkspaceId] = Counter()
        self._woken = asyncio.Event()
        self._stopped = asyncio.Event()
        self._giving_up = False
        self._looked_at = clock.now()
        # A claim whose commit was not confirmed may have leased something all the same.
        self._unsure = True

    def wake(self) -> None:
        """Say that deliveries were enqueued and committed. On the event loop only."""
        self._woken.set()

    def stop(self) -> None:
        """Let `run` end: nothing more is claimed, and what runs has the grace period."""
        self._stopped.set()
        self._woken.set()

    async def run(self) -> None:
        """Send until `stop`. When cancelled, leaves its leases to be taken up by others."""
        try:
            while not self._stopped.is_set():
                self._woken.clear()
                await self._pause(await self._fill())
                await self._wait()
            await self._finish()
        finally:
            for task in self._tasks.values():
                task.cancel()

    async def _fill(self) -> float:
        """Claim as much as there are free places, and start it; return the pause to make then."""
        free = self._free
        if free <= 0:
            return 0.0
        running, shares = [lease.id for lease in self._tasks], dict(self._running)
        try:
            claimed, took = await self._database.write(
                lambda conn: self._claim(conn, free, running, shares)
            )
        except Exception as error:  # noqa: BLE001 the top of the loop: it is logged and counted
            self._unsure = True
            self._tell_fault("deliveries could not be claimed", error)
            return _LONGEST_PAUSE
        self._unsure = False
        for pending in claimed:
            self._start(pending)
        return min(took * _PAUSE_PER_CLAIM_TIME, _LONGEST_PAUSE)

    @property
    def _free(self) -> int:
        beside = min(len(self._slow), self._settings.slow)
        return self._settings.concurrency - (len(self._tasks) - beside)

    def _claim(
        self,
        conn: Connection,
        free: int,
        running: Sequence[DeliveryId],
        shares: Mapping[WorkspaceId, int],
    ) -> tuple[list[Pending], float]:
        """Claim, and say how long the writer was kept: not how long it was waited for."""
        now, started = db.now(conn, self._clock), self._clock.monotonic()
        self._looked_at = now
        # A claim that was not answered may still be committing.
        lock = leases.lock_alone if self._unsure else leases.lock_alive
        if not lock(conn, self._worker_id):
            # It has been reaped and will be stopped; what it was given now would be nobody's.
            return [], 0.0
        if self._unsure:
            requeue_lost(conn, [self._worker_id], now, keep=running)
        claimed = claim(
            conn,
            self._worker_id,
            now,
            limit=free,
            per_destination=self._settings.per_destination,
            per_workspace=max(1, (self._settings.concurrency + self._settings.slow) // 2),
            running=shares,
        )
        return claimed, self._clock.monotonic() - started

    def _record_all(self, conn: Connection, results: Sequence[Attempted]) -> list[Recording]:
        # The next attempt is counted from the time that all senders share.
        now = db.now(conn, self._clock)
        return record(conn, [replace(result, ended_at=now) for result in results])

    async def _wait(self) -> None:
        """Return when woken, when something falls due, or after the poll interval."""
        seconds = self._settings.poll
        with contextlib.suppress(Exception):  # a store that is down is met again by the claim
            due, now = await self._database.read(self._next_due)
            # What was due when the claim looked waits for a place, and a place that falls free
            # wakes us. What fell due since then must not wait for that.
            if due is not None and due > self._looked_at:
                seconds = min(seconds, max(0.0, (due - now) / SECOND))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken.wait()

    def _next_due(self, conn: Connection) -> tuple[Micros | None, Micros]:
        # By the time that the claim goes by: with a machine's own, which may be ahead of it, what
        # is due soon would be asked for without a pause.
        return next_due(conn), db.now(conn, self._clock)

    def _start(self, pending: Pending) -> None:
        task = asyncio.create_task(self._deliver(pending), name=f"webhook {pending.lease.id}")
        self._tasks[pending.lease] = task
        self._running[pending.workspace_id] += 1

        def lasts() -> None:
            self._slow.add(pending.lease)
            self._woken.set()

        timer = asyncio.get_running_loop().call_later(self._settings.slow_after, lasts)

        def ended(_task: asyncio.Task[None]) -> None:
            timer.cancel()
            self._slow.discard(pending.lease)
            del self._tasks[pending.lease]
            self._running[pending.workspace_id] -= 1
            if not self._running[pending.workspace_id]:
                del self._running[pending.workspace_id]
            self._woken.set()

        task.add_done_callback(ended)

    async def _deliver(self, pending: Pending) -> None:
        """Make one attempt and see that it is recorded."""
        started_at, started = self._clock.now(), self._clock.monotonic()
        outcome, decision = await self._attempt(pending)
        result = Attempted(
            pending.lease,
            pending.tries,
            started_at=started_at,
            ended_at=self._clock.now(),
            duration_ms=round((self._clock.monotonic() - started) * 1000),
            outcome=outcome,
            decision=decision,
        )
        if await self._see_recorded(result):
            self._tell(pending, result)
        else:
            self.tally.unrecordable()
            log.warning("an attempt was not recorded", **_names(pending))

    async def _attempt(self, pending: Pending) -> tuple[Outcome, Decision | HandedBack]:
        self._posting.add(pending.lease)
        try:
            outcome = await self._post(pending)
        except asyncio.CancelledError:
            if not self._giving_up:
                raise
            return _STOPPED, HandedBack()
        finally:
            self._posting.discard(pending.lease)
        tries = pending.tries + 1
        return outcome, decide(outcome, tries, self._settings.schedule, self._random)

    async def _post(self, pending: Pending) -> Outcome:
        try:
            headers = await self._headers(pending)
            async with asyncio.timeout(self._settings.timeout):
                reply = await self._poster.post(pending.url, body=pending.body, headers=headers)
        except self._errors as error:
            return Unanswered(_reason(error))
        except TimeoutError:
            return Unanswered(f"no answer within {self._settings.timeout:g} s")
        except Exception as error:  # noqa: BLE001 the top of one delivery: logged and counted
            self._tell_fault("a delivery failed inside", error, **_names(pending))
            return Unanswered("internal error")
        return Answered(reply.status, reply.retry_after)

    async def _headers(self, pending: Pending) -> dict[str, str]:
        """Sign now: a receiver refuses a timestamp that is older than five minutes."""
        secrets = await self._secrets(pending.workspace_id)
        if not secrets:
            raise LookupError("the workspace has no webhook secret")
        signed = signing.headers(
            secrets,
            message_id=pending.lease.id,
            timestamp=self._clock.now() // SECOND,
            body=pending.body,
        )
        return {"content-type": "application/json", **signed}

    async def _see_recorded(self, result: Attempted) -> bool:
        """Record the result, however long the store is down; False if its lease was lost.

        After `stop` a store that is down is not waited for: the lease is then a lost one. While it
        waits the delivery keeps its place: a sender that cannot record stops claiming.
        """
        failures = 0
        while True:
            try:
                recording = await self._record(result)
            except Exception as error:  # noqa: BLE001 whatever it is, the lease must be ended
                failures += 1
                delivery_id = result.lease.id
                self._tell_fault("an attempt could not be recorded", error, delivery_id=delivery_id)
                if self._stopped.is_set():
                    return False
                await self._pause(exponential(failures, self._random))
            else:
                return recording is Recording.WRITTEN

    def _tell(self, pending: Pending, result: Attempted) -> None:
        """Count and log what came of an attempt. The URL stays out: it may hold a secret."""
        self.tally.attempted(result.decision)
        log.info(
            "a delivery was attempted",
            **_names(pending),
            **asdict(result.outcome),
            decision=type(result.decision).__name__,
            duration_ms=result.duration_ms,
        )

    def _tell_fault(self, event: str, error: Exception, **fields: str | int) -> None:
        """Count and log what should not have happened, and a store that is down in one line."""
        self.tally.faulty()
        if isinstance(error, Unavailable):
            log.warning(event, cause=str(error.__cause__), **fields)
        else:
            log.error(event, exc_info=error, **fields)

    async def _pause(self, seconds: float) -> None:
        """Wait, but not beyond `stop`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopped.wait()

    async def _finish(self) -> None:
        """Let what runs end within the grace period; hand back what does not."""
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=self._settings.grace)
        self._giving_up = True
        for lease in self._posting:
            self._tasks[lease].cancel()
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=self._settings.grace)


def _names(pending: Pending) -> dict[str, str | int]:
    return {
        "delivery_id": pending.lease.id,
        "attempt": pending.lease.attempt,
        "task_id": pending.task_id,
        "workspace_id": pending.workspace_id,
        "origin": pending.origin,
    }


def _reason(error: Exception) -> str:
    # Egress keeps what happened apart from the sentence that a caller may see. Either may quote
    # what the receiver sent: anything at all.
    text = f"{type(error).__name__}: {getattr(error, 'detail', error)}"[:_REASON_LENGTH]
    return "".join(letter if letter.isprintable() else "?" for letter in text)
