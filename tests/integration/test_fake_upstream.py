"""The fake engine speaks, counts and fails as it says: everything else that is tested on it rests here."""

from __future__ import annotations

import asyncio
import base64
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx2
import pytest
import pytest_asyncio

from ketchup.testing import FakeUpstream, Fault, Held, Limited, Slow, Step, script_of
from ketchup.testing.upstream import BY_CHANCE
from tests.support.pictures import encoded, opened, photo

PICTURE = encoded(photo(), "PNG")
GEMINI = "/v1beta/models/some-model:generateContent"
OPENAI = "/v1/images/generations"
FAKE = [sys.executable, "-m", "ketchup", "fake-upstream"]


@pytest_asyncio.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    async with asyncio.timeout(30), FakeUpstream() as fake:
        yield fake


@pytest_asyncio.fixture
async def client(upstream: FakeUpstream) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=upstream.url, trust_env=False) as opened_client:
        yield opened_client


def content(prompt: str = "a cat") -> dict[str, Any]:
    inline = {"mime_type": "image/png", "data": base64.urlsafe_b64encode(PICTURE).decode()}
    return {"contents": [{"parts": [{"text": prompt}, {"inlineData": inline}]}]}


def generation(prompt: str = "a cat", **fields: object) -> dict[str, object]:
    return {"model": "m", "prompt": prompt, **fields}


async def test_it_draws_as_gemini_does(upstream: FakeUpstream, client: httpx2.AsyncClient) -> None:
    answer = (await client.post(GEMINI, json=content(), headers={"x-goog-api-key": "k"})).json()

    last = answer["candidates"][0]["content"]["parts"][-1]["inlineData"]
    assert opened(base64.b64decode(last["data"])).size == (128, 128)
    [asked] = upstream.asked
    assert (asked.model, asked.prompt, asked.key) == ("some-model", "a cat", "k")
    assert asked.references == [PICTURE]
    assert upstream.rendered == {"a cat": 1}


@pytest.mark.parametrize("image_format", ["png", "jpeg", "webp"])
async def test_it_draws_as_openai_does(client: httpx2.AsyncClient, image_format: str) -> None:
    body = generation(n=2, size="512x256", output_format=image_format)
    data = (await client.post(OPENAI, json=body)).json()["data"]

    images = [opened(base64.b64decode(item["b64_json"])) for item in data]
    assert [image.size for image in images] == [(64, 32), (64, 32)]
    assert images[0].format == image_format.upper()


async def test_an_edit_arrives_byte_for_byte(
    upstream: FakeUpstream, client: httpx2.AsyncClient
) -> None:
    odd = b"\r\n--not-the-boundary\r\n\r\n\x00\xff\r"
    files = [("image[]", ("a.png", PICTURE, "image/png")), ("image[]", ("b.png", odd, "image/png"))]
    answer = await client.post("/v1/images/edits", data={"model": "m", "prompt": "p"}, files=files)

    assert answer.status_code == 200
    assert upstream.asked[0].references == [PICTURE, odd]


@pytest.mark.parametrize(
    ("step", "status", "renders"),
    [
        (Limited(header="7"), 429, 0),
        (Fault.OVERLOADED, 503, 0),
        (Fault.BROKEN, 500, 0),
        (Fault.HTML, 200, 0),
        (Fault.MODEL_GONE, 404, 0),
        (Fault.GATEWAY_TIMEOUT, 504, 1),
        (Fault.SVG, 200, 1),
        (Fault.BOMB, 200, 1),
    ],
    ids=str,
)
@pytest.mark.parametrize("path", [GEMINI, OPENAI])
async def test_a_fault_counts_what_it_charges(
    upstream: FakeUpstream,
    client: httpx2.AsyncClient,
    path: str,
    step: Step,
    status: int,
    renders: int,
) -> None:
    upstream.script(step)
    body: Mapping[str, object] = content() if path == GEMINI else generation()

    assert (await client.post(path, json=body)).status_code == status
    assert upstream.rendered["a cat"] == renders
    assert (await client.post(path, json=body)).status_code == 200
    assert upstream.rendered["a cat"] == renders + 1


@pytest.mark.parametrize(
    ("fault", "renders"), [(Fault.RESET_BEFORE_RENDERING, 0), (Fault.RESET_AFTER_RENDERING, 1)]
)
async def test_a_reset_is_a_reset(
    upstream: FakeUpstream, client: httpx2.AsyncClient, fault: Fault, renders: int
) -> None:
    upstream.script(fault)

    with pytest.raises(httpx2.ReadError):
        await client.post(OPENAI, json=generation())
    assert upstream.rendered["a cat"] == renders


