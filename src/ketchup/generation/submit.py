"""Submit: a request is decided and, if accepted, durable before it is answered.

Requests that arrive together are decided together, in the order of their arrival: first whether the
request was made before, then whether its workspace submits too fast or has too much in the queue,
then whether it can pay. Only then are the hold and the task written, and only after the commit is
anyone answered. A request that brings images is judged once before, so that what will be refused
writes none of them.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import msgspec

from ketchup import credits, db, ids, tasks, workspaces
from ketchup.clock import SECOND, Clock, Micros
from ketchup.credits import HoldRequest, InsufficientCredits
from ketchup.db import DEFAULT_CAPACITY, Connection, Database
from ketchup.errors import Unavailable
from ketchup.generation.inputs import Inputs
from ketchup.ids import Entropy, RequestId, TaskId
from ketchup.money import Credits
from ketchup.providers.catalog import Model
from ketchup.references import DataReference, Reference
from ketchup.spending import Cap, CapReached
from ketchup.tasks import (
    Allowance,
    Conflicting,
    Fingerprint,
    IdempotencyKey,
    NewTask,
    Options,
    Priority,
    RateLimit,
    TooDeep,
    TooSoon,
    Turns,
)
from ketchup.workspaces import Caller, Environment


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """A request that has passed every check that needs no database."""

    caller: Caller
    request_id: RequestId
    model: Model
    prompt: str
    images: tuple[Reference, ...]
    callback_url: str | None
    options: Options
    idempotency_key: str | None = None
    priority: Priority = Priority.NORMAL

    @property
    def price(self) -> Credits:
        """What the task will cost if it succeeds. What a key for tests asks for costs nothing."""
        if self.caller.environment is Environment.TEST:
            return Credits(0)
        return Credits(self.model.price * self.options.n)


@dataclass(frozen=True, slots=True)
class Accepted:
    """The task and its hold are on disk."""

    task_id: TaskId
    replayed: bool = False
    pace: tuple[RateLimit, float] | None = field(default=None, compare=False)
    """What the plan allows, where it does not allow all, and for how many seconds ahead the
    workspace has submitted by now."""


Decision = Accepted | Conflicting | TooSoon | TooDeep | InsufficientCredits | CapReached
Allowances = Callable[[str], Allowance]
"""What the plan of a name allows."""


class Submitter:
    """Accepts tasks. `accepted` is called after each commit that let at least one in."""

    def __init__(
        self,
        database: Database,
        inputs: Inputs,
        clock: Clock,
        *,
        allowances: Allowances,
        capacity: int = DEFAULT_CAPACITY,
        accepted: Callable[[], None],
        entropy: Entropy = os.urandom,
    ) -> None:
        self._inputs = inputs
        self._clock = clock
        self._allowances = allowances
        self._entropy = entropy
        self._accepted = accepted
        self._database = database
        self._decide = database.write_batcher(self._submit, lane="submit", capacity=capacity)

    async def submit(self, request: GenerationRequest) -> Decision:
        """Decide one request. Raises Unavailable when nothing could be decided."""
        key = await _key_of(request)
        if refusal := await self._refuse_ahead(request, key):
            return refusal
        kept = await self._inputs.keep(request.images)
        try:
            allowance = self._allowances(request.caller.plan)
            deciding = self._decide(Submission(request, key, kept, allowance))
        except Unavailable:
            await self._inputs.discard(kept)
            raise
        # When the store fails now, nobody knows whether a row names the blobs: they are left to
        # the sweep, and whoever repeats the request by its key finds its task whole.
        decision = await deciding
        if isinstance(decision, Accepted) and not decision.replayed:
            self._accepted()
            return decision
        # Refused or replayed: no row names these blobs.
        await self._inputs.discard(kept)
        return decision

    async def _refuse_ahead(
        self, request: GenerationRequest, key: IdempotencyKey | None
    ) -> Decision | None:
        """Say what will refuse a request that brings images, before they are written anywhere.

        It decides nothing: what passes here is judged again under the locks.
        """
        if not _brings_images(request):
            return None
        return await self._database.read(
            lambda conn: _refusal_now(
                conn,
                request,
                key,
                self._allowances(request.caller.plan),
                db.now(conn, self._clock),
            )
        )

    def _submit(self, conn: Connection, submissions: Sequence[Submission]) -> list[Decision]:
        return submit(conn, submissions, self._allowances, db.now(conn, self._clock), self._entropy)


def _brings_images(request: GenerationRequest) -> bool:
    return any(isinstance(image, DataReference) for image in request.images)


def _refusal_now(
    conn: Connection,
    request: GenerationRequest,
    key: IdempotencyKey | None,
    allowance: Allowance,
    now: Micros,
) -> Decision | None:
    if key and tasks.find_keys(conn, [key], now):
        return None
    workspace = request.caller.workspace_id
    if refusal := tasks.find_refusal(conn, workspace, allowance, now):
        return refusal
    available = credits.find_account(conn, workspace).available
    return InsufficientCredits(available, request.price) if available < request.price else None


@dataclass(frozen=True, slots=True)
class Submission:
    """A request as the transaction sees it: its references are stored, its plan is known."""

    request: GenerationRequest
    key: IdempotencyKey | None
    images: tuple[str, ...]
    allowance: Allowance


def submit(
    conn: Connection,
    submissions: Sequence[Submission],
    allowances: Allowances,
    now: Micros,
    entropy: Entropy = os.urandom,
) -> list[Decision]:
    """Decide each submission, in order, and write what was accepted."""
    decisions: list[Decision | None] = [None] * len(submissions)
    # Locked before anything is read: what another node accepts meanwhile under the same key is
    # then seen here, or sees us.
    turns = tasks.lock_turns(conn, [s.request.caller.workspace_id for s in submissions])
    submissions = _with_plans_in_force(conn, turns, submissions, allowances)
    known = tasks.find_keys(conn, [s.key for s in submissions if s.key], now)
    refused: dict[tuple[str, str], Decision] = {}
    waiting = list(range(len(submissions)))
    while waiting:
        # Of submissions that share a new key, one is decided at a time: the others then replay it
        # or, when it was refused and they are cheaper, take its place.
        fresh, waiting = _split(submissions, waiting, decisions, known, refused)
        decided = _admit(conn, turns, [submissions[i] for i in fresh], now, entropy)
        for i, decision in zip(fresh, decided, strict=True):
            decisions[i] = decision
            key = submissions[i].key
            if key and isinstance(decision, Accepted):
                known[key.name] = (key.fingerprint, decision.task_id)
            elif key:
                refused[key.name] = decision
    return [decision for decision in decisions if decision is not None]


def _with_plans_in_force(
    conn: Connection, turns: Turns, submissions: Sequence[Submission], allowances: Allowances
) -> Sequence[Submission]:
    """Look up the plans of workspaces whose share would change by what their callers know.

    A caller's plan was read a moment ago. What it wrote here would undo a change that another node
    has made since, until the next submit.
    """
    doubtful = {
        workspace
        for s in submissions
        if turns.would_change(workspace := s.request.caller.workspace_id, s.allowance)
    }
    if not doubtful:
        return submissions
    plans = workspaces.find_plans(conn, doubtful)
    return [
        replace(s, allowance=allowances(plans[workspace]))
        if (workspace := s.request.caller.workspace_id) in plans
        else s
        for s in submissions
    ]


def _split(
    submissions: Sequence[Submission],
    waiting: Sequence[int],
    decisions: list[Decision | None],
    known: Mapping[tuple[str, str], tuple[Fingerprint, TaskId]],
    refused: Mapping[tuple[str, str], Decision],
) -> tuple[list[int], list[int]]:
    fresh: list[int] = []
    later: list[int] = []
    taken: set[tuple[str, str]] = set()
    for i in waiting:
        key = submissions[i].key
        if key is None:
            fresh.append(i)
        elif key.name in known:
            decisions[i] = _replay(key, known[key.name])
        elif key.name in taken:
            later.append(i)
        elif refusal := _refused_too(submissions[i], refused.get(key.name)):
            decisions[i] = refusal
        else:
            taken.add(key.name)
            fresh.append(i)
    return fresh, later


def _replay(key: IdempotencyKey, known: tuple[Fingerprint, TaskId]) -> Decision:
    fingerprint, task_id = known
    same = fingerprint == key.fingerprint
    return Accepted(task_id, replayed=True) if same else Conflicting()


def _refused_too(submission: Submission, refused: Decision | None) -> Decision | None:
    """Say whether what refused another request under the same key refuses this one as well.

    Within a batch a workspace gains neither time nor credits. Without this, many refused requests
    under one key would be decided one by one while every other caller waits.
    """
    price = submission.request.price
    match refused:
        case TooSoon() | TooDeep():
            return refused
        case InsufficientCredits(available, too_much) if price >= too_much:
            return InsufficientCredits(available, price)
        case CapReached(_, purse, too_much) if price >= too_much and purse == _purse(submission):
            return refused
        case _:
            return None


def _admit(
    conn: Connection,
    turns: Turns,
    fresh: Sequence[Submission],
    now: Micros,
    entropy: Entropy,
) -> list[Decision]:
    if not fresh:
        return []
    wanted = [(s.request.caller.workspace_id, s.allowance) for s in fresh]
    refusals = turns.refusals(wanted, now)
    new = [
        (submission, _new_task(submission, now, entropy))
        for submission, refusal in zip(fresh, refusals, strict=True)
        if refusal is None
    ]
    holds = credits.hold(conn, [_hold_request(s, task) for s, task in new], now)
    accepted = [one for one, held in zip(new, holds, strict=True) if isinstance(held, credits.Held)]
    tasks.enqueue(conn, turns, [(task, s.allowance) for s, task in accepted], now)
    tasks.remember_keys(conn, [(s.key, task.id) for s, task in accepted if s.key], now)
    held_in_order = iter(holds)
    return [
        refusal or _decision(next(held_in_order), turns, s, now)
        for refusal, s in zip(refusals, fresh, strict=True)
    ]


def _decision(
    held: credits.Held | InsufficientCredits | CapReached,
    turns: Turns,
    submission: Submission,
    now: Micros,
) -> Decision:
    if not isinstance(held, credits.Held):
        return held
    rate = submission.allowance.rate
    if rate is None:
        return Accepted(held.task_id)
    ahead = turns.of(submission.request.caller.workspace_id).arrival_at - now
    return Accepted(held.task_id, pace=(rate, ahead / SECOND))


def _hold_request(submission: Submission, task: NewTask) -> HoldRequest:
    return HoldRequest(task.id, task.workspace_id, task.price, _cap(submission.request.caller))


def _cap(caller: Caller) -> Cap | None:
    if caller.day_cap is None and caller.month_cap is None:
        return None
    return Cap(caller.purse, caller.day_cap, caller.month_cap)


def _purse(submission: Submission) -> str | None:
    cap = _cap(submission.request.caller)
    return None if cap is None else cap.purse


def _new_task(submission: Submission, now: Micros, entropy: Entropy) -> NewTask:
    request = submission.request
    return NewTask(
        id=ids.task_id(now, entropy),
        workspace_id=request.caller.workspace_id,
        key_id=request.caller.key_id,
        request_id=request.request_id,
        model=request.model.id,
        prompt=request.prompt,
        images=submission.images,
        callback_url=request.callback_url,
        options=request.options,
        price=request.price,
        priority=request.priority,
        environment=request.caller.environment,
    )


async def _key_of(request: GenerationRequest) -> IdempotencyKey | None:
    """Return the key, whose fingerprint is that of all images that the request brings."""
    brought = sum(len(one.data) for one in request.images if isinstance(one, DataReference))
    if request.idempotency_key is None or brought < _QUICKLY_HASHED:
        return _idempotency_key(request)
    return await asyncio.to_thread(_idempotency_key, request)


def _idempotency_key(request: GenerationRequest) -> IdempotencyKey | None:
    if request.idempotency_key is None:
        return None
    return IdempotencyKey(
        request.caller.workspace_id, request.idempotency_key, _fingerprint(request)
    )


def _fingerprint(request: GenerationRequest) -> Fingerprint:
    """Hash what was understood of the body, so that spaces and unknown fields do not matter."""
    understood = (
        request.model.id,
        request.prompt,
        [_identity(reference) for reference in request.images],
        request.callback_url,
        request.options,
        # Only where it says something: a request without it hashes as before there were priorities.
        *([request.priority] if request.priority is not Priority.NORMAL else []),
        # A live request must never be answered with a test's task.
        *([Environment.TEST] if request.caller.environment is Environment.TEST else []),
    )
    return Fingerprint(hashlib.sha256(_ENCODER.encode(understood)).digest())


def _identity(reference: Reference) -> str:
    if isinstance(reference, DataReference):
        return f"sha256:{hashlib.sha256(reference.data).hexdigest()}"
    return reference.url


_ENCODER: Final = msgspec.json.Encoder(order="deterministic")
_QUICKLY_HASHED: Final = 256 * 1024
"""Bytes whose hash takes less than handing them to a thread and back."""
