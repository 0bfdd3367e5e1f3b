"""A key in the environment is all that it takes: `ketchup serve` against the fake that ships."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx2
import pytest

from ketchup.testing import FakeUpstream, Fault
from tests.e2e.test_serve import KEY, ketchup
from tests.support.deployment import deployed
from tests.support.process import ServerProcess
from tests.support.service import client_of

pytestmark = pytest.mark.timeout(300)
DEADLINE = 60.0
OPENAI_MODEL = """
[models."openai/gpt-image-2"]
title = "GPT Image"
price = "1"
"""


NAMED = """
[models."google/gemini-2.5-flash-image"]
provider = "studio"
"""
CHANNEL = """
[channels.mine]
provider = "openai"
base_url = "http://127.0.0.1:9/v1"
models = ["openai/gpt-image-2"]
[channels.drawn]
provider = "studio"
models = ["google/gemini-2.5-flash-image"]
"""


REHEARSAL = """
[channels.rehearsal]
provider = "gemini"
base_url = "{url}"
models = ["google/gempix2"]
environment = "test"
"""


async def ended(server: ServerProcess, model: str) -> dict[str, Any]:
    """Submit a task with the first key, and return how it ended."""
    stdout = server.process.stdout
    assert stdout is not None
    key = None
    while key is None:
        key = KEY.search(await asyncio.to_thread(stdout.readline))
    headers = {"Authorization": f"Bearer {key[0]}"}
    async with (
        asyncio.timeout(DEADLINE),
        httpx2.AsyncClient(base_url=server.base_url, headers=headers, trust_env=False) as client,
    ):
        body = {"model": model, "prompt": "a red boat", "aspect_ratio": "16:9"}
        task = (await client.post("/api/image/gen", json=body)).json()["data"]["task_id"]
        while True:
            answer = await client.get("/api/task/query", params={"task_id": task})
            data: dict[str, Any] = answer.json()["data"]
            if data["status"] in {"success", "failed"}:
                return data
            await asyncio.sleep(0.05)


async def served(
    tmp_path: Path, environ: dict[str, str], model: str = "google/gempix2"
) -> dict[str, Any]:
    server = await asyncio.to_thread(ServerProcess.start, tmp_path / "data", environ=environ)
    try:
        return await ended(server, model)
    finally:
        await asyncio.to_thread(server.kill)


async def test_googles_models_are_rendered_by_google_when_it_has_a_key(tmp_path: Path) -> None:
    async with FakeUpstream() as upstream:
        environ = {"GEMINI_API_KEY": "a-key", "GOOGLE_GEMINI_BASE_URL": upstream.url}
        data = await served(tmp_path, environ)

    assert data["status"] == "success"
    [asked] = upstream.asked
    assert (asked.dialect, asked.model, asked.key) == ("gemini", "gemini-nano-banana-2.1", "a-key")


async def test_the_studio_does_not_stand_in_for_an_engine_that_fails(tmp_path: Path) -> None:
    async with FakeUpstream() as upstream:
        upstream.script(Fault.BAD_KEY)
        environ = {"GEMINI_API_KEY": "a-key", "GOOGLE_GEMINI_BASE_URL": upstream.url}
        data = await served(tmp_path, environ)

    # The channel was out for a moment, and the task waited for it.
    assert data["status"] == "success"
    assert len(upstream.asked) == 2


async def test_a_task_fails_over_to_the_next_channel_when_nothing_was_charged(
    tmp_path: Path,
) -> None:
    async with FakeUpstream() as down, FakeUpstream() as up:
        down.script(Fault.BAD_KEY)
        (tmp_path / "ketchup.toml").write_text(f"""
[channels.first]
provider = "gemini"
base_url = "{down.url}"
key_env = "ONE_KEY"
models = ["google/gempix2"]
priority = 9

