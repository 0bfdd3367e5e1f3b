"""The operators' API: workspaces, their plans, keys, webhook secrets and credits.

Each handler is one transaction. Where something must exist, it is looked up in the transaction that
changes it. What stops a key from working is forgotten by the authenticator after the commit, so
that it holds on this node at once; other nodes follow within half a second.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Path, Security

from ketchup import credits, generation, workspaces
from ketchup.api.access import AdminRoute, documented_scheme
from ketchup.api.dependencies import ApiDependencies, Dependencies
from ketchup.api.problems import DOCUMENTED
from ketchup.api.shapes import (
    AccountView,
    AuditView,
    CreatedKey,
    Grant,
    KeyList,
    KeyRotation,
    KeyView,
    NewKeyRequest,
    NewWorkspace,
    PlanList,
    PlanView,
    ProviderKeyList,
    ProviderKeyRequest,
    ProviderKeyView,
    Rotation,
    WebhookSecret,
    WorkspaceChange,
    WorkspaceList,
    WorkspaceView,
)
from ketchup.clock import Micros, after
from ketchup.credits import Account
from ketchup.db import Connection
from ketchup.errors import InvalidRequest, NotFound
from ketchup.ids import KeyId, WorkspaceId, could_be_an_id
from ketchup.money import Credits
from ketchup.workspaces import NewKey, Overlap, Workspace

routes: Final = APIRouter(
    prefix="/admin/v1",
    route_class=AdminRoute,
    dependencies=[Security(documented_scheme)],
    responses=DOCUMENTED,
)
_WORKSPACE: Final = "/workspaces/{workspace_id}"
_HOUR: Final = 3600.0
_PROVIDER: Final = re.compile(r"[A-Za-z0-9._-]{1,100}", re.ASCII)
_DEFAULT_ROTATION: Final = Rotation()
_DEFAULT_KEY_ROTATION: Final = KeyRotation()


async def _workspace_id(workspace_id: Annotated[str, Path()]) -> WorkspaceId:
    if not could_be_an_id(workspace_id):
        raise NotFound("workspace not found")
    return WorkspaceId(workspace_id)


async def _key_id(key_id: Annotated[str, Path()]) -> KeyId:
    if not could_be_an_id(key_id):
        raise NotFound("key not found")
    return KeyId(key_id)


async def _provider(name: Annotated[str, Path()]) -> str:
    if _PROVIDER.fullmatch(name) is None:
        raise NotFound("a provider's name has letters, digits and . _ -, 100 at most")
    return name


OfProvider = Annotated[str, Depends(_provider)]
InWorkspace = Annotated[WorkspaceId, Depends(_workspace_id)]
OfKey = Annotated[KeyId, Depends(_key_id)]


@routes.post("/workspaces", status_code=HTTPStatus.CREATED, tags=["workspaces"])
async def create_workspace(body: NewWorkspace, api: Dependencies) -> WorkspaceView:
    """Create an active workspace without credits."""
    plan = api.plans.default if body.plan is None else api.plans.get(body.plan)

    def work(conn: Connection) -> Workspace:
        now = api.clock.now()
        made = workspaces.create(conn, body.name, plan.name, now)
        workspaces.rotate_webhook_secret(conn, api.vault, made.id, 0, now)
        return made

    return WorkspaceView.showing(await api.database.write(work), plan, _NOTHING)


@routes.get("/workspaces", tags=["workspaces"])
async def list_workspaces(api: Dependencies) -> WorkspaceList:
    """List every workspace with what it has, oldest first."""

    def work(conn: Connection) -> WorkspaceList:
        accounts = credits.list_accounts(conn)
        return WorkspaceList(
            items=[
                WorkspaceView.showing(
                    workspace,
                    api.plans.find(workspace.plan),
                    accounts.get(workspace.id, _NOTHING),
                )
                for workspace in workspaces.list_all(conn)
            ]
        )

    return await api.database.read(work)


@routes.get(_WORKSPACE, tags=["workspaces"])
async def get_workspace(workspace_id: InWorkspace, api: Dependencies) -> WorkspaceView:
    """Show a workspace with what it has."""

    def work(conn: Connection) -> WorkspaceView:
        return _view(conn, api, workspace_id)

    return await api.database.read(work)


@routes.patch(_WORKSPACE, tags=["workspaces"])
async def change_workspace(
    workspace_id: InWorkspace, body: WorkspaceChange, api: Dependencies
) -> WorkspaceView:
    """Suspend a workspace or make it active again, give it another plan, or both, at once.

    The keys of a suspended workspace stop. Another plan holds for the images that are there, too.
    """
    if body.status is None and body.plan is None:
        raise InvalidRequest("status, plan or both are required")

    def work(conn: Connection) -> WorkspaceView:
        if body.status is not None:
            workspaces.set_status(conn, workspace_id, body.status)
        if body.plan is not None:
            generation.set_plan(conn, api.plans, workspace_id, body.plan)
        return _view(conn, api, workspace_id)

    changed = await api.database.write(work)
    api.authenticator.forget_all()
    return changed


@routes.get("/plans", tags=["workspaces"])
async def list_plans(api: Dependencies) -> PlanList:
    """List every plan of the settings."""
    default = api.plans.default
    return PlanList(items=[PlanView.showing(p, default=p is default) for p in api.plans])


@routes.post(_WORKSPACE + "/keys", status_code=HTTPStatus.CREATED, tags=["keys"])
async def create_key(
    workspace_id: InWorkspace, body: NewKeyRequest, api: Dependencies
) -> CreatedKey:
    """Create an API key. The answer is the only place where it is ever shown."""

    def work(conn: Connection) -> CreatedKey:
        now = api.clock.now()
        new = _new_key(body, api, now)
        pepper = api.vault.pepper(conn)
        created, secret = workspaces.create_key(conn, pepper, workspace_id, new, now)
        return CreatedKey.showing(created, secret)

    return await api.database.write(work)


@routes.get(_WORKSPACE + "/keys", tags=["keys"])
async def list_keys(workspace_id: InWorkspace, api: Dependencies) -> KeyList:
    """List a workspace's keys without their secrets, oldest first, revoked ones too."""

    def work(conn: Connection) -> KeyList:
        return KeyList(items=[KeyView.of(k) for k in workspaces.list_keys(conn, workspace_id)])

    return await api.database.read(work)


