"""Deleting a task: every byte of it goes, the books stay, and a crash half-way is mended."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from ketchup.clock import Micros, after, iso
from ketchup.generation.inputs import blobs_among
from ketchup.ids import WorkspaceId
from ketchup.tasks import Erasure, erase
from tests.support.customers import customer
from tests.support.home import rows
from tests.support.invariants import ALWAYS
from tests.support.service import RunningService, running_service

pytestmark = pytest.mark.asyncio(loop_scope="module")

PROMPT = "a very private boat"


async def ended_task(service: RunningService, **fields: object) -> tuple[str, str]:
    task_id = await service.submit(prompt=PROMPT, **fields)
    [image] = (await service.ended(task_id))["result"]
    return task_id, image["image"]


async def test_a_deleted_task_has_no_byte_left_and_its_books_stay(service: RunningService) -> None:
    hook = "http://127.0.0.1:9/hook"
    task_id, address = await ended_task(service, callback_url=hook)
    assert (await service.client.get(address)).status_code == 200

    answer = await service.client.delete(f"/v1/tasks/{task_id}")

    assert (answer.status_code, answer.content) == (204, b"")
    assert (await service.client.get(address)).status_code == 404
    [row] = await rows(
        service, "SELECT prompt, result, images, consumed FROM task WHERE id = :id", id=task_id
    )
    assert row == ("", "[]", "[]", 500_000)
    [(state, body)] = await rows(
        service, "SELECT state, body FROM delivery WHERE task_id = :id", id=task_id
    )
    assert (state, bytes(body)) == ("dead", b"")
    assert await rows(service, "SELECT key FROM erasure") == []
    for name, sql in ALWAYS.items():
        assert await rows(service, sql) == [], name


async def test_who_deleted_it_is_told_so_and_a_poll_finds_nothing(service: RunningService) -> None:
    task_id, _ = await ended_task(service)
    kept, _ = await ended_task(service)
    for _ in range(2):
        assert (await service.client.delete(f"/v1/tasks/{task_id}")).status_code == 204

    gone = await service.client.get(f"/v1/tasks/{task_id}")
    polled = await service.client.get("/api/task/query", params={"task_id": task_id})
    absent = await service.client.get("/api/task/query", params={"task_id": "ta" + "0" * 34})

    assert (gone.status_code, gone.json()["detail"]) == (410, "the task was deleted")
    assert (polled.status_code, polled.content) == (404, absent.content)
    listed = (await service.client.get("/v1/tasks")).json()["items"]
    assert [one["id"] for one in listed] == [kept]
    assert (await service.client.post(f"/v1/tasks/{task_id}/cancel")).status_code == 409


async def test_another_workspaces_task_cannot_be_deleted_nor_told_from_none(
    shared: RunningService, service: RunningService
) -> None:
    task_id, address = await ended_task(service)
    deleted, _ = await ended_task(service)
    await service.client.delete(f"/v1/tasks/{deleted}")
    async with customer(shared) as other:
        answers = [
            await other.client.delete(f"/v1/tasks/{one}")
            for one in (task_id, deleted, "ta" + "0" * 34)
        ]
        looks = [await other.client.get(f"/v1/tasks/{one}") for one in (deleted, "ta1")]
    assert {answer.status_code for answer in (*answers, *looks)} == {404}
    for answer in (*answers, *looks):
        assert {**answer.json(), "instance": ""} == {**answers[-1].json(), "instance": ""}
    assert (await service.client.get(address)).status_code == 200


async def test_one_that_has_not_ended_is_not_deleted(
    tmp_path: Path, database_url: str | None
) -> None:
    running = running_service(tmp_path / "data", database=database_url, settings={"concurrency": 0})
    async with running as service:
        task_id = await service.submit()
        answer = await service.client.delete(f"/v1/tasks/{task_id}")
        assert answer.status_code == 409
        assert (await service.client.get(f"/v1/tasks/{task_id}")).status_code == 200
        await service.client.post(f"/v1/tasks/{task_id}/cancel")
        assert (await service.client.delete(f"/v1/tasks/{task_id}")).status_code == 204


async def test_what_a_crash_left_half_deleted_is_mended_by_the_chores(
    service: RunningService,
) -> None:
    task_id, address = await ended_task(service)
    workspace, runtime = WorkspaceId(service.workspace_id), service.runtime

    def half(conn: Connection) -> Erasure:
        return erase(conn, workspace, task_id, blobs_among, runtime.clock.now())

    assert await runtime.database.write(half) is Erasure.ERASED
    # The process dies here: the row is empty, the picture is there.
    assert (await service.client.get(address)).status_code == 200
    assert (await service.client.get(f"/v1/tasks/{task_id}")).status_code == 410

    await runtime.chores.run()

    assert (await service.client.get(address)).status_code == 404
    assert await rows(service, "SELECT key FROM erasure") == []


async def test_references_that_a_crash_left_go_with_their_task(service: RunningService) -> None:
    runtime = service.runtime
    task_id, _ = await ended_task(service)
    key = "references/2026/11/21/1795258666570508000_27a55c90a65f6b014ba8f9a1c93fc6e8.blob"
    await runtime.storage.put(key, b"private")

    def leave(conn: Connection) -> None:
        conn.execute(
            text("UPDATE task SET images = :images WHERE id = :id"),
            {"images": f'["blob:{key}", "https://host/blob:x.png"]', "id": task_id},
        )

    await runtime.database.write(leave)
    assert key in await runtime.storage.keys("references")
    assert (await service.client.delete(f"/v1/tasks/{task_id}")).status_code == 204
    assert key not in await runtime.storage.keys("references")


async def test_a_task_says_until_when_its_images_are_kept(service: RunningService) -> None:
    task_id, address = await ended_task(service)
    task = (await service.client.get(f"/v1/tasks/{task_id}")).json()
    made = int(address.rpartition("/")[2].partition("_")[0]) // 1000
    plan = service.runtime.plans.get("scale")

    assert task["expires_at"] == iso(after(Micros(made), plan.retention_seconds))
    assert task["environment"] == "live"
