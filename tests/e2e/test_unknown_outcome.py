"""A worker that is killed between *sent* and *recorded*: what its channel's policy makes of it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx2
import pytest

from ketchup.testing import FakeUpstream, Held
from tests.support.deployment import deployed

pytestmark = pytest.mark.timeout(180)
DEADLINE = 60.0
CHANNEL = """
[models."google/gempix2"]
max_n = 1
[channels.paid]
provider = "gemini"
base_url = "{url}"
key = "a-key"
models = ["google/gempix2"]
images_in_flight = 1
cost = "0.04"
unknown = "{policy}"
"""


@pytest.mark.parametrize(
    ("policy", "status", "asked", "attempts"),
    [
        ("fail_and_release", "failed", 1, [("unknown", 40_000)]),
        ("resubmit", "success", 2, [("unknown", 40_000), ("success", 40_000)]),
    ],
)
async def test_what_was_sent_and_never_recorded_follows_the_policy_of_its_channel(
    tmp_path: Path, policy: str, status: str, asked: int, attempts: list[tuple[str, int]]
) -> None:
    async with FakeUpstream() as upstream, asyncio.timeout(DEADLINE):
        upstream.script(Held())
        with deployed("sqlite", tmp_path, None) as deployment:
            deployment.configure(CHANNEL.format(url=upstream.url, policy=policy))
            await asyncio.to_thread(deployment.start)
            headers = {"Authorization": f"Bearer {await asyncio.to_thread(deployment.new_key)}"}
            async with httpx2.AsyncClient(
                base_url=deployment.addresses[0], headers=headers, trust_env=False
            ) as client:
                body = {"model": "google/gempix2", "prompt": "a red boat"}
                answer = await client.post("/api/image/gen", json=body)
                task = answer.json()["data"]["task_id"]
                await upstream.until_asked(1)

                await asyncio.to_thread(deployment.processes[0].kill)
                deployment.launch_again(0)
                await asyncio.to_thread(deployment.wait_until_ready)

                data = {"status": "pending"}
                while data["status"] not in {"success", "failed"}:
                    answer = await client.get("/api/task/query", params={"task_id": task})
                    data = answer.json()["data"]
                    await asyncio.sleep(0.05)
                credit = (await client.get("/api/user")).json()["data"]["credit"]
            await asyncio.to_thread(deployment.stop)
            rows = deployment.rows("SELECT outcome, cost FROM attempt ORDER BY number")

    assert data["status"] == status
    assert len(upstream.asked) == asked
    assert rows == attempts
    assert float(credit) == 1_000_000 - (0.5 if status == "success" else 0)
