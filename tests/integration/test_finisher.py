"""The finisher: pictures are decoded, brought into their format and signed in a confined child."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from PIL import Image

from ketchup.clock import SystemClock
from ketchup.confined.children import ChildLost
from ketchup.provenance import perception
from ketchup.provenance.finisher import Finisher, NotAPicture, Origin
from ketchup.provenance.signer import Credential, load_or_make
from ketchup.provenance.verify import State, verify
from ketchup.providers.base import GeneratedImage, ImageFormat
from tests.support.pictures import encoded, noise, opened, photo

ORIGIN = Origin("trainedAlgorithmicMedia", "google/gempix2", "0.1.0")
FORMATS = tuple(ImageFormat)


@pytest.fixture(scope="module")
def credential(tmp_path_factory: pytest.TempPathFactory) -> Credential:
    return load_or_make(tmp_path_factory.mktemp("data"), SystemClock())


@pytest_asyncio.fixture
async def finisher(credential: Credential) -> AsyncIterator[Finisher]:
    finisher = Finisher(credential, processes=1)
    yield finisher
    await finisher.close()


def made(image_format: ImageFormat, image: Image.Image | None = None) -> GeneratedImage:
    image = image or photo()
    return GeneratedImage(encoded(image, image_format.name), image_format, *image.size)


async def test_a_picture_of_each_format_becomes_each_other_and_is_signed(
    finisher: Finisher, credential: Credential
) -> None:
    for given in FORMATS:
        for wished in FORMATS:
            finished = await finisher.finish(made(given), wished, ORIGIN)

            assert finished.is_signed, finished.problem
            image = finished.image
            assert (image.format, opened(image.data).format) == (wished, wished.name)
            assert (image.width, image.height) == opened(image.data).size == photo().size
            report = verify(image.data, [credential.anchor])
            assert (report.state, report.model) == (State.TRUSTED, "google/gempix2")
            assert finished.fingerprint == perception.fingerprint(image.data)


@pytest.mark.parametrize("image_format", FORMATS)
async def test_a_picture_of_the_wished_format_keeps_its_pixels(
    finisher: Finisher, image_format: ImageFormat
) -> None:
    given = made(image_format)

    finished = await finisher.finish(given, image_format, ORIGIN)

    assert opened(finished.image.data).tobytes() == opened(given.data).tobytes()


async def test_what_is_transparent_gets_a_white_ground_in_jpeg(finisher: Finisher) -> None:
    given = made(ImageFormat.PNG, Image.new("RGBA", (32, 32), (255, 0, 0, 0)))

    finished = await finisher.finish(given, ImageFormat.JPEG, ORIGIN)

    assert opened(finished.image.data).getpixel((5, 5)) == (255, 255, 255)


@pytest.mark.parametrize("image_format", FORMATS)
async def test_half_a_picture_is_none_and_the_child_goes_on(
    finisher: Finisher, image_format: ImageFormat
) -> None:
    whole = made(image_format, noise(64, 64))
    half = GeneratedImage(whole.data[: len(whole.data) // 2], image_format, 64, 64)

    with pytest.raises(NotAPicture):
        await finisher.finish(half, image_format, ORIGIN)

    assert (await finisher.finish(whole, image_format, ORIGIN)).is_signed


async def test_without_a_credential_a_picture_is_checked_and_not_signed() -> None:
    finisher = Finisher(None, processes=1)
    given = made(ImageFormat.PNG)
    try:
        finished = await finisher.finish(given, ImageFormat.PNG, ORIGIN)
    finally:
        await finisher.close()

    assert (finished.image.data, finished.is_signed) == (given.data, False)


async def test_an_engines_manifest_is_kept_as_the_parent(
    finisher: Finisher, credential: Credential
) -> None:
    once = (await finisher.finish(made(ImageFormat.PNG), ImageFormat.PNG, ORIGIN)).image

    twice = (await finisher.finish(once, ImageFormat.PNG, ORIGIN)).image

    report = verify(twice.data, [credential.anchor])
    assert (report.state, list(report.upstream)) == (State.TRUSTED, ["Ketchup"])


async def test_a_child_is_sent_no_key_and_holds_no_file_open(finisher: Finisher) -> None:
    assert finisher._signing is not None
    await finisher.finish(made(ImageFormat.PNG), ImageFormat.PNG, ORIGIN)
    (child,) = finisher._children._idle

    assert b"PRIVATE KEY" not in finisher._signing.chain.encode()
    assert not [fd for fd in Path(f"/proc/{child.pid}/fd").iterdir() if int(fd.name) > 2]


async def test_a_child_that_dies_costs_one_job_only(finisher: Finisher) -> None:
    await finisher.finish(made(ImageFormat.PNG), ImageFormat.PNG, ORIGIN)
    (child,) = finisher._children._idle
    os.kill(child.pid, signal.SIGSTOP)
    under_way = asyncio.create_task(finisher.finish(made(ImageFormat.PNG), ImageFormat.PNG, ORIGIN))
    while finisher._children._idle:
        await asyncio.sleep(0)
    os.kill(child.pid, signal.SIGKILL)

    with pytest.raises(ChildLost):
        await under_way
    assert (await finisher.finish(made(ImageFormat.PNG), ImageFormat.PNG, ORIGIN)).is_signed


async def test_a_strangers_picture_is_judged(finisher: Finisher) -> None:
    ours = (await finisher.finish(made(ImageFormat.PNG), ImageFormat.PNG, ORIGIN)).image.data

    assert (await finisher.judge(ours)).is_ours
    plain = await finisher.judge(made(ImageFormat.PNG).data)
    assert (plain.state, plain.is_ours) == ("none", False)
    assert plain.fingerprint == perception.fingerprint(made(ImageFormat.PNG).data)
    assert (await finisher.judge(b"no picture")).fingerprint is None
