"""The finisher: pictures are decoded, brought into their format and signed in a confined child."""

from __future__ import annotations

import asyncio
import dataclasses
import io
import os
import signal
import subprocess
import sys
import zlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from PIL import Image, ImageChops, ImageStat
from PIL.JpegImagePlugin import JpegImageFile, get_sampling

from ketchup.clock import SystemClock
from ketchup.confined.children import ChildLost
from ketchup.provenance import containers, perception
from ketchup.provenance.containers import Source
from ketchup.provenance.finisher import Finisher, NotAPicture, Origin
from ketchup.provenance.signer import Credential, load, load_or_make
from ketchup.provenance.verify import State, verify
from ketchup.providers.base import GeneratedImage, ImageFormat
from tests.support.certificates import KINDS, operators_certificate
from tests.support.pictures import encoded, noise, opened, photo, png_chunk

ORIGIN = Origin(Source.MODEL, "google/gempix2", "0.1.0")
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


def apart(one: bytes, other: bytes) -> float:
    """How far two pictures are apart on average, of 255."""
    difference = ImageChops.difference(opened(one).convert("RGB"), opened(other).convert("RGB"))
    return max(ImageStat.Stat(difference).mean)


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
async def test_a_picture_that_is_drawn_anew_in_its_format_looks_the_same(
    finisher: Finisher, image_format: ImageFormat
) -> None:
    given = made(image_format)

    finished = await finisher.finish(given, image_format, ORIGIN)

    assert apart(finished.image.data, given.data) <= (0 if image_format.name == "PNG" else 1)


@pytest.mark.parametrize("image_format", FORMATS)
async def test_a_picture_of_our_own_keeps_its_pixels(
    finisher: Finisher, image_format: ImageFormat
) -> None:
    given = made(image_format)
    drawn = dataclasses.replace(ORIGIN, source=Source.RULES)

    finished = await finisher.finish(given, image_format, drawn)

    assert opened(finished.image.data).tobytes() == opened(given.data).tobytes()


@pytest.mark.parametrize(("quality", "subsampling"), [(60, 2), (75, 2), (85, 1), (95, 0), (100, 0)])
async def test_a_jpeg_is_drawn_anew_as_finely_as_it_was(
    finisher: Finisher, quality: int, subsampling: int
) -> None:
    picture = noise(64, 64).resize((256, 256), Image.Resampling.BICUBIC)
    data = encoded(picture, "JPEG", quality=quality, subsampling=subsampling)

    finished = await finisher.finish(
        GeneratedImage(data, ImageFormat.JPEG, 256, 256), ImageFormat.JPEG, ORIGIN
    )

    with Image.open(io.BytesIO(data)) as was, Image.open(io.BytesIO(finished.image.data)) as now:
        assert isinstance(was, JpegImageFile)
        assert isinstance(now, JpegImageFile)
        assert now.quantization == was.quantization
        assert get_sampling(now) == subsampling


async def test_a_lossless_webp_loses_nothing(finisher: Finisher) -> None:
    data = encoded(noise(64, 64, "RGBA"), "WEBP", lossless=True, exact=True)
    given = GeneratedImage(data, ImageFormat.WEBP, 64, 64)

    finished = await finisher.finish(given, ImageFormat.WEBP, ORIGIN)

    assert opened(finished.image.data).tobytes() == opened(data).tobytes()


async def test_a_picture_is_stored_upright(finisher: Finisher) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(photo(120, 80), "JPEG", exif=exif.tobytes())

    finished = await finisher.finish(
        GeneratedImage(data, ImageFormat.JPEG, 120, 80), ImageFormat.JPEG, ORIGIN
    )

    assert opened(finished.image.data).size == (80, 120)
    assert not opened(finished.image.data).getexif()


async def test_a_grey_picture_of_16_bits_is_not_washed_out(finisher: Finisher) -> None:
    given = made(ImageFormat.PNG, Image.new("I;16", (9, 9), 128 * 257))

    finished = await finisher.finish(given, ImageFormat.PNG, ORIGIN)

    assert opened(finished.image.data).getpixel((4, 4)) == (128, 128, 128)


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

    assert (apart(finished.image.data, given.data), finished.is_signed) == (0, False)


@pytest.mark.parametrize("image_format", FORMATS)
async def test_a_picture_that_cannot_be_signed_still_says_what_made_it(
    credential: Credential, image_format: ImageFormat
) -> None:
    # Not a certificate that can be read: the library refuses to sign with it.
    broken = dataclasses.replace(credential, chain=credential.chain[:200])
    finisher = Finisher(broken, processes=1)
    given = made(image_format)
    try:
        finished = await finisher.finish(given, image_format, ORIGIN)
    finally:
        await finisher.close()

    data = finished.image.data
    assert not finished.is_signed
    assert finished.problem
    report = verify(data)
    assert (report.state, report.mark) == (State.NONE, "trainedAlgorithmicMedia")
    assert apart(data, given.data) <= 1
    assert finished.fingerprint == perception.fingerprint(data)