[channels.second]
provider = "openai"
base_url = "{up.url}/v1"
models = {{ "google/gempix2" = "z-image" }}
extra = {{ guidance_scale = 3.5 }}
""")
        data = await served(tmp_path, {"ONE_KEY": "a-key"})

    assert data["status"] == "success"
    assert [asked.key for asked in down.asked] == ["a-key"]
    assert [asked.model for asked in up.asked] == ["z-image"]


@pytest.mark.parametrize("way", ["key", "channel"])
async def test_the_studio_stands_in_for_no_model_once_there_is_an_engine(
    tmp_path: Path, way: str
) -> None:
    (tmp_path / "ketchup.toml").write_text(OPENAI_MODEL + (CHANNEL if way == "channel" else NAMED))
    environ = {"OPENAI_API_KEY": "a-key"} if way == "key" else {}
    with deployed("sqlite", tmp_path, None, **environ) as deployment:
        await asyncio.to_thread(deployment.start)
        theirs = await asyncio.to_thread(deployment.new_key)
        async with client_of(deployment.addresses[0], theirs) as client:
            listed = (await client.get("/v1/models")).json()["items"]
            answers = [
                await client.post("/api/image/gen", json={"model": model, "prompt": "a boat"})
                for model in ("google/gempix2", "no/such-model")
            ]
        log = deployment.log
        await asyncio.to_thread(deployment.stop)

    assert {model["id"] for model in listed} == {
        "openai/gpt-image-2",
        "google/gemini-2.5-flash-image",
    }
    assert {answer.status_code for answer in answers} == {400}
    assert all("model is not supported" in answer.text for answer in answers)
    assert log.count("MODEL NOT OFFERED") == 1
    assert "google/gempix2" in log


@pytest.mark.parametrize("settings", ["", OPENAI_MODEL], ids=["key alone", "model"])
async def test_openais_models_are_rendered_by_openai(tmp_path: Path, settings: str) -> None:
    (tmp_path / "ketchup.toml").write_text(settings)
    async with FakeUpstream() as upstream:
        environ = {"OPENAI_API_KEY": "a-key", "OPENAI_BASE_URL": f"{upstream.url}/v1"}
        data = await served(tmp_path, environ, "openai/gpt-image-2")

    assert data["status"] == "success"
    assert (upstream.asked[0].dialect, upstream.asked[0].key) == ("openai", "a-key")


async def test_the_key_of_an_engine_is_in_no_log_and_in_no_journal(tmp_path: Path) -> None:
    key = "canary-0123456789abcdef"
    environ = {"KETCHUP_LOG_LEVEL": "debug", "GEMINI_API_KEY": key}
    async with FakeUpstream() as upstream, asyncio.timeout(DEADLINE):
        upstream.script(Fault.ECHO, Fault.ECHO, Fault.ECHO)
        environ["GOOGLE_GEMINI_BASE_URL"] = upstream.url
        with deployed("sqlite", tmp_path, None, **environ) as deployment:
            await asyncio.to_thread(deployment.start)
            theirs = await asyncio.to_thread(deployment.new_key)
            async with client_of(deployment.addresses[0], theirs) as client:
                # Whoever found it out elsewhere: the log has prompts.
                body = {"model": "google/gempix2", "prompt": f"a boat called {key}"}
                answer = await client.post("/api/image/gen", json=body)
                task = answer.json()["data"]["task_id"]
                data: dict[str, Any] = {"status": "pending"}
                while data["status"] not in {"success", "failed"}:
                    answer = await client.get("/api/task/query", params={"task_id": task})
                    data = answer.json()["data"]
                    await asyncio.sleep(0.05)
            await asyncio.to_thread(deployment.stop)
            journal = str(deployment.rows("SELECT * FROM attempt, channel"))
            log = deployment.log

    assert [asked.key for asked in upstream.asked] == [key] * 3
    assert "a boat called" in log
    assert "cannot serve ***" in log
    assert "cannot serve ***" in journal
    assert key not in log + journal


async def test_a_rehearsal_is_for_the_keys_for_tests_alone(tmp_path: Path) -> None:
    async with FakeUpstream() as upstream, asyncio.timeout(DEADLINE):
        upstream.script(Fault.PROMPT_BLOCKED)
        with deployed("sqlite", tmp_path, None) as deployment:
            deployment.configure(REHEARSAL.format(url=upstream.url))
            await asyncio.to_thread(deployment.start)
            reasons = []
            for environment in ("test", "test", "live"):
                key = await asyncio.to_thread(deployment.new_key, environment)
                async with client_of(deployment.addresses[0], key) as client:
                    data = await rendered(client)
                reasons.append(data["status_reason"] and data["status_reason"]["message"])
            await asyncio.to_thread(deployment.stop)

    assert reasons == ["The prompt was refused by the model's safety rules.", None, None]
    assert [asked.model for asked in upstream.asked] == ["gemini-nano-banana-2.1"] * 2


async def rendered(client: httpx2.AsyncClient) -> dict[str, Any]:
    body = {"model": "google/gempix2", "prompt": "a boat"}
    task = (await client.post("/api/image/gen", json=body)).json()["data"]["task_id"]
    while True:
        answer = await client.get("/api/task/query", params={"task_id": task})
        data: dict[str, Any] = answer.json()["data"]
        if data["status"] in {"success", "failed"}:
            return data
        await asyncio.sleep(0.05)


def test_an_engine_that_is_named_and_has_no_key_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "ketchup.toml").write_text('[models."google/gempix2"]\nprovider = "gemini"\n')
    done = ketchup("serve", "--port", "0", cwd=tmp_path)

    assert done.returncode != 0
    assert "models.google/gempix2.provider: gemini has no key; set GEMINI_API_KEY" in done.stderr
