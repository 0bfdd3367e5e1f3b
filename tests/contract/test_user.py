"""CONTRACT §4: `GET /api/user`."""

from __future__ import annotations

import asyncio

import pytest

from ketchup.providers.base import Refused
from tests.support.customers import admin, customer
from tests.support.engines import PromptedProvider
from tests.support.service import RunningService

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def credit(service: RunningService) -> bytes:
    answer = await service.client.get("/api/user")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    return answer.content


def left(amount: str) -> bytes:
    return b'{"code":0,"message":"ok","data":{"credit":"%b"}}' % amount.encode()


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("0", "0.00000000"),
        ("100.5", "100.50000000"),
        ("0.000001", "0.00000100"),
        ("999999999999.999999", "999999999999.99999900"),
    ],
)
async def test_the_credit_has_8_decimals(service: RunningService, given: str, shown: str) -> None:
    async with customer(service, credit=given) as owner:
        assert await credit(owner) == left(shown)


async def test_the_credit_is_the_balance_minus_the_holds(
    alice: RunningService, engine: PromptedProvider
) -> None:
    release = asyncio.Event()
    engine.script("held", release, release)
    tasks = [await alice.submit(prompt="held")]
    assert await credit(alice) == left("99.50000000")
    tasks.append(await alice.submit(prompt="held", n=2))
    assert await credit(alice) == left("98.50000000")
    release.set()
    for task_id in tasks:
        await alice.ended(task_id)
    assert await credit(alice) == left("98.50000000")


async def test_the_hold_of_a_failed_task_comes_back(
    alice: RunningService, engine: PromptedProvider
) -> None:
    engine.script("refused", Refused("no"))
    await alice.ended(await alice.submit(prompt="refused", n=8))
    assert await credit(alice) == left("100.00000000")


async def test_a_grant_is_seen_at_once(alice: RunningService) -> None:
    await admin(alice, f"/workspaces/{alice.workspace_id}/credits", {"amount": "-99.25"})
    assert await credit(alice) == left("0.75000000")


async def test_401_has_the_code_of_section_3(alice: RunningService) -> None:
    answer = await alice.client.get("/api/user", headers={"Authorization": "Bearer x"})
    assert answer.status_code == 401
    assert answer.content == b'{"code":401,"message":"Invalid API key"}'
