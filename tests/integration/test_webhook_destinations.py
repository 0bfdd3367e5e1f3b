"""Receivers that only fail are left alone after 120 hours, and nothing owed to them is lost."""

from __future__ import annotations

import asyncio
import base64
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, func, select
from standardwebhooks.webhooks import Webhook

from ketchup import webhooks
from ketchup.clock import SECOND, FrozenClock, Micros, after
from ketchup.db import Location
from ketchup.ids import WorkspaceId, delivery_id
from ketchup.webhooks import (
    SCHEDULE,
    Answered,
    Attempted,
    DeliveryState,
    Reason,
    Redelivery,
    Unanswered,
    Wanted,
)
from ketchup.webhooks.decision import Outcome, decide
from ketchup.webhooks.destinations import PATIENCE, SEVERAL, Health, Verdict, after_attempt
from tests.support.customers import customer
from tests.support.database import migrated_file, open_database, open_engine
from tests.support.deliveries import WORKER, WORKSPACE, assert_signed_by_both, new, row, sending
from tests.support.factories import NOW, register
from tests.support.receiver import Answer as Reply
from tests.support.receiver import LoopbackPoster
from tests.support.receiver import Receiver as ReceiverServer
from tests.support.service import DEADLINE_SECONDS, RunningService

HOUR = 3600.0
OTHERS = WorkspaceId("ws_two")
ORIGIN = "http://host:80"


@pytest.fixture
def conn(location: Location) -> Iterator[Connection]:
    with open_engine(location) as engine, engine.begin() as opened:
        register(opened, WORKER)
        yield opened


def tried(conn: Connection, at: Micros, outcome: Outcome) -> None:
    """Try what is due, and decide by the schedule what follows."""
    for pending in webhooks.claim(conn, WORKER, at, limit=100, per_destination=100):
        decision = decide(outcome, pending.tries + 1, SCHEDULE, Random(5))
        done = Attempted(pending.lease, pending.tries, at, at, 0, outcome, decision)
        webhooks.record(conn, [done])


def fail_for(conn: Connection, hours: int, start: int = 0, url: str = "http://host/") -> None:
    for hour in range(start, hours + 1, 4):
        webhooks.enqueue(conn, [new(url, hour * 1000)], after(NOW, hour * HOUR))
        tried(conn, after(NOW, hour * HOUR), Answered(500))


def state_of(conn: Connection, number: int) -> DeliveryState:
    shown = webhooks.find(conn, WORKSPACE, delivery_id(new("http://host/", number).task_id))
    assert shown is not None
    return shown.state


# ── what an attempt says of its receiver ─────────────────────────────────────────────────────────


def test_one_success_and_all_is_forgotten() -> None:
    assert after_attempt(Health(9, NOW, NOW, NOW, NOW, Reason.GONE), NOW, Verdict.GOOD) is None


@given(st.lists(st.tuples(st.integers(0, 200 * 3600), st.booleans()), max_size=60))
def test_none_is_disabled_that_answered_within_the_last_120_hours(
    attempts: list[tuple[int, bool]],
) -> None:
    health: Health | None = None
    good_at: int | None = None
    for second, good in sorted(attempts):
        at = after(NOW, second)
        health = after_attempt(health, at, Verdict.GOOD if good else Verdict.BAD)
        if good:
            good_at = second
            assert health is None
        elif health is not None and health.disabled_at == at:
            assert good_at is None or second - good_at >= PATIENCE // SECOND
            assert health.failing_since is not None
            assert health.failures >= SEVERAL


def test_failures_that_lie_days_apart_start_no_clock() -> None:
    health: Health | None = None
    for day in range(0, 60, 2):
        health = after_attempt(health, after(NOW, day * 24 * HOUR), Verdict.BAD)
    assert health is not None
    assert (health.failing_since, health.disabled_at) == (None, None)


# ── and what follows ─────────────────────────────────────────────────────────────────────────────


