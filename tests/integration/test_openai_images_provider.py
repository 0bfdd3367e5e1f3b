"""What OpenAI's API and its many relatives want to be told, and what is made of their answers."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from ketchup.providers.base import AnswerLost, AspectRatio, ImageFormat, ImageSize, NotServed
from ketchup.providers.openai_images import (
    NO_EDITS,
    Knows,
    OpenAIImagesProvider,
    OpenAISettings,
)
from ketchup.testing import FakeUpstream, Fault
from ketchup.testing.openai import GENERATIONS, OpenAI
from ketchup.testing.pictures import bomb
from tests.contract.test_providers import REFERENCES, REQUEST, error_of, rendered
from tests.support.loopback import answer, serving
from tests.support.pictures import encoded, photo

PICTURE = encoded(photo(), "JPEG")


class Shelf:
    """Gives out one file, and keeps the addresses that it was asked for."""

    def __init__(self, data: bytes) -> None:
        self.asked: list[str] = []
        self._data = data

    async def fetch(self, url: str) -> bytes:
        self.asked.append(url)
        return self._data


def engine(url: str, shelf: Shelf | None = None, **changes: object) -> OpenAIImagesProvider:
    plain = OpenAISettings("a key", base_url=f"{url}/v1")
    settings = dataclasses.replace(plain, **changes)  # type: ignore[arg-type]  # a test names fields
    return OpenAIImagesProvider(settings, fetch=(shelf or Shelf(PICTURE)).fetch)


@pytest_asyncio.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    async with FakeUpstream() as fake:
        yield fake


async def test_openai_is_told_what_it_knows_and_no_more(upstream: FakeUpstream) -> None:
    provider = engine(upstream.url, models={"some-model": "gpt-image-2"})
    await rendered(provider, dataclasses.replace(REQUEST, image_size=ImageSize.K2))
    await provider.close()

    [asked] = upstream.asked
    assert asked.fields == {
        "model": "gpt-image-2",
        "prompt": "a cat",
        "n": 1,
        "size": "2752x1536",
        "output_format": "png",
    }
    assert asked.request.headers["idempotency-key"] == "ta1-0"


@pytest.mark.parametrize(
    ("public", "sent"),
    [("openai/gpt-image-2", "gpt-image-2"), ("Qwen/Qwen-Image-2512", "Qwen/Qwen-Image-2512")],
)
async def test_a_model_goes_up_under_the_name_that_its_server_knows(
    upstream: FakeUpstream, public: str, sent: str
) -> None:
    provider = engine(upstream.url)
    await rendered(provider, dataclasses.replace(REQUEST, model=public))
    await provider.close()

    assert upstream.asked[0].fields["model"] == sent


async def test_a_channels_own_parameters_stand_at_the_top(upstream: FakeUpstream) -> None:
    extra = {"num_inference_steps": 8, "size": "512x512"}
    provider = engine(upstream.url, extra=extra, knows=frozenset({Knows.SEED}))
    await rendered(provider)
    await provider.close()

    fields = upstream.asked[0].fields
    assert (fields["num_inference_steps"], fields["size"], fields["seed"]) == (8, "512x512", 7)
    assert "output_format" not in fields


async def test_an_edit_is_told_the_same_in_a_form(upstream: FakeUpstream) -> None:
    provider = engine(upstream.url, extra={"steps": 8, "tags": ["a"]})
    await rendered(provider, dataclasses.replace(REQUEST, references=REFERENCES, count=2))
    await provider.close()

    fields = upstream.asked[0].fields
    assert (fields["n"], fields["steps"], fields["tags"]) == ("2", "8", '["a"]')
    assert upstream.asked[0].request.path == "/v1/images/edits"


@pytest.mark.parametrize("name", ["image", "image[]"])
async def test_the_name_of_an_edits_pictures_is_a_setting(name: str) -> None:
    async with FakeUpstream(dialects=[OpenAI(image_fields=[name])]) as upstream:
        provider = engine(upstream.url, image_field=name)
        await rendered(provider, dataclasses.replace(REQUEST, references=REFERENCES[:1]))
        await provider.close()

    assert upstream.asked[0].references == [REFERENCES[0].data]


async def test_a_server_without_edits_serves_no_task_with_a_reference() -> None:
    async with FakeUpstream(dialects=[OpenAI(paths=[GENERATIONS])]) as upstream:
        provider = engine(upstream.url)
        error = await error_of(provider, dataclasses.replace(REQUEST, references=REFERENCES))
        assert await rendered(provider)
        await provider.close()

    assert isinstance(error, NotServed)
    assert error.reason == NO_EDITS


async def test_a_model_that_is_gone_is_no_matter_of_references(upstream: FakeUpstream) -> None:
    provider = engine(upstream.url)
    upstream.script(Fault.MODEL_GONE)
    error = await error_of(provider, dataclasses.replace(REQUEST, references=REFERENCES))
    await provider.close()

    assert isinstance(error, NotServed)
    assert error.reason is None


async def test_a_server_of_few_sizes_is_asked_for_the_nearest(upstream: FakeUpstream) -> None:
    provider = engine(upstream.url, sizes=((1024, 1024), (1536, 1024), (1024, 1536)))
    for ratio in (AspectRatio.R21_9, AspectRatio.R9_16, AspectRatio.SQUARE):
        await rendered(provider, dataclasses.replace(REQUEST, aspect_ratio=ratio))
    await provider.close()

    sizes = [asked.fields["size"] for asked in upstream.asked]
    assert sizes == ["1536x1024", "1024x1536", "1024x1024"]


async def test_auto_takes_the_shape_of_the_first_reference(upstream: FakeUpstream) -> None:
    provider = engine(upstream.url)
    request = dataclasses.replace(REQUEST, references=REFERENCES, aspect_ratio=None)
    await rendered(provider, request)
    await provider.close()

    assert upstream.asked[0].fields["size"] == "1264x848"


async def test_many_pictures_are_asked_for_in_as_many_requests_as_needed(
    upstream: FakeUpstream,
) -> None:
    provider = engine(upstream.url, per_request=2, knows=frozenset(Knows))
    images = await rendered(provider, dataclasses.replace(REQUEST, count=5))
    await provider.close()

    assert len({image.data for image in images}) == 5
    assert sorted((asked.seed, asked.count) for asked in upstream.asked) == [
        (7, 2),
        (9, 2),
        (11, 1),
    ]
    keys = {asked.request.headers["idempotency-key"] for asked in upstream.asked}
    assert keys == {"ta1-0", "ta1-2", "ta1-4"}


@pytest.mark.parametrize("data", [PICTURE, b"<html>", bomb()], ids=["picture", "page", "bomb"])
async def test_an_address_is_fetched_by_who_was_given_for_it(data: bytes) -> None:
    dialect = OpenAI()
    dialect.as_urls = "https://pictures.example/1"
    shelf = Shelf(data)
    async with FakeUpstream(dialects=[dialect]) as upstream:
        provider = engine(upstream.url, shelf)
        if data is PICTURE:
            [image] = await rendered(provider)
            assert (image.data, image.format) == (PICTURE, ImageFormat.JPEG)
        else:
            assert type(await error_of(provider)) is AnswerLost
        await provider.close()

    assert shelf.asked == ["https://pictures.example/1/0.png"]


@pytest.mark.parametrize("data", ["", None])
async def test_an_address_beside_an_empty_picture_is_fetched(data: str | None) -> None:
    picture = {"b64_json": data, "url": "https://pictures.example/1.jpg"}
    body = json.dumps({"data": [picture]}).encode()
    shelf = Shelf(PICTURE)
    async with serving(answer(200, body)) as server:
        provider = engine(f"http://127.0.0.1:{server.port}", shelf)
        [image] = await rendered(provider)
        await provider.close()

    assert image.data == PICTURE
    assert shelf.asked == ["https://pictures.example/1.jpg"]
