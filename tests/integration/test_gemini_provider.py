"""What Google's API wants to be told, and what is made of its answers."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
import pytest_asyncio

from ketchup.providers.base import (
    AnswerLost,
    AspectRatio,
    ImageSize,
    Misconfigured,
    NotServed,
    RateLimited,
    Refused,
)
from ketchup.providers.gemini import GeminiProvider, GeminiSettings
from ketchup.testing import FakeUpstream, Fault, Limited, Step
from tests.contract.test_providers import REQUEST, error_of, rendered

SETTINGS = GeminiSettings("a key", models={"public": ("newest", "older")})


@pytest_asyncio.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    async with FakeUpstream() as fake:
        yield fake


@pytest_asyncio.fixture
async def gemini(upstream: FakeUpstream) -> AsyncIterator[GeminiProvider]:
    provider = GeminiProvider(dataclasses.replace(SETTINGS, base_url=upstream.url))
    yield provider
    await provider.close()


def config_of(upstream: FakeUpstream) -> Mapping[str, Any]:
    config: Mapping[str, Any] = upstream.asked[-1].fields["generationConfig"]
    return config


@pytest.mark.parametrize(
    ("ratio", "size", "shape"),
    [
        (None, ImageSize.K1, None),
        (AspectRatio.R21_9, ImageSize.K1, {"aspectRatio": "21:9"}),
        (None, ImageSize.K2, {"imageSize": "2K"}),
        (AspectRatio.R4_5, ImageSize.K4, {"aspectRatio": "4:5", "imageSize": "4K"}),
    ],
)
async def test_a_shape_is_named_only_where_it_differs(
    gemini: GeminiProvider,
    upstream: FakeUpstream,
    ratio: AspectRatio | None,
    size: ImageSize,
    shape: Mapping[str, str] | None,
) -> None:
    await rendered(gemini, dataclasses.replace(REQUEST, aspect_ratio=ratio, image_size=size))

    assert config_of(upstream).get("imageConfig") == shape
    assert config_of(upstream)["responseModalities"] == ["IMAGE"]


async def test_each_picture_is_a_request_with_a_seed_of_its_own(
    gemini: GeminiProvider, upstream: FakeUpstream
) -> None:
    await rendered(gemini, dataclasses.replace(REQUEST, count=3, seed=2**31 - 1))

    assert sorted(asked.seed for asked in upstream.asked) == [0, 1, 2**31 - 1]


@pytest.mark.parametrize(
    ("public", "first", "second"),
    [
        ("google/gempix2", "gemini-nano-banana-2.1", "gemini-3.1-flash-image"),
        (
            "google/gemini-2.5-flash-image",
            "gemini-2.5-flash-image",
            "gemini-3.1-flash-lite-image",
        ),
    ],
)
async def test_googles_models_go_up_under_googles_names(
    upstream: FakeUpstream, public: str, first: str, second: str
) -> None:
    provider = GeminiProvider(GeminiSettings("a key", base_url=upstream.url))
    upstream.script(Fault.MODEL_GONE)
    await rendered(provider, dataclasses.replace(REQUEST, model=public))
    await provider.close()

    paths = [asked.request.path for asked in upstream.asked]
    assert paths == [f"/v1beta/models/{name}:generateContent" for name in (first, second)]


async def test_a_model_that_is_gone_is_asked_for_by_its_next_name(
    gemini: GeminiProvider, upstream: FakeUpstream
) -> None:
    upstream.script(Fault.MODEL_GONE)
    await rendered(gemini, dataclasses.replace(REQUEST, model="public"))

    assert [asked.model for asked in upstream.asked] == ["newest", "older"]


async def test_a_model_that_is_gone_under_every_name_is_for_the_operator(
    gemini: GeminiProvider, upstream: FakeUpstream
) -> None:
    upstream.script(Fault.MODEL_GONE, Fault.MODEL_GONE)
    error = await error_of(gemini, dataclasses.replace(REQUEST, model="public"))

    assert isinstance(error, NotServed)
    assert "newest, older" in str(error)


@pytest.mark.parametrize("version", ["v1", "v1beta"])
async def test_the_version_is_a_setting(upstream: FakeUpstream, version: str) -> None:
    settings = dataclasses.replace(SETTINGS, base_url=upstream.url + "/", api_version=version)
    provider = GeminiProvider(settings)
    await rendered(provider)

    assert upstream.asked[0].request.path.startswith(f"/{version}/models/")
    await provider.close()


@pytest.mark.parametrize(
    ("limit", "seconds"),
    [
        (Limited(retry_info="7s", header="9"), 7.0),
        (Limited(retry_info="1.5s"), 1.5),
        (Limited(retry_info="7 days", header="9"), 9.0),
        (Limited(retry_info="99999999s"), 3600.0),
    ],
    ids=str,
)
async def test_the_pause_in_the_body_goes_before_the_header(
    gemini: GeminiProvider, upstream: FakeUpstream, limit: Limited, seconds: float
) -> None:
    upstream.script(limit)
    error = await error_of(gemini)

    assert isinstance(error, RateLimited)
    assert error.retry_after == seconds


async def test_the_operator_reads_googles_own_words(
    gemini: GeminiProvider, upstream: FakeUpstream
) -> None:
    upstream.script(Fault.IMAGE_UNSAFE)
    error = await error_of(gemini)

    assert str(error) == "IMAGE_SAFETY: Unable to show the generated image."


@pytest.mark.parametrize(
    ("steps", "kind"),
    [
        ((None, Fault.OVERLOADED), AnswerLost),
        ((Fault.OVERLOADED, Fault.PROMPT_BLOCKED), Refused),
        ((Limited(), Fault.SVG), AnswerLost),
        ((Limited(), Fault.OVERLOADED), RateLimited),
        ((Fault.BAD_KEY, Fault.PROMPT_BLOCKED), Refused),
        ((Fault.BAD_KEY, Limited()), Misconfigured),
    ],
)
async def test_of_several_failures_the_one_that_says_most_is_told(
    gemini: GeminiProvider,
    upstream: FakeUpstream,
    steps: tuple[Step, ...],
    kind: type[Exception],
) -> None:
    upstream.script(*steps)

    assert type(await error_of(gemini, dataclasses.replace(REQUEST, count=2))) is kind