async def test_half_of_the_body_comes_when_it_is_truncated(
    upstream: FakeUpstream, client: httpx2.AsyncClient
) -> None:
    upstream.script(Fault.TRUNCATED)

    with pytest.raises(httpx2.RemoteProtocolError, match="without sending complete"):
        await client.post(OPENAI, json=generation())


async def test_who_leaves_while_it_draws_is_not_charged(upstream: FakeUpstream) -> None:
    upstream.script(Held())
    await _leaves(upstream)

    assert upstream.rendered == {}


async def _leaves(upstream: FakeUpstream) -> None:
    """Ask, and leave before there is an answer."""
    async with httpx2.AsyncClient(base_url=upstream.url, trust_env=False) as client:
        before = len(upstream.asked)
        waiting = asyncio.ensure_future(client.post(OPENAI, json=generation()))
        await upstream.until_asked(before + 1)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    await upstream.until_left()


def test_runs_of_their_own_event_loops_share_a_fake_and_a_script() -> None:
    upstream, script = FakeUpstream(), (Held(), None)

    async def run() -> int:
        async with asyncio.timeout(30), upstream:
            upstream.script(*script)
            await _leaves(upstream)
            async with httpx2.AsyncClient(base_url=upstream.url, trust_env=False) as client:
                return (await client.post(OPENAI, json=generation())).status_code

    assert [asyncio.run(run()) for _ in range(3)] == [200] * 3


def test_what_breaks_the_fake_is_raised_when_it_is_left() -> None:
    # An event belongs to the first loop that waits for it.
    held = Held(asyncio.Event())

    async def run() -> None:
        async with asyncio.timeout(30), FakeUpstream() as upstream:
            upstream.script(held)
            await _leaves(upstream)

    asyncio.run(run())
    with pytest.raises(RuntimeError, match="different event loop"):
        asyncio.run(run())


async def test_the_seed_decides_which_requests_meet_a_fault() -> None:
    assert await _statuses(7) == await _statuses(7)
    assert await _statuses(7) != await _statuses(8)


async def _statuses(seed: int) -> list[str]:
    found = []
    async with (
        FakeUpstream(chance=0.5, seed=seed) as upstream,
        httpx2.AsyncClient(base_url=upstream.url, trust_env=False) as client,
    ):
        for _ in range(12):
            try:
                # Without its body, which may be huge.
                async with client.stream("POST", OPENAI, json=generation()) as answer:
                    found.append(str(answer.status_code))
            except httpx2.TransportError as error:
                found.append(type(error).__name__)
    return found


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (GEMINI, b"not JSON"),
        (GEMINI, b"{}"),
        (GEMINI, b"[]"),
        (OPENAI, b"{}"),
        (OPENAI, b'{"model":"m","prompt":"p","size":"large"}'),
        ("/v1/images/edits", b"no form"),
    ],
)
async def test_what_makes_no_sense_is_refused_and_not_drawn(
    upstream: FakeUpstream, client: httpx2.AsyncClient, path: str, body: bytes
) -> None:
    assert (await client.post(path, content=body)).status_code == 400
    assert upstream.asked == []


def test_every_fault_can_be_scripted_and_comes_by_chance_unless_it_asks_for_an_operator() -> None:
    assert script_of(",".join(Fault)) == list(Fault)
    assert script_of("429,slow,refusal,half-base64") == [
        Limited(header="1", retry_info="1s"),
        Slow(1.0),
        Fault.PROMPT_BLOCKED,
        Fault.HALF_BASE64,
    ]
    assert {Fault.PROMPT_BLOCKED, Fault.DUPLICATE, Fault.HUGE, Fault.WRONG_TYPE} < set(BY_CHANCE)
    assert Slow(1.0) in BY_CHANCE
    assert not {Fault.BAD_KEY, Fault.MODEL_GONE, Fault.REDIRECT} & set(BY_CHANCE)


def test_an_unknown_step_is_told_with_those_that_there_are() -> None:
    done = subprocess.run([*FAKE, "--script", "429,hugh"], capture_output=True, check=False)

    assert done.returncode == 2
    assert b"hugh is unknown" in done.stderr


async def test_the_command_serves_until_it_is_stopped() -> None:
    command = [*FAKE, "--port", "0", "--script", "429, overloaded,ok,404"]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        line = (await process.stdout.readline()).decode()
        found = re.fullmatch(r"listening at (http://127\.0\.0\.1:\d+)\n", line)
        assert found is not None
        async with httpx2.AsyncClient(trust_env=False) as client:
            asked = [await client.post(found[1] + OPENAI, json=generation()) for _ in range(5)]
        assert [answer.status_code for answer in asked] == [429, 503, 200, 404, 200]
        process.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(process.wait(), 10) == 0
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
