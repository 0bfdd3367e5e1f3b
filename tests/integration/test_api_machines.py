"""What machines read: health, readiness and the OpenAPI document."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import Connection, text

from ketchup.api.health import Readiness
from ketchup.db import Location
from tests.support.admin_api import PROBLEM, AdminApi, open_admin_api, operations
from tests.support.database import open_engine
from tests.support.refusals import only_reading


@pytest.fixture
async def api(location: Location) -> AsyncIterator[AdminApi]:
    async with open_admin_api(location) as opened:
        yield opened


async def test_alive_and_ready_need_no_token(api: AdminApi) -> None:
    async with api.stranger() as stranger:
        for path in ("/healthz", "/readyz"):
            answer = await stranger.get(path)
            assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
            assert (await stranger.head(path)).status_code == 200


async def test_a_closed_store_is_alive_but_not_ready(api: AdminApi) -> None:
    await api.database.close()
    answer = await api.client.get("/readyz")
    assert (answer.status_code, answer.json()) == (503, {"status": "unavailable"})
    assert answer.headers["Retry-After"] == "1"
    assert (await api.client.get("/healthz")).status_code == 200


async def test_a_store_that_cannot_write_is_not_ready_until_it_can(api: AdminApi) -> None:
    with only_reading(api.database):
        assert (await api.client.get("/readyz")).status_code == 503
    # The failed connection was thrown away. The answer is a second old at most.
    assert (await api.client.get("/readyz")).status_code == 503
    api.clock.advance(1)
    assert (await api.client.get("/readyz")).status_code == 200


async def test_a_store_that_was_never_migrated_is_not_ready(api: AdminApi) -> None:
    def forget_version(conn: Connection) -> None:
        conn.exec_driver_sql("DROP TABLE alembic_version")

    await api.database.write(forget_version)
    assert (await api.client.get("/readyz")).status_code == 503


async def test_a_locked_store_is_not_ready_after_two_seconds_and_is_asked_once(
    api: AdminApi,
) -> None:
    readiness = Readiness(api.database, api.clock)
    with open_engine(api.location) as engine, engine.connect() as other:
        held = other.begin()
        other.execute(text("UPDATE alembic_version SET version_num = version_num"))
        asked = []
        for _ in range(20):
            asked.append(asyncio.create_task(readiness.is_ready()))
            await asyncio.sleep(0)
            api.clock.advance(1)
        assert set(await asyncio.gather(*asked)) == {False}
        assert sum(lane.waiting for lane in api.database._lanes.all()) == 0
        held.rollback()
    # The one question that waited is answered now.
    assert await readiness.is_ready()


# The document


async def test_the_document_covers_what_there_is_and_needs_no_token(api: AdminApi) -> None:
    async with api.stranger() as stranger:
        document = (await stranger.get("/openapi.json")).json()
    assert document["info"]["title"] == "Ketchup"
    assert sorted(operations(document)) == [
        ("/admin/v1/keys/{key_id}", "DELETE"),
        ("/admin/v1/keys/{key_id}/rotate", "POST"),
        ("/admin/v1/plans", "GET"),
        ("/admin/v1/provider-keys", "GET"),
        ("/admin/v1/provider-keys/{name}", "DELETE"),
        ("/admin/v1/provider-keys/{name}", "PUT"),
        ("/admin/v1/tasks/{task_id}", "GET"),
        ("/admin/v1/workspaces", "GET"),
        ("/admin/v1/workspaces", "POST"),
        ("/admin/v1/workspaces/{workspace_id}", "GET"),
        ("/admin/v1/workspaces/{workspace_id}", "PATCH"),
        ("/admin/v1/workspaces/{workspace_id}/audit", "GET"),
        ("/admin/v1/workspaces/{workspace_id}/credits", "POST"),
        ("/admin/v1/workspaces/{workspace_id}/keys", "GET"),
        ("/admin/v1/workspaces/{workspace_id}/keys", "POST"),
        ("/admin/v1/workspaces/{workspace_id}/webhook-secret", "GET"),
        ("/admin/v1/workspaces/{workspace_id}/webhook-secret/rotate", "POST"),
        ("/healthz", "GET"),
        ("/readyz", "GET"),
        ("/v1/deliveries", "GET"),
        ("/v1/deliveries/{delivery_id}/redeliver", "POST"),
        ("/v1/keys/report-leak", "POST"),
        ("/v1/models", "GET"),
        ("/v1/provenance", "GET"),
        ("/v1/provenance/verify", "POST"),
        ("/v1/tasks", "GET"),
        ("/v1/tasks/{task_id}", "DELETE"),
        ("/v1/tasks/{task_id}", "GET"),
        ("/v1/tasks/{task_id}/cancel", "POST"),
        ("/v1/tasks/{task_id}/events", "GET"),
        ("/v1/usage", "GET"),
        ("/v1/webhooks/destinations", "GET"),
        ("/v1/webhooks/destinations/enable", "POST"),
        ("/v1/webhooks/secret/rotate", "POST"),
        ("/v1/webhooks/test", "POST"),
    ]
    assert document["components"]["securitySchemes"]["AdminToken"]["scheme"] == "bearer"
    for path, item in document["paths"].items():
        for operation in item.values():
            assert "422" not in operation["responses"]
            if path.startswith("/admin/"):
                assert operation["security"] == [{"AdminToken": []}]
                assert list(operation["responses"]["4XX"]["content"]) == [PROBLEM]


async def test_every_reference_in_the_document_leads_somewhere(api: AdminApi) -> None:
    document = (await api.client.get("/openapi.json")).json()
    whole = json.dumps(document)
    for name in {part.split('"')[0] for part in whole.split("#/components/schemas/")[1:]}:
        assert name in document["components"]["schemas"]
    assert "$defs" not in whole
