"""Callbacks as their workspace sees them: listed, filtered, and sent again as they were."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text

from ketchup import webhooks
from ketchup.clock import after
from ketchup.db import Location
from ketchup.ids import WorkspaceId, delivery_id
from ketchup.webhooks import Dead, DeliveryState, Redelivery, Unanswered, Wanted
from tests.support.customers import customer
from tests.support.database import open_engine
from tests.support.deliveries import WORKER, WORKSPACE, answered, new
from tests.support.factories import NOW, register
from tests.support.plans import recorded_plans
from tests.support.receiver import Receiver
from tests.support.service import DEADLINE_SECONDS, RunningService, running_service

LATER = after(NOW, 60)


@pytest.fixture
def conn(location: Location) -> Iterator[Connection]:
    with open_engine(location) as engine, engine.begin() as opened:
        register(opened, WORKER)
        yield opened


def tried(conn: Connection, outcome: Unanswered | None = None) -> None:
    """Try what is due once, and end it."""
    for pending in webhooks.claim(conn, WORKER, NOW, limit=100, per_destination=100):
        result = answered(pending, NOW)
        if outcome is not None:
            result = webhooks.Attempted(
                result.lease, 0, NOW, NOW, 0, outcome=outcome, decision=Dead()
            )
        webhooks.record(conn, [result])


def test_pages_hold_every_delivery_once_newest_first_by_an_index(conn: Connection) -> None:
    owed = [new("http://host/", number * 1000) for number in range(5)]
    webhooks.enqueue(conn, owed, NOW)
    ids = [delivery_id(one.task_id) for one in reversed(owed)]
    seen: list[str] = []
    before: str | None = None
    for size in (2, 2, 1):
        with recorded_plans(conn) as plans:
            page = webhooks.list_page(conn, WORKSPACE, Wanted(2, before))
        assert plans.indexes == {"delivery_of_workspace"}
        assert len(page.deliveries) == size
        seen += [one.id for one in page.deliveries]
        before = page.following
    assert (seen, before) == (ids, None)
    assert webhooks.list_page(conn, WorkspaceId("ws_two"), Wanted(10)).deliveries == ()


def test_a_page_looks_at_so_many_and_says_where_to_go_on(conn: Connection) -> None:
    webhooks.enqueue(conn, [new("http://host/", number * 1000) for number in range(3)], NOW)
    dead = Wanted(10, state=DeliveryState.DEAD)
    page = webhooks.list_page(conn, WORKSPACE, dead, look_at_most=2)
    assert page.deliveries == ()
    dead = Wanted(10, page.following, state=DeliveryState.DEAD)
    page = webhooks.list_page(conn, WORKSPACE, dead, look_at_most=2)
    assert (page.deliveries, page.following) == ((), None)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("Blocked: 10.0.0.7 is private", "the address could not be reached"),
        ("Unreachable: no such host db.internal", "the address could not be reached"),
        ("the worker stopped during this attempt", "the worker stopped during this attempt"),
        ("no answer within 15 s", "no answer within 15 s"),
    ],
)
def test_what_the_network_inside_looks_like_is_told_to_nobody(
    conn: Connection, said: str, told: str
) -> None:
    owed = new("http://host/")
    webhooks.enqueue(conn, [owed], NOW)
    tried(conn, Unanswered(said))
    found = webhooks.find(conn, WORKSPACE, delivery_id(owed.task_id))
    assert found is not None
    assert [(one.status_code, one.error) for one in found.attempts] == [(None, told)]


def test_only_what_has_ended_for_a_while_is_owed_again_and_by_its_owner_alone(
    conn: Connection,
) -> None:
    owed = new("http://host/")
    webhooks.enqueue(conn, [owed], NOW)
    id_ = delivery_id(owed.task_id)
    assert webhooks.redeliver(conn, WORKSPACE, id_, LATER) is Redelivery.OPEN
    tried(conn)
    assert webhooks.redeliver(conn, WorkspaceId("ws_two"), id_, LATER) is Redelivery.ABSENT
    assert webhooks.redeliver(conn, WORKSPACE, id_, after(NOW, 9)) is Redelivery.RESTING
    # A clock that was set back must not keep it for a year.
    assert webhooks.claim(conn, WORKER, LATER, limit=9, per_destination=9) == []
    assert webhooks.redeliver(conn, WORKSPACE, id_, LATER) is Redelivery.OWED
    assert webhooks.redeliver(conn, WORKSPACE, id_, LATER) is Redelivery.OPEN
    [again] = webhooks.claim(conn, WORKER, LATER, limit=9, per_destination=9)
    assert (again.lease.id, again.body, again.tries) == (id_, owed.body, 0)
    assert again.lease.attempt == 2


def test_so_many_attempts_are_shown_and_so_many_are_made(conn: Connection) -> None:
    many, few = new("http://host/"), new("http://host/", 1000)
    webhooks.enqueue(conn, [many, few], NOW)
    id_ = delivery_id(many.task_id)
    tried(conn)
    at, outcomes = NOW, list[Redelivery]()
    for _ in range(101):
        at = after(at, 60)
        outcomes.append(webhooks.redeliver(conn, WORKSPACE, id_, at))
        for pending in webhooks.claim(conn, WORKER, at, limit=9, per_destination=9):
            webhooks.record(conn, [answered(pending, at)])

    assert outcomes == [Redelivery.OWED] * 99 + [Redelivery.WORN] * 2
    [newer, older] = webhooks.list_page(conn, WORKSPACE, Wanted(10)).deliveries
    assert [one.number for one in older.attempts] == list(range(81, 101))
    assert [one.number for one in newer.attempts] == [1]


def test_what_was_emptied_is_not_sent_and_one_still_owed_is_given_up(conn: Connection) -> None:
    owed = new("http://host/")
    webhooks.enqueue(conn, [owed], NOW)
    [pending] = webhooks.claim(conn, WORKER, NOW, limit=9, per_destination=9)

    webhooks.forget(conn, owed.task_id, NOW)

    assert webhooks.record(conn, [answered(pending, NOW)]) == [webhooks.Recording.LATE]
    id_ = delivery_id(owed.task_id)
    found = webhooks.find(conn, WORKSPACE, id_)
    assert found is not None
    assert (found.state, found.next_at, found.finished_at) == (DeliveryState.DEAD, None, NOW)
    assert webhooks.redeliver(conn, WORKSPACE, id_, LATER) is Redelivery.EMPTY


@pytest.fixture
async def service(tmp_path: Path, database_url: str | None) -> AsyncIterator[RunningService]:
    async with running_service(tmp_path / "data", database=database_url) as running:
        yield running


async def ended_delivery(own: RunningService) -> dict[str, Any]:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            items = (await own.client.get("/v1/deliveries")).json()["items"]
            if items and items[0]["state"] != "pending":
                found: dict[str, Any] = items[0]
                return found
            await asyncio.sleep(0.02)


async def test_a_callback_is_listed_and_comes_again_with_the_same_id_and_bytes(
    service: RunningService,
) -> None:
    async with Receiver() as receiver, customer(service) as own, customer(service) as other:
        task_id = await own.submit(callback_url=receiver.url)
        first = await ended_delivery(own)
        assert (first["task_id"], first["state"]) == (task_id, "delivered")
        assert [(one["number"], one["status_code"]) for one in first["attempts"]] == [(1, 200)]
        path = f"/v1/deliveries/{first['id']}/redeliver"

        too_soon = await own.client.post(path)
        assert (too_soon.status_code, too_soon.headers.get("Retry-After")) == (429, "10"), (
            too_soon.text
        )
        strangers = [await other.client.post(p) for p in (path, "/v1/deliveries/msg_x/redeliver")]
        assert [answer.status_code for answer in strangers] == [404, 404]
        assert (await other.client.get("/v1/deliveries")).json()["items"] == []

        await service.runtime.database.write(_let_it_rest)
        again = await own.client.post(path)
        assert (again.status_code, again.json()["state"]) == (202, "pending")
        second = await ended_delivery(own)
        assert [one["number"] for one in second["attempts"]] == [1, 2]
        sent = receiver.requests
    assert [one.headers["webhook-id"] for one in sent] == [first["id"]] * 2
    assert sent[0].body == sent[1].body


def _let_it_rest(conn: Connection) -> None:
    conn.execute(text("UPDATE delivery SET finished_at = finished_at - 60000000"))


async def test_deliveries_can_be_narrowed(service: RunningService) -> None:
    async with customer(service) as own:
        first = await own.submit(callback_url="http://127.0.0.1:9/")
        second = await own.submit(callback_url="http://127.0.0.1:9/")
        await own.ended(first)
        await own.ended(second)

        async def found(**params: str) -> list[str]:
            answer = await own.client.get("/v1/deliveries", params=params)
            assert answer.status_code == 200, answer.text
            return [one["task_id"] for one in answer.json()["items"]]

        assert await found(task_id=first) == [first]
        assert sorted(await found(state="pending")) == sorted([first, second])
        assert await found(state="dead") == []
        for query, param in (
            ("state=lost", "state"),
            ("limit=0", "limit"),
            ("task_id=%00", "task_id"),
        ):
            answer = await own.client.get(f"/v1/deliveries?{query}")
            assert [one["param"] for one in answer.json()["errors"]] == [param]


async def test_so_many_are_sent_again_and_then_at_a_pace(service: RunningService) -> None:
    async with customer(service) as own:
        statuses = [
            (await own.client.post("/v1/deliveries/msg_x/redeliver")).status_code for _ in range(22)
        ]
    assert set(statuses[:20]) == {404}
    assert 429 in statuses


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [("GET", "/v1/deliveries", "task:read"), ("POST", "/v1/deliveries/m/redeliver", "task:write")],
)
async def test_each_needs_its_scope(
    service: RunningService, method: str, path: str, scope: str
) -> None:
    async with customer(service, scopes=["usage:read"]) as own:
        answer = await own.client.request(method, path)
        assert answer.json()["detail"] == f"the API key lacks the scope {scope}"
