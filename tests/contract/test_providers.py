"""What every provider promises (`providers/base.py`), asked of each: the engines across the network
are asked over a real connection to the fake that ships, with all the ways in which it fails."""

from __future__ import annotations

import asyncio
import dataclasses
import os
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio

from ketchup.providers.base import (
    AnswerLost,
    AspectRatio,
    GeneratedImage,
    ImageFormat,
    ImageRequest,
    ImageSize,
    Misconfigured,
    NotServed,
    Provider,
    ProviderError,
    RateLimited,
    ReferenceImage,
    Refused,
    TimedOut,
    Unavailable,
)
from ketchup.providers.gemini import GeminiProvider, GeminiSettings
from ketchup.providers.local_diffusers import (
    LocalDiffusersProvider,
    LocalSettings,
    Rehearsal,
    Weights,
)
from ketchup.providers.local_diffusers.rehearsal import UNSAFE
from ketchup.providers.memory import Memory
from ketchup.providers.openai_images import OpenAIImagesProvider, OpenAISettings
from ketchup.providers.studio import StudioProvider
from ketchup.providers.upstream import Bounds
from ketchup.testing import FakeUpstream, Fault, Held, Limited
from tests.support.loopback import Request, serving
from tests.support.pictures import encoded, opened, photo
from tests.support.tiny_pipeline import needs_torch, tiny_pipeline

# Torch alone takes seconds to load, and on a busy machine many.
DEADLINE = 100.0
REFERENCES = tuple(
    ReferenceImage(encoded(photo(), name), ImageFormat(name.lower()), 120, 80)
    for name in ("PNG", "JPEG", "WEBP")
)
REQUEST = ImageRequest(
    task_id="ta1",
    model="some-model",
    prompt="a cat",
    references=(),
    aspect_ratio=AspectRatio.R16_9,
    image_size=ImageSize.K1,
    count=1,
    seed=7,
    output_format=ImageFormat.PNG,
)

Build = Callable[[str, Bounds], Provider]


async def _no_fetch(url: str) -> bytes:
    raise AssertionError(f"{url} was not to be fetched")


def gemini(url: str, bounds: Bounds) -> Provider:
    return GeminiProvider(GeminiSettings("a key", base_url=url, bounds=bounds))


def openai(url: str, bounds: Bounds) -> Provider:
    settings = OpenAISettings("a key", base_url=f"{url}/v1", bounds=bounds)
    return OpenAIImagesProvider(settings, fetch=_no_fetch)


def studio(_url: str, _bounds: Bounds) -> Provider:
    return StudioProvider(processes=1)


def diffusers(_url: str, _bounds: Bounds) -> Provider:
    weights = Weights(str(tiny_pipeline()), is_folder=True, device="cpu", steps=2)
    return LocalDiffusersProvider(LocalSettings(weights, sizes=[(96, 64)], batch=2))


def rehearsed(_url: str, _bounds: Bounds) -> Provider:
    """Local weights without torch: all that is around a pipeline, which takes one reference."""
    weights = Rehearsal(os.devnull, references=1)
    return LocalDiffusersProvider(LocalSettings(weights, sizes=[(96, 64)], batch=2))


across_the_network = pytest.mark.parametrize("build", [gemini, openai])
with_torch = pytest.param(diffusers, marks=needs_torch)
everyone = pytest.mark.parametrize("build", [gemini, openai, studio, rehearsed, with_torch])


@pytest_asyncio.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    async with FakeUpstream() as fake:
        yield fake


@pytest_asyncio.fixture
async def provider(upstream: FakeUpstream, build: Build) -> AsyncIterator[Provider]:
    built = build(upstream.url, Bounds())
    yield built
    await built.close()


async def rendered(
    provider: Provider, request: ImageRequest = REQUEST, cancelled: asyncio.Event | None = None
) -> list[GeneratedImage]:
    def ignore(_done: float) -> None:
        pass

    async with asyncio.timeout(DEADLINE):
        return list(
            await provider.generate(
                request, progress=ignore, cancelled=cancelled or asyncio.Event()
            )
        )


async def error_of(provider: Provider, request: ImageRequest = REQUEST) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        await rendered(provider, request)
    return caught.value


