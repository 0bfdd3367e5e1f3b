"""Commits whose answer is lost: what was written counts, and nothing is done a second time."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, text

from tests.support.lost_answers import answer_lost
from tests.support.pictures import encoded, photo
from tests.support.receiver import Receiver
from tests.support.service import RunningService, running_service

# Only a claim that has found something moves the queue on.
CLAIM = "UPDATE queue_clock"
FINISH = "DELETE FROM hold"
START = "INTO attempt"
SUBMIT = "INSERT INTO task"


async def one_column(service: RunningService, sql: str) -> list[Any]:
    def read(conn: Connection) -> list[Any]:
        return list(conn.execute(text(sql)).scalars())

    return await service.runtime.database.read(read)


async def test_the_images_of_a_success_that_nobody_confirmed_stay(
    tmp_path: Path, database_url: str | None
) -> None:
    one_by_one = running_service(
        tmp_path / "data", database=database_url, settings={"concurrency": 1}
    )
    async with Receiver() as receiver, one_by_one as service:
        with answer_lost(service.runtime.database, FINISH) as lost:
            data = await service.ended(await service.submit(callback_url=receiver.url))
        # It begins when the first one's end has been dealt with.
        await service.ended(await service.submit())
        await receiver.received(1)

        assert lost.is_set()
        [image] = data["result"]
        assert (await service.client.get(image["image"])).status_code == 200
        captures = "SELECT amount FROM entry WHERE kind = 'capture'"
        assert len(await one_column(service, captures)) == 2
        assert len(receiver.requests) == 1


async def test_what_a_claim_leased_without_an_answer_is_run_all_the_same(
    tmp_path: Path, database_url: str | None
) -> None:
    async with running_service(tmp_path / "data", database=database_url) as service:
        with answer_lost(service.runtime.database, CLAIM) as lost:
            data = await service.ended(await service.submit())

        assert lost.is_set()
        assert data["status"] == "success"
        assert await one_column(service, "SELECT attempt FROM task") == [1]


async def test_a_start_without_an_answer_costs_no_try(
    tmp_path: Path, database_url: str | None
) -> None:
    one_try = running_service(
        tmp_path / "data", database=database_url, settings={"worker.max_tries": 1}
    )
    async with one_try as service:
        # What has references is started after its claim.
        picture = "data:image/png;base64," + base64.b64encode(encoded(photo(), "PNG")).decode()
        with answer_lost(service.runtime.database, START) as lost:
            data = await service.ended(await service.submit(images=[picture]))

        assert lost.is_set()
        assert data["status"] == "success"
        assert await one_column(service, "SELECT outcome FROM attempt") == ["success"]


async def test_a_submit_without_an_answer_keeps_its_images_for_whoever_repeats_it(
    tmp_path: Path,
    database_url: str | None,
) -> None:
    picture = base64.b64encode(encoded(photo(), "PNG")).decode()
    body = {
        "model": "google/gempix2",
        "prompt": "a red boat",
        "images": [f"data:image/png;base64,{picture}"],
    }
    key = {"Idempotency-Key": "order-1"}
    async with running_service(
        tmp_path / "data", database=database_url, settings={"concurrency": 0}
    ) as service:
        with answer_lost(service.runtime.database, SUBMIT) as lost:
            refused = await service.client.post("/api/image/gen", json=body, headers=key)
        repeated = await service.client.post("/api/image/gen", json=body, headers=key)
        known = service.key

    assert lost.is_set()
    assert refused.status_code == 503
    assert repeated.headers["idempotency-replayed"] == "true"
    async with running_service(tmp_path / "data", database=database_url) as service:
        service.client.headers["Authorization"] = f"Bearer {known}"
        data = await service.ended(repeated.json()["data"]["task_id"])
        assert data["status"] == "success"
