"""A workspace's callbacks: what became of each, and one sent again."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Annotated, Final, Self, assert_never

from fastapi import APIRouter, Path, Query, Request, Security
from pydantic import BaseModel, Field

from ketchup import db, webhooks
from ketchup.api.customers import check_may_change
from ketchup.api.dependencies import Dependencies
from ketchup.api.keys import CustomerRoute, TaskReader, TaskWriter, documented_scheme, tell_limit
from ketchup.api.problems import DOCUMENTED, documented
from ketchup.api.shapes import DeliveryFilter, TimeOut
from ketchup.db import Connection
from ketchup.errors import Conflict, Gone, NotFound, RateLimited
from ketchup.ids import could_be_an_id
from ketchup.webhooks import DeliveryState, Redelivery, Shown, Wanted

routes: Final = APIRouter(
    prefix="/v1",
    route_class=CustomerRoute,
    dependencies=[Security(documented_scheme)],
    responses=DOCUMENTED,
)

_NO_DELIVERY: Final = "delivery not found"
_LINKS: Final = {
    "redeliver": {
        "operationId": "redeliver",
        "description": "Send the newest one again.",
        "parameters": {"delivery_id": "$response.body#/items/0/id"},
    }
}
DeliveryIdIn = Annotated[str, Path(description="What came as `webhook-id`.")]


class DeliveryAttempt(BaseModel):
    """One attempt to bring a callback: the status that was answered, or why there was none."""

    number: int = Field(description="Grows, and can leave numbers out.")
    started_at: TimeOut
    status_code: int | None
    error: str | None


class DeliveryView(BaseModel):
    """A callback that is or was owed, and the attempts to bring it."""

    id: str = Field(description="What every attempt sends as `webhook-id`.")
    task_id: str
    url: str
    state: DeliveryState
    created_at: TimeOut
    next_at: TimeOut | None = Field(description="When it is tried next, while it waits for that.")
    finished_at: TimeOut | None
    is_test: bool
    attempts: list[DeliveryAttempt] = Field(description="The newest 20, oldest first.")

    @classmethod
    def of(cls, one: Shown) -> Self:
        """Show a delivery."""
        return cls.model_validate(one, from_attributes=True)


class DeliveryPage(BaseModel):
    """Some callbacks, newest first. It may have fewer than `limit` while others follow."""

    items: list[DeliveryView]
    next: str | None = Field(description="Give it as `before` for the next page; null at the end.")

    @classmethod
    def of(cls, found: Sequence[Shown], following: str | None) -> Self:
        """Show a page."""
        return cls(items=[DeliveryView.of(one) for one in found], next=following)


@routes.get("/deliveries", tags=["deliveries"], responses={HTTPStatus.OK.value: {"links": _LINKS}})
async def list_deliveries(
    asked: Annotated[DeliveryFilter, Query()], caller: TaskReader, api: Dependencies
) -> DeliveryPage:
    """List the workspace's callbacks, newest first, each with its newest attempts.

    A filter that leaves much out can end a page early: go on as long as `next` is not null.
    """
    wanted = Wanted(asked.limit, asked.before, asked.task_id, asked.state)

    def work(conn: Connection) -> DeliveryPage:
        page = webhooks.list_page(conn, caller.workspace_id, wanted)
        return DeliveryPage.of(page.deliveries, page.following)

    return await api.database.read(work)


@routes.post(
    "/deliveries/{delivery_id}/redeliver",
    tags=["deliveries"],
    status_code=HTTPStatus.ACCEPTED,
    responses=documented(
        {
            HTTPStatus.NOT_FOUND: "No such callback in this workspace.",
            HTTPStatus.CONFLICT: "It is still owed, tried too often, or its receiver disabled.",
            HTTPStatus.GONE: "Its task was deleted.",
            HTTPStatus.TOO_MANY_REQUESTS: "It has just ended, or too many are sent again.",
        }
    ),
)
async def redeliver(
    delivery_id: DeliveryIdIn, caller: TaskWriter, api: Dependencies, request: Request
) -> DeliveryView:
    """Send a callback once more that was delivered or given up: the same id and the same bytes.

    It is tried like a new one. One that is still owed, was tried a hundred times, or whose receiver
    is disabled answers 409, and one whose task was deleted 410.
    """
    if not could_be_an_id(delivery_id):
        raise NotFound(_NO_DELIVERY)
    tell_limit(request, api.check_redelivery(caller.workspace_id))
    owed = await api.database.read(
        lambda conn: webhooks.find(conn, caller.workspace_id, delivery_id)
    )
    if owed is not None:
        await check_may_change(caller, api, owed.task_id)

    def work(conn: Connection) -> Shown:
        now = db.now(conn, api.clock)
        _owed(webhooks.redeliver(conn, caller.workspace_id, delivery_id, now))
        found = webhooks.find(conn, caller.workspace_id, delivery_id)
        if found is None:
            raise NotFound(_NO_DELIVERY)
        return found

    found = await api.database.write(work)
    api.due()
    return DeliveryView.of(found)


def _owed(outcome: Redelivery) -> None:
    match outcome:
        case Redelivery.OWED:
            return
        case Redelivery.ABSENT:
            raise NotFound(_NO_DELIVERY)
        case Redelivery.OPEN:
            raise Conflict("the callback is still owed")
        case Redelivery.WORN:
            raise Conflict("the callback was tried too often to be sent again")
        case Redelivery.DISABLED:
            raise Conflict("the receiver is disabled: enable it first, or test it with success")
        case Redelivery.EMPTY:
            raise Gone("the task of the callback was deleted")
        case Redelivery.RESTING:
            raise RateLimited("the callback has just ended", retry_after=webhooks.REST_SECONDS)
        case _:
            assert_never(outcome)