@routes.delete("/keys/{key_id}", status_code=HTTPStatus.NO_CONTENT, tags=["keys"])
async def revoke_key(key_id: OfKey, api: Dependencies) -> None:
    """Revoke a key for good. It stops at once; revoking it again changes nothing."""

    def work(conn: Connection) -> None:
        workspaces.revoke_key(conn, key_id, api.clock.now())

    await api.database.write(work)
    api.authenticator.forget_all()


@routes.post("/keys/{key_id}/rotate", status_code=HTTPStatus.CREATED, tags=["keys"])
async def rotate_key(
    key_id: OfKey, api: Dependencies, body: KeyRotation = _DEFAULT_KEY_ROTATION
) -> CreatedKey:
    """Create the successor of a key, with the same rights, networks and caps.

    The key goes on working until the overlap is over. One that does not work, or was replaced
    already, answers 409.
    """

    def work(conn: Connection) -> CreatedKey:
        now, overlap = api.clock.now(), Overlap(body.overlap_hours)
        pepper = api.vault.pepper(conn)
        return CreatedKey.showing(*workspaces.rotate_key(conn, pepper, key_id, overlap, now))

    successor = await api.database.write(work)
    api.authenticator.forget_all()
    return successor


@routes.get(_WORKSPACE + "/webhook-secret", tags=["webhooks"])
async def get_webhook_secret(workspace_id: InWorkspace, api: Dependencies) -> WebhookSecret:
    """Show the secret that signs the workspace's webhooks."""

    def work(conn: Connection) -> str:
        return workspaces.webhook_secrets(conn, api.vault, workspace_id, api.clock.now())[0]

    return WebhookSecret(secret=await api.database.read(work))


