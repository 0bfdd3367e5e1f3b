"""Customers of a running service: each with a workspace, credits and a key of its own."""

from __future__ import annotations

import asyncio
import dataclasses
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx2

from ketchup.providers.base import GeneratedImage, ImageRequest, Progress
from tests.support.engines import ScriptedProvider
from tests.support.service import RunningService


@asynccontextmanager
async def customer(
    service: RunningService, *, credit: str = "100", **key: object
) -> AsyncIterator[RunningService]:
    """Return the service as a new workspace sees it. `key` is how its key is limited."""
    workspace = await admin(service, "/workspaces", {"name": "a customer"})
    if credit != "0":
        await admin(service, f"/workspaces/{workspace['id']}/credits", {"amount": credit})
    made = await admin(service, f"/workspaces/{workspace['id']}/keys", {"name": "a key", **key})
    async with client_of(service, made["key"]) as client:
        yield dataclasses.replace(
            service, key=made["key"], workspace_id=workspace["id"], client=client
        )


def client_of(service: RunningService, key: str | None) -> httpx2.AsyncClient:
    """Return a client of the service; without a key it sends no `Authorization`."""
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    return httpx2.AsyncClient(
        base_url=service.base_url, headers=headers, trust_env=False, verify=_NO_TLS
    )


# Loopback is plain HTTP: reading the machine's certificates for each client takes longer than most
# tests.
_NO_TLS: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


async def admin(service: RunningService, path: str, body: dict[str, object]) -> dict[str, Any]:
    """Post to the admin API and return its answer."""
    answer = await service.admin.post(f"/admin/v1{path}", json=body)
    assert answer.is_success, answer.text
    made: dict[str, Any] = answer.json()
    return made


class PromptedProvider:
    """An engine that many tests share: each scripts what becomes of its own prompts."""

    def __init__(self) -> None:
        self._plain = ScriptedProvider()
        self._scripts: dict[str, ScriptedProvider] = {}

    def script(
        self, prompt: str, *steps: Exception | asyncio.Event | int | bytes
    ) -> ScriptedProvider:
        """Decide what happens to a prompt, and return who will have seen its requests."""
        self._scripts[prompt] = ScriptedProvider(*steps)
        return self._scripts[prompt]

    async def generate(
        self, request: ImageRequest, *, progress: Progress, cancelled: asyncio.Event
    ) -> Sequence[GeneratedImage]:
        engine = self._scripts.get(request.prompt, self._plain)
        return await engine.generate(request, progress=progress, cancelled=cancelled)

    async def close(self) -> None:
        pass
