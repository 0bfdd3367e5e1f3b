"""The server: every HTTP surface in one ASGI application.

The contract comes first and is plain ASGI; everything else is FastAPI, which takes a quarter of the
start to load and is needed by operators alone: it is loaded when the contract is being served, or
when somebody asks for it before that. Each request gets its id here, and every response carries it,
whoever answers.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Hashable
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ketchup import tasks
from ketchup.bootstrap import Runtime
from ketchup.db import News
from ketchup.ids import RequestId, RequestIds
from ketchup.pace import Pace, Standing
from ketchup.wire import BodyLimits, Surface, Wire, describe
from ketchup.wire.files import ImageFiles

_REDELIVERIES_PER_SECOND: Final = 1.0
_REDELIVERY_BURST: Final = 20
# A scanner reports what it finds in a push; nobody finds more.
_LEAK_REPORTS_PER_SECOND: Final = 1 / 3
_LEAK_REPORT_BURST: Final = 20


def create_app(runtime: Runtime) -> App:
    """Mount every surface on a runtime that is open as long as the application is."""
    files = ImageFiles(runtime.storage, runtime.clock, runtime.retention)
    status = runtime.rules.insufficient_credits_status
    # One for both: whoever asks for a task here and there asks for it twice.
    pace = _pace(runtime)
    return App(Wire(_surface(runtime, pace), files, status), lambda: _api(runtime, pace))


def _api(runtime: Runtime, pace: Pace | None) -> ASGIApp:
    from ketchup.api import (  # noqa: PLC0415 see above
        ApiDependencies,
        Places,
        Waiters,
        create_api,
    )

    waiters, stream_waiters = Waiters(runtime.clock), Waiters(runtime.clock)
    for one in (waiters, stream_waiters):
        runtime.ended.listen(one.wake)
        runtime.elsewhere[News.ENDED].listen(one.wake)
        runtime.stopping.listen(one.stop)
    return create_api(
        ApiDependencies(
            database=runtime.database,
            authenticator=runtime.authenticator,
            vault=runtime.vault,
            admin_token=runtime.admin_token,
            clock=runtime.clock,
            plans=runtime.plans,
            catalog=runtime.catalog,
            results=runtime.results,
            eraser=runtime.eraser,
            ended=runtime.ended,
            due=runtime.due,
            waiters=waiters,
            origins=runtime.origins,
            new_key_seconds=runtime.rules.new_key_seconds,
            check_leak_report=Pace(
                "leak-report", _LEAK_REPORTS_PER_SECOND, _LEAK_REPORT_BURST, runtime.clock
            ).check,
            check_pace=None if pace is None else pace.check,
            check_redelivery=Pace(
                "redelivery", _REDELIVERIES_PER_SECOND, _REDELIVERY_BURST, runtime.clock
            ).check,
            look_at=runtime.database.read_batcher(tasks.find_summaries),
            waits=Places(1_000, each=20, taken="requests wait"),
            streams=Places(500, each=20, taken="streams are open"),
            stream_waiters=stream_waiters,
            finisher=runtime.finisher,
            verifying=Places(8, each=2, taken="pictures are verified", retry_after=1.0),
            check_verifying=_verify_pace(runtime),
        ),
        beside=describe(runtime.catalog, runtime.rules.insufficient_credits_status),
    )


def _pace(runtime: Runtime) -> Pace | None:
    rules = runtime.rules
    if not rules.polls_per_second:
        return None
    return Pace("poll", rules.polls_per_second, rules.poll_burst, runtime.clock)


def _verify_pace(runtime: Runtime) -> Callable[[Hashable], Standing] | None:
    per_minute = runtime.rules.verifies_per_minute
    if not per_minute:
        return None
    # A minute's worth may come at once: somebody who looks through a folder.
    return Pace("verify", per_minute / 60, per_minute, runtime.clock).check


def _surface(runtime: Runtime, pace: Pace | None) -> Surface:
    rules = runtime.rules
    return Surface(
        database=runtime.database,
        authenticator=runtime.authenticator,
        catalog=runtime.catalog,
        submitter=runtime.submitter,
        results=runtime.results,
        limits=BodyLimits(total=rules.max_body_bytes, plain=rules.max_plain_body_bytes),
        pace=pace,
        origins=runtime.origins,
    )


class App:
    """Routes between the contract and the rest."""

    def __init__(self, wire: Wire, make_api: Callable[[], ASGIApp]) -> None:
        self._wire = wire
        self._make_api = make_api
        self._making = threading.Lock()
        self._api: ASGIApp | None = None
        self._request_ids = RequestIds()

    async def load(self) -> ASGIApp:
        """Load what is loaded late. Requests go on meanwhile."""
        return await asyncio.to_thread(self._load)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http":
            request_id = self._request_ids.mint()
            if self._wire.owns(scope["path"]):
                await self._wire(scope, receive, send, request_id)
            else:
                scope.setdefault("state", {})["request_id"] = request_id
                api = self._api or await self.load()
                await api(scope, receive, _with_request_id(send, request_id))
        elif scope["type"] == "lifespan":
            await _lifespan(receive, send)

    def _load(self) -> ASGIApp:
        with self._making:
            if self._api is None:
                self._api = self._make_api()
            return self._api


def _with_request_id(send: Send, request_id: RequestId) -> Send:
    async def send_with_id(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
        await send(message)

    return send_with_id


async def _lifespan(receive: Receive, send: Send) -> None:
    """Say yes to both: the runtime is opened and closed around the server, not by it."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
