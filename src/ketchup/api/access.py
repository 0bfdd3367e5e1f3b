"""Who may use the admin API: whoever has the admin token, and nobody else.

`AdminRoute` is the class of every admin route, so none can be added without the check. Wrong tokens
are counted by address, together with wrong API keys. It looks at
the token before it reads anything of the body, bounds the body, keeps every answer out of caches,
and logs each change that was made.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any, Final

from fastapi import Request, Response
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive
from typing_extensions import override

from ketchup import telemetry
from ketchup.api.dependencies import dependencies_of
from ketchup.api.problems import NO_STORE, request_id_of
from ketchup.errors import Unauthenticated

MAX_BODY: Final = 64 * 1024

log = telemetry.logger(__name__)

documented_scheme: Final = HTTPBearer(
    scheme_name="AdminToken",
    description="The admin token: `admin.token` in the data folder, or KETCHUP_ADMIN_TOKEN.",
    # Says in the OpenAPI document what `AdminRoute` enforces; decides nothing itself.
    auto_error=False,
)


class BoundedRoute(APIRoute):
    """A route that reads no more of a body than any of ours is long."""

    @override
    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def bounded(request: Request) -> Response:
            response = await handle(Request(request.scope, _bounded(request.receive)))
            response.headers.update(NO_STORE)
            return response

        return bounded


class AdminRoute(BoundedRoute):
    """A route that answers nobody without the admin token."""

    @override
    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            authorize(request)
            response = await handle(request)
            if request.method != "GET":
                _log_change(request)
            return response

        return guarded


def authorize(request: Request) -> None:
    """Raise Unauthenticated unless exactly one `Authorization` header carries the admin token."""
    headers = [value for name, value in request.scope["headers"] if name == b"authorization"]
    api = dependencies_of(request)
    token = api.admin_token.encode()
    if len(headers) != 1 or not _carries(headers[0], token):
        caller = api.origins.of(request.scope)
        log.warning("admin token refused", request_id=request_id_of(request.scope), client=caller)
        api.authenticator.refuse(caller)
        raise Unauthenticated("the admin token is missing or wrong")


def _carries(header: bytes, token: bytes) -> bool:
    scheme, _, given = header.partition(b" ")
    # Digests are of one length, so the comparison takes the same time whatever was given.
    same = hmac.compare_digest(hashlib.sha256(given).digest(), hashlib.sha256(token).digest())
    return scheme.lower() == b"bearer" and same


def _bounded(receive: Receive) -> Receive:
    """Stop reading a body once it is over the limit."""
    received = 0

    async def bounded() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > MAX_BODY:
            # The one exception that FastAPI lets through while it reads a body.
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        return message

    return bounded


def _log_change(request: Request) -> None:
    log.info(
        "changed by the admin",
        request_id=request_id_of(request.scope),
        method=request.method,
        path=request.scope["path"],
    )
