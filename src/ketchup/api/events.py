"""A task's events as a stream (server-sent events), until it has ended.

Events are read from the task's row: each status is written there once, with its time, and statuses
only move forward. So an event's id is the place of its status, and whoever comes back with the last
one that it had goes on exactly behind it, at whichever process: nothing comes twice, nothing is
left out. A status that the task passed over has no event. The request to cancel has its place in
front of the end, where an engine that charges had the task.

A stream holds no connection to the database, ends when its key does, and after some minutes in any
case: a client that goes on is used to coming back.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Request, Response, Security
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send
from typing_extensions import override

from ketchup import clock, money
from ketchup.api.customers import NO_TASK, UNSEEN, TaskIdIn, checked
from ketchup.api.dependencies import ApiDependencies, Dependencies
from ketchup.api.keys import CustomerRoute, TaskReader, documented_scheme, tell_limit
from ketchup.api.problems import DOCUMENTED, documented
from ketchup.clock import Micros
from ketchup.errors import Gone, InvalidRequest, NotFound, RateLimited, Unauthenticated, Unavailable
from ketchup.tasks import Status, Summary
from ketchup.workspaces import Caller

HEARTBEAT_SECONDS: Final = 15.0
LONGEST_SECONDS: Final = 300.0

routes: Final = APIRouter(
    prefix="/v1",
    route_class=CustomerRoute,
    dependencies=[Security(documented_scheme)],
    responses=DOCUMENTED,
)


@dataclass(frozen=True, slots=True)
class Event:
    """A task came to a status, or its customer asked to cancel it."""

    id: int
    name: str
    status: Status
    at: Micros


def events_of(task: Summary) -> list[Event]:
    """Return every event of a task until now, in order."""
    ended = task.status if task.status in {Status.SUCCESS, Status.FAILED} else Status.FAILED
    steps = (
        (Status.PENDING, Status.PENDING, task.created_at),
        (Status.SUBMITTED, Status.SUBMITTED, task.submitted_at),
        (Status.IN_PROGRESS, Status.IN_PROGRESS, task.started_at),
        (_CANCEL_REQUESTED, Status.IN_PROGRESS, task.cancel_requested_at),
        (ended, ended, task.finished_at),
    )
    return [
        Event(number, name, status, at)
        for number, (name, status, at) in enumerate(steps, start=1)
        if at is not None
    ]


_CANCEL_REQUESTED: Final = "cancel_requested"
_LAST: Final = 5
_SHOWN: Final[dict[int | str, dict[str, Any]]] = {
    HTTPStatus.OK.value: {
        "description": "Events; each has the status, or `cancel_requested`, as its name.",
        "content": {
            "text/event-stream": {
                # Before 3.2, OpenAPI has no word for a stream: this is each of its events.
                "schema": {
                    "type": "object",
                    "properties": {
                        "id": {"type": "string"},
                        "event": {"type": "string"},
                        "data": {"type": "string", "contentMediaType": "application/json"},
                    },
                },
                "example": "retry: 2000\n\nid: 1\nevent: pending\n"
                'data: {"id":"ta…","status":"pending","at":"2026-11-21T10:57:45.471Z"}\n\n',
            }
        },
    },
    HTTPStatus.NO_CONTENT.value: {"description": "The last event was had: do not come back."},
    **documented({**UNSEEN, HTTPStatus.TOO_MANY_REQUESTS: "Asked too often, or too many follow."}),
}


class _Stream(StreamingResponse):
    """A stream that holds a place until it has ended, however it ends."""

    def __init__(self, events: AsyncIterator[str], place: ExitStack) -> None:
        # Proxies that collect an answer before they pass it on are asked not to.
        headers = {"X-Accel-Buffering": "no"}
        super().__init__(events, media_type="text/event-stream", headers=headers)
        self._place = place

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._place:
            await super().__call__(scope, receive, send)


@routes.get(
    "/tasks/{task_id}/events", tags=["tasks"], response_class=Response, responses={**_SHOWN}
)
async def follow_task(
    task_id: TaskIdIn,
    caller: TaskReader,
    api: Dependencies,
    request: Request,
    last_event_id: Annotated[
        str,
        Header(
            alias="Last-Event-ID",
            description="The id of the last event that was had.",
            json_schema_extra={"pattern": f"^[0-{_LAST}]?$"},
        ),
    ] = "",
) -> Response:
    """Follow a task: an event for each status that it comes to, until it has ended.

    `cancel_requested` says that it was asked to be cancelled while an engine that charges had it.
    `Last-Event-ID` goes on behind that event. 204 says that it was the last one.
    """
    checked(task_id)
    seen = _number(last_event_id)
    if api.check_pace is not None:
        tell_limit(request, api.check_pace((caller.key_id, task_id)))
    found = await api.look_at((caller.workspace_id, task_id))
    if found is None:
        raise NotFound(NO_TASK)
    if found.is_deleted:
        raise Gone("the task was deleted")
    if seen == _LAST:
        return Response(status_code=HTTPStatus.NO_CONTENT)
    with ExitStack() as held:
        held.enter_context(api.streams.place(caller.workspace_id))
        # Given to the answer, which lasts longer than this function.
        return _Stream(_told(_Follower(api, caller, task_id), request, seen), held.pop_all())


@dataclass(frozen=True, slots=True)
class _Follower:
    """Who follows which task."""

    api: ApiDependencies
    caller: Caller
    task_id: str

    async def look(self) -> Summary | None:
        return await self.api.look_at((self.caller.workspace_id, self.task_id))

    async def wait(self, seen: int) -> Summary:
        """Return the task when something came behind `seen`, or when nothing did for a while."""

        def has_news(task: Summary | None) -> bool:
            return task is None or task.is_deleted or bool(_behind(task, seen))

        task = await self.api.stream_waiters.until(self.look, has_news, _never, HEARTBEAT_SECONDS)
        if task is None or task.is_deleted:
            raise Gone("the task was deleted")
        return task


async def _told(following: _Follower, request: Request, seen: int) -> AsyncIterator[str]:
    api = following.api
    until = api.clock.monotonic() + LONGEST_SECONDS
    headers = [value for name, value in request.scope["headers"] if name == b"authorization"]
    yield "retry: 2000\n\n"
    try:
        while not api.stream_waiters.is_stopped and api.clock.monotonic() < until:
            task = await following.wait(seen)
            # A key that was revoked meanwhile hears nothing more.
            await api.authenticator.authenticate(headers, api.origins.of, request.scope)
            events = _behind(task, seen)
            for event in events:
                yield _written(event, task)
                seen = event.id
            if seen == _LAST:
                return
            if not events:
                yield ":\n\n"
    except (Gone, RateLimited, Unauthenticated, Unavailable):
        # The head has been sent: whoever comes back is told why.
        return


def _behind(task: Summary, seen: int) -> list[Event]:
    return [event for event in events_of(task) if event.id > seen]


def _written(event: Event, task: Summary) -> str:
    at = clock.iso(event.at)
    data: dict[str, str | None] = {"id": task.id, "status": event.status, "at": at}
    if event.id == _LAST:
        data |= {"consumed": money.decimal(task.consumed), "reason": task.reason}
    body = json.dumps(data, separators=(",", ":"))
    return f"id: {event.id}\nevent: {event.name}\ndata: {body}\n\n"


def _number(last_event_id: str) -> int:
    if not last_event_id:
        return 0
    if last_event_id not in _NUMBERS:
        raise InvalidRequest("Last-Event-ID must be the id of an event")
    return int(last_event_id)


_NUMBERS: Final = frozenset(str(number) for number in range(_LAST + 1))


async def _never() -> bool:
    # Whoever is gone is noticed where the answer is written.
    return False
