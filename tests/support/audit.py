"""The product's own judgement of its books, and whether anything is still open in them."""

from __future__ import annotations

import asyncio

import httpx2

_WORKSPACES = "/admin/v1/workspaces"


async def nothing_held(admin: httpx2.AsyncClient, seconds: float) -> None:
    """Wait until no workspace has an open task; every look at the books must find them in order.

    Tasks whose acknowledgement was lost end too, and nobody else would notice.
    """
    async with asyncio.timeout(seconds):
        workspaces = (await admin.get(_WORKSPACES)).json()["items"]
        for workspace in workspaces:
            while float(await _held(admin, workspace["id"])):
                await asyncio.sleep(0.05)


async def audited(admin: httpx2.AsyncClient) -> None:
    """The books of every workspace must be in order, and nothing may be held."""
    for workspace in (await admin.get(_WORKSPACES)).json()["items"]:
        assert float(await _held(admin, workspace["id"])) == 0


async def _held(admin: httpx2.AsyncClient, workspace_id: str) -> str:
    audit = (await admin.get(f"{_WORKSPACES}/{workspace_id}/audit")).json()
    assert audit["consistent"] is True, audit
    held: str = audit["held"]
    return held
