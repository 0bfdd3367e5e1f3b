"""A bad network and impatient customers: however often a request arrives, it is one task, paid once.

Each request is sent by many at the same moment, each through a proxy that breaks half of all
connections, and again until it has a whole answer.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random
from typing import Final

import pytest

from tests.faults.conftest import Deploy
from tests.support.chaos import ChaosProxy, Fate
from tests.support.deployment import Deployment
from tests.support.exchange import Response, exchange, post
from tests.support.invariants import Promises
from tests.support.seeded import seeded

pytestmark = pytest.mark.timeout(300)
_COPIES: Final = 50
_KEYS_AT_ONCE: Final = 4
_TROUBLE: Final = 0.5
_PRICE: Final = 500_000
_ENVIRON: Final = {"KETCHUP_CONCURRENCY": "0", "KETCHUP_LOG_LEVEL": "error"}
_BROKEN: Final = (ConnectionError, asyncio.IncompleteReadError)


@pytest.mark.parametrize("kind", ["sqlite", "doors"])
async def test_many_copies_of_a_few_requests_are_one_task_each(
    deploy: Deploy, random: Random, kind: str
) -> None:
    with deploy(kind, **_ENVIRON) as deployment:
        assert await _complaints(deployment, random, keys=6) == []


@pytest.mark.torture
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("kind", "keys"), [("sqlite", 1000), ("postgres", 100), ("doors", 200)])
async def test_many_copies_of_many_requests_are_one_task_each(
    deploy: Deploy, random: Random, kind: str, keys: int
) -> None:
    with deploy(kind, **_ENVIRON) as deployment:
        assert await _complaints(deployment, random, keys=keys) == []


async def test_the_first_requests_of_a_workspace_may_come_to_two_processes_at_once(
    deploy: Deploy,
) -> None:
    with deploy("doors", **_ENVIRON) as deployment:
        deployment.start()
        for _ in range(20):
            api_key = deployment.new_key()
            first = (_insist(url, api_key, url, "a red boat") for url in deployment.addresses * 2)
            answers = await asyncio.gather(*first)
            assert [answer.status for answer in answers] == [200] * len(answers), deployment.log
        deployment.stop()


async def test_a_server_that_forgets_its_keys_is_found_out(
    deploy: Deploy, tmp_path: Path, random: Random
) -> None:
    package = seeded(
        tmp_path,
        "generation/submit.py",
        "    tasks.remember_keys(conn, ",
        "    tasks.remember_keys(conn, [] and ",
    )

    with deploy("sqlite", **_ENVIRON, PYTHONPATH=str(package)) as deployment:
        found = await _complaints(deployment, random, keys=1)

    assert any("answers instead of one" in sentence for sentence in found), found
    assert any("an idempotency key made several tasks" in sentence for sentence in found), found


@pytest.mark.torture
async def test_processes_that_forget_each_others_keys_are_found_out(
    deploy: Deploy, tmp_path: Path, random: Random
) -> None:
    # Both walls: keys are looked up before the lock, and a row of another process is passed over.
    look = "tasks.find_keys(conn, [s.key for s in submissions if s.key], now)\n"
    seeded(tmp_path, "generation/submit.py", f"    known = {look}", "    known = early\n")
    lock = "    turns = tasks.lock_turns("
    seeded(tmp_path, "generation/submit.py", lock, f"    early = {look}{lock}")
    insert = "        insert(idempotency),\n"
    new = '        __import__("ketchup.db").db.insert_new(idempotency),\n'
    package = seeded(tmp_path, "tasks/admission.py", insert, new)

    with deploy("doors", **_ENVIRON, PYTHONPATH=str(package)) as deployment:
        found = await _complaints(deployment, random, keys=25)

    assert any("answers instead of one" in sentence for sentence in found), found


async def _complaints(deployment: Deployment, random: Random, *, keys: int) -> Sequence[str]:
    """Send every request fifty times at once, and return all that is wrong."""
    promises = Promises()
    names = [f"order-{number}" for number in range(keys)]
    found: list[str] = []
    deployment.start()
    api_key = deployment.new_key()
    async with AsyncExitStack() as proxies:
        network = [
            await proxies.enter_async_context(ChaosProxy(address, random, _TROUBLE))
            for address in deployment.addresses
        ]
        addresses = [proxy.base_url for proxy in network]
        for start in range(0, keys, _KEYS_AT_ONCE):
            some = names[start : start + _KEYS_AT_ONCE]
            asked = (_ask(addresses, api_key, name, promises) for name in some)
            found += [sentence for said in await asyncio.gather(*asked) for sentence in said]
    fates = sum((proxy.fates for proxy in network), Counter())
    sys.stdout.write(f"{dict(fates)}\n")
    assert set(fates) == set(Fate), "chance spared a fate"
    deployment.stop()
    return [*found, *deployment.violations(promises), *_miscounted(deployment, keys)]


async def _ask(
    addresses: Sequence[str], api_key: str, name: str, promises: Promises
) -> Sequence[str]:
    """Send one request fifty times at once and then another under its key; return what is wrong."""
    copies = (
        _insist(addresses[number % len(addresses)], api_key, name, "a red boat")
        for number in range(_COPIES)
    )
    answers = await asyncio.gather(*copies)
    for answer in answers:
        if answer.status == 200:
            promises.acknowledge(json.loads(answer.body)["data"]["task_id"], name)
    said = {(answer.status, answer.body) for answer in answers}
    found = [] if len(said) == 1 else [f"{name}: {len(said)} answers instead of one"]
    found += [f"{name}: {status} {body!r}" for status, body in said if status != 200]
    other = await _insist(addresses[0], api_key, name, "a blue boat")
    return found if other.status == 409 else [*found, f"{name}, another body: {other.status}"]


async def _insist(base_url: str, api_key: str, name: str, prompt: str) -> Response:
    """Send a request until it is answered in whole, as the contract lets whoever names it."""
    body = json.dumps({"model": "google/gempix2", "prompt": prompt}).encode()
    request = post(api_key, body, f"Idempotency-Key: {name}", "Connection: close")
    while True:
        try:
            return await exchange(base_url, request)
        except _BROKEN:
            continue


def _miscounted(deployment: Deployment, keys: int) -> Iterable[str]:
    expected: Mapping[str, int] = {
        "SELECT COUNT(*) FROM task": keys,
        "SELECT COUNT(*) FROM hold": keys,
        "SELECT SUM(amount) FROM hold": keys * _PRICE,
    }
    for sql, number in expected.items():
        [(found,)] = deployment.rows(sql)
        if found != number:
            yield f"{sql}: {found} instead of {number}"
