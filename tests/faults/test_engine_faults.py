"""An engine that fails in every way that it can, one request in twenty: whoever got pictures paid for
them once, whoever got none paid nothing, and the journal never calls free what was charged.

Two channels lead to two fakes: `paid` is never asked twice when an outcome is unknown, `spare` is.
"""

from __future__ import annotations

import asyncio
import sys
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import Any, Final

import httpx2
import pytest

from ketchup.testing import FakeUpstream, Fault, Held, Limited, Slow, Step
from ketchup.testing.pictures import picture
from tests.faults.conftest import Deploy
from tests.support.audit import audited
from tests.support.deployment import Deployment
from tests.support.invariants import Promises
from tests.support.service import client_of

pytestmark = pytest.mark.timeout(300)
CHANNELS: Final = """
[channels.paid]
provider = "gemini"
base_url = "{paid}"
key = "key-of-paid"
models = ["google/gempix2"]
cost = "0.04"

[channels.spare]
provider = "gemini"
base_url = "{spare}"
key = "key-of-spare"
models = ["google/gempix2"]
cost = "0.03"
unknown = "resubmit"
"""
COSTS: Final = {"paid": 40_000, "spare": 30_000}
PRICE: Final = 500_000
GRANTED: Final = 1_000_000 * 1_000_000
KINDS: Final[Sequence[Step]] = (
    Slow(1.0),
    Held(asyncio.Event()),
    Limited(header="1", retry_info="1s"),
    Fault.TRICKLE,
    Fault.DUPLICATE,
    Fault.PROMPT_BLOCKED,
    Fault.IMAGE_UNSAFE,
    Fault.TEXT_ONLY,
    Fault.BAD_KEY,
    Fault.BROKEN,
    Fault.OVERLOADED,
    Fault.GATEWAY_TIMEOUT,
    Fault.HTML,
    Fault.RESET_BEFORE_RENDERING,
    Fault.RESET_AFTER_RENDERING,
    Fault.TRUNCATED,
    Fault.HUGE,
    Fault.WRONG_TYPE,
    Fault.HALF_BASE64,
    Fault.NOT_AN_IMAGE,
    Fault.SVG,
    Fault.BOMB,
)
_ENVIRON: Final = {
    "KETCHUP_LOG_LEVEL": "error",
    "KETCHUP_CONCURRENCY": "16",
    # So that pictures can be compared byte for byte.
    "KETCHUP_PROVENANCE_ENABLED": "false",
    # Whoever hangs or trickles is given up after this long.
    "KETCHUP_WORKER_TASK_TIMEOUT_SECONDS": "4",
}
_CLIENTS: Final = 16


@dataclass(frozen=True)
class Order:
    """A task as its customer knows it."""

    task_id: str
    prompt: str
    images: int


async def test_every_kind_of_fault_is_charged_right(deploy: Deploy, random: Random) -> None:
    # Each kind once on each channel, among few tasks.
    await _charged_right(deploy, "sqlite", random, 150, faults=len(KINDS))


@pytest.mark.torture
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", ["sqlite", "pair"])
async def test_two_thousand_tasks_under_faults_are_charged_right(
    deploy: Deploy, random: Random, kind: str
) -> None:
    await _charged_right(deploy, kind, random, 2000, faults=50)