def test_after_120_hours_of_failures_callbacks_are_kept_and_not_sent(conn: Connection) -> None:
    fail_for(conn, 124)
    [found] = webhooks.list_destinations(conn, WORKSPACE)
    assert (found.origin, found.disabled_at) == (ORIGIN, None)
    fail_for(conn, 128, start=128)  # the clock began at the fifth failure, in hour 8
    [found] = webhooks.list_destinations(conn, WORKSPACE)
    later = after(NOW, 128 * HOUR)
    assert (found.reason, found.disabled_at) == (Reason.FAILING, later)
    # What waited is set aside, what comes too, and nothing is tried.
    webhooks.enqueue(conn, [new("http://host/", 1)], later)
    assert webhooks.claim(conn, WORKER, after(later, 999 * HOUR), limit=9, per_destination=9) == []
    page = webhooks.list_page(conn, WORKSPACE, Wanted(100, state=DeliveryState.DISABLED))
    assert delivery_id(new("http://host/", 1).task_id) in {one.id for one in page.deliveries}
    dead = webhooks.list_page(conn, WORKSPACE, Wanted(100, state=DeliveryState.DEAD))
    assert {one.state for one in dead.deliveries} <= {DeliveryState.DEAD}
    # Another workspace's callbacks to the same receiver are sent, and other receivers' too.
    theirs = webhooks.NewDelivery(new("", 2).task_id, OTHERS, "http://host/", b"{}")
    webhooks.enqueue(conn, [theirs, new("http://host:81/", 3)], later)
    assert len(webhooks.claim(conn, WORKER, later, limit=9, per_destination=9)) == 2


def test_what_was_set_aside_is_sent_again_once_the_receiver_is_enabled(conn: Connection) -> None:
    webhooks.enqueue(conn, [new("http://host/")], NOW)
    tried(conn, NOW, Answered(410))
    [found] = webhooks.list_destinations(conn, WORKSPACE)
    assert found.reason is Reason.GONE
    webhooks.enqueue(conn, [new("http://host/", 1)], NOW)
    id_ = delivery_id(new("http://host/", 1).task_id)
    assert state_of(conn, 1) is DeliveryState.DISABLED
    assert webhooks.redeliver(conn, WORKSPACE, id_, NOW) is Redelivery.DISABLED
    assert webhooks.enable(conn, OTHERS, ORIGIN) is False
    assert webhooks.enable(conn, WORKSPACE, ORIGIN) is True
    assert webhooks.enable(conn, WORKSPACE, ORIGIN) is False
    assert webhooks.redeliver(conn, WORKSPACE, id_, NOW) is Redelivery.OWED
    [pending] = webhooks.claim(conn, WORKER, NOW, limit=9, per_destination=9)
    assert (pending.lease.id, pending.body) == (id_, new("http://host/", 1).body)


def test_a_test_is_tried_once_though_disabled_and_its_success_enables(conn: Connection) -> None:
    webhooks.enqueue(conn, [new("http://host/")], NOW)
    tried(conn, NOW, Answered(410))
    webhooks.enqueue_test(conn, new("http://host/test", 1), NOW)
    tried(conn, NOW, Unanswered("refused"))
    assert state_of(conn, 1) is DeliveryState.DEAD
    assert webhooks.list_destinations(conn, WORKSPACE)
    webhooks.enqueue_test(conn, new("http://host/test", 2), NOW)
    tried(conn, NOW, Answered(204))
    assert state_of(conn, 2) is DeliveryState.DELIVERED
    assert webhooks.list_destinations(conn, WORKSPACE) == []


def test_a_receiver_that_answers_leaves_no_row(conn: Connection) -> None:
    webhooks.enqueue(conn, [new("http://host/")], NOW)
    tried(conn, NOW, Answered(200))
    assert webhooks.list_destinations(conn, WORKSPACE) == []
    webhooks.enqueue(conn, [new("http://host/", 1)], NOW)
    tried(conn, NOW, Answered(500))
    assert [one.failures for one in webhooks.list_destinations(conn, WORKSPACE)] == [1]
    tried(conn, after(NOW, HOUR), Answered(200))
    assert webhooks.list_destinations(conn, WORKSPACE) == []


# ── G11: a receiver that fails by seed, over 76 hours ────────────────────────────────────────────


@dataclass
class Answer:
    status: int
    retry_after: float | None = None


class Unsteady:
    """A receiver that fails as a seed says, and keeps what it was sent."""

    def __init__(self, seed: int, clock: FrozenClock) -> None:
        self._seed, self._clock = seed, clock
        self.sent: defaultdict[str, list[tuple[bytes, Mapping[str, str], Micros]]]
        self.sent = defaultdict(list)
        self.good: set[str] = set()

    async def post(self, url: str, *, body: bytes, headers: Mapping[str, str]) -> Answer:  # noqa: ARG002 the poster's shape
        id_ = headers["webhook-id"]
        self.sent[id_].append((body, headers, self._clock.now()))
        draw = Random(f"{self._seed} {id_} {len(self.sent[id_])}").random()
        if draw < 0.12:
            self.good.add(id_)
            return Answer(200)
        if draw < 0.4:
            raise LoopbackPoster.errors[0]("reset, or silent")
        return Answer(Random(draw).choice([500, 301, 404, 429, 503]))


