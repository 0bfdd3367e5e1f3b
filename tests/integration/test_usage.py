"""Usage: summed up as tasks end, told apart as asked, and read without looking at tasks."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text

from ketchup import tasks, usage
from ketchup.clock import after, iso
from ketchup.db import Location
from ketchup.generation import cancel
from ketchup.generation.finish import finish
from ketchup.ids import KeyId, WorkspaceId
from ketchup.usage import Asked, By, Used
from tests.support.customers import customer
from tests.support.database import open_engine
from tests.support.factories import (
    NOW,
    PRICE,
    WORKER,
    claim_one,
    ending,
    new_workspace,
    register,
    submitted,
    success,
)
from tests.support.plans import recorded_plans
from tests.support.service import RunningService, running_service

DAY = usage.day_of(NOW)
DAY_SECONDS = 86_400


@pytest.fixture
def conn(location: Location) -> Iterator[Connection]:
    with open_engine(location) as engine, engine.begin() as opened:
        register(opened, WORKER)
        yield opened


def sums(conn: Connection, workspace: WorkspaceId, *by: By) -> list[tuple[Any, ...]]:
    asked = Asked(DAY, DAY + 5, frozenset(by))
    found = usage.find(conn, workspace, asked, most=100)
    return [(one.day, one.model, one.status, one.tasks, one.images, one.credits) for one in found]


def end_one(conn: Connection, workspace: WorkspaceId, now: int = NOW) -> None:
    submitted(conn, workspace)
    lease = claim_one(conn)
    tasks.start(conn, [tasks.Sending(lease.attempt, "studio")], NOW)
    [end] = finish(conn, [ending(lease, success(lease))], after(NOW, (now - NOW) / 1e6))
    assert isinstance(end, tasks.End)


def test_what_ends_is_summed_up_in_the_transaction_that_ends_it(conn: Connection) -> None:
    workspace, other = new_workspace(conn).id, new_workspace(conn, name="other").id
    for _ in range(2):
        end_one(conn, workspace)
    end_one(conn, workspace, after(NOW, DAY_SECONDS))
    cancel(conn, workspace, submitted(conn, workspace), NOW)
    submitted(conn, workspace)
    cancel(conn, workspace, claim_one(conn).attempt.task_id, NOW)
    end_one(conn, other)

    model = "google/gempix2"
    assert sums(conn, workspace) == [(None, None, None, 5, 3, 3 * PRICE)]
    assert sums(conn, workspace, By.DAY, By.MODEL, By.STATUS) == [
        (DAY, model, "failed", 2, 0, 0),
        (DAY, model, "success", 2, 2, 2 * PRICE),
        (DAY + 1, model, "success", 1, 1, PRICE),
    ]
    assert sums(conn, other) == [(None, None, None, 1, 1, PRICE)]


def test_an_end_that_counts_for_nothing_is_not_summed_up(conn: Connection) -> None:
    workspace = new_workspace(conn).id
    submitted(conn, workspace)
    lease = claim_one(conn)
    tasks.start(conn, [tasks.Sending(lease.attempt, "studio")], NOW)
    for _ in range(2):
        finish(conn, [ending(lease, success(lease))], NOW)
    assert sums(conn, workspace) == [(None, None, None, 1, 1, PRICE)]


def test_a_report_is_read_by_its_own_key_and_never_from_tasks(conn: Connection) -> None:
    workspace = new_workspace(conn).id
    for number in range(300):
        used = Used(WorkspaceId(f"ws_{number}"), "m", KeyId("k"), "live", "success", 1, PRICE)
        usage.record(conn, [used], NOW)
    end_one(conn, workspace)
    if conn.dialect.name == "postgresql":
        conn.execute(text("ANALYZE usage"))
    with recorded_plans(conn) as plans:
        sums(conn, workspace, By.DAY, By.KEY)
    assert not plans.scans & {"task", "usage"}


@pytest.fixture
async def service(tmp_path: Path, database_url: str | None) -> Any:  # noqa: ANN401 a generator
    async with running_service(tmp_path / "data", database=database_url) as running:
        yield running


async def test_a_report_as_json_and_as_a_table(service: RunningService) -> None:
    async with customer(service) as own:
        for fields in ({"n": 2}, {"model": "google/nano-banana"}):
            await own.ended(await own.submit(**fields))
        report = (await own.client.get("/v1/usage?group_by=model,status")).json()
        table = await own.client.get("/v1/usage?group_by=model,status&format=csv")
        whole = (await own.client.get("/v1/usage?group_by=")).json()["items"]
        nothing = (await own.client.get("/v1/usage?from=2001-01-01&to=2001-01-31")).json()
    today = iso(service.runtime.clock.now())[:10]
    assert report["to"] == today
    assert [
        (one["model"], one["tasks"], one["images"], one["credits"]) for one in report["items"]
    ] == [
        ("google/gemini-2.5-flash-image", 1, 1, "0.250000"),
        ("google/gempix2", 1, 2, "1.000000"),
    ]
    assert {one["environment"] for one in report["items"]} == {"live"}
    assert table.headers["Content-Type"].startswith("text/csv")
    rows = list(csv.DictReader(table.text.splitlines()))
    assert [(row["model"], row["credits"], row["day"]) for row in rows] == [
        ("google/gemini-2.5-flash-image", "0.250000", ""),
        ("google/gempix2", "1.000000", ""),
    ]
    assert [(one["day"], one["model"], one["tasks"]) for one in whole] == [(None, None, 2)]
    assert nothing == {"from": "2001-01-01", "to": "2001-01-31", "items": []}


@pytest.mark.parametrize(
    ("query", "cause"),
    [
        ("from=2026-02-01&to=2026-01-01", "from must not be after to"),
        ("from=2024-01-01&to=2026-01-01", "366 days"),
        ("group_by=colour", "group_by"),
        ("from=yesterday", "from"),
        ("until=2026-01-01", "until"),
        ("from=0001-01-01&to=0001-01-02", ""),
        ("to=0001-01-02", ""),
    ],
)
async def test_what_cannot_be_reported_is_said(
    service: RunningService, query: str, cause: str
) -> None:
    answer = await service.client.get(f"/v1/usage?{query}")
    assert answer.status_code == (400 if cause else 200), answer.text
    assert cause in answer.text


async def test_a_report_needs_its_scope(service: RunningService) -> None:
    async with customer(service, scopes=["task:read"]) as own:
        assert (await own.client.get("/v1/usage")).status_code == 403