@everyone
@pytest.mark.parametrize("count", [1, 3])
async def test_it_returns_as_many_different_pictures_as_asked(
    provider: Provider, count: int
) -> None:
    images = await rendered(provider, dataclasses.replace(REQUEST, count=count))

    assert len({image.data for image in images}) == count
    for image in images:
        picture = opened(image.data)
        assert picture.size == (image.width, image.height)
        assert picture.format == image.format.upper()
        assert picture.width > picture.height


@everyone
async def test_it_tells_how_far_it_is(provider: Provider) -> None:
    told: list[float] = []
    request = dataclasses.replace(REQUEST, count=2)
    async with asyncio.timeout(DEADLINE):
        await provider.generate(request, progress=told.append, cancelled=asyncio.Event())

    assert told == sorted(told)
    assert told[-1] == 1.0


@everyone
async def test_half_of_a_character_does_not_stop_it(provider: Provider) -> None:
    assert await rendered(provider, dataclasses.replace(REQUEST, prompt="a \ud83c cat"))


@everyone
async def test_it_stops_when_it_is_cancelled_before_it_began(provider: Provider) -> None:
    cancelled = asyncio.Event()
    cancelled.set()
    with pytest.raises(ProviderError):
        await rendered(provider, cancelled=cancelled)


@everyone
async def test_it_can_be_closed_twice(provider: Provider) -> None:
    await provider.close()
    await provider.close()


@everyone
async def test_a_task_with_a_reference_is_rendered_too(provider: Provider) -> None:
    [image] = await rendered(provider, dataclasses.replace(REQUEST, references=REFERENCES[:1]))

    assert opened(image.data).size == (image.width, image.height)


@pytest.mark.parametrize("build", [studio, with_torch])
async def test_a_reference_is_looked_at(provider: Provider) -> None:
    [without] = await rendered(provider)
    [with_one] = await rendered(provider, dataclasses.replace(REQUEST, references=REFERENCES[:1]))

    assert with_one.data != without.data


@pytest.mark.parametrize("build", [rehearsed])
@pytest.mark.parametrize(
    ("changes", "told"),
    [({"references": REFERENCES}, "takes 1 reference image"), ({"prompt": UNSAFE}, "safety rules")],
    ids=["references", "unsafe"],
)
async def test_what_local_weights_refuse_is_told_in_a_sentence(
    provider: Provider, changes: dict[str, Any], told: str
) -> None:
    error = await error_of(provider, dataclasses.replace(REQUEST, **changes))

    assert isinstance(error, Refused)
    assert told in error.reason
    assert await rendered(provider)


@across_the_network
async def test_references_arrive_byte_for_byte(provider: Provider, upstream: FakeUpstream) -> None:
    await rendered(provider, dataclasses.replace(REQUEST, references=REFERENCES))

    assert upstream.asked[0].references == [reference.data for reference in REFERENCES]
    assert upstream.asked[0].prompt == "a cat"
    assert upstream.asked[0].key == "a key"


@across_the_network
async def test_it_hangs_up_when_it_is_cancelled(provider: Provider, upstream: FakeUpstream) -> None:
    upstream.script(Held())
    cancelled = asyncio.Event()
    rendering = asyncio.ensure_future(rendered(provider, cancelled=cancelled))
    await upstream.until_asked(1)
    cancelled.set()

    with pytest.raises(AnswerLost, match="cancelled"):
        await rendering
    await upstream.until_left()
    assert upstream.rendered == {}


@across_the_network
async def test_it_hangs_up_when_nobody_waits_any_more(
    provider: Provider, upstream: FakeUpstream
) -> None:
    upstream.script(Held())
    rendering = asyncio.ensure_future(rendered(provider))
    await upstream.until_asked(1)
    rendering.cancel()

    with pytest.raises(asyncio.CancelledError):
        await rendering
    await upstream.until_left()


@across_the_network
@pytest.mark.parametrize("fault", [Fault.PROMPT_BLOCKED, Fault.IMAGE_UNSAFE])
async def test_a_judged_request_is_refused_with_a_sentence(
    provider: Provider, upstream: FakeUpstream, fault: Fault
) -> None:
    upstream.script(fault)
    error = await error_of(provider)

    assert isinstance(error, Refused)
    assert "safety rules" in error.reason
    assert str(error) != error.reason


