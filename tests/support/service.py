"""A whole service in the test's own process: real server, real database, real loopback sockets."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx2

from ketchup.bootstrap import Runtime, open_folder
from ketchup.clock import Clock, SystemClock
from ketchup.config import load
from ketchup.egress import Resolver
from ketchup.providers.base import Provider
from ketchup.service import Service, Started, bind
from tests.support.engines import ScriptedProvider

DEADLINE_SECONDS = 20.0


@dataclass
class RunningService:
    """What a client and an operator of the service know."""

    base_url: str
    key: str
    workspace_id: str
    client: httpx2.AsyncClient
    """Authenticated with the first key."""
    admin: httpx2.AsyncClient
    """Authenticated with the admin token."""
    runtime: Runtime

    async def submit(self, **fields: Any) -> str:  # noqa: ANN401 a test may send anything
        """Create a task and return its id."""
        body = {"model": "google/gempix2", "prompt": "a red boat", **fields}
        answer = await self.client.post("/api/image/gen", json=body)
        assert answer.status_code == 200, answer.text
        task_id: str = answer.json()["data"]["task_id"]
        return task_id

    async def query(self, task_id: str) -> dict[str, Any]:
        """Return `data` of a task."""
        answer = await self.client.get("/api/task/query", params={"task_id": task_id})
        assert answer.status_code == 200, answer.text
        data: dict[str, Any] = answer.json()["data"]
        return data

    async def ended(self, task_id: str) -> dict[str, Any]:
        """Poll until the task is over, and return `data`."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            while True:
                data = await self.query(task_id)
                if data["status"] in {"success", "failed"}:
                    return data
                await asyncio.sleep(0.01)


@asynccontextmanager
async def running_service(
    data: Path,
    *,
    providers: Mapping[str, Provider] | None = None,
    settings: Mapping[str, object] | None = None,
    clock: Clock | None = None,
    database: str | None = None,
    resolver: Resolver | None = None,
) -> AsyncIterator[RunningService]:
    """Run a service on `data`. Loopback is open to egress; the engine is scripted unless given.

    Pictures are stored as the engine gave them unless `provenance.enabled` is set: most tests are
    about something else, and each service would start a child of its own.

    `database` is the URL of one on PostgreSQL; without it, it is the file in the folder.
    """
    flags = {
        "port": 0,
        "data": data,
        "concurrency": 2,
        "egress.failures_last_seconds": 0,
        "egress.allow": "127.0.0.0/8:1-65535,::1/128:1-65535",
        # One address for all tests of a module, and most are about something else.
        "limits.failed_logins_per_minute": 0,
    }
    named = {**flags, "provenance.enabled": False, "database": database, **(settings or {})}
    loaded = load({}, flags=named, folder=data).settings
    engines = {"studio": ScriptedProvider()} if providers is None else providers
    ready: asyncio.Future[Started] = asyncio.get_running_loop().create_future()
    clock = clock or SystemClock()
    with open_folder(loaded) as folder, bind("127.0.0.1", 0) as listener:
        service = Service(loaded, folder, listener, engines, clock=clock, resolver=resolver)
        running = asyncio.create_task(service.run(ready.set_result))
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                started = await _first(ready, running)
            base_url = loaded.local_url(listener.getsockname()[1])
            async with _clients(started, base_url) as (client, admin, key):
                workspace = started.first_start.workspace_id if started.first_start else ""
                yield RunningService(base_url, key, workspace, client, admin, started.runtime)
        finally:
            service.stop()
            async with asyncio.timeout(DEADLINE_SECONDS):
                await running


async def _first(ready: asyncio.Future[Started], running: asyncio.Task[None]) -> Started:
    """Return when the service is ready; raise what ended it when it never was."""

    def ended(task: asyncio.Task[None]) -> None:
        if not ready.done():
            ready.set_exception(task.exception() or EOFError("the service ended at once"))

    running.add_done_callback(ended)
    return await ready


@asynccontextmanager
async def _clients(
    started: Started, base_url: str
) -> AsyncIterator[tuple[httpx2.AsyncClient, httpx2.AsyncClient, str]]:
    key = started.first_start.key if started.first_start else ""
    async with (
        client_of(base_url, key or None) as client,
        client_of(base_url, started.runtime.admin_token) as admin,
    ):
        yield client, admin, key


def client_of(base_url: str, token: str | None) -> httpx2.AsyncClient:
    """Return a client of a service; without a token it sends no `Authorization`."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    return httpx2.AsyncClient(
        base_url=base_url,
        headers=headers,
        trust_env=False,
        verify=_NO_TLS,
        # A busy machine's disk can stand still for seconds. No test waits for this to pass.
        timeout=DEADLINE_SECONDS,
    )


# Loopback is plain HTTP: reading the machine's certificates for each client takes longer than most
# tests.
_NO_TLS: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
