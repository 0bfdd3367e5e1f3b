"""The contract's surface as one ASGI callable: `/api/…` and the images under `/fileSystem/…`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from ketchup import telemetry
from ketchup.errors import KetchupError, Unavailable
from ketchup.ids import RequestId
from ketchup.wire.body import Disconnected
from ketchup.wire.endpoints import Endpoints, Surface
from ketchup.wire.envelope import (
    INTERNAL_ERROR,
    NOT_FOUND,
    Dialect,
    Message,
    Receive,
    Reply,
    Scope,
    Send,
    error_reply,
    not_allowed,
    respond,
)
from ketchup.wire.files import ImageFiles

log = telemetry.logger(__name__)
Handler = Callable[[Scope, Receive, RequestId], Awaitable[Reply]]

API: Final = "/api/"
FILES: Final = "/fileSystem/"
_FILE_DIALECT: Final = Dialect(401)


class Wire:
    """Answers every path under `/api/` and `/fileSystem/`, always in the envelope."""

    def __init__(
        self, surface: Surface, files: ImageFiles, insufficient_credits_status: int
    ) -> None:
        endpoints = Endpoints(surface)
        creates = Dialect(1, insufficient_credits_status)
        others = Dialect(401, insufficient_credits_status)
        self._files = files
        self._routes: dict[str, tuple[str, Handler, Dialect]] = {
            "/api/image/gen": ("POST", endpoints.create, creates),
            "/api/task/query": ("GET", endpoints.query, others),
            "/api/user": ("GET", endpoints.user, others),
        }

    def owns(self, path: str) -> bool:
        """Whether a path belongs to the contract."""
        return path in self._routes or path.startswith((API, FILES))

    async def __call__(
        self, scope: Scope, receive: Receive, send: Send, request_id: RequestId
    ) -> None:
        """Answer one request."""
        path: str = scope["path"]
        route = self._routes.get(path)
        if route is not None:
            await respond(send, await self._reply(route, scope, receive, request_id), request_id)
        elif path.startswith(FILES):
            await self._serve_file(scope, send, request_id)
        else:
            await respond(send, Reply(404, NOT_FOUND), request_id)

    async def _serve_file(self, scope: Scope, send: Send, request_id: RequestId) -> None:
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._files.respond(scope, watched, request_id)
        except Exception as error:
            if started:
                # Half an answer cannot be taken back: the server closes the connection.
                raise
            reply = _reply_to(error, _FILE_DIALECT, scope, request_id)
            await respond(send, reply, request_id)

    async def _reply(
        self,
        route: tuple[str, Handler, Dialect],
        scope: Scope,
        receive: Receive,
        request_id: RequestId,
    ) -> Reply:
        method, handler, dialect = route
        if scope["method"] != method:
            return not_allowed([method])
        try:
            return await handler(scope, receive, request_id)
        except Disconnected:
            # The server drops it: nobody is there to read.
            return Reply(400, INTERNAL_ERROR)
        except Exception as error:  # noqa: BLE001 the top of a request: what is unexpected is logged
            return _reply_to(error, dialect, scope, request_id)


def _reply_to(error: Exception, dialect: Dialect, scope: Scope, request_id: RequestId) -> Reply:
    if isinstance(error, KetchupError):
        _tell(error, scope, request_id)
        return error_reply(error, dialect)
    log.error("request crashed", exc_info=error, request_id=request_id, path=scope["path"])
    return Reply(500, INTERNAL_ERROR)


def _tell(error: KetchupError, scope: Scope, request_id: RequestId) -> None:
    level = log.warning if isinstance(error, Unavailable) else log.info
    level(
        "request refused",
        request_id=request_id,
        path=scope["path"],
        kind=type(error).__name__,
        detail=str(error),
    )