@across_the_network
@pytest.mark.parametrize("fault", [Fault.TEXT_ONLY, Fault.EMPTY])
async def test_an_answer_without_a_picture_is_a_refusal(
    provider: Provider, upstream: FakeUpstream, fault: Fault
) -> None:
    upstream.script(fault)
    error = await error_of(provider)

    assert isinstance(error, Refused)
    assert "no image" in error.reason


@across_the_network
@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("999999999", 3600.0),
        ("soon", None),
        ("Mon, 01 Jan 2024 00:00:00 +" + "9" * 30, None),
        ("Mon, 01 Jan 99999999999999999999 00:00:00 GMT", None),
        (None, None),
    ],
)
async def test_the_pause_that_is_asked_for_is_told(
    provider: Provider, upstream: FakeUpstream, header: str | None, seconds: float | None
) -> None:
    upstream.script(Limited(header=header))
    error = await error_of(provider)

    assert isinstance(error, RateLimited)
    assert error.retry_after == seconds


@across_the_network
@pytest.mark.parametrize(("header", "seconds"), [("7", 7.0), ("999999999", 3600.0), (None, None)])
async def test_the_pause_is_told_though_what_asked_for_it_broke_off(
    provider: Provider, upstream: FakeUpstream, header: str | None, seconds: float | None
) -> None:
    upstream.script(Limited(header=header, is_cut=True))
    error = await error_of(provider)

    assert type(error) is AnswerLost
    assert error.retry_after == seconds
    assert upstream.rendered == {}


@across_the_network
@pytest.mark.parametrize("fault", [Fault.BROKEN, Fault.OVERLOADED])
async def test_an_upstream_that_says_it_is_down_has_rendered_nothing(
    provider: Provider, upstream: FakeUpstream, fault: Fault
) -> None:
    upstream.script(fault)

    assert type(await error_of(provider)) is Unavailable
    assert upstream.rendered == {}


@across_the_network
async def test_an_upstream_that_is_not_there_has_rendered_nothing(build: Build) -> None:
    async with FakeUpstream() as gone:
        url = gone.url
    provider = build(url, Bounds())

    assert type(await error_of(provider)) is Unavailable
    await provider.close()


@across_the_network
@pytest.mark.parametrize(
    "fault",
    [
        Fault.GATEWAY_TIMEOUT,
        Fault.HTML,
        Fault.RESET_BEFORE_RENDERING,
        Fault.RESET_AFTER_RENDERING,
        Fault.TRUNCATED,
        Fault.HALF_BASE64,
        Fault.NOT_BASE64,
        Fault.NOT_AN_IMAGE,
        Fault.SVG,
        Fault.BOMB,
        Fault.HUGE,
    ],
)
async def test_an_answer_of_no_use_may_have_been_charged(
    provider: Provider, upstream: FakeUpstream, fault: Fault
) -> None:
    upstream.script(fault)

    assert type(await error_of(provider)) is AnswerLost
    # And nothing is left over for the next.
    assert len(await rendered(provider)) == 1


@pytest.mark.parametrize(
    "fault", [Limited(header="1"), Fault.BAD_KEY, Fault.OVERLOADED], ids=["429", "key", "503"]
)
async def test_nothing_is_free_when_another_picture_of_the_task_was_rendered(
    upstream: FakeUpstream, fault: Limited | Fault
) -> None:
    provider = gemini(upstream.url, Bounds())
    upstream.script(None, fault, None)
    error = await error_of(provider, dataclasses.replace(REQUEST, count=3))
    await provider.close()

    assert type(error) is AnswerLost
    assert error.retry_after == (1.0 if isinstance(fault, Limited) else None)
    assert upstream.rendered == {"a cat": 2}


async def test_nothing_is_free_when_another_answer_of_the_task_was_lost(
    upstream: FakeUpstream,
) -> None:
    provider = gemini(upstream.url, Bounds())
    upstream.script(Limited(), Fault.RESET_AFTER_RENDERING)
    error = await error_of(provider, dataclasses.replace(REQUEST, count=2))
    await provider.close()

    assert type(error) is AnswerLost


@across_the_network
async def test_an_answer_is_believed_by_its_content_and_not_by_its_type(
    provider: Provider, upstream: FakeUpstream
) -> None:
    upstream.script(Fault.WRONG_TYPE)

    assert len(await rendered(provider)) == 1


