"""CONTRACT §3: `GET /api/task/query`."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from ketchup.clock import FrozenClock
from ketchup.errors import RateLimited
from ketchup.pace import Pace
from ketchup.providers.base import Refused, Unavailable
from tests.support.customers import admin
from tests.support.engines import PromptedProvider
from tests.support.service import DEADLINE_SECONDS, RunningService, running_service

pytestmark = pytest.mark.asyncio(loop_scope="module")

QUERY = "/api/task/query"
ORDER = ["pending", "submitted", "in_progress", "success"]
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
IMAGE = r"fileSystem/response_images/\d+/\d{4}/\d\d/\d\d/\d{19}_[0-9a-f]{32}\.png"


async def raw(service: RunningService, task_id: str) -> bytes:
    answer = await service.client.get(QUERY, params={"task_id": task_id})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    return answer.content


def body(task_id: str, status: str, result: str, consumed: str, message: str) -> re.Pattern[bytes]:
    """Return the whole body, byte for byte, with a time that is not known."""
    text = (
        f'{{"code":0,"message":"ok","data":{{"task_id":"{task_id}","status":"{status}",'
        f'"result":{result},"consumed":"{consumed}","created_at":"TIME",'
        f'"status_reason":{{"message":{message}}}}}}}'
    )
    return re.compile(re.escape(text).replace("TIME", TIME).replace("IMAGE", IMAGE).encode())


async def until(service: RunningService, task_id: str, status: str) -> dict[str, Any]:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            data = await service.query(task_id)
            if data["status"] == status:
                return data


# -- every row of the table of states --------------------------------------------------------------


async def test_a_pending_task(tmp_path: Path, database_url: str | None) -> None:
    async with running_service(
        tmp_path, database=database_url, settings={"concurrency": 0}
    ) as service:
        task_id = await service.submit()
        expected = body(task_id, "pending", "null", "0.00000000", "null")
        assert expected.fullmatch(await raw(service, task_id))


async def test_a_submitted_task(tmp_path: Path, database_url: str | None) -> None:
    """A worker has taken it and is still fetching its reference."""
    asked, release = asyncio.Event(), asyncio.Event()

    async def slow(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await release.wait()
        writer.close()

    async with (
        await asyncio.start_server(slow, "127.0.0.1", 0) as server,
        running_service(tmp_path, database=database_url) as service,
    ):
        port = server.sockets[0].getsockname()[1]
        task_id = await service.submit(images=[f"http://127.0.0.1:{port}/a.png"])
        await asyncio.wait_for(asked.wait(), DEADLINE_SECONDS)
        expected = body(task_id, "submitted", "null", "0.00000000", "null")
        assert expected.fullmatch(await raw(service, task_id))
        release.set()
        await service.ended(task_id)


async def test_a_task_in_progress(alice: RunningService, engine: PromptedProvider) -> None:
    release = asyncio.Event()
    seen = engine.script("in progress", release)
    task_id = await alice.submit(prompt="in progress")
    await asyncio.wait_for(seen.started.wait(), DEADLINE_SECONDS)
    expected = body(task_id, "in_progress", "null", "0.00000000", "null")
    assert expected.fullmatch(await raw(alice, task_id))
    release.set()
    await alice.ended(task_id)


async def test_a_success_costs_its_price(alice: RunningService) -> None:
    task_id = await alice.submit(n=2)
    await alice.ended(task_id)
    image = f'{{"image":"{alice.base_url}/IMAGE"}}'
    expected = body(task_id, "success", f"[{image},{image}]", "1.00000000", "null")
    assert expected.fullmatch(await raw(alice, task_id))


async def test_a_failure_is_200_says_why_and_gives_the_credits_back(
    alice: RunningService, engine: PromptedProvider
) -> None:
    engine.script("refused", Refused('The prompt was refused: "é".'))
    task_id = await alice.submit(prompt="refused")
    await alice.ended(task_id)
    reason = '"The prompt was refused: \\"é\\"."'
    expected = body(task_id, "failed", "null", "0.00000000", reason)
    assert expected.fullmatch(await raw(alice, task_id))
    assert (await alice.client.get("/api/user")).json()["data"]["credit"] == "100.00000000"


async def test_a_reference_that_cannot_be_fetched_fails_the_task_not_the_request(
    alice: RunningService,
) -> None:
    task = await alice.ended(await alice.submit(images=["http://127.0.0.1:1/a.png"]))
    assert (task["status"], task["result"], task["consumed"]) == ("failed", None, "0.00000000")
    assert task["status_reason"]["message"]


# -- the order of states ---------------------------------------------------------------------------


async def test_the_status_only_moves_forward_and_a_terminal_task_never_changes(
    alice: RunningService,
) -> None:
    task_id = await alice.submit()
    seen = [await alice.query(task_id)]
    async with asyncio.timeout(DEADLINE_SECONDS):
        while seen[-1]["status"] != "success":
            seen.append(await alice.query(task_id))
    places = [ORDER.index(task["status"]) for task in seen]
    assert places == sorted(places)
    assert all(set(task) == set(seen[0]) for task in seen)
    assert all(task["created_at"] == seen[0]["created_at"] for task in seen)
    last = await raw(alice, task_id)
    assert [await raw(alice, task_id) for _ in range(5)] == [last] * 5


async def test_a_retried_task_stays_in_the_furthest_state_it_had_shown(
    alice: RunningService, engine: PromptedProvider
) -> None:
    release = asyncio.Event()
    seen = engine.script("retried", Unavailable("down"), release)
    task_id = await alice.submit(prompt="retried")
    await until(alice, task_id, "in_progress")
    async with asyncio.timeout(DEADLINE_SECONDS):
        while len(seen.requests) < 2:
            assert (await alice.query(task_id))["status"] == "in_progress"
            await asyncio.sleep(0.02)
    assert (await alice.query(task_id))["status"] == "in_progress"
    release.set()
    assert (await alice.ended(task_id))["status"] == "success"


# -- every row of the table of answers -------------------------------------------------------------


@pytest.mark.parametrize("query", ["", "?", "?task_id", "?task_id=", "?id=ta1", "?TASK_ID=ta1"])
async def test_400_without_a_task_id(alice: RunningService, query: str) -> None:
    answer = await alice.client.get(QUERY + query)
    expected = b'{"code":1,"message":"failed","detail":"task_id is required"}'
    assert (answer.status_code, answer.content) == (400, expected)


async def test_401_comes_before_everything_else_and_has_its_own_code(alice: RunningService) -> None:
    headers = {"Authorization": "Bearer wrong"}
    for query in ("", "?task_id=ta1"):
        answer = await alice.client.get(QUERY + query, headers=headers)
        assert answer.status_code == 401
        assert answer.content == b'{"code":401,"message":"Invalid API key"}'


@pytest.mark.parametrize(
    "task_id",
    [
        "ta823dfb-eaac-44fd-aec2-3e2c7ba8e071",
        "ta12345678-1234-5678-9abc-def012345678",
        "ta1",
        "0",
        " ",
        "%00",
        "%FF",
        "caf%C3%A9",
        "a" * 64,
        "a" * 65,
        "a" * 5000,
        "' OR 1=1 --",
        "../../etc/passwd",
    ],
)
async def test_404_for_any_unknown_id(alice: RunningService, task_id: str) -> None:
    answer = await alice.client.get(f"{QUERY}?task_id={task_id}")
    assert answer.status_code == 404
    assert answer.content == b'{"code":1,"message":"task not found"}'


async def test_another_workspaces_task_is_answered_like_one_that_never_was(
    alice: RunningService, bob: RunningService
) -> None:
    task_id = await alice.submit()
    theirs = await bob.client.get(QUERY, params={"task_id": task_id})
    none = await bob.client.get(QUERY, params={"task_id": "ta823dfb-eaac-44fd-aec2-3e2c7ba8e071"})
    varying = {"date", "x-request-id"}
    assert (theirs.status_code, theirs.content) == (none.status_code, none.content) == (
        404,
        b'{"code":1,"message":"task not found"}',
    )  # fmt: skip
    assert [(k, v) for k, v in theirs.headers.multi_items() if k not in varying] == [
        (k, v) for k, v in none.headers.multi_items() if k not in varying
    ]


async def test_every_key_of_the_workspace_sees_its_tasks(alice: RunningService) -> None:
    task_id = await alice.submit()
    other = await admin(alice, f"/workspaces/{alice.workspace_id}/keys", {"name": "another"})
    headers = {"Authorization": f"Bearer {other['key']}"}
    answer = await alice.client.get(QUERY, params={"task_id": task_id}, headers=headers)
    assert answer.status_code == 200


async def test_other_parameters_are_ignored(alice: RunningService) -> None:
    task_id = await alice.submit()
    answer = await alice.client.get(f"{QUERY}?a=b&task_id={task_id}&_=1&task_id=other&%FF=%")
    assert answer.json()["data"]["task_id"] == task_id


# -- 429 -------------------------------------------------------------------------------------------


async def test_polls_are_not_limited_unless_the_operator_says_so(alice: RunningService) -> None:
    task_id = await alice.submit()
    for _ in range(50):
        await alice.query(task_id)


async def test_429_after_a_burst_of_5(tmp_path: Path, database_url: str | None) -> None:
    settings = {"limits.polls_per_second": 1, "limits.poll_burst": 5, "concurrency": 0}
    async with running_service(tmp_path, database=database_url, settings=settings) as service:
        task_id, another = await service.submit(), await service.submit()
        for _ in range(5):
            await service.query(task_id)
        answer = await service.client.get(QUERY, params={"task_id": task_id})
        expected = b'{"code":1,"message":"failed","detail":"rate limit exceeded"}'
        assert (answer.status_code, answer.content) == (429, expected)
        assert answer.headers["retry-after"] == "1"
        # Each task has its own pace.
        await service.query(another)


@pytest.mark.parametrize("burst", [5, 8])
async def test_one_query_a_second_is_always_allowed_even_after_a_burst(burst: int) -> None:
    clock = FrozenClock()
    pace = Pace("poll", 1.0, burst, clock)
    for _ in range(burst):
        pace.check("task")
    with pytest.raises(RateLimited):
        pace.check("task")
    for _ in range(100):
        clock.advance(1.0)
        pace.check("task")
