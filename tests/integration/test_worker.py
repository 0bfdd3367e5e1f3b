"""The worker in a whole service: what it does when leases, engines, stores and disks fail it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from ketchup import storage
from ketchup.generation import finish as finish_module
from ketchup.generation import outcomes as outcomes_module
from ketchup.generation import run as run_module
from ketchup.providers.base import (
    AnswerLost,
    GeneratedImage,
    ImageRequest,
    Misconfigured,
    Progress,
    RateLimited,
    Refused,
    TimedOut,
    Unavailable,
)
from tests.support.database import open_engine
from tests.support.engines import ScriptedProvider, plain_image
from tests.support.home import Home, change, rows, until
from tests.support.postgres import postgres_server
from tests.support.receiver import Receiver
from tests.support.service import RunningService

PRICE: Final = 500_000


class Gate:
    """An engine that holds every request until it is let go, and counts them."""

    def __init__(self) -> None:
        self.waiting: list[asyncio.Event] = []
        self.entered = 0
        self.inside = 0
        self.most_inside = 0
        self.cancelled = 0

    async def generate(
        self,
        request: ImageRequest,
        *,
        progress: Progress,  # noqa: ARG002 the protocol has it
        cancelled: asyncio.Event,  # noqa: ARG002 as above
    ) -> Sequence[GeneratedImage]:
        go = asyncio.Event()
        self.waiting.append(go)
        self.entered += 1
        self.inside += 1
        self.most_inside = max(self.most_inside, self.inside)
        try:
            await go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.inside -= 1
        return [plain_image(request, request.seed)]

    async def close(self) -> None:
        pass


@pytest.fixture
def home(tmp_path: Path, database_url: str | None) -> Home:
    return Home(tmp_path / "data", database_url)


async def outcomes(service: RunningService, task_id: str) -> list[str | None]:
    found = await rows(
        service, "SELECT outcome FROM attempt WHERE task_id = :id ORDER BY number", id=task_id
    )
    return [outcome for (outcome,) in found]


async def paid(service: RunningService) -> list[int]:
    """Every capture; and the audit must agree."""
    audit = (await service.admin.get(f"/admin/v1/workspaces/{service.workspace_id}/audit")).json()
    assert audit["consistent"] is True
    return [amount for (amount,) in await rows(service, _CAPTURES)]


_CAPTURES: Final = "SELECT amount FROM entry WHERE kind = 'capture'"
_REAP: Final = (
    "UPDATE attempt SET outcome = 'unknown', finished_at = sent_at WHERE outcome IS NULL",
    """UPDATE task SET queue_state = 'ready', worker_id = NULL, losses = losses + 1
       WHERE queue_state = 'leased'""",
    "DELETE FROM worker",
)
"""What another worker does that holds us for dead."""


async def test_a_worker_that_was_taken_for_dead_starts_anew_and_is_paid_once(
    home: Home,
) -> None:
    gate = Gate()
    async with home.served_by(gate, worker__lease_seconds=2) as service:
        task_id = await service.submit()
        await until(lambda: gate.entered == 1)
        before = await rows(service, "SELECT id FROM worker")

        await change(service, *_REAP)

        await until(lambda: gate.cancelled >= 1)
        await until(lambda: gate.inside == 1)
        gate.waiting[-1].set()
        await _ended_however_often_it_starts(service, gate, task_id)
        assert (await service.query(task_id))["status"] == "success"
        found = await outcomes(service, task_id)
        assert found[-1] == "success"
        assert set(found[:-1]) == {"unknown"}
        assert await paid(service) == [-PRICE]
        assert await rows(service, "SELECT id FROM worker") != before


async def _ended_however_often_it_starts(service: RunningService, gate: Gate, task_id: str) -> None:
    async def ended() -> bool:
        for go in gate.waiting:
            go.set()
        return (await service.query(task_id))["status"] in {"success", "failed"}

    await until(ended)


async def test_what_an_attempt_renders_after_its_lease_was_lost_is_thrown_away(
    home: Home,
) -> None:
    gate = Gate()
    async with home.served_by(gate, concurrency=1) as service:
        task_id = await service.submit()
        await until(lambda: gate.entered == 1)

        # Lost to a worker that does not exist: nobody runs it while the first attempt ends.
        await change(
            service,
            "UPDATE task SET worker_id = 'wrk_other', attempt = attempt + 1",
            "INSERT INTO worker (id, started_at, beat, ttl_ms) VALUES ('wrk_other', 1, 0, 600000)",
        )
        gate.waiting[0].set()
        other = await service.submit()
        await until(lambda: gate.entered == 2)

        assert (await service.query(task_id))["status"] == "in_progress"
        assert await paid(service) == []
        assert await service.runtime.storage.keys(storage.IMAGES) == []
        gate.waiting[1].set()
        assert (await service.ended(other))["status"] == "success"


async def test_a_sqlite_file_that_is_locked_for_longer_than_the_lease_costs_an_attempt(
    tmp_path: Path,
) -> None:
    home, gate = Home(tmp_path / "data", None), Gate()
    async with home.served_by(gate, worker__lease_seconds=2) as service:
        task_id = await service.submit()
        await until(lambda: gate.entered == 1)

        with closing(sqlite3.connect(home.data / "ketchup.db", isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            await until(lambda: gate.cancelled == 1)
            assert (await service.query(task_id))["status"] == "in_progress"
            other.execute("ROLLBACK")

        await _is_done_by_a_second_attempt_and_paid_once(service, gate, task_id)


async def test_a_postgresql_server_that_is_gone_for_longer_than_the_lease_costs_an_attempt(
    tmp_path: Path,
) -> None:
    gate = Gate()
    with postgres_server() as server:
        home = Home(tmp_path / "data", server.create_database("ketchup"))
        async with home.served_by(gate, worker__lease_seconds=2) as service:
            task_id = await service.submit()
            await until(lambda: gate.entered == 1)

            server.stop("immediate")
            await until(lambda: gate.cancelled == 1)
            server.start()
            await until(lambda: _answers(service))

            await _is_done_by_a_second_attempt_and_paid_once(service, gate, task_id)


async def _answers(service: RunningService) -> bool:
    return (await service.admin.get("/readyz")).status_code == 200


async def _is_done_by_a_second_attempt_and_paid_once(
    service: RunningService, gate: Gate, task_id: str
) -> None:
    await until(lambda: gate.entered == 2)
    gate.waiting[1].set()
    assert (await service.ended(task_id))["status"] == "success"
    assert await outcomes(service, task_id) == ["unknown", "success"]
    assert await paid(service) == [-PRICE]


async def test_no_more_tasks_run_at_once_than_allowed(home: Home) -> None:
    gate = Gate()
    async with home.served_by(gate, concurrency=2) as service:
        task_ids = [await service.submit() for _ in range(5)]
        for done in range(5):
            await until(lambda done=done: gate.entered >= min(done + 2, 5))  # type: ignore[misc] # mypy knows no defaults in lambdas
            gate.waiting[done].set()
        for task_id in task_ids:
            assert (await service.ended(task_id))["status"] == "success"

    assert gate.most_inside == 2


async def test_without_concurrency_tasks_are_accepted_and_wait(home: Home) -> None:
    gate = Gate()
    async with home.served_by(gate, concurrency=0) as service:
        task_id = await service.submit()
        await until(lambda: _has_swept(service))

        assert (await service.query(task_id))["status"] == "pending"
        assert gate.entered == 0


async def _has_swept(service: RunningService) -> bool:
    """Whether the worker has done something since: it makes due what was delayed."""
    if not await rows(service, "SELECT 1 FROM task WHERE id = 'marker'"):
        await change(service, _MARKER)
    return bool(await rows(service, "SELECT 1 FROM task WHERE id = 'marker' AND run_at IS NULL"))


_MARKER: Final = """
    INSERT INTO task (id, workspace_id, key_id, request_id, model, prompt, images, options, status,
        queue_state, price, vtime, priority, run_at, attempt, tries, losses, consumed, created_at)
    SELECT 'marker', workspace_id, key_id, request_id, model, prompt, images, options, status,
        'delayed', 0, vtime, priority, 1, attempt, tries, losses, consumed, created_at FROM task"""


@pytest.mark.parametrize(
    "error",
    [Unavailable("connection refused"), AnswerLost("half a picture"), TimedOut("no answer")],
    ids=lambda error: type(error).__name__,
)
async def test_an_engine_that_fails_once_is_tried_again_and_paid_once(
    home: Home, error: Exception
) -> None:
    engine = ScriptedProvider(error)
    async with home.served_by(engine) as service:
        task_id = await service.submit()

        assert (await service.ended(task_id))["status"] == "success"
        assert await outcomes(service, task_id) == ["retry", "success"]
        assert await paid(service) == [-PRICE]


async def test_an_engine_that_asks_for_a_pause_gets_it(home: Home) -> None:
    engine = ScriptedProvider(RateLimited("slow down", retry_after=2.5))
    async with home.served_by(engine) as service:
        task_id = await service.submit()

        assert (await service.ended(task_id))["status"] == "success"
        [(paused,)] = await rows(service, _PAUSE, id=task_id)
        assert paused >= 2_500_000


_PAUSE: Final = """
    SELECT later.sent_at - earlier.finished_at FROM attempt earlier
    JOIN attempt later ON later.task_id = earlier.task_id AND later.number = earlier.number + 1
    WHERE earlier.task_id = :id"""


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (Refused("The prompt was refused."), "The prompt was refused."),
        # Neither half of a character nor NUL can be kept by PostgreSQL, nor be sent as JSON.
        (Refused("No \ud83c tomatoes\0."), "No ? tomatoes?."),
        (0, outcomes_module.NO_IMAGES),
        (2, outcomes_module.NO_IMAGES),
    ],
)
async def test_what_cannot_get_better_fails_at_once_for_free_and_calls_back(
    home: Home, step: Exception | int, reason: str
) -> None:
    engine = ScriptedProvider(step)
    async with Receiver() as receiver, home.served_by(engine) as service:
        task_id = await service.submit(callback_url=receiver.url)
        data = await service.ended(task_id)
        await receiver.received(1)

        assert (data["status"], data["status_reason"]["message"]) == ("failed", reason)
        assert len(engine.requests) == 1
        assert await paid(service) == []
        assert (await service.client.get("/api/user")).json()["data"]["credit"] == "100.00000000"
        assert reason in receiver.requests[0].body.decode()


async def test_a_bad_key_takes_the_channel_out_and_its_tasks_wait_for_the_probe(
    home: Home,
) -> None:
    # An upstream that numbers its answers is no news each time.
    engine = ScriptedProvider(Misconfigured("401, no. 1"), Misconfigured("401, no. 2"))
    with capture_logs() as logs:
        async with home.served_by(engine) as service:
            data = await service.ended(await service.submit())
            states = await rows(service, "SELECT failures, taken_out FROM channel")

    assert data["status"] == "success"
    assert states == [(0, None)]
    assert [entry["cause"] for entry in logs if entry["event"] == "CHANNEL TAKEN OUT"] == [
        "401, no. 1"
    ]
    assert home.rows("SELECT outcome, cost FROM attempt ORDER BY number") == [
        ("retry", 0),
        ("retry", 0),
        ("success", 0),
    ]


async def test_why_an_engine_refused_is_for_the_operator_alone(home: Home) -> None:
    engine = ScriptedProvider(Refused("It was refused.", detail="IMAGE_SAFETY: a finish message"))
    async with home.served_by(engine) as service:
        data = await service.ended(await service.submit())

        assert data["status_reason"]["message"] == "It was refused."
    assert home.rows("SELECT detail FROM attempt") == [
        ("refused by the engine: IMAGE_SAFETY: a finish message",)
    ]


async def test_a_task_that_keeps_failing_is_given_up_after_its_tries_and_costs_nothing(
    home: Home,
) -> None:
    engine = ScriptedProvider(Unavailable("down\0"), RuntimeError("a \ud83c bug in the engine"))
    async with home.served_by(engine, worker__max_tries=2) as service:
        task_id = await service.submit()
        data = await service.ended(task_id)

        assert data["status_reason"]["message"] == run_module.TRIED_TOO_OFTEN
        assert await outcomes(service, task_id) == ["retry", "failed"]
        assert await paid(service) == []
        assert (await service.client.get("/api/user")).json()["data"]["credit"] == "100.00000000"
    assert home.rows("SELECT detail FROM attempt ORDER BY number") == [
        ("Unavailable: down?",),
        ("RuntimeError: a ? bug in the engine",),
    ]


async def test_an_engine_that_never_answers_is_given_up(home: Home) -> None:
    gate = Gate()
    limits = {"worker__task_timeout_seconds": 1, "worker__max_tries": 1}
    async with home.served_by(gate, **limits) as service:
        task_id = await service.submit()
        data = await service.ended(task_id)

        assert data["status_reason"]["message"] == run_module.TRIED_TOO_OFTEN
        assert gate.cancelled == 1


async def test_a_task_that_loses_its_workers_too_often_is_given_up_and_calls_back(
    home: Home,
) -> None:
    idle = home.served_by(Gate(), concurrency=0)
    async with Receiver() as receiver, idle as service:
        task_id = await service.submit(callback_url=receiver.url)
        await change(
            service, "UPDATE task SET queue_state = 'leased', worker_id = 'wrk_gone', losses = 9"
        )
        data = await service.ended(task_id)
        await receiver.received(1)

        assert data["status_reason"]["message"] == finish_module.LOST_TOO_OFTEN
        assert await paid(service) == []


async def test_what_a_worker_without_a_row_holds_is_taken_up_by_the_next_sweep(
    home: Home,
) -> None:
    async with (
        Receiver() as receiver,
        home.served_by(ScriptedProvider()) as service,
    ):
        task_id = await service.submit(callback_url=receiver.url)
        await service.ended(task_id)
        await receiver.received(1)
        await until(lambda: _is(service, "SELECT 1 FROM delivery WHERE state = 'delivered'"))

        await change(
            service,
            """UPDATE delivery SET state = 'pending', worker_id = 'wrk_gone', claimed_at = 1,
               finished_at = NULL, attempt = attempt + 1""",
        )

        await receiver.received(2)
        assert receiver.requests[0].body == receiver.requests[1].body


async def _is(service: RunningService, sql: str) -> bool:
    return bool(await rows(service, sql))


async def test_what_a_worker_without_a_row_holds_is_taken_up_by_the_next_start(
    home: Home,
) -> None:
    async with home.served_by(Gate(), concurrency=0) as service:
        task_id, key = await service.submit(), service.key
    with open_engine(home.location) as engine, engine.begin() as conn:
        conn.execute(
            text("UPDATE task SET queue_state = 'leased', worker_id = 'wrk_gone', attempt = 1")
        )

    async with home.served_by(ScriptedProvider()) as service:
        service.client.headers["Authorization"] = f"Bearer {key}"
        assert (await service.ended(task_id))["status"] == "success"


async def test_a_stop_leaves_nothing_to_a_worker_that_is_gone(home: Home) -> None:
    gate = Gate()
    async with home.served_by(gate, worker__drain_seconds=0) as service:
        task_id = await service.submit()
        await until(lambda: gate.entered == 1)

    assert home.rows("SELECT queue_state, tries, losses FROM task") == [("ready", 0, 0)]
    assert home.rows("SELECT task_id, outcome FROM attempt") == [(task_id, "interrupted")]
    assert home.rows("SELECT id FROM worker") == []


async def test_a_picture_waits_for_a_disk_that_is_broken_for_a_moment(home: Home) -> None:
    engine = ScriptedProvider()
    async with home.served_by(engine, worker__max_tries=1) as service:
        in_the_way = home.data / "blobs" / "fileSystem"
        in_the_way.write_text("no folder can be made here")
        task_id = await service.submit()
        await engine.started.wait()
        other = await service.submit()
        await until(lambda: len(engine.requests) == 2)
        in_the_way.unlink()

        assert (await service.ended(task_id))["status"] == "success"
        assert (await service.ended(other))["status"] == "success"
        # What was rendered, and will once have been paid for, was not thrown away.
        assert len(engine.requests) == 2


async def test_a_disk_that_stays_broken_ends_the_task_for_free(home: Home) -> None:
    limits = {"worker__task_timeout_seconds": 0.5, "worker__max_tries": 1}
    async with home.served_by(ScriptedProvider(), **limits) as service:
        (home.data / "blobs" / "fileSystem").write_text("no folder can be made here")
        data = await service.ended(await service.submit())

        assert data["status_reason"]["message"] == run_module.TRIED_TOO_OFTEN
        assert await paid(service) == []


async def test_an_end_that_crashes_is_tried_again_and_blocks_nobody(home: Home) -> None:
    gate = Gate()
    async with home.served_by(gate, concurrency=1) as service:
        task_id = await service.submit()
        await until(lambda: gate.entered == 1)
        [(amount,)] = await rows(service, "SELECT amount FROM hold")
        # A ledger that does not agree with the task: nothing may be kept.
        await change(service, "UPDATE hold SET amount = 0")
        gate.waiting[0].set()
        await until(lambda: _is(service, "SELECT 1 FROM task WHERE queue_state = 'delayed'"))

        await change(service, "UPDATE hold SET amount = :amount", amount=amount)
        await until(lambda: gate.entered == 2)
        gate.waiting[1].set()

        assert (await service.ended(task_id))["status"] == "success"
        assert await outcomes(service, task_id) == ["retry", "success"]
        assert await paid(service) == [-PRICE]


async def test_a_reference_that_cannot_be_removed_does_not_hold_up_the_end(
    home: Home,
) -> None:
    gate = Gate()
    picture = "data:image/png;base64," + _PNG
    async with Receiver() as receiver, home.served_by(gate) as service:
        task_id = await service.submit(images=[picture], callback_url=receiver.url)
        await until(lambda: gate.entered == 1)
        [blob] = (home.data / "blobs" / "references").rglob("*.blob")
        blob.unlink()
        (blob / "in the way").mkdir(parents=True)
        with capture_logs() as events:
            gate.waiting[0].set()
            assert (await service.ended(task_id))["status"] == "success"
            await receiver.received(1)

        assert "references are left to the sweep" in [event["event"] for event in events]
        assert "the end of an attempt crashed" not in [event["event"] for event in events]


async def test_a_success_is_in_the_log_under_the_id_that_the_client_was_given(
    home: Home,
) -> None:
    async with home.served_by(ScriptedProvider()) as service:
        with capture_logs() as events:
            body = {"model": "google/gempix2", "prompt": "a red boat"}
            answer = await service.client.post("/api/image/gen", json=body)
            task_id = answer.json()["data"]["task_id"]
            assert (await service.ended(task_id))["status"] == "success"
            await until(lambda: "task succeeded" in [event["event"] for event in events])

    told = next(event for event in events if event["event"] == "task succeeded")
    assert (told["log_level"], told["task_id"]) == ("info", task_id)
    assert told["request_id"] == answer.headers["x-request-id"]


_PNG: Final = (
    "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAFUlEQVR4nGP8z4AdMOEQH7QSDAwAOMMBD1n6h2EAAAAA"
    "SUVORK5CYII="
)