@across_the_network
async def test_an_answer_that_comes_twice_is_not_taken_for_the_next_ones(
    provider: Provider, upstream: FakeUpstream
) -> None:
    upstream.script(Fault.DUPLICATE)
    await rendered(provider)
    another = dataclasses.replace(REQUEST, aspect_ratio=AspectRatio.SQUARE)
    [image] = await rendered(provider, another)

    assert image.width == image.height


@across_the_network
@pytest.mark.parametrize("trickles", [True, False], ids=["trickle", "silence"])
async def test_the_deadline_is_for_the_whole_answer(
    upstream: FakeUpstream, build: Build, trickles: bool
) -> None:
    upstream.script(Fault.TRICKLE if trickles else Held())
    provider = build(upstream.url, Bounds(deadline=0.3))

    assert type(await error_of(provider)) is TimedOut
    await upstream.until_left()
    await provider.close()


@across_the_network
async def test_an_answer_is_read_up_to_a_limit(upstream: FakeUpstream, build: Build) -> None:
    provider = build(upstream.url, Bounds(answer_bytes=100))
    error = await error_of(provider)

    assert type(error) is AnswerLost
    assert "more than 100 bytes" in str(error)
    await provider.close()


@across_the_network
@pytest.mark.parametrize("fault", [Fault.BAD_KEY, Fault.REDIRECT])
async def test_what_only_an_operator_can_mend_is_misconfigured(
    provider: Provider, upstream: FakeUpstream, fault: Fault
) -> None:
    upstream.script(fault)

    assert type(await error_of(provider)) is Misconfigured
    assert len(upstream.asked) == 1


@across_the_network
async def test_a_model_that_is_not_there_says_nothing_of_others(
    provider: Provider, upstream: FakeUpstream
) -> None:
    upstream.script(Fault.MODEL_GONE)
    error = await error_of(provider)

    assert isinstance(error, NotServed)
    assert error.reason is None
    assert len(upstream.asked) == 1


@across_the_network
@pytest.mark.parametrize("fault", [Fault.BAD_KEY, Fault.ECHO, Fault.REDIRECT])
async def test_a_key_is_in_no_text_whatever_the_upstream_repeats(
    provider: Provider, upstream: FakeUpstream, fault: Fault
) -> None:
    upstream.script(fault)

    told = str(await error_of(provider))
    assert "a key" not in told
    assert ("***" in told) == (fault is not Fault.BAD_KEY)
    assert upstream.asked[0].key == "a key"
    assert "a key" not in repr(GeminiSettings("a key"))
    assert "a key" not in repr(OpenAISettings("a key"))


@across_the_network
async def test_a_key_is_in_no_text_of_an_answer_that_is_no_http(build: Build) -> None:
    async def repeat(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(f"who is {request.headers}?\r\n\r\n".encode())

    async with serving(repeat, "127.0.0.1") as server:
        provider = build(f"http://127.0.0.1:{server.port}", Bounds())
        error = await error_of(provider)
        await provider.close()

    assert isinstance(error, AnswerLost)
    assert "a key" not in str(error)
    assert "***" in str(error)


@across_the_network
async def test_no_proxy_is_taken_from_the_environment(
    upstream: FakeUpstream, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    provider = build(upstream.url, Bounds())

    assert len(await rendered(provider)) == 1
    await provider.close()


@across_the_network
async def test_answers_wait_while_others_take_all_the_memory(
    provider: Provider, upstream: FakeUpstream
) -> None:
    memory = Memory(1)
    asked = asyncio.Event()

    async def one_more() -> int:
        with memory.share():
            work = asyncio.ensure_future(rendered(provider))
            while len(upstream.asked) < 2:
                await asyncio.sleep(0)
            asked.set()
            return len(await work)

    with memory.share():
        (image,) = await rendered(provider)
        assert memory.held > len(image.data)
        waits = asyncio.create_task(one_more())
        await asked.wait()
        await asyncio.wait([waits], timeout=0.2)
        assert not waits.done()

    assert await waits == 1
    assert memory.held == 0


@across_the_network
async def test_the_pictures_of_one_task_never_wait_for_each_other(provider: Provider) -> None:
    with Memory(1).share():
        assert len(await rendered(provider, dataclasses.replace(REQUEST, count=4))) == 4
