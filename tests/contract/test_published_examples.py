"""Programs of the kind that guides publish and clients run, unchanged, against the service.

They know two things, BASE_URL and API_KEY: that is all that changes when a client comes over.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from ketchup.providers.base import Refused
from tests.support.customers import customer
from tests.support.engines import PromptedProvider
from tests.support.pictures import opened, png
from tests.support.receiver import Answer, Receiver
from tests.support.service import DEADLINE_SECONDS, RunningService

pytestmark = pytest.mark.asyncio(loop_scope="module")

EXAMPLES = Path(__file__).parent / "examples"
NODE = shutil.which("node")
CURL = shutil.which("curl")
OLDEST_NODE = 18
TOMATO = "A tomato in a space suit, studio light"

needs_curl = pytest.mark.skipif(CURL is None, reason="curl is not on PATH")


@dataclass(frozen=True)
class Ran:
    code: int | None
    out: str
    err: str


async def run(service: RunningService, *command: str | Path) -> Ran:
    """Run a program that knows the address and the key, and nothing else."""
    known = {"BASE_URL": service.base_url, "API_KEY": service.key, "PATH": os.environ["PATH"]}
    process = await asyncio.create_subprocess_exec(
        *map(str, command),
        env=known,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return Ran(process.returncode, out.decode(), err.decode())


async def node(service: RunningService, example: str, *arguments: Path) -> Ran:
    if NODE is None:
        pytest.skip("node is not on PATH")
    version = (await run(service, NODE, "--version")).out.strip()
    if int(version.removeprefix("v").split(".")[0]) < OLDEST_NODE:
        pytest.skip(f"node {version} has no fetch; {OLDEST_NODE} or newer does")
    return await run(service, NODE, EXAMPLES / example, *arguments)


async def bash(service: RunningService, example: str, *arguments: Path) -> Ran:
    return await run(service, "bash", EXAMPLES / example, *arguments)


# -- JavaScript ------------------------------------------------------------------------------------


async def test_javascript_creates_an_image_and_waits_for_it(
    alice: RunningService, engine: PromptedProvider
) -> None:
    release = asyncio.Event()
    seen = engine.script(TOMATO, release)
    # Its first look finds the task unfinished, and it looks again a second later.
    asyncio.get_running_loop().call_later(0.5, release.set)
    ran = await node(alice, "generate.mjs")
    assert (ran.code, ran.err) == (0, "")
    (url,) = ran.out.split()
    assert (await alice.client.get(url)).status_code == 200
    assert [request.aspect_ratio for request in seen.requests] == ["16:9"]


async def test_javascript_reads_why_a_task_failed(
    alice: RunningService, engine: PromptedProvider
) -> None:
    engine.script(TOMATO, Refused("Tomatoes are not rendered."))
    ran = await node(alice, "generate.mjs")
    assert (ran.code, ran.out, ran.err) == (1, "", "Tomatoes are not rendered.\n")


async def test_javascript_reads_that_the_credits_are_used_up(service: RunningService) -> None:
    async with customer(service, credit="0") as poor:
        ran = await node(poor, "generate.mjs")
    assert (ran.code, ran.out, ran.err) == (1, "", "insufficient credits\n")


async def test_a_workflow_remixes_two_references_and_reads_the_balance(
    alice: RunningService, tmp_path: Path
) -> None:
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for path in paths:
        path.write_bytes(png(8, 8))
    ran = await node(alice, "remix.mjs", *paths)
    assert (ran.code, ran.err) == (0, "")
    told = json.loads(ran.out)
    image = await alice.client.get(told.pop("image"))
    assert told == {
        "sameTask": True,
        "consumed": 0.25,
        "created": True,
        "type": "image/png",
        "bytes": len(image.content),
        "credit": "99.75000000",
    }


async def test_a_careful_client_reads_every_error(alice: RunningService) -> None:
    ran = await node(alice, "errors.mjs")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines() == [
        "400 1 prompt is required",
        "400 1 model is required",
        "400 1 model is not supported",
        "400 1 images supports at most 4 items",
        "401 1 Invalid API key",
        "404 1 task not found",
        "401 401 Invalid API key",
        "401 401 Invalid API key",
        "404 1 not found",
    ]


# -- curl ------------------------------------------------------------------------------------------


@needs_curl
async def test_curl_creates_an_image_and_downloads_it(
    alice: RunningService, tmp_path: Path
) -> None:
    ran = await bash(alice, "generate.sh", tmp_path / "image.png")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == '{"code":0,"message":"ok","data":{"credit":"99.50000000"}}'
    assert opened((tmp_path / "image.png").read_bytes()).format == "PNG"


@needs_curl
async def test_curl_shows_why_nothing_was_created(service: RunningService, tmp_path: Path) -> None:
    async with customer(service, credit="0") as poor:
        ran = await bash(poor, "generate.sh", tmp_path / "image.png")
    expected = '{"code":1,"message":"failed","detail":"insufficient credits"}\n'
    assert (ran.code, ran.err) == (1, expected)


@needs_curl
async def test_curl_uploads_a_picture_of_megabytes(alice: RunningService, tmp_path: Path) -> None:
    """Over a megabyte curl asks first, by `Expect: 100-continue`, and waits for the answer."""
    photo = tmp_path / "photo.png"
    photo.write_bytes(png(8, 8) + random.Random(7).randbytes(2_000_000))
    ran = await bash(alice, "upload.sh", photo)
    assert (ran.code, ran.err) == (0, "")
    task = await alice.ended(json.loads(ran.out)["data"]["task_id"])
    assert task["status"] == "success"


# -- what known clients do besides -----------------------------------------------------------------


async def test_a_bot_that_is_called_back_before_it_has_stored_the_task(
    alice: RunningService,
) -> None:
    """It sends " " for a prompt, answers 400 to a task it does not know, then an empty 200.

    Of the callback it takes the first string that starts with `http`, wherever it stands.
    """
    reference = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
    async with Receiver(Answer(400), otherwise=Answer(200)) as receiver:
        task_id = await alice.submit(prompt=" ", images=[reference], callback_url=receiver.url)
        await receiver.received(2)
    for received in receiver.requests:
        body = json.loads(received.body)
        assert body["task_id"] == task_id
        assert body["status"] == "success"
        urls = re.findall(r'"(http[^"]*)"', json.dumps(body["result"]))
        assert (await alice.client.get(urls[0])).status_code == 200


async def test_a_client_that_guesses_the_type_by_the_suffix(alice: RunningService) -> None:
    for output_format, suffix in (("png", ".png"), ("jpeg", ".jpg"), ("webp", ".webp")):
        task = await alice.ended(await alice.submit(output_format=output_format))
        image = task["result"][0]["image"]
        assert image.startswith("http")
        assert Path(image).suffix == suffix


async def test_a_client_that_never_has_to_retry_a_task_that_is_not_found(
    alice: RunningService,
) -> None:
    """Clients carry work-arounds for a task that cannot be queried yet. Here it always can."""

    async def create_and_query() -> int:
        task_id = await alice.submit()
        answer = await alice.client.get("/api/task/query", params={"task_id": task_id})
        return answer.status_code

    assert set(await asyncio.gather(*[create_and_query() for _ in range(30)])) == {200}