@routes.post(_WORKSPACE + "/webhook-secret/rotate", tags=["webhooks"])
async def rotate_webhook_secret(
    workspace_id: InWorkspace, api: Dependencies, body: Rotation = _DEFAULT_ROTATION
) -> WebhookSecret:
    """Replace the webhook secret. Both sign until the overlap is over."""

    def work(conn: Connection) -> str:
        now = api.clock.now()
        overlap = body.overlap_hours * _HOUR
        return workspaces.rotate_webhook_secret(
            conn, api.vault, workspace_id, overlap, now, secret=body.secret
        )

    return WebhookSecret(secret=await api.database.write(work))


@routes.post(_WORKSPACE + "/credits", tags=["credits"])
async def grant_credits(workspace_id: InWorkspace, body: Grant, api: Dependencies) -> AccountView:
    """Give credits, or take back what is still available when the amount is negative.

    Every call is a new entry in the ledger: sent twice, it counts twice.
    """

    def work(conn: Connection) -> Account:
        workspaces.get(conn, workspace_id)
        return credits.grant(conn, workspace_id, body.amount, body.note, api.clock.now())

    return AccountView.of(await api.database.write(work))


@routes.get("/provider-keys", tags=["provider keys"])
async def list_provider_keys(api: Dependencies) -> ProviderKeyList:
    """List the providers' keys that the database keeps, without the keys."""

    def work(conn: Connection) -> ProviderKeyList:
        found = workspaces.list_provider_keys(conn)
        return ProviderKeyList(
            items=[ProviderKeyView.model_validate(one, from_attributes=True) for one in found]
        )

    return await api.database.read(work)


@routes.put("/provider-keys/{name}", tags=["provider keys"])
async def set_provider_key(
    name: OfProvider, body: ProviderKeyRequest, api: Dependencies
) -> ProviderKeyView:
    """Keep a provider's key, sealed, for all processes: `gemini`, `openai`, or a channel's name.

    A process takes it up when it starts. A key of the settings comes first.
    """

    def work(conn: Connection) -> ProviderKeyView:
        kept = workspaces.set_provider_key(conn, api.vault, name, body.key, api.clock.now())
        return ProviderKeyView.model_validate(kept, from_attributes=True)

    return await api.database.write(work)


@routes.delete("/provider-keys/{name}", status_code=HTTPStatus.NO_CONTENT, tags=["provider keys"])
async def remove_provider_key(name: OfProvider, api: Dependencies) -> None:
    """Forget a provider's key. A process that runs keeps it until it ends."""
    if not await api.database.write(lambda conn: workspaces.remove_provider_key(conn, name)):
        raise NotFound("provider key not found")


@routes.get(_WORKSPACE + "/audit", tags=["credits"])
async def audit_credits(workspace_id: InWorkspace, api: Dependencies) -> AuditView:
    """Compare what the workspace has with its entries and open holds."""

    def work(conn: Connection) -> AuditView:
        workspaces.get(conn, workspace_id)
        return AuditView.showing(credits.audit(conn, workspace_id))

    return await api.database.read(work)


def _new_key(body: NewKeyRequest, api: ApiDependencies, now: Micros) -> NewKey:
    expires_at = body.expires_at
    if "expires_at" not in body.model_fields_set and api.new_key_seconds is not None:
        expires_at = after(now, api.new_key_seconds)
    return NewKey(
        name=body.name,
        environment=body.environment,
        expires_at=expires_at,
        scopes=None if body.scopes is None else tuple(dict.fromkeys(body.scopes)),
        models=None if body.models is None else tuple(dict.fromkeys(body.models)),
        networks=None if body.networks is None else tuple(body.networks),
        day_cap=body.day_cap,
        month_cap=body.month_cap,
    )


def _view(conn: Connection, api: ApiDependencies, workspace_id: WorkspaceId) -> WorkspaceView:
    workspace = workspaces.get(conn, workspace_id)
    account = credits.find_account(conn, workspace_id)
    return WorkspaceView.showing(workspace, api.plans.find(workspace.plan), account)


_NOTHING: Final = Account(Credits(0), Credits(0))