async def _charged_right(
    deploy: Deploy, kind: str, random: Random, tasks: int, *, faults: int
) -> None:
    async with FakeUpstream() as paid, FakeUpstream() as spare:
        fakes = {"paid": paid, "spare": spare}
        for fake in fakes.values():
            fake.script(*_script(random, tasks // 2, faults))
        with deploy(kind, **_ENVIRON) as deployment:
            deployment.configure(CHANNELS.format(paid=paid.url, spare=spare.url))
            await asyncio.to_thread(deployment.start)
            async with _customer(deployment) as client:
                orders = await _submit_all(client, random, tasks)
                ended = await _all_ended(client, orders)
                await _delivered(client, orders, ended)
                credit = (await client.get("/api/user")).json()["data"]["credit"]
            async with client_of(deployment.addresses[0], deployment.admin_token) as admin:
                await audited(admin)
            await asyncio.to_thread(deployment.stop)
            found = deployment.violations(
                Promises({order.task_id for order in orders}), at_the_end=True, costs=COSTS
            )
            rows = deployment.rows("SELECT task_id, channel, cost, images FROM attempt")
    assert found == []
    paid_for = sum(order.images for order in orders if ended[order.task_id] == "success")
    assert float(credit) * 1_000_000 == GRANTED - paid_for * PRICE
    by_prompt = {order.task_id: order.prompt for order in orders}
    for channel, fake in fakes.items():
        mine = [(by_prompt[task], cost) for task, name, cost, _ in rows if name == channel]
        assert _hidden(mine, fake, COSTS[channel]) == {}
        assert _asked_by(rows, channel) == len(fake.asked)
    counts = Counter(ended.values())
    sys.stdout.write(f"{dict(counts)}, {len(rows)} attempts\n")
    assert counts["success"] > tasks * 0.8


def _hidden(
    attempts: Sequence[tuple[str, int]], fake: FakeUpstream, cost: int
) -> Mapping[str, tuple[int, int]]:
    """Return the prompts for which the engine charged more than the journal knows of."""
    known: Counter[str] = Counter()
    for prompt, charged in attempts:
        known[prompt] += charged
    charged_for = {prompt: count * cost for prompt, count in fake.rendered.items()}
    return {p: (sum_, known[p]) for p, sum_ in charged_for.items() if sum_ > known[p]}


def _asked_by(rows: Sequence[tuple[Any, ...]], channel: str) -> int:
    """Return how many requests the journal knows of: Google draws one picture for each."""
    return sum(images for _, name, _, images in rows if name == channel)


def _script(random: Random, requests: int, faults: int) -> Sequence[Step]:
    steps: list[Step] = [None] * requests
    places = random.sample(range(requests), faults)
    kinds = random.sample(KINDS, len(KINDS))
    for number, place in enumerate(places):
        steps[place] = kinds[number % len(kinds)]
    return steps


@asynccontextmanager
async def _customer(deployment: Deployment) -> AsyncIterator[httpx2.AsyncClient]:
    key = await asyncio.to_thread(deployment.new_key)
    async with client_of(deployment.addresses[0], key) as client:
        yield client


async def _submit_all(client: httpx2.AsyncClient, random: Random, count: int) -> Sequence[Order]:
    places = asyncio.Semaphore(_CLIENTS)

    async def submit(number: int, images: int) -> Order:
        prompt = f"boat {number}"
        body = {"model": "google/gempix2", "prompt": prompt, "n": images}
        async with places:
            answer = await client.post("/api/image/gen", json=body)
        assert answer.status_code == 200, answer.text
        return Order(answer.json()["data"]["task_id"], prompt, images)

    sizes = random.choices([1, 3], [9, 1], k=count)
    return await asyncio.gather(*(submit(number, size) for number, size in enumerate(sizes)))


async def _all_ended(client: httpx2.AsyncClient, orders: Sequence[Order]) -> dict[str, str]:
    """Wait for every task; return its status, and fail when one does not say why it failed."""
    ended: dict[str, str] = {}
    async with asyncio.timeout(30 + len(orders) * 0.2):
        while waiting := [order for order in orders if order.task_id not in ended]:
            for order in waiting:
                data = await _query(client, order)
                if data["status"] in {"success", "failed"}:
                    ended[order.task_id] = data["status"]
                    assert data["status"] == "success" or data["status_reason"]["message"]
            await asyncio.sleep(0.1)
    return ended


async def _delivered(
    client: httpx2.AsyncClient, orders: Sequence[Order], ended: Mapping[str, str]
) -> None:
    """Download every picture: it is the one that was drawn for this task, and for no other."""
    for order in orders:
        if ended[order.task_id] != "success":
            continue
        data = await _query(client, order)
        seed = zlib.crc32(order.task_id.encode())
        expected = [picture((128, 128), "png", seed % 2**31 + i) for i in range(order.images)]
        found = [(await client.get(image["image"])).content for image in data["result"]]
        assert found == expected, order


async def _query(client: httpx2.AsyncClient, order: Order) -> dict[str, Any]:
    answer = await client.get("/api/task/query", params={"task_id": order.task_id})
    data: dict[str, Any] = answer.json()["data"]
    return data
