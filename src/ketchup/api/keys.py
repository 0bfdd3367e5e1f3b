"""Who may use the customers' API: whoever has a good API key with the scope that a route names.

`CustomerRoute` is the class of every route of customers, so none can be added without the check of
the key. It looks at the key before it reads anything else, and keeps every answer out of caches.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from typing import Annotated, Any, Final, cast

from fastapi import Depends, Request, Response
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from typing_extensions import override

from ketchup.api.dependencies import dependencies_of
from ketchup.api.problems import NO_STORE
from ketchup.errors import Forbidden
from ketchup.pace import Header, Standing
from ketchup.workspaces import Caller, Scope

documented_scheme: Final = HTTPBearer(
    # The contract's own scheme: there is one kind of key.
    scheme_name="ApiKey",
    bearerFormat="dk-",
    description="An API key, such as a workspace's owner creates.",
    # Says in the OpenAPI document what `CustomerRoute` enforces; decides nothing itself.
    auto_error=False,
)


class CustomerRoute(APIRoute):
    """A route that answers nobody without a good API key."""

    @override
    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            headers = [value for name, value in request.scope["headers"] if name == _AUTHORIZATION]
            api = dependencies_of(request)
            request.state.caller = await api.authenticator.authenticate(
                headers, api.origins.of, request.scope
            )
            response = await handle(request)
            response.headers.update(NO_STORE)
            response.raw_headers.extend(_limits_of(request))
            return response

        return guarded


def tell_limit(request: Request, standing: Standing) -> None:
    """Let the answer say where the caller stands in a limit. A refusal says it by itself."""
    request.state.limits = standing.headers()


def _limits_of(request: Request) -> Iterable[Header]:
    return cast("Iterable[Header]", getattr(request.state, "limits", ()))


def _with(scope: Scope) -> Callable[[Request], Coroutine[Any, Any, Caller]]:
    async def caller(request: Request) -> Caller:
        found = caller_of(request)
        if not found.may(scope):
            raise Forbidden(f"the API key lacks the scope {scope}")
        return found

    return caller


def caller_of(request: Request) -> Caller:
    """Return whose key `CustomerRoute` has found good."""
    return cast("Caller", request.state.caller)


async def _anybody(request: Request) -> Caller:
    return caller_of(request)


_AUTHORIZATION: Final = b"authorization"

AnyCaller = Annotated[Caller, Depends(_anybody)]
TaskReader = Annotated[Caller, Depends(_with(Scope.READ_TASKS))]
UsageReader = Annotated[Caller, Depends(_with(Scope.READ_USAGE))]
TaskWriter = Annotated[Caller, Depends(_with(Scope.WRITE_TASKS))]
WebhookManager = Annotated[Caller, Depends(_with(Scope.MANAGE_WEBHOOKS))]
