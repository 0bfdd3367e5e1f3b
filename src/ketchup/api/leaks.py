"""`POST /v1/keys/report-leak`: whoever has found an API key can end it, and learns nothing by it.

There is no authentication but the key itself: who has it could do worse with it than revoke it. The
answer is the same whatever was sent. Scanners of code send what the key's form and checksum let
them recognise.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from ketchup import telemetry, workspaces
from ketchup.api.access import BoundedRoute
from ketchup.api.dependencies import Dependencies
from ketchup.api.problems import DOCUMENTED, documented, request_id_of
from ketchup.db import Connection
from ketchup.ids import KeyId
from ketchup.origins import kept, neighbours

log = telemetry.logger(__name__)

routes: Final = APIRouter(
    prefix="/v1/keys", tags=["keys"], route_class=BoundedRoute, responses=DOCUMENTED
)


class LeakReport(BaseModel):
    """A key that was found where it should not be."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: str = Field(max_length=256, repr=False)


@routes.post(
    "/report-leak",
    status_code=HTTPStatus.NO_CONTENT,
    responses=documented({HTTPStatus.TOO_MANY_REQUESTS: "Too many reports from this address."}),
    openapi_extra={"security": []},
)
async def report_leak(
    body: LeakReport, request: Request, response: Response, api: Dependencies
) -> None:
    """Revoke an API key that was found in public, for good and at once.

    It needs no authentication, and answers the same whether or not it was a key that worked.
    """
    address = api.origins.of(request.scope)
    # Before the key is looked at: everything counts.
    standing = api.check_leak_report(neighbours(address))
    for name, value in standing.headers():
        response.headers[name.decode()] = value.decode()

    def work(conn: Connection) -> KeyId | None:
        return workspaces.revoke_leaked(
            conn, api.vault.look_again(conn).peppers(), body.key, api.clock.now()
        )

    revoked = await api.database.write(work)
    if revoked is not None:
        api.authenticator.forget_all()
        log.warning(
            "a key was reported as leaked and is revoked",
            key_id=revoked,
            reported_from=kept(address),
            request_id=request_id_of(request.scope),
        )
