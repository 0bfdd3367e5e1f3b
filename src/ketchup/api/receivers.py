"""A workspace's receivers: how they do, a test for one, and the secret that they check."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final, Self

from fastapi import APIRouter, Security
from pydantic import BaseModel, Field

from ketchup import db, webhooks, workspaces
from ketchup.api.deliveries import DeliveryView
from ketchup.api.dependencies import Dependencies
from ketchup.api.keys import CustomerRoute, TaskReader, WebhookManager, documented_scheme
from ketchup.api.problems import DOCUMENTED, documented
from ketchup.api.shapes import OriginChoice, ReceiverTest, Rotation, TimeOut, WebhookSecret
from ketchup.db import Connection
from ketchup.egress import BadUrl, check_url
from ketchup.errors import Forbidden, InvalidRequest, NotFound
from ketchup.ids import delivery_id, task_id
from ketchup.money import Credits
from ketchup.webhooks import NewDelivery, Reason, Shown, ShownDestination
from ketchup.workspaces import Caller, Environment

routes: Final = APIRouter(
    prefix="/v1/webhooks",
    route_class=CustomerRoute,
    dependencies=[Security(documented_scheme)],
    responses=DOCUMENTED,
)
_HOUR: Final = 3600.0
_DEFAULT_ROTATION: Final = Rotation()
_TOLD: Final = "This is a test delivery: there is no such task."


class DestinationView(BaseModel):
    """A receiver that fails, or is disabled. One that is not listed answers, or was never asked."""

    origin: str
    failures: int = Field(description="Since its last success.")
    failing_since: TimeOut | None = Field(
        description="Since when 120 hours run, after which it is disabled; null before."
    )
    last_failure_at: TimeOut
    disabled_at: TimeOut | None
    reason: Reason | None = Field(description="Why it is disabled; `gone` is an answer of 410.")

    @classmethod
    def of(cls, one: ShownDestination) -> Self:
        """Show a destination."""
        return cls.model_validate(one, from_attributes=True)


class DestinationList(BaseModel):
    """The receivers that fail, the disabled ones first; 100 at most."""

    items: list[DestinationView]


@routes.get("/destinations", tags=["webhooks"])
async def list_destinations(caller: TaskReader, api: Dependencies) -> DestinationList:
    """List the receivers that fail or are disabled, each by its origin.

    A receiver is disabled when it has only failed for 120 hours, or answered 410. Its callbacks are
    then kept as deliveries of the state `disabled`, and are not sent. `redeliver` sends one once
    the receiver is enabled again.
    """

    def work(conn: Connection) -> DestinationList:
        found = webhooks.list_destinations(conn, caller.workspace_id)
        return DestinationList(items=[DestinationView.of(one) for one in found])

    return await api.database.read(work)


@routes.post(
    "/destinations/enable",
    tags=["webhooks"],
    status_code=HTTPStatus.NO_CONTENT,
    responses=documented({HTTPStatus.NOT_FOUND: "No such receiver fails in this workspace."}),
)
async def enable_destination(body: OriginChoice, caller: WebhookManager, api: Dependencies) -> None:
    """Send callbacks to a receiver again, from now on. What it did before is forgotten."""

    def work(conn: Connection) -> bool:
        return webhooks.enable(conn, caller.workspace_id, db.storable(body.origin))

    if not await api.database.write(work):
        raise NotFound("destination not found")


@routes.post(
    "/test",
    tags=["webhooks"],
    status_code=HTTPStatus.ACCEPTED,
    responses=documented({HTTPStatus.TOO_MANY_REQUESTS: "Too many are sent again, or tested."}),
)
async def test_receiver(
    body: ReceiverTest, caller: WebhookManager, api: Dependencies
) -> DeliveryView:
    """Send one signed callback about a task that does not exist, as any other is sent.

    It is tried once. `GET /v1/deliveries` with its `task_id` says what came of it, as far as it
    says that of any callback. Its success enables a receiver that was disabled.
    """
    try:
        check_url(body.url)
    except BadUrl as error:
        raise InvalidRequest("url must be an http or https URL") from error
    api.check_redelivery(caller.workspace_id)
    task = task_id(api.clock.now())
    message = webhooks.callback_body(task, "failed", None, Credits(0), _TOLD)

    def work(conn: Connection) -> Shown:
        new = NewDelivery(task, caller.workspace_id, body.url, message)
        webhooks.enqueue_test(conn, new, db.now(conn, api.clock))
        found = webhooks.find(conn, caller.workspace_id, delivery_id(task))
        if found is None:
            raise LookupError("it was made in this transaction")
        return found

    found = await api.database.write(work)
    api.due()
    return DeliveryView.of(found)


@routes.post("/secret/rotate", tags=["webhooks"])
async def rotate_secret(
    caller: WebhookManager, api: Dependencies, body: Rotation = _DEFAULT_ROTATION
) -> WebhookSecret:
    """Replace the secret that signs the workspace's callbacks. Both sign until the overlap is over.

    The answer is the only place where it is shown. A key for tests may not do this.
    """
    _check_is_live(caller)

    def work(conn: Connection) -> str:
        now, overlap = api.clock.now(), body.overlap_hours * _HOUR
        return workspaces.rotate_webhook_secret(
            conn, api.vault, caller.workspace_id, overlap, now, secret=body.secret
        )

    return WebhookSecret(secret=await api.database.write(work))


def _check_is_live(caller: Caller) -> None:
    # Such keys lie in test suites and their logs.
    if caller.environment is Environment.TEST:
        raise Forbidden("a test key cannot replace the secret of live callbacks")