@pytest.mark.parametrize("kind", KINDS)
async def test_an_operators_certificate_of_each_kind_signs_each_format(
    tmp_path: Path, kind: str
) -> None:
    chain, key = operators_certificate(tmp_path, kind)
    credential = load(chain, key, SystemClock())
    finisher = Finisher(credential, processes=1)
    try:
        for image_format in FORMATS:
            finished = await finisher.finish(made(image_format), image_format, ORIGIN)
            report = verify(finished.image.data, [credential.anchor])
            assert (report.state, report.signer) == (State.TRUSTED, "Acme"), report.problems
    finally:
        await finisher.close()


@pytest.mark.parametrize("image_format", FORMATS)
async def test_one_flipped_byte_of_what_is_stored_is_seen(
    finisher: Finisher, image_format: ImageFormat
) -> None:
    data = (await finisher.finish(made(image_format), image_format, ORIGIN)).image.data
    pixels = {ImageFormat.PNG: b"IDAT", ImageFormat.JPEG: b"\xff\xda", ImageFormat.WEBP: b"VP8 "}
    at = data.rindex(pixels[image_format]) + 20
    changed = bytearray(data)
    changed[at] ^= 0x01

    assert (await finisher.judge(data)).state == "trusted"
    assert (await finisher.judge(bytes(changed))).state == "invalid"


async def test_a_child_that_was_started_ahead_takes_the_first_picture(finisher: Finisher) -> None:
    await finisher.warm()
    await finisher.warm()
    (child,) = finisher._children._idle

    await finisher.finish(made(ImageFormat.PNG), ImageFormat.PNG, ORIGIN)

    assert finisher._children._idle == [child]
    assert child.jobs == 1


async def test_strangers_pictures_do_not_keep_paid_ones_waiting(finisher: Finisher) -> None:
    await finisher.judge(made(ImageFormat.PNG).data)
    (judge,) = finisher._judge._idle
    os.kill(judge.pid, signal.SIGSTOP)
    hanging = [asyncio.create_task(finisher.judge(b"x")) for _ in range(5)]
    try:
        async with asyncio.timeout(20):
            finished = await finisher.finish(made(ImageFormat.PNG), ImageFormat.PNG, ORIGIN)
    finally:
        os.kill(judge.pid, signal.SIGCONT)

    assert finished.is_signed
    assert {judged.state for judged in await asyncio.gather(*hanging)} == {"none"}


def test_a_child_loads_neither_a_database_nor_cryptography_nor_an_event_loop() -> None:
    script = Path(containers.__file__).with_name("workshop.py")
    heavy = {"sqlalchemy", "cryptography", "asyncio", "pydantic", "structlog", "ketchup.db"}
    code = f"import runpy, sys; runpy.run_path({str(script)!r}); print(*sys.modules)"

    loaded = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()

    assert not heavy & set(loaded)


@pytest.mark.parametrize("wished", FORMATS)
@pytest.mark.parametrize("given", FORMATS)
async def test_an_engines_manifest_is_kept_as_the_parent(
    finisher: Finisher, credential: Credential, given: ImageFormat, wished: ImageFormat
) -> None:
    once = (await finisher.finish(made(given), given, ORIGIN)).image

    twice = (await finisher.finish(once, wished, ORIGIN)).image

    report = verify(twice.data, [credential.anchor])
    assert (report.state, list(report.upstream)) == (State.TRUSTED, ["Ketchup"])


@pytest.mark.parametrize("wished", FORMATS)
async def test_a_manifest_that_nobody_can_read_is_left_out(
    finisher: Finisher, credential: Credential, wished: ImageFormat
) -> None:
    once = (await finisher.finish(made(ImageFormat.PNG), ImageFormat.PNG, ORIGIN)).image
    at = once.data.index(b"caBX") + 4
    # A chunk whose contents are nonsense, with the checksum that belongs to it.
    length = int.from_bytes(once.data[at - 8 : at - 4], "big")
    sum_ = zlib.crc32(b"caBX" + bytes(length)).to_bytes(4, "big")
    data = once.data[:at] + bytes(length) + sum_ + once.data[at + length + 4 :]

    twice = await finisher.finish(dataclasses.replace(once, data=data), wished, ORIGIN)

    report = verify(twice.image.data, [credential.anchor])
    assert (report.state, list(report.upstream)) == (State.TRUSTED, [])


async def test_a_manifest_that_does_not_verify_is_left_out(
    finisher: Finisher, credential: Credential
) -> None:
    once = (await finisher.finish(made(ImageFormat.PNG), ImageFormat.PNG, ORIGIN)).image
    changed = once.data[:33] + png_chunk(b"tEXt", b"a\0was added later") + once.data[33:]

    twice = await finisher.finish(dataclasses.replace(once, data=changed), ImageFormat.PNG, ORIGIN)

    report = verify(twice.image.data, [credential.anchor])
    assert (report.state, list(report.upstream)) == (State.TRUSTED, [])


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
