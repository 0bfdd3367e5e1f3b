"""The contract's three endpoints: create a task, ask for it, ask for the credit left.

Plain ASGI and msgspec, because these three are all that a busy service does. Each raises what is
wrong as a KetchupError; `app` writes it down.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from typing import Final, assert_never
from urllib.parse import parse_qsl

import msgspec

from ketchup import credits, tasks
from ketchup.clock import iso
from ketchup.credits import InsufficientCredits
from ketchup.db import Database
from ketchup.errors import (
    Conflict,
    Forbidden,
    InsufficientFunds,
    InvalidRequest,
    NotFound,
    RateLimited,
)
from ketchup.generation import Accepted, Decision, GenerationRequest, Results, Submitter
from ketchup.ids import RequestId
from ketchup.money import decimal
from ketchup.origins import Origins
from ketchup.pace import Header, Pace, Quota, limited, standing
from ketchup.providers.catalog import Catalog
from ketchup.spending import CapReached
from ketchup.tasks import Conflicting, RateLimit, Status, Task, TooDeep, TooSoon
from ketchup.wire.body import BodyLimits, LargeBodies, read_body, refuse_by_length
from ketchup.wire.envelope import Receive, Reply, Scope
from ketchup.wire.requests import RequestHead, parse_request
from ketchup.workspaces import Authenticator, Caller
from ketchup.workspaces import Scope as KeyScope

REPLAYED: Final = ((b"idempotency-replayed", b"true"),)
_MAX_TASK_ID: Final = 64
# A smaller one is judged faster than a thread is asked.
_LARGE_BODY: Final = 256 * 1024
_QUEUE_RETRY_SECONDS: Final = 5.0


class Created(msgspec.Struct, frozen=True):
    """`data` of a created task."""

    task_id: str


class CreatedEnvelope(msgspec.Struct, frozen=True):
    """The answer to `POST /api/image/gen`."""

    code: int
    message: str
    data: Created


class Image(msgspec.Struct, frozen=True):
    """One image of a result."""

    image: str


class StatusReason(msgspec.Struct, frozen=True):
    """Why a task failed; null otherwise."""

    message: str | None


class TaskView(msgspec.Struct, frozen=True):
    """`data` of a queried task: always all of it."""

    task_id: str
    status: Status
    result: list[Image] | None
    consumed: str
    created_at: str
    status_reason: StatusReason


class TaskEnvelope(msgspec.Struct, frozen=True):
    """The answer to `GET /api/task/query`."""

    code: int
    message: str
    data: TaskView


class Credit(msgspec.Struct, frozen=True):
    """`data` of a balance."""

    credit: str


class CreditEnvelope(msgspec.Struct, frozen=True):
    """The answer to `GET /api/user`."""

    code: int
    message: str
    data: Credit


@dataclass(frozen=True, slots=True)
class Surface:
    """What the endpoints work with."""

    database: Database
    authenticator: Authenticator
    catalog: Catalog
    submitter: Submitter
    results: Results
    limits: BodyLimits
    pace: Pace | None
    origins: Origins


class Endpoints:
    """The handlers. Each takes the ASGI scope and returns a whole answer."""

    def __init__(self, surface: Surface) -> None:
        self._surface = surface
        self._get = surface.database.read_batcher(tasks.get_many)
        self._large_bodies = LargeBodies(surface.limits)

    async def create(self, scope: Scope, receive: Receive, request_id: RequestId) -> Reply:
        """Create an image generation task and reserve its price.

        The answer is sent when the task is durable; it can be queried from then on.
        """
        surface = self._surface
        refuse_by_length(scope, surface.limits)
        caller = await self._authenticate(scope, KeyScope.CREATE_IMAGES)
        with ExitStack() as held:
            place = self._large_bodies.place(caller.workspace_id)
            body = await read_body(receive, surface.limits, lambda: held.enter_context(place))
            # Again: a body may take minutes, and a key that was revoked meanwhile must not pay.
            caller = await self._authenticate(scope, KeyScope.CREATE_IMAGES)
            keys = [value for name, value in scope["headers"] if name == b"idempotency-key"]
            head = RequestHead(caller, request_id, keys)
            request = await _parsed(body, surface.catalog, head)
            accepted = _accepted(await surface.submitter.submit(request))
        answer = _ENCODER.encode(CreatedEnvelope(0, "ok", Created(accepted.task_id)))
        return Reply(200, answer, _headers_of(accepted))

    async def query(self, scope: Scope, _receive: Receive, _request_id: RequestId) -> Reply:
        """Return a task in whatever state it is; terminal states never change."""
        caller = await self._authenticate(scope, KeyScope.READ_TASKS)
        task_id = _task_id(scope["query_string"])
        headers: tuple[Header, ...] = ()
        if self._surface.pace is not None:
            headers = self._surface.pace.check((caller.key_id, task_id)).headers()
        task = await self._get((caller.workspace_id, task_id)) if task_id else None
        if task is None:
            raise NotFound("task not found")
        images = None if task.images is None else await self._shown(task, task.images)
        return Reply(200, _ENCODER.encode(TaskEnvelope(0, "ok", _view(task, images))), headers)

    async def user(self, scope: Scope, _receive: Receive, _request_id: RequestId) -> Reply:
        """Return what the workspace has left to spend."""
        caller = await self._authenticate(scope, KeyScope.READ_USAGE)
        account = await self._surface.database.read(
            lambda conn: credits.find_account(conn, caller.workspace_id)
        )
        credit = Credit(decimal(account.available, 8))
        return Reply(200, _ENCODER.encode(CreditEnvelope(0, "ok", credit)))

    async def _authenticate(self, scope: Scope, needed: KeyScope) -> Caller:
        headers = [value for name, value in scope["headers"] if name == b"authorization"]
        surface = self._surface
        caller = await surface.authenticator.authenticate(headers, surface.origins.of, scope)
        if not caller.may(needed):
            raise Forbidden(f"the API key lacks the scope {needed}")
        return caller

    async def _shown(self, task: Task, keys: Sequence[str]) -> list[Image]:
        results = self._surface.results
        if results.is_by_address(task.model):
            return [Image(address) for address in results.addresses(keys)]
        return [Image(image) for image in await results.show(task.model, keys)]


async def _parsed(body: bytes, catalog: Catalog, head: RequestHead) -> GenerationRequest:
    """Judge a body; a large one in a thread, so that nobody waits for its images."""
    if len(body) <= _LARGE_BODY:
        return parse_request(body, catalog, head)
    return await asyncio.to_thread(parse_request, body, catalog, head)


def _accepted(decision: Decision) -> Accepted:
    match decision:
        case Accepted():
            return decision
        case InsufficientCredits():
            raise InsufficientFunds("insufficient credits")
        case CapReached(period):
            raise InsufficientFunds(f"spend cap of the API key is reached for this {period}")
        case TooSoon(retry_after, rate):
            raise limited(None if rate is None else _submits(rate), retry_after)
        case TooDeep(depth):
            raise RateLimited(
                f"{depth} tasks are in the queue, as many as the plan allows",
                retry_after=_QUEUE_RETRY_SECONDS,
            )
        case Conflicting():
            raise Conflict("idempotency key was used with another request")
        case _:
            assert_never(decision)


def _headers_of(accepted: Accepted) -> tuple[Header, ...]:
    headers = REPLAYED if accepted.replayed else ()
    if accepted.pace is None:
        return headers
    rate, ahead = accepted.pace
    return (*headers, *standing(_submits(rate), ahead).headers())


@cache
def _submits(rate: RateLimit) -> Quota:
    return Quota("submit", interval=60 / rate.per_minute, burst=rate.burst)


def _view(task: Task, images: list[Image] | None) -> TaskView:
    return TaskView(
        task_id=task.id,
        status=task.status,
        result=images,
        consumed=decimal(task.consumed, 8),
        created_at=iso(task.created_at),
        status_reason=StatusReason(task.reason),
    )


def _task_id(query: bytes) -> str | None:
    """Return the id asked for; None for what cannot be one. Raises InvalidRequest without one."""
    pairs = parse_qsl(query.decode("latin-1"), encoding="utf-8", errors="replace")
    wanted = next((value for name, value in pairs if name == "task_id"), "")
    if not wanted:
        raise InvalidRequest("task_id is required")
    # An id is opaque, but never long and never anything but ASCII. PostgreSQL refuses a NUL.
    could_be = len(wanted) <= _MAX_TASK_ID and wanted.isascii() and wanted.isprintable()
    return wanted if could_be else None


_ENCODER: Final = msgspec.json.Encoder()