@pytest.mark.parametrize("seed", range(3))
async def test_every_callback_arrives_that_is_answered_within_the_76_hours(
    tmp_path: Path, seed: int
) -> None:
    owed = [new(f"http://host-{number % 4}/", number * 1000) for number in range(30)]
    clock = FrozenClock()
    poster, total = Unsteady(seed, clock), 0
    async with open_database(migrated_file(tmp_path)) as database:
        await database.write(lambda conn: webhooks.enqueue(conn, owed, clock.now()))
        async with sending(database, clock, poster=poster) as (sender, watch):
            while (due := await database.read(webhooks.next_due)) is not None:
                clock.advance(max(0.0, (due - clock.now()) / SECOND) + 1.0)
                total += await database.read(partial(count_due, clock.now()))
                sender.wake()
                await watch.until_attempts(total)
        for one in owed:
            stored = await row(database, one.task_id)
            sent = poster.sent[delivery_id(one.task_id)]
            was_good = delivery_id(one.task_id) in poster.good
            assert stored.state == ("delivered" if was_good else "dead")
            assert was_good or len(sent) == len(SCHEDULE)
            assert {body for body, _, _ in sent} == {one.body}
            for body, headers, at in sent:
                assert_signed_by_both(headers, body, at)
    assert watch.faults == 0
    assert 0 < len(poster.good) < len(owed)


def count_due(now: Micros, conn: Connection) -> int:
    due = select(func.count()).where(webhooks.delivery.c.next_at <= now)
    return conn.execute(due).scalar_one()


# ── as customers see it ──────────────────────────────────────────────────────────────────────────


@pytest.mark.asyncio(loop_scope="module")
async def test_a_customer_tests_a_receiver_enables_it_and_replaces_the_secret(
    shared: RunningService,
) -> None:
    async with (
        customer(shared) as service,
        customer(shared, scopes=["task:read"]) as reader,
        customer(shared, environment="test") as tester,
        ReceiverServer(Reply(410), Reply(200), otherwise=Reply(200)) as receiver,
    ):
        own = "whsec_" + base64.b64encode(b"a secret of the customer's own..").decode()
        rotated = await service.client.post(
            "/v1/webhooks/secret/rotate", json={"overlap_hours": 0, "secret": own}
        )
        assert rotated.json() == {"secret": own}
        for bad in ("whsec_", "whsec_c2hvcnQ=", "whsec_#", own[6:]):
            refused = await service.client.post("/v1/webhooks/secret/rotate", json={"secret": bad})
            assert refused.status_code == 400
            assert bad not in refused.text or bad == "whsec_"

        gone = await probed(service, receiver.url)
        assert [one["status_code"] for one in gone["attempts"]] == [410]
        [listed] = (await service.client.get("/v1/webhooks/destinations")).json()["items"]
        assert (listed["reason"], listed["failures"]) == ("gone", 1)
        good = await probed(service, receiver.url)
        assert (good["state"], good["is_test"]) == ("delivered", True)
        assert (await service.client.get("/v1/webhooks/destinations")).json() == {"items": []}
        last = receiver.requests[-1]
        Webhook(own).verify(last.body, dict(last.headers))

        unseen = await reader.client.get("/v1/webhooks/destinations")
        assert (unseen.status_code, unseen.json()) == (200, {"items": []})
        for path, body in (
            ("test", {"url": receiver.url}),
            ("secret/rotate", {}),
            ("destinations/enable", {"origin": receiver.url}),
        ):
            refused = await reader.client.post(f"/v1/webhooks/{path}", json=body)
            assert refused.status_code == 403
        refused = await tester.client.post("/v1/webhooks/secret/rotate", json={})
        assert refused.status_code == 403
        absent = await service.client.post(
            "/v1/webhooks/destinations/enable", json={"origin": "http://nobody\0:80"}
        )
        assert absent.status_code == 404
        for url in ("ftp://host/", "http://", "x", "http://user:word@host/ x"):
            refused = await service.client.post("/v1/webhooks/test", json={"url": url})
            assert refused.status_code == 400
        answers = [
            await service.client.post("/v1/webhooks/test", json={"url": receiver.url})
            for _ in range(25)
        ]
        assert answers[-1].status_code == 429


async def probed(service: RunningService, url: str) -> dict[str, Any]:
    """Send a test delivery, and return it when it has ended."""
    answer = await service.client.post("/v1/webhooks/test", json={"url": url})
    assert answer.status_code == 202, answer.text
    task = {"task_id": answer.json()["task_id"]}
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            [one] = (await service.client.get("/v1/deliveries", params=task)).json()["items"]
            if one["finished_at"] is not None:
                found: dict[str, Any] = one
                return found
            await asyncio.sleep(0.01)
