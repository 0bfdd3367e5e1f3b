"""Customers of a running service: each with a workspace, credits and a key of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.support.service import RunningService, client_of


@asynccontextmanager
async def customer(
    service: RunningService, *, credit: str = "100", plan: str = "scale", **key: object
) -> AsyncIterator[RunningService]:
    """Return the service as a new workspace sees it. `key` is how its key is limited."""
    workspace = await admin(service, "/workspaces", {"name": "a customer", "plan": plan})
    if credit != "0":
        await admin(service, f"/workspaces/{workspace['id']}/credits", {"amount": credit})
    made = await admin(service, f"/workspaces/{workspace['id']}/keys", {"name": "a key", **key})
    async with client_of(service.base_url, made["key"]) as client:
        yield dataclasses.replace(
            service, key=made["key"], workspace_id=workspace["id"], client=client
        )


async def admin(service: RunningService, path: str, body: dict[str, object]) -> dict[str, Any]:
    """Post to the admin API and return its answer."""
    answer = await service.admin.post(f"/admin/v1{path}", json=body)
    assert answer.is_success, answer.text
    made: dict[str, Any] = answer.json()
    return made
