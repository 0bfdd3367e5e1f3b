"""The channels that docs/engines.md shows, against what each server takes and answers."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from ketchup.clock import SystemClock
from ketchup.config import Settings, load
from ketchup.egress import Egress
from ketchup.engines import build_engines, built_as
from ketchup.offers import offers_of
from ketchup.providers.base import ImageRequest, NotServed, Provider
from ketchup.providers.openai_images import NO_EDITS
from ketchup.testing import Dialect, FakeUpstream
from ketchup.testing.compatible import LocalAI, SGLang, VllmOmni
from ketchup.testing.openai import OpenAI
from tests.contract.test_providers import REFERENCES, REQUEST, error_of, rendered

PAGE: Final = (Path(__file__).parents[2] / "docs" / "engines.md").read_text()
GPT_IMAGE: Final = "openai/gpt-image-2"
TWO: Final = dataclasses.replace(REQUEST, model="google/gempix2", count=2)
EDIT: Final = dataclasses.replace(TWO, references=REFERENCES[:1])


def shown(heading: str) -> str:
    """Return the settings below a heading of the page."""
    found = re.search(rf"^## {heading}$.*?^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def settings_of(folder: Path, lines: str, url: str) -> Settings:
    """Load settings whose engine is the fake, where they say that it is on another machine."""
    environ = {"OPENAI_API_KEY": "a-key", "OPENAI_BASE_URL": f"{url}/v1"}
    (folder / "ketchup.toml").write_text(re.sub(r"http://gpu:\d+", url, lines))
    return load(environ, folder=folder).settings


@asynccontextmanager
async def channel(folder: Path, name: str, lines: str, url: str) -> AsyncIterator[Provider]:
    egress = Egress(SystemClock())
    built = build_engines(settings_of(folder, lines, url), egress, processes=1)
    try:
        yield built[built_as(name)]
    finally:
        for provider in built.values():
            await provider.close()
        await egress.close()


SERVERS: Final[Sequence[tuple[str, str, Dialect]]] = [
    ("vLLM-Omni", "vllm", VllmOmni("Tongyi-MAI/Z-Image-Turbo")),
    ("SGLang", "sglang", SGLang()),
    ("LocalAI", "localai", LocalAI()),
]


@pytest.mark.parametrize(("heading", "name", "server"), SERVERS, ids=[s[0] for s in SERVERS])
async def test_a_channel_of_the_page_is_understood_by_its_server(
    tmp_path: Path, heading: str, name: str, server: Dialect
) -> None:
    async with (
        FakeUpstream(dialects=[server]) as upstream,
        channel(tmp_path, name, shown(heading), upstream.url) as provider,
    ):
        assert len({image.data for image in await rendered(provider, TWO)}) == 2
        if isinstance(server, LocalAI):
            error = await error_of(provider, EDIT)
            assert isinstance(error, NotServed)
            assert error.reason == NO_EDITS
        else:
            assert len(await rendered(provider, EDIT)) == 2
            assert upstream.asked[-1].references == [REFERENCES[0].data]


@pytest.mark.parametrize(("heading", "name", "server"), SERVERS[1:], ids=["SGLang", "LocalAI"])
async def test_the_addresses_of_a_server_are_its_own_with_its_host_or_without(
    tmp_path: Path, heading: str, name: str, server: Dialect
) -> None:
    lines = shown(heading).replace('extra = { response_format = "b64_json" }', "")
    async with (
        FakeUpstream(dialects=[server]) as upstream,
        channel(tmp_path, name, lines, upstream.url) as provider,
    ):
        assert len({image.data for image in await rendered(provider, TWO)}) == 2
    assert "response_format" not in upstream.asked[0].fields


@pytest.mark.parametrize("request_", [TWO, EDIT], ids=["generation", "edit"])
async def test_a_server_that_runs_another_model_refuses_nobodys_prompt(
    tmp_path: Path, request_: ImageRequest
) -> None:
    async with (
        FakeUpstream(dialects=[VllmOmni("another")]) as upstream,
        channel(tmp_path, "vllm", shown("vLLM-Omni"), upstream.url) as provider,
    ):
        error = await error_of(provider, request_)

    assert isinstance(error, NotServed)
    assert error.reason is None
    assert "Model mismatch" in str(error)


@pytest.mark.parametrize("lines", ["", shown("OpenAI")], ids=["key alone", "page"])
async def test_openai_takes_every_size_that_is_offered_for_its_model(
    tmp_path: Path, lines: str
) -> None:
    egress = Egress(SystemClock())
    async with FakeUpstream(dialects=[OpenAI()]) as upstream:
        settings = settings_of(tmp_path, lines, upstream.url)
        offered = offers_of(settings, egress, None, processes=1)
        model = offered.catalog.find(GPT_IMAGE)
        assert model is not None
        provider = offered.providers[built_as("openai") if lines else model.provider]
        for size in model.image_sizes:
            for ratio in model.aspect_ratios:
                asked = dataclasses.replace(
                    REQUEST, model=GPT_IMAGE, aspect_ratio=ratio, image_size=size
                )
                assert len(await rendered(provider, asked)) == 1
        for one in offered.providers.values():
            await one.close()
    await egress.close()
