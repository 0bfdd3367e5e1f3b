"""Engines as they are built from the settings: which address each asks, and whose pictures are read."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ketchup.clock import SystemClock
from ketchup.config import load
from ketchup.egress import Blocked, Egress
from ketchup.engines import build_engines, built_as
from ketchup.providers.base import AnswerLost, Provider
from ketchup.testing import FakeUpstream
from ketchup.testing.openai import OpenAI
from tests.contract.test_providers import REQUEST, error_of, rendered
from tests.support.receiver import Answer, Receiver

OPENAI = """
[channels.mine]
provider = "openai"
key = "a-key"
models = ["google/gempix2"]
"""


@asynccontextmanager
async def channel(folder: Path, environ: Mapping[str, str], lines: str) -> AsyncIterator[Provider]:
    """Build the channel `mine`. The guard is the one that callers meet: nothing private is open."""
    (folder / "ketchup.toml").write_text(lines)
    settings = load(environ, folder=folder).settings
    egress = Egress(SystemClock())
    built = build_engines(settings, egress, processes=1)
    try:
        yield built[built_as("mine")]
    finally:
        for provider in built.values():
            await provider.close()
        await egress.close()


async def test_a_channel_without_an_address_asks_where_the_settings_say(tmp_path: Path) -> None:
    async with FakeUpstream() as upstream:
        environ = {"OPENAI_BASE_URL": f"{upstream.url}/v1"}
        async with channel(tmp_path, environ, OPENAI) as provider:
            await rendered(provider)
        environ = {
            "GOOGLE_GEMINI_BASE_URL": upstream.url,
            "KETCHUP_GEMINI_API_VERSION": "v1",
        }
        async with channel(tmp_path, environ, OPENAI.replace("openai", "gemini")) as provider:
            await rendered(provider)

    assert [asked.request.path.split("/")[1:3] for asked in upstream.asked] == [
        ["v1", "images"],
        ["v1", "models"],
    ]


async def test_a_channels_own_address_goes_before_that_of_the_settings(tmp_path: Path) -> None:
    async with FakeUpstream() as upstream:
        environ = {"OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}
        own = f'{OPENAI}base_url = "{upstream.url}/v1"\n'
        async with channel(tmp_path, environ, own) as provider:
            assert await rendered(provider)


@pytest.mark.parametrize("way", ["key", "channel"])
async def test_pictures_are_read_from_the_engines_own_address_though_it_is_private(
    tmp_path: Path, way: str
) -> None:
    dialect = OpenAI()
    async with FakeUpstream(dialects=[dialect]) as upstream:
        dialect.as_urls = f"{upstream.url}/pictures"
        environ = {"OPENAI_BASE_URL": f"{upstream.url}/v1", "OPENAI_API_KEY": "a-key"}
        settings = OPENAI if way == "channel" else OPENAI.replace("mine", "other")
        (tmp_path / "ketchup.toml").write_text(settings)
        egress = Egress(SystemClock())
        built = build_engines(load(environ, folder=tmp_path).settings, egress, processes=1)
        provider = built[built_as("mine") if way == "channel" else "openai"]
        images = await rendered(provider, dataclasses.replace(REQUEST, count=2))
        for one in built.values():
            await one.close()
        await egress.close()

    assert len({image.data for image in images}) == 2


async def test_an_engine_cannot_point_to_another_private_address(tmp_path: Path) -> None:
    here, there = OpenAI(), OpenAI()
    async with FakeUpstream(dialects=[here]) as upstream, FakeUpstream(dialects=[there]) as other:
        here.as_urls = there.as_urls = f"{other.url}/pictures"
        async with channel(tmp_path, {"OPENAI_BASE_URL": f"{other.url}/v1"}, OPENAI) as provider:
            # The picture is there: who may read it gets it.
            assert await rendered(provider)
        own = f'{OPENAI}base_url = "{upstream.url}/v1"\n'
        async with channel(tmp_path, {}, own) as provider:
            error = await error_of(provider)

    assert type(error) is AnswerLost
    assert "not public" in str(error)


async def test_a_redirect_from_the_engine_is_judged_like_any() -> None:
    async with Receiver() as there:
        away = Answer(302, headers={"location": there.url})
        async with Receiver(otherwise=away) as here:
            egress = Egress(SystemClock())
            with pytest.raises(Blocked):
                await egress.trusting(here.url).get(here.url, max_bytes=9, deadline_seconds=9)
            await egress.close()

        assert len(here.requests) == 1
        assert there.requests == []
