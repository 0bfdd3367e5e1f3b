"""Run: one leased task, from its references to its end.

    references → start (journal) → provider → finishing → storage → finish

Each attempt comes to exactly one outcome: it succeeded, failed for good, is worth another try, goes
to another channel, came to nobody knows what, or turned out not to be ours any more; or no channel
takes it yet, and it waits. A task fails only with a sentence that its customer can read; what the
operator needs stands in the journal and the log.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random
from types import MappingProxyType
from typing import Final, TypeVar, assert_never

from ketchup import (
    backoff,
    channels,
    db,
    leases,
    tasks,
    telemetry,
    webhooks,
)
from ketchup.clock import Clock, Micros, after
from ketchup.db import Connection, Database
from ketchup.errors import Unavailable
from ketchup.generation import outcomes
from ketchup.generation.alarm import Alarm
from ketchup.generation.finish import (
    CANCELLED,
    Ending,
    end_signalled,
    end_without_worker,
    failed_end,
    finish,
    recover_lost,
)
from ketchup.generation.finishing import Finishing, Picture
from ketchup.generation.inputs import Inputs
from ketchup.generation.outcomes import (
    EXPECTED,
    FREE,
    NO_IMAGES,
    Elsewhere,
    Failed,
    Gone,
    NobodyKnows,
    Outcome,
    Retry,
    Succeeded,
    delivered,
    judged,
    unknown_end,
    wasted,
)
from ketchup.generation.places import NoRoom, Places
from ketchup.generation.results import Results
from ketchup.generation.routing import Engines, GivenUp, Wait
from ketchup.generation.start import Sent, Start, choose_at_claim, peek, sending, start
from ketchup.generation.stored import Stored, whole
from ketchup.generation.wanted import image_request, wished_format
from ketchup.ids import Entropy, WorkerId
from ketchup.leases import Watch
from ketchup.provenance import Fingerprint
from ketchup.provenance.finisher import NotAPicture
from ketchup.providers.base import (
    NotServed,
    ReferenceImage,
    Refused,
)
from ketchup.providers.memory import Memory, Share
from ketchup.storage import Storage
from ketchup.tasks import Attempt, End, Lease, LeaseLost, Sending

T = TypeVar("T")
log = telemetry.logger(__name__)

TRIED_TOO_OFTEN: Final = "The image could not be rendered; please try again later."
MODEL_GONE: Final = "The model is no longer offered."
_ANY_TIME: Final = Micros(2**62)
_FETCHES_LATER: Final = 2.0
_STOPPED: Final = "its worker was stopped"

_NO_PRINTS: Final[Mapping[str, Fingerprint]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Claimed:
    """A task that is leased to us; `sent` when the journal has it already."""

    lease: Lease
    sent: Sent | None = None


@dataclass(frozen=True, slots=True)
class RunRules:
    """What an operator decides about running tasks."""

    max_tries: int = 3
    max_losses: int = 10
    timeout_seconds: float = 300.0
    patience_seconds: float = 1800.0
    """How long a task waits while all channels that could render it are out."""


class Runner:
    """Claims tasks and runs them.

    `ended` is called after each commit that ended a task, `due` when there is a callback of it.
    """

    def __init__(
        self,
        database: Database,
        engines: Engines,
        inputs: Inputs,
        store: Storage,
        results: Results,
        *,
        clock: Clock,
        random: Random,
        rules: RunRules,
        ended: Callable[[], None],
        due: Callable[[], None] = lambda: None,
        ready: Callable[[], None] = lambda: None,
        entropy: Entropy = os.urandom,
        finishing: Finishing | None = None,
    ) -> None:
        self._database = database
        self._engines = engines
        self._inputs = inputs
        self._stored = Stored(database, store, clock, entropy)
        self._results = results
        self._clock = clock
        self._random = random
        self._rules = rules
        self._ended = ended
        self._callback_due = due
        self._ready = ready
        self._finishing = finishing
        self._memory = Memory()
        self._start = database.write_batcher(self._start_all, lane="run")
        self._finish = database.write_batcher(self._finish_all, lane="run")
        self._due = Alarm()

    async def claim(self, worker_id: WorkerId, limit: int) -> list[Claimed]:
        """Lease up to `limit` tasks to this worker, and start those that need nothing before."""
        return await self._database.write(lambda conn: self._claim(conn, worker_id, limit))

    async def find_missed(self, worker_id: WorkerId, running: Collection[Attempt]) -> list[Claimed]:
        """Return what a claim leased without an answer: held by this worker, and not running."""
        held = await self._database.write(lambda conn: self._list_leases(conn, worker_id))
        return [Claimed(lease) for lease in held if lease.attempt not in running]

    async def find_cancelled(self, running: Collection[Attempt]) -> list[Attempt]:
        """Return which of these attempts a customer has ended."""
        if not running:
            return []
        return await self._database.read(
            lambda conn: tasks.list_ended_for(conn, running, CANCELLED)
        )

    async def run(self, claimed: Claimed, places: Places | None = None) -> None:
        """Run one task to its end, or back to the queue. Raises nothing but CancelledError.

        It has one of these places, and gives it back while it fetches.
        """
        lease = claimed.lease
        bound = log.bind(task_id=lease.attempt.task_id, request_id=lease.request_id)
        bound.debug("task started", attempt=lease.attempt.number, prompt=lease.prompt)
        # What an engine answers takes memory until the pictures are stored.
        with self._memory.share() as share:
            if claimed.sent:
                outcome = await self._send(lease, (), claimed.sent, share)
            else:
                outcome = await self._attempt(lease, share, places)
            try:
                await self._conclude(lease, outcome, bound)
            except Exception as error:
                # A task that stayed leased to a living worker would never run again.
                log.exception("the end of an attempt crashed", task_id=lease.attempt.task_id)
                await self._waste(lease, outcome, f"its end: {type(error).__name__}: {error}")

    async def hand_back(self, attempt: Attempt) -> None:
        """Return an interrupted task to the queue, without using up a try.

        One that was sent to a channel that is never asked twice ends instead, and is free.
        """
        if await self._database.write(lambda conn: self._hand_back(conn, attempt)):
            self._ended()
            self._callback_due()

    async def let_go(self, attempts: Collection[Attempt]) -> None:
        """Make room for others where these were drawn: nothing of them runs any more."""
        await self._database.write(lambda conn: tasks.let_go(conn, attempts))

    async def sweep(self, worker_id: WorkerId, watch: Watch) -> int:
        """Take over from dead workers and make due tasks ready; 0 when there was nothing to do."""
        return await self._database.write(lambda conn: self._sweep(conn, worker_id, watch))

    async def until_due(self, most: float) -> None:
        """Wait until a task is due that was postponed here, or for so many seconds.

        A channel's pace would otherwise be that of the sweeps.
        """
        await self._due.wait(most)

    async def take_over(self, worker_id: WorkerId) -> None:
        """Recover everything that other workers held: they are known to be dead."""
        await self._database.write(lambda conn: self._take_over(conn, worker_id))

    async def leave(self, worker_id: WorkerId) -> None:
        """End this worker's lease. What it could not finish or hand back goes to others at once."""
        await self._database.write(lambda conn: self._leave(conn, worker_id))

    # -- one attempt ------------------------------------------------------------------------------

    async def _attempt(self, lease: Lease, share: Share, places: Places | None) -> Outcome:
        task = self._start_of(lease)
        if not task.routes:
            return Failed(MODEL_GONE, f"no channel for {lease.model}")
        loaded: Sequence[ReferenceImage] = ()
        try:
            async with asyncio.timeout(self._rules.timeout_seconds):
                # Nobody fetches the references of a task that no channel takes yet.
                if lease.images and (waits := await self._look(task)):
                    return outcomes.not_sent(waits)
            loaded = await self._load(lease, places)
            async with asyncio.timeout(self._rules.timeout_seconds):
                started = await self._insist(lambda: self._start(task))
        except NoRoom:
            started = Wait(after(await self._now(), _FETCHES_LATER))
        except EXPECTED as error:
            return judged(error)
        except Exception as error:
            # The top of the loop: one task's surprise must not stop the others.
            log.exception("attempt crashed", task_id=lease.attempt.task_id)
            return judged(error)
        if isinstance(started, Sent):
            return await self._send(lease, loaded, started, share)
        return outcomes.not_sent(started)

    def _start_of(self, lease: Lease) -> Start:
        routes = self._engines.routes(lease.model, lease.environment)
        rules = self._rules
        return Start(lease, routes, rules.patience_seconds, rules.timeout_seconds)

    async def _load(self, lease: Lease, places: Places | None) -> list[ReferenceImage]:
        async with contextlib.AsyncExitStack() as meanwhile:
            if places is not None and self._inputs.are_far(lease.images):
                await meanwhile.enter_async_context(places.lent(lease.workspace_id))
            # Not the time until it has a place again.
            async with asyncio.timeout(self._rules.timeout_seconds):
                return await self._inputs.load_all(lease.images, lease.workspace_id)

    async def _now(self) -> Micros:
        return await self._insist(
            lambda: self._database.read(lambda conn: db.now(conn, self._clock))
        )

    async def _look(self, task: Start) -> Wait | GivenUp | None:
        return await self._insist(lambda: self._database.read(lambda conn: self._peek(conn, task)))

    async def _send(
        self, lease: Lease, loaded: Sequence[ReferenceImage], sent: Sent, share: Share
    ) -> Outcome:
        channel = sent.chosen.channel
        request = image_request(lease, sent.chosen.model, tuple(loaded))
        provider, cancelled = self._engines.providers[channel.provider], asyncio.Event()
        try:
            async with share.timeout(self._rules.timeout_seconds):
                images = await provider.generate(
                    request, progress=_ignore_progress, cancelled=cancelled
                )
        except EXPECTED as error:
            return await self._learn(lease.attempt, sent, error)
        except Exception as error:
            # As above.
            log.exception("attempt crashed", task_id=lease.attempt.task_id)
            return await self._learn(lease.attempt, sent, error)
        finally:
            cancelled.set()
        if not sent.was_well:
            await self._tell(lambda conn: channels.record_success(conn, channel.name))
        return delivered(images, request.count, sent)

    async def _learn(self, attempt: Attempt, sent: Sent, error: Exception) -> Outcome:
        """Remember what an error says about the channel, before the task goes anywhere."""
        channel = sent.chosen.channel
        if isinstance(error, Refused):
            return outcomes.after(sent, error)
        # What a request brought about itself says nothing of how the channel is.
        is_theirs = isinstance(error, NotServed) and error.reason is not None

        def learn(conn: Connection) -> bool:
            now = db.now(conn, self._clock)
            is_news = False
            if outcomes.is_out(error):
                is_news = channels.take_out(conn, channel.name, str(error), now)
            elif not is_theirs:
                pause = outcomes.pause_of(error)
                channels.record_failure(conn, channel.name, now, retry_after=pause)
            if isinstance(error, FREE):
                tasks.forget_cost(conn, attempt)
            return is_news

        if await self._tell(learn):
            log.error("CHANNEL TAKEN OUT", channel=channel.name, cause=str(error))
        return outcomes.after(sent, error)

    async def _tell(self, write: Callable[[Connection], T]) -> T:
        return await self._insist(lambda: self._database.write(write))

    # -- its end ----------------------------------------------------------------------------------

    async def _conclude(self, lease: Lease, outcome: Outcome, bound: telemetry.Log) -> None:
        match outcome:
            case Succeeded():
                await self._succeed(lease, outcome, bound)
            case Failed(reason, detail):
                bound.warning("task failed", reason=reason, detail=detail)
                await self._fail(lease, reason, detail)
            case Retry():
                bound.warning("attempt failed", detail=outcome.detail, tries=lease.tries + 1)
                await self._retry(lease, outcome)
            case NobodyKnows(detail):
                bound.warning("attempt's outcome is unknown", detail=detail)
                await self._end(lease, unknown_end(lease, db.storable(detail)), None)
            case Elsewhere(detail):
                bound.warning("attempt goes to another channel", detail=detail)
                await self._change_channel(lease, db.storable(detail))
            case Wait(until):
                bound.debug("no channel has room", until=until)
                await self._postpone(lease, until)
            case Gone():
                bound.warning("lease lost", attempt=lease.attempt.number)
                # Or it was signalled before it was sent, behind a start that nobody heard of.
                await self._go_back(lease.attempt, "not sent", lambda _conn, _now: False)
            case _:
                assert_never(outcome)

    async def _succeed(self, lease: Lease, made: Succeeded, bound: telemetry.Log) -> None:
        try:
            # What was rendered was paid for: a disk that is full for a moment is waited for.
            async with asyncio.timeout(self._rules.timeout_seconds):
                pictures = await self._insist(partial(self._finish_pictures, lease, made))
                formats = [picture.image.format for picture in pictures]
                keys = await self._insist(partial(self._stored.names, lease.workspace_id, formats))
        except TimeoutError:
            await self._waste(lease, made, "the images could not be stored")
            return
        except NotAPicture as error:
            await self._fail(lease, NO_IMAGES, f"an image cannot be decoded: {error}")
            return
        end = End(lease.attempt, images=keys, consumed=lease.price, reason=None)
        try:
            await self._store_and_end(lease, made, end, pictures, bound)
        except (asyncio.CancelledError, Exception):
            # Cancelled, or an end that crashed: it may have been written all the same.
            await self._stored.forget(end, keys)
            raise

    async def _store_and_end(
        self,
        lease: Lease,
        made: Succeeded,
        end: End,
        pictures: Sequence[Picture],
        bound: telemetry.Log,
    ) -> None:
        keys = end.images or ()
        try:
            async with asyncio.timeout(self._rules.timeout_seconds):
                for key, picture in zip(keys, pictures, strict=True):
                    await self._insist(partial(self._stored.put, key, picture.image.data))
        except TimeoutError:
            await self._stored.remove(keys)
            await self._waste(lease, made, "the images could not be stored")
            return
        shown = None
        if lease.callback_url:
            shown = await self._insist(partial(self._results.show, lease.model, keys))
        if await self._end(lease, end, shown, _named(keys, pictures)):
            bound.info("task succeeded", attempt=lease.attempt.number, images=len(keys))
        else:
            # Another attempt's images count; nothing names these.
            await self._stored.remove(keys)

    async def _finish_pictures(self, lease: Lease, made: Succeeded) -> list[Picture]:
        if self._finishing is None:
            return [Picture(image, None) for image in made.images]
        wished = wished_format(lease)
        return await self._finishing.finish_all(made.images, wished, made.provider, made.model)

    async def _waste(self, lease: Lease, outcome: Outcome, detail: str) -> None:
        match wasted(outcome, detail):
            case Failed(reason, _):
                log.error("paid images are lost", task_id=lease.attempt.task_id, detail=detail)
                await self._fail(lease, reason, detail)
            case Retry() as again:
                await self._retry(lease, again)

    async def _fail(self, lease: Lease, reason: str, detail: str) -> None:
        end = failed_end(lease, db.storable(reason), db.storable(detail))
        await self._end(lease, end, None)

    async def _retry(self, lease: Lease, outcome: Retry) -> None:
        tries = lease.tries + 1
        if tries >= self._rules.max_tries:
            await self._fail(lease, TRIED_TOO_OFTEN, outcome.detail)
            return
        pause = max(backoff.exponential(tries, self._random), outcome.retry_after or 0.0)

        def move(conn: Connection, now: Micros) -> bool:
            return tasks.retry(conn, lease.attempt, after(now, pause), detail, now)

        detail = db.storable(outcome.detail)
        await self._go_back(lease.attempt, detail, move)

    async def _change_channel(self, lease: Lease, detail: str) -> None:
        def move(conn: Connection, now: Micros) -> bool:
            return tasks.change_channel(conn, lease.attempt, detail, now)

        if await self._go_back(lease.attempt, detail, move) is not None:
            self._ready()

    async def _postpone(self, lease: Lease, until: Micros) -> None:
        def move(conn: Connection, now: Micros) -> bool:
            return tasks.postpone(conn, lease.attempt, until, now)

        if (at := await self._go_back(lease.attempt, "no channel has room", move)) is not None:
            self._due.set((until - at) / 1e6)

    async def _go_back(
        self, attempt: Attempt, detail: str, move: Callable[[Connection, Micros], bool]
    ) -> Micros | None:
        """Move a task back to the queue and return when; None when it is not there.

        A task that is signalled ends instead.
        """

        def write(conn: Connection) -> tuple[Micros | None, bool]:
            now = db.now(conn, self._clock)
            if move(conn, now):
                return now, False
            return None, end_signalled(conn, attempt, detail, now)

        at, has_ended = await self._tell(write)
        if has_ended:
            log.info("signalled task ended", task_id=attempt.task_id)
            self._ended()
            self._callback_due()
        return at

    async def _end(
        self,
        lease: Lease,
        end: End,
        shown: Sequence[str] | None,
        prints: Mapping[str, Fingerprint] = _NO_PRINTS,
    ) -> bool:
        ending = Ending(lease, end, _callback(lease, end, shown), prints)
        finished = await self._insist(lambda: whole(self._finish(ending)))
        if isinstance(finished, LeaseLost) and not await self._was_ended(end):
            return False
        self._ended()
        if ending.callback is not None:
            self._callback_due()
        try:
            await self._inputs.discard(lease.images)
        except Unavailable as error:
            log.warning("references are left to the sweep", cause=str(error.__cause__))
        return True

    async def _was_ended(self, end: End) -> bool:
        """Whether the lease is gone because we ended it ourselves, in a commit without an answer.

        The task then names our images, and its customer has paid for them.
        """
        return await self._insist(
            lambda: self._database.read(lambda conn: tasks.was_ended(conn, end))
        )

    async def _insist(self, write: Callable[[], Awaitable[T]]) -> T:
        """Repeat a write until the store takes it. Ends by cancellation when the lease does."""
        tries = 0
        while True:
            try:
                return await write()
            except Unavailable as error:
                tries += 1
                log.warning("store unavailable", tries=tries, cause=str(error.__cause__))
                await asyncio.sleep(backoff.exponential(tries, self._random, base=0.2, ceiling=5.0))

    # -- on the database's threads ----------------------------------------------------------------

    def _list_leases(self, conn: Connection, worker_id: WorkerId) -> list[Lease]:
        # The claim that was not answered may still be committing.
        leases.lock_alone(conn, worker_id)
        return tasks.list_leases(conn, worker_id)

    def _claim(self, conn: Connection, worker_id: WorkerId, limit: int) -> list[Claimed]:
        now = db.now(conn, self._clock)
        sent: dict[Attempt, Sent] = {}

        def choose(claimed: Sequence[Lease]) -> list[Sending]:
            starts = [one for lease in claimed if (one := self._start_of(lease)).routes]
            sent.update(choose_at_claim(conn, starts, now, self._random))
            return [sending(one, to) for one in starts if (to := sent.get(one.lease.attempt))]

        claimed = tasks.claim(conn, worker_id, limit, now, choose=choose)
        return [Claimed(lease, sent.get(lease.attempt)) for lease in claimed]

    def _peek(self, conn: Connection, task: Start) -> Wait | GivenUp | None:
        return peek(conn, task, db.now(conn, self._clock), self._random)

    def _start_all(
        self, conn: Connection, starts: Sequence[Start]
    ) -> list[Sent | Wait | GivenUp | None]:
        return start(conn, starts, db.now(conn, self._clock), self._random)

    def _hand_back(self, conn: Connection, attempt: Attempt) -> bool:
        """Hand an attempt back, or end it; True when it was ended."""
        now = db.now(conn, self._clock)
        lease = tasks.find_never_twice(conn, attempt)
        if lease is None and tasks.hand_back(conn, attempt, now):
            return False
        if end_signalled(conn, attempt, _STOPPED, now, is_unknown=True):
            return True
        if lease is None:
            return False
        end = unknown_end(lease, _STOPPED)
        return end_without_worker(conn, Ending(lease, end, _callback(lease, end, None)), now)

    def _finish_all(self, conn: Connection, endings: Sequence[Ending]) -> list[End | LeaseLost]:
        return finish(conn, endings, db.now(conn, self._clock))

    def _sweep(self, conn: Connection, worker_id: WorkerId, watch: Watch) -> int:
        silent = watch.find_silent(leases.beats_of_others(conn, worker_id))
        leases.reap_silent(conn, silent)
        return self._recover_lost(conn) + tasks.promote_due(conn, db.now(conn, self._clock))

    def _take_over(self, conn: Connection, worker_id: WorkerId) -> None:
        channels.bring_back(conn)
        leases.remove(conn, leases.list_others(conn, worker_id))
        self._recover_lost(conn)
        # Their engines have lost them as well.
        tasks.make_room(conn, _ANY_TIME)

    def _leave(self, conn: Connection, worker_id: WorkerId) -> None:
        tasks.let_go_of_all(conn, worker_id)
        leases.remove(conn, [worker_id])
        self._recover_lost(conn)

    def _recover_lost(self, conn: Connection) -> int:
        return recover_lost(
            conn, self._rules.max_losses, _failed_callback, db.now(conn, self._clock)
        )


def _named(keys: Sequence[str], pictures: Sequence[Picture]) -> dict[str, Fingerprint]:
    named = zip(keys, pictures, strict=True)
    return {key: picture.fingerprint for key, picture in named if picture.fingerprint}


def _callback(lease: Lease, end: End, shown: Sequence[str] | None) -> bytes | None:
    if lease.callback_url is None:
        return None
    return webhooks.callback_body(
        lease.attempt.task_id, end.status, shown, end.consumed, end.reason
    )


def _failed_callback(lease: Lease, reason: str) -> bytes | None:
    return _callback(lease, failed_end(lease, reason, ""), None)


def _ignore_progress(_done: float) -> None:
    """Progress is shown to clients only as the status."""
