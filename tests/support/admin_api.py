"""The admin API on a real database, behind a stand-in for the server that gives request ids."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx2
from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from ketchup import credits, tasks
from ketchup.api import ApiDependencies, Places, Waiters, create_api
from ketchup.clock import FrozenClock
from ketchup.config import Settings
from ketchup.credits import Held, HoldRequest
from ketchup.db import Database, Location
from ketchup.generation import Eraser, Results, Wakeup
from ketchup.ids import WorkspaceId, task_id
from ketchup.money import Credits
from ketchup.origins import Origins
from ketchup.pace import Pace
from ketchup.provenance.finisher import Finisher
from ketchup.providers.catalog import catalog_from
from ketchup.storage import DiskStorage
from ketchup.workspaces import Authenticator, Vault, plans_from

TOKEN = "dk-admin_the-token-of-these-tests"
VAULT = Vault(b"p" * 32)
V1 = "/admin/v1"
PROBLEM = "application/problem+json"
REQUEST_ID = "req_7c3b9d423f6f1c0a7b52aaaaaa"
PLANS = plans_from(Settings().plans, "free")
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@dataclass(frozen=True)
class AdminApi:
    """The application, what stands behind it, and a client with the token."""

    app: FastAPI
    location: Location
    database: Database
    authenticator: Authenticator
    clock: FrozenClock
    client: httpx2.AsyncClient

    async def workspace(self, name: str = "acme") -> str:
        answer = await self.client.post("/admin/v1/workspaces", json={"name": name})
        return str(answer.json()["id"])

    async def key(self, workspace: str, **fields: object) -> tuple[str, str]:
        """Make a key; return its id and its secret."""
        where = f"/admin/v1/workspaces/{workspace}/keys"
        made = (await self.client.post(where, json={"name": "ci", **fields})).json()
        return made["id"], made["key"]

    async def hold(self, workspace: str, micros: int) -> None:
        """Hold credits for a task that was never there."""
        now = self.clock.now()
        request = HoldRequest(task_id(now), WorkspaceId(workspace), Credits(micros))
        held = await self.database.write(lambda conn: credits.hold(conn, [request], now))
        assert held == [Held(request.task_id)]

    def stranger(self) -> httpx2.AsyncClient:
        """Return a client without the token."""
        return _client(self.app)


@asynccontextmanager
async def open_admin_api(location: Location) -> AsyncIterator[AdminApi]:
    database, clock = Database(location), FrozenClock()
    authenticator = Authenticator(database, VAULT, clock)
    finisher = Finisher(None)
    catalog, folder = catalog_from(Settings().models), TemporaryDirectory()
    results = Results(DiskStorage(Path(folder.name)), catalog, "http://ketchup")
    app = create_api(
        ApiDependencies(
            database=database,
            authenticator=authenticator,
            vault=VAULT,
            admin_token=TOKEN,
            clock=clock,
            plans=PLANS,
            catalog=catalog,
            results=results,
            eraser=Eraser(database, results, clock),
            ended=Wakeup(),
            due=Wakeup(),
            waiters=Waiters(clock),
            origins=Origins(),
            new_key_seconds=None,
            check_leak_report=Pace("leak-report", 1 / 3, 20, clock).check,
            check_pace=None,
            check_redelivery=Pace("redelivery", 1.0, 20, clock).check,
            look_at=database.read_batcher(tasks.find_summaries),
            waits=Places(1_000, each=20, taken="requests wait"),
            streams=Places(500, each=20, taken="streams are open"),
            stream_waiters=Waiters(clock),
            finisher=finisher,
            verifying=Places(8, each=2, taken="pictures are verified"),
            check_verifying=None,
        )
    )
    try:
        async with _client(app) as client:
            client.headers.update(BEARER)
            yield AdminApi(app, location, database, authenticator, clock, client)
    finally:
        await finisher.close()
        await database.close()
        folder.cleanup()


def _client(app: ASGIApp) -> httpx2.AsyncClient:
    async def with_request_id(scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("state", {})["request_id"] = REQUEST_ID
        await app(scope, receive, send)

    transport = httpx2.ASGITransport(app=with_request_id)
    return httpx2.AsyncClient(transport=transport, base_url="http://ketchup")


def operations(document: Mapping[str, Mapping[str, Mapping[str, object]]]) -> list[tuple[str, str]]:
    """Return every path and method of an OpenAPI document."""
    return [(path, method.upper()) for path, item in document["paths"].items() for method in item]
