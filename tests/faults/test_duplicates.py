"""A bad network and impatient customers: however often a request arrives, it is one task, paid once.

Each request is sent by many at the same moment, each through a proxy that breaks half of all
connections, and again until it has a whole answer.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Final

import pytest

from tests.support.chaos import ChaosProxy, Fate
from tests.support.exchange import Response, exchange, post
from tests.support.invariants import Promises, violations
from tests.support.operator import new_key
from tests.support.process import ServerProcess
from tests.support.seeded import seeded

pytestmark = pytest.mark.timeout(300)
_COPIES: Final = 50
_KEYS_AT_ONCE: Final = 4
_TROUBLE: Final = 0.5
_PRICE: Final = 500_000
_ENVIRON: Final = {"KETCHUP_START_CREDITS": "1000000", "KETCHUP_LOG_LEVEL": "error"}
_BROKEN: Final = (ConnectionError, asyncio.IncompleteReadError)


async def test_many_copies_of_a_few_requests_are_one_task_each(
    tmp_path: Path, random: Random
) -> None:
    assert await _complaints(tmp_path, random, keys=12) == []


@pytest.mark.torture
@pytest.mark.timeout(1800)
async def test_many_copies_of_a_thousand_requests_are_one_task_each(
    tmp_path: Path, random: Random
) -> None:
    assert await _complaints(tmp_path, random, keys=1000) == []


async def test_a_server_that_forgets_its_keys_is_found_out(tmp_path: Path, random: Random) -> None:
    package = seeded(
        tmp_path,
        "generation/submit.py",
        "    tasks.remember_keys(conn, ",
        "    tasks.remember_keys(conn, [] and ",
    )

    found = await _complaints(tmp_path, random, keys=1, PYTHONPATH=str(package))

    assert any("answers instead of one" in sentence for sentence in found), found
    assert any("an idempotency key made several tasks" in sentence for sentence in found), found


async def _complaints(folder: Path, random: Random, *, keys: int, **environ: str) -> Sequence[str]:
    """Send every request fifty times at once, and return all that is wrong."""
    promises, data = Promises(), folder / "data"
    names = [f"order-{number}" for number in range(keys)]
    found: list[str] = []
    options = ("--concurrency", "0")
    with ServerProcess.start(data, *options, environ={**_ENVIRON, **environ}) as server:
        api_key = new_key(server.base_url, server.admin_token)
        async with ChaosProxy(server.base_url, random, _TROUBLE) as proxy:
            for start in range(0, keys, _KEYS_AT_ONCE):
                some = names[start : start + _KEYS_AT_ONCE]
                asked = (_ask(proxy.base_url, api_key, name, promises) for name in some)
                found += [sentence for said in await asyncio.gather(*asked) for sentence in said]
        assert server.terminate() == 0
    sys.stdout.write(f"{dict(proxy.fates)}\n")
    assert set(proxy.fates) == set(Fate), "chance spared a fate"
    return [*found, *violations(data, promises), *_miscounted(data, keys)]


async def _ask(base_url: str, api_key: str, name: str, promises: Promises) -> Sequence[str]:
    """Send one request fifty times at once and then another under its key; return what is wrong."""
    copies = (_insist(base_url, api_key, name, "a red boat") for _ in range(_COPIES))
    answers = await asyncio.gather(*copies)
    for answer in answers:
        if answer.status == 200:
            promises.acknowledge(json.loads(answer.body)["data"]["task_id"], name)
    said = {(answer.status, answer.body) for answer in answers}
    found = [] if len(said) == 1 else [f"{name}: {len(said)} answers instead of one"]
    found += [f"{name}: {status} {body!r}" for status, body in said if status != 200]
    other = await _insist(base_url, api_key, name, "a blue boat")
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


def _miscounted(data: Path, keys: int) -> Iterable[str]:
    expected: Mapping[str, int] = {
        "SELECT COUNT(*) FROM task": keys,
        "SELECT COUNT(*) FROM hold": keys,
        "SELECT SUM(amount) FROM hold": keys * _PRICE,
    }
    with closing(sqlite3.connect(data / "ketchup.db")) as db:
        for sql, number in expected.items():
            [(found,)] = db.execute(sql)
            if found != number:
                yield f"{sql}: {found} instead of {number}"
