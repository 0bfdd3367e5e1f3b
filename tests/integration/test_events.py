"""Following a task: every status once and in order, resumed exactly, and let go of in time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text

from ketchup.api import Places, Waiters
from ketchup.api.events import Event, events_of
from ketchup.clock import FrozenClock, after
from ketchup.db import Connection
from ketchup.errors import RateLimited, Unavailable
from ketchup.generation import cancel
from ketchup.ids import TaskId, WorkspaceId
from ketchup.money import Credits
from ketchup.tasks import Status, Summary
from tests.integration.test_worker import Gate
from tests.support.customers import customer
from tests.support.factories import NOW
from tests.support.service import DEADLINE_SECONDS, RunningService, client_of, running_service

PENDING = Summary(
    id=TaskId("ta1"),
    model="m",
    status=Status.PENDING,
    price=Credits(0),
    consumed=Credits(0),
    reason=None,
    created_at=NOW,
    submitted_at=None,
    started_at=None,
    finished_at=None,
    environment="live",
    is_deleted=False,
)


def test_events_are_numbered_by_their_status_and_only_added_to() -> None:
    submitted = replace(PENDING, status=Status.SUBMITTED, submitted_at=after(NOW, 1))
    started = replace(submitted, status=Status.IN_PROGRESS, started_at=after(NOW, 2))
    asked = replace(started, cancel_requested_at=after(NOW, 3))
    success = replace(asked, status=Status.SUCCESS, finished_at=after(NOW, 4))
    seen: list[Event] = []
    for task in (PENDING, submitted, started, asked, success):
        events = events_of(task)
        assert events[:-1] == seen
        assert (events[-1].status, events[-1].id) == (task.status, len(events))
        seen = events
    names = ["pending", "submitted", "in_progress", "cancel_requested", "success"]
    assert [event.name for event in seen] == names
    # One that was cancelled in the queue passed over two.
    failed = replace(PENDING, status=Status.FAILED, finished_at=after(NOW, 1))
    assert [(one.id, one.status) for one in events_of(failed)] == [(1, "pending"), (5, "failed")]


@asynccontextmanager
async def stream(
    service: RunningService, task_id: str, last: str | None = None
) -> AsyncIterator[AsyncIterator[tuple[str, str]]]:
    """Open a stream, and yield its events as they come: id and status."""
    headers = {} if last is None else {"Last-Event-ID": last}
    path = f"/v1/tasks/{task_id}/events"
    async with service.client.stream("GET", path, headers=headers, timeout=60) as answer:
        assert answer.status_code == 200
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        assert answer.headers["Cache-Control"] == "no-store"
        yield _events(answer.aiter_lines(), task_id)


async def _events(lines: AsyncIterator[str], task_id: str) -> AsyncIterator[tuple[str, str]]:
    fields: dict[str, str] = {}
    async for line in lines:
        name, _, value = line.partition(": ")
        fields[name] = value
        if not line and "data" in fields:
            data = json.loads(fields["data"])
            is_asked = fields["event"] == "cancel_requested"
            status = "in_progress" if is_asked else fields["event"]
            assert (data["id"], data["status"]) == (task_id, status)
            yield fields["id"], fields["event"]
            fields = {}


async def test_a_stream_tells_each_status_as_it_comes_and_closes_at_the_end(
    tmp_path: Path, database_url: str | None
) -> None:
    gate = Gate()
    running = running_service(tmp_path / "data", providers={"studio": gate}, database=database_url)
    async with running as service, asyncio.timeout(DEADLINE_SECONDS):
        task_id = await service.submit()
        async with stream(service, task_id) as events:
            seen = [await anext(events) for _ in range(3)]
            assert seen == [("1", "pending"), ("2", "submitted"), ("3", "in_progress")]
            gate.waiting[0].set()
            assert [event async for event in events] == [("5", "success")]
        # Whoever comes back goes on behind what it had, at whatever place that was.
        for last in range(5):
            async with stream(service, task_id, str(last)) as events:
                ids = [number async for number, _ in events]
            assert ids == [str(number) for number in (1, 2, 3, 5) if number > last]
        path = f"/v1/tasks/{task_id}/events"
        over = await service.client.get(path, headers={"Last-Event-ID": "5"})
        assert (over.status_code, over.content) == (204, b"")
        odd = await service.client.get(path, headers={"Last-Event-ID": "many"})
        assert odd.status_code == 400


async def test_what_cannot_be_followed_is_a_problem_and_no_stream(tmp_path: Path) -> None:
    async with running_service(tmp_path / "data") as service:
        task_id = await service.submit()
        await service.ended(task_id)
        async with customer(service) as other:
            answers = [
                await other.client.get(f"/v1/tasks/{one}/events") for one in (task_id, "ta1", "%00")
            ]
        assert [answer.status_code for answer in answers] == [404] * 3
        async with customer(service, scopes=["image:create"]) as limited:
            assert (await limited.client.get("/v1/tasks/ta1/events")).status_code == 403
        await service.client.delete(f"/v1/tasks/{task_id}")
        gone = await service.client.get(f"/v1/tasks/{task_id}/events")
        assert (gone.status_code, gone.json()["detail"]) == (410, "the task was deleted")


async def test_a_workspace_has_so_many_streams_and_a_closed_one_gives_its_place_back(
    tmp_path: Path,
) -> None:
    running = running_service(tmp_path / "data", settings={"concurrency": 0})
    async with running as service, asyncio.timeout(DEADLINE_SECONDS):
        task_id = await service.submit()
        path = f"/v1/tasks/{task_id}/events"
        async with client_of(service.base_url, service.key) as client:
            opened = [client.stream("GET", path, timeout=60) for _ in range(20)]
            for one in opened:
                assert (await one.__aenter__()).status_code == 200
            assert (await service.client.get(path)).status_code == 429
            for one in opened:
                await one.__aexit__(None, None, None)
        while True:
            async with service.client.stream("GET", path, timeout=60) as answer:
                if answer.status_code == 200:
                    break
            await asyncio.sleep(0.02)


async def test_a_stop_lets_go_of_who_waits_and_who_follows_at_once(
    tmp_path: Path, database_url: str | None
) -> None:
    running = running_service(tmp_path / "data", database=database_url, settings={"concurrency": 0})
    async with asyncio.timeout(DEADLINE_SECONDS):
        service = await running.__aenter__()
        task_id = await service.submit()
        # Clients of their own: the service's are closed before it stops.
        async with client_of(service.base_url, service.key) as client:
            path = f"/v1/tasks/{task_id}"
            waiting = asyncio.create_task(client.get(f"{path}?wait=30", timeout=60))
            follower = replace(service, client=client)
            async with stream(follower, task_id) as events:
                # The request to wait came before this one.
                assert await anext(events) == ("1", "pending")
                began = asyncio.get_running_loop().time()
                stopping = asyncio.create_task(running.__aexit__(None, None, None))
                assert [event async for event in events] == []
            await stopping
            lasted = asyncio.get_running_loop().time() - began
            assert (await waiting).json()["status"] == "pending"
    # The server itself would give up on them after ten seconds.
    assert lasted < 5


async def test_a_key_that_is_revoked_hears_nothing_more(tmp_path: Path) -> None:
    running = running_service(tmp_path / "data", settings={"concurrency": 0})
    async with running as service, customer(service) as own:
        task_id = await own.submit()
        async with stream(own, task_id) as events, asyncio.timeout(DEADLINE_SECONDS * 2):
            assert await anext(events) == ("1", "pending")

            def revoke(conn: Connection) -> None:
                keys = text("UPDATE api_key SET revoked_at = 1 WHERE workspace_id = :id")
                conn.execute(keys, {"id": own.workspace_id})
                cancel(conn, WorkspaceId(own.workspace_id), task_id, NOW)

            await service.runtime.database.write(revoke)
            service.runtime.authenticator.forget_all()
            service.runtime.ended()
            assert [event async for event in events] == []


def test_places_are_bounded_for_one_and_for_all() -> None:
    places = Places(3, each=2, taken="streams are open")
    with places.place("a"), places.place("a"):
        with pytest.raises(RateLimited):
            places.place("a").__enter__()
        with places.place("b"), pytest.raises(Unavailable):
            places.place("c").__enter__()
        with places.place("c"):
            pass
    for _ in range(4):
        with pytest.raises(EOFError), places.place("d"):
            raise EOFError


async def test_nobody_waits_once_it_stops() -> None:
    waiters = Waiters(FrozenClock())

    async def no() -> bool:
        return False

    async with asyncio.timeout(0.9):
        waiting = asyncio.create_task(waiters.until(no, bool, no, 30))
        await asyncio.sleep(0)
        waiters.stop()
        assert await waiting is False
        assert await waiters.until(no, bool, no, 30) is False
