"""An engine that fails in every way that it can, one request in twenty: whoever got pictures paid for
them once, whoever got none paid nothing, and the journal never calls free what was charged.

Two channels lead to two fakes: `paid` is never asked twice when an outcome is unknown, `spare` is.
Three workspaces share them, and each pays for its own pictures.
"""

from __future__ import annotations

import asyncio
import io
import sys
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from random import Random
from typing import Any, Final

import httpx2
import pytest
from PIL import Image

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
    Held(),
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
_WORKSPACES: Final = 3


@dataclass(frozen=True)
class Order:
    """A task as its customer knows it."""

    task_id: str
    prompt: str
    images: int
    client: httpx2.AsyncClient
    """That of its workspace."""


async def test_every_kind_of_fault_is_charged_right(deploy: Deploy, random: Random) -> None:
    # Many more than on a bad day, so that every kind comes among few tasks.
    await _charged_right(deploy, "sqlite", random, 240, every=5)


@pytest.mark.torture
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", ["sqlite", "pair"])
async def test_two_thousand_tasks_under_faults_are_charged_right(
    deploy: Deploy, random: Random, kind: str
) -> None:
    await _charged_right(deploy, kind, random, 2000, every=20)


async def _charged_right(
    deploy: Deploy, kind: str, random: Random, tasks: int, *, every: int
) -> None:
    async with FakeUpstream() as paid, FakeUpstream() as spare:
        fakes = {"paid": paid, "spare": spare}
        for fake in fakes.values():
            # Longer than one channel will be asked.
            fake.script(*_script(random, tasks // every * 2, every))
        with deploy(kind, **_ENVIRON) as deployment:
            deployment.configure(CHANNELS.format(paid=paid.url, spare=spare.url))
            await asyncio.to_thread(deployment.start)
            async with _customers(deployment) as clients:
                orders = await _submit_all(clients, random, tasks)
                ended = await _all_ended(orders)
                await _delivered(orders, ended)
                left = [
                    (await client.get("/api/user")).json()["data"]["credit"] for client in clients
                ]
            async with client_of(deployment.addresses[0], deployment.admin_token) as admin:
                await audited(admin)
            await asyncio.to_thread(deployment.stop)
            found = deployment.violations(
                Promises({order.task_id for order in orders}), at_the_end=True, costs=COSTS
            )
            rows = deployment.rows("SELECT task_id, channel, cost, images FROM attempt")
    assert found == []
    for client, credit in zip(clients, left, strict=True):
        paid_for = sum(
            order.images
            for order in orders
            if order.client is client and ended[order.task_id] == "success"
        )
        assert paid_for
        assert Decimal(credit) * 1_000_000 == GRANTED - paid_for * PRICE
    by_prompt = {order.task_id: order.prompt for order in orders}
    for channel, fake in fakes.items():
        mine = [(by_prompt[task], cost) for task, name, cost, _ in rows if name == channel]
        assert _hidden(mine, fake, COSTS[channel]) == {}
        assert _asked_by(rows, channel) == len(fake.asked)
        # One request in so many met a fault: the script was long enough.
        assert every <= len(fake.asked) <= tasks // every * 2 * every
    # Every kind was met by one at least; the other may have been out for a while.
    assert max(len(fake.asked) for fake in fakes.values()) >= every * len(KINDS)
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


def _script(random: Random, faults: int, every: int) -> Sequence[Step]:
    """Let one of each so many requests fail, at a random place among them, by all kinds in turn."""
    kinds = random.sample(KINDS, len(KINDS))
    steps: list[Step] = []
    for number in range(faults):
        place = random.randrange(every)
        fault = kinds[number % len(kinds)]
        steps += [fault if at == place else None for at in range(every)]
    return steps


@asynccontextmanager
async def _customers(deployment: Deployment) -> AsyncIterator[Sequence[httpx2.AsyncClient]]:
    async with AsyncExitStack() as open_until_then:
        clients = []
        for _ in range(_WORKSPACES):
            key = await asyncio.to_thread(deployment.new_key)
            client = client_of(deployment.addresses[0], key)
            clients.append(await open_until_then.enter_async_context(client))
        yield clients


async def _submit_all(
    clients: Sequence[httpx2.AsyncClient], random: Random, count: int
) -> Sequence[Order]:
    places = asyncio.Semaphore(_CLIENTS)

    async def submit(number: int, images: int) -> Order:
        prompt = f"boat {number}"
        body = {"model": "google/gempix2", "prompt": prompt, "n": images}
        client = clients[number % len(clients)]
        async with places:
            answer = await client.post("/api/image/gen", json=body)
        assert answer.status_code == 200, answer.text
        return Order(answer.json()["data"]["task_id"], prompt, images, client)

    sizes = random.choices([1, 3], [9, 1], k=count)
    return await asyncio.gather(*(submit(number, size) for number, size in enumerate(sizes)))


async def _all_ended(orders: Sequence[Order]) -> dict[str, str]:
    """Wait for every task; return its status, and fail when one does not say why it failed."""
    ended: dict[str, str] = {}
    async with asyncio.timeout(30 + len(orders) * 0.2):
        while waiting := [order for order in orders if order.task_id not in ended]:
            for order in waiting:
                data = await _query(order)
                if data["status"] in {"success", "failed"}:
                    ended[order.task_id] = data["status"]
                    assert data["status"] == "success" or data["status_reason"]["message"]
            await asyncio.sleep(0.1)
    return ended


async def _delivered(orders: Sequence[Order], ended: Mapping[str, str]) -> None:
    """Download every picture: it is the one that was drawn for this task, and for no other."""
    for order in orders:
        if ended[order.task_id] != "success":
            continue
        data = await _query(order)
        seed = zlib.crc32(order.task_id.encode())
        expected = [picture((128, 128), "png", seed % 2**31 + i) for i in range(order.images)]
        found = [(await order.client.get(image["image"])).content for image in data["result"]]
        # Every picture of an engine is drawn anew: by its pixels it is the same.
        assert [_pixels(one) for one in found] == [_pixels(one) for one in expected], order


def _pixels(data: bytes) -> bytes:
    with Image.open(io.BytesIO(data)) as shown:
        return shown.convert("RGB").tobytes()


async def _query(order: Order) -> dict[str, Any]:
    answer = await order.client.get("/api/task/query", params={"task_id": order.task_id})
    data: dict[str, Any] = answer.json()["data"]
    return data
