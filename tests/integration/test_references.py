from __future__ import annotations

import asyncio
import io
import itertools
import os
import random
import signal
import zlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from PIL import Image, ImageDraw

from ketchup.clock import SystemClock
from ketchup.egress import Egress, networks
from ketchup.errors import Unavailable
from ketchup.providers.base import ImageFormat, ReferenceImage
from ketchup.references import (
    DataReference,
    Decoder,
    Problem,
    ReferenceFailed,
    References,
    UrlReference,
    sniff,
)
from ketchup.references.decoder import MEMORY_BYTES
from tests.support.loopback import answer, serving
from tests.support.pictures import encoded, opened, png, png_chunk

MIB = 1024 * 1024


@pytest_asyncio.fixture
async def decoder() -> AsyncIterator[Decoder]:
    decoder = Decoder(processes=1)
    yield decoder
    await decoder.close()


@pytest_asyncio.fixture
async def references(decoder: Decoder) -> AsyncIterator[References]:
    egress = Egress(SystemClock(), allow=networks(["127.0.0.2/32"]))
    yield References(egress, decoder)
    await egress.close()


async def decode(decoder: Decoder, data: bytes) -> ReferenceImage:
    image_format = sniff(data)
    assert image_format is not None
    return await decoder.decode(data, image_format)


async def problem_with(decoder: Decoder, data: bytes) -> Problem:
    with pytest.raises(ReferenceFailed) as failed:
        await decode(decoder, data)
    return failed.value.problem


def child_of(decoder: Decoder) -> int:
    (child,) = decoder._idle
    return child.pid


def is_there(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def peak_of(pid: int) -> int:
    """The most memory the process ever had in RAM, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    pixels = random.Random(7).randbytes(width * height * len(mode))
    return Image.frombytes(mode, (width, height), pixels)


def photo(width: int = 120, height: int = 80) -> Image.Image:
    image = Image.new("RGB", (width, height), "navy")
    ImageDraw.Draw(image).rectangle((0, 0, width // 3, height // 3), "orange")
    return image


@pytest.mark.parametrize(
    ("name", "image_format"),
    [("PNG", ImageFormat.PNG), ("JPEG", ImageFormat.JPEG), ("WEBP", ImageFormat.JPEG)],
)
async def test_an_image_is_redrawn(decoder: Decoder, name: str, image_format: ImageFormat) -> None:
    result = await decode(decoder, encoded(photo(), name))
    image = opened(result.data)
    assert (result.format, result.width, result.height) == (image_format, 120, 80)
    assert image.size == (120, 80)
    assert image.format == image_format.value.upper()
    corner, middle = image.getpixel((5, 5)), image.getpixel((80, 60))
    assert corner == pytest.approx((255, 165, 0), abs=24)
    assert middle == pytest.approx((0, 0, 128), abs=24)


@pytest.mark.parametrize(
    ("size", "expected"), [((4200, 300), (2048, 146)), ((10, 5000), (4, 2048))]
)
async def test_a_large_image_is_shrunk_in_proportion(
    decoder: Decoder, size: tuple[int, int], expected: tuple[int, int]
) -> None:
    result = await decode(decoder, encoded(photo(*size), "PNG"))
    assert (result.width, result.height) == expected
    assert opened(result.data).size == expected


async def test_shrinking_in_strips_leaves_no_seams(decoder: Decoder) -> None:
    gradient = Image.linear_gradient("L").resize((4500, 4500)).convert("RGB")
    result = opened((await decode(decoder, encoded(gradient, "PNG"))).data)
    column = [result.getpixel((1000, y)) for y in range(result.height)]
    greys = [pixel[0] for pixel in column if isinstance(pixel, tuple)]
    assert len(greys) == 2048
    assert all(0 <= below - above <= 1 for above, below in itertools.pairwise(greys))
    assert (greys[0], greys[-1]) == (0, 255)


@pytest.mark.parametrize("orientation", range(1, 9))
async def test_the_orientation_is_applied(decoder: Decoder, orientation: int) -> None:
    upright = photo(120, 80)
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(undo[orientation]) if orientation in undo else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    result = await decode(decoder, encoded(stored, "JPEG", exif=exif.tobytes(), quality=95))
    image = opened(result.data)
    assert (result.width, result.height) == image.size == (120, 80)
    assert image.getpixel((5, 5)) == pytest.approx((255, 165, 0), abs=24)
    assert not image.getexif()


async def test_transparency_is_kept_and_a_full_alpha_is_dropped(decoder: Decoder) -> None:
    glass = Image.new("RGBA", (20, 10), (255, 0, 0, 100))
    result = opened((await decode(decoder, encoded(glass, "WEBP", lossless=True))).data)
    assert (result.format, result.mode, result.getpixel((0, 0))) == (
        "PNG",
        "RGBA",
        (255, 0, 0, 100),
    )
    solid = Image.new("RGBA", (20, 10), (255, 0, 0, 255))
    assert opened((await decode(decoder, encoded(solid, "PNG"))).data).mode == "RGB"


@pytest.mark.parametrize(
    ("mode", "color", "expected"),
    [
        ("1", 1, (255, 255, 255)),
        ("L", 128, (128, 128, 128)),
        ("P", 0, (0, 0, 0)),
        ("I;16", 128 * 257, (128, 128, 128)),
        ("LA", (128, 255), (128, 128, 128)),
    ],
)
async def test_every_kind_of_pixel_becomes_rgb(
    decoder: Decoder, mode: str, color: int | tuple[int, int], expected: tuple[int, int, int]
) -> None:
    result = opened((await decode(decoder, encoded(Image.new(mode, (9, 9), color), "PNG"))).data)
    assert (result.mode, result.getpixel((4, 4))) == ("RGB", expected)


async def test_a_cmyk_jpeg_becomes_rgb(decoder: Decoder) -> None:
    result = await decode(decoder, encoded(Image.new("CMYK", (9, 9)), "JPEG"))
    assert opened(result.data).getpixel((4, 4)) == (255, 255, 255)


async def test_a_phone_photo_with_a_second_frame_is_a_photo(decoder: Decoder) -> None:
    depth = Image.new("L", (60, 40))
    data = encoded(photo(), "MPO", save_all=True, append_images=[depth])
    assert opened(data).format == "MPO"
    result = await decode(decoder, data)
    assert (result.format, result.width, result.height) == (ImageFormat.JPEG, 120, 80)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
async def test_the_result_fits_into_what_upstreams_take(decoder: Decoder, mode: str) -> None:
    result = await decode(decoder, encoded(noise(2048, 2048, mode), "PNG", compress_level=0))
    assert len(result.data) <= 7_000_000
    assert result.format is (ImageFormat.JPEG if mode == "RGB" else ImageFormat.PNG)


MARK = b"<script>alert('trailer')</script>"


def _png_with_everything() -> bytes:
    text = png_chunk(b"tEXt", b"Comment\0" + MARK) + png_chunk(
        b"eXIf", b"II*\0\x08\0\0\0\0\0" + MARK
    )
    profile = png_chunk(b"iCCP", b"x\0\0" + zlib.compress(MARK * 10))
    return png(30, 20, extra=profile + text) + MARK


def _jpeg_with_everything() -> bytes:
    exif = Image.Exif()
    exif[0x010E] = MARK.decode()
    return encoded(photo(), "JPEG", comment=MARK, exif=exif.tobytes(), icc_profile=MARK) + MARK


def _webp_with_everything() -> bytes:
    return encoded(photo(), "WEBP", exif=b"Exif\0\0" + MARK, xmp=MARK, icc_profile=MARK) + MARK


@pytest.mark.parametrize(
    "polyglot", [_png_with_everything, _jpeg_with_everything, _webp_with_everything]
)
async def test_metadata_and_trailers_do_not_come_through(
    decoder: Decoder, polyglot: Callable[[], bytes]
) -> None:
    data = polyglot()
    assert data.count(MARK) >= 3
    result = await decode(decoder, data)
    image = opened(result.data)
    assert b"script" not in result.data
    assert set(image.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
    end = b"IEND\xaeB`\x82" if result.format is ImageFormat.PNG else b"\xff\xd9"
    assert result.data.endswith(end)


async def test_broken_metadata_does_not_spoil_the_pixels(decoder: Decoder) -> None:
    data = encoded(photo(), "WEBP", exif=b"Exif\0\0no tiff at all")
    assert (await decode(decoder, data)).width == 120


def _text_bomb() -> bytes:
    return png(30, 20, extra=png_chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(200 * MIB))))


@pytest.mark.parametrize(
    ("bomb", "problem"),
    [
        (lambda: png(60_000, 60_000, bits=1, color=0, rows=b""), Problem.TOO_LARGE),
        (lambda: png(20_000, 20_000, color=6, rows=b""), Problem.TOO_LARGE),
        (lambda: png(8193, 1, rows=b""), Problem.TOO_LARGE),
        (lambda: png(8192, 4883, rows=b""), Problem.TOO_LARGE),
        (lambda: encoded(Image.new("L", (9000, 9000)), "JPEG"), Problem.TOO_LARGE),
        (lambda: encoded(Image.new("L", (4097, 4097)), "WEBP"), Problem.TOO_LARGE),
        (_text_bomb, Problem.NOT_DECODED),
        (lambda: png(100, 100, rows=zlib.compress(b"")), Problem.NOT_DECODED),
        (lambda: png(0, 10, rows=b""), Problem.NOT_DECODED),
        (lambda: encoded(photo(), "PNG")[:-40], Problem.NOT_DECODED),
        (lambda: encoded(noise(200, 200), "JPEG")[:-9000], Problem.NOT_DECODED),
        (lambda: encoded(noise(200, 200), "WEBP")[:-9000], Problem.NOT_DECODED),
        (lambda: b"\xff\xd8\xff" + b"\xff" * 100_000, Problem.NOT_DECODED),
        (lambda: b"\x89PNG\r\n\x1a\n", Problem.NOT_DECODED),
    ],
)
async def test_a_bomb_is_refused_and_costs_little(
    decoder: Decoder, bomb: Callable[[], bytes], problem: Problem
) -> None:
    await decode(decoder, encoded(photo(), "PNG"))
    child = child_of(decoder)
    assert await problem_with(decoder, bomb()) is problem
    assert child_of(decoder) == child
    assert peak_of(child) < 64 * MIB


@pytest.mark.parametrize(
    ("accepted", "mebibytes"),
    [
        (lambda: png(8192, 4882, color=6), 256),
        (lambda: encoded(Image.new("RGB", (8192, 4882)), "JPEG"), 256),
        (lambda: encoded(Image.new("RGBA", (4096, 4096)), "WEBP"), 300),
    ],
)
async def test_the_largest_image_of_each_format_stays_within_its_memory(
    decoder: Decoder, accepted: Callable[[], bytes], mebibytes: int
) -> None:
    result = await decode(decoder, accepted())
    assert max(result.width, result.height) == 2048
    assert peak_of(child_of(decoder)) < mebibytes * MIB


@pytest.mark.parametrize("name", ["PNG", "WEBP"])
async def test_an_animation_is_refused(decoder: Decoder, name: str) -> None:
    frames = [photo(), Image.new("RGB", (120, 80), "red")]
    data = encoded(frames[0], name, save_all=True, append_images=frames[1:])
    assert await problem_with(decoder, data) is Problem.ANIMATED


async def test_a_child_has_no_environment_and_may_open_nothing(
    decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KETCHUP_SECRET", "canary")
    await decode(decoder, encoded(photo(), "PNG"))
    proc = Path(f"/proc/{child_of(decoder)}")
    limits = {
        line[:25].strip(): line[25:].split()[:2]
        for line in (proc / "limits").read_text().splitlines()
    }
    assert (proc / "environ").read_bytes() == b""
    assert limits["Max open files"] == ["0", "0"]
    assert limits["Max file size"] == ["0", "0"]
    assert limits["Max core file size"] == ["0", "0"]
    assert limits["Max address space"] == [str(MEMORY_BYTES)] * 2
    assert 10 <= int(limits["Max cpu time"][0]) <= 13
    assert sorted(fd.name for fd in (proc / "fd").iterdir()) == ["0", "1", "2"]


async def test_the_memory_limit_holds() -> None:
    decoder = Decoder(processes=1, memory_bytes=96 * MIB)
    assert await problem_with(decoder, png(8192, 4882, color=6)) is Problem.NOT_DECODED
    assert (await decode(decoder, encoded(photo(), "PNG"))).width == 120
    assert peak_of(child_of(decoder)) < 96 * MIB
    await decoder.close()


async def test_a_job_that_takes_too_long_is_killed_and_the_next_one_runs() -> None:
    decoder = Decoder(processes=1, seconds=0.5)
    await decode(decoder, encoded(photo(), "PNG"))
    stopped = child_of(decoder)
    os.kill(stopped, signal.SIGSTOP)
    assert await problem_with(decoder, encoded(photo(), "PNG")) is Problem.NOT_DECODED
    assert not is_there(stopped)
    assert (await decode(decoder, encoded(photo(), "PNG"))).width == 120
    await decoder.close()


async def test_a_child_that_dies_takes_only_its_own_job_with_it(decoder: Decoder) -> None:
    await decode(decoder, encoded(photo(), "PNG"))
    first = child_of(decoder)
    os.kill(first, signal.SIGSTOP)
    job = asyncio.create_task(problem_with(decoder, encoded(photo(), "PNG")))
    os.kill(first, signal.SIGKILL)
    assert await job is Problem.NOT_DECODED
    assert (await decode(decoder, encoded(photo(), "PNG"))).width == 120
    assert child_of(decoder) != first


async def test_a_cancelled_job_leaves_no_answer_for_the_next(decoder: Decoder) -> None:
    await decode(decoder, encoded(photo(), "PNG"))
    first = child_of(decoder)
    os.kill(first, signal.SIGSTOP)
    job = asyncio.create_task(decode(decoder, encoded(photo(), "PNG")))
    await asyncio.sleep(0)  # the job takes the child, and writes to it
    assert decoder._idle == []
    job.cancel()
    with pytest.raises(asyncio.CancelledError):
        await job
    assert not is_there(first)
    assert (await decode(decoder, encoded(photo(60, 50), "PNG"))).width == 60


async def test_a_child_is_replaced_after_its_jobs() -> None:
    decoder = Decoder(processes=1, jobs_per_process=2)
    children = []
    for _ in range(3):
        await decode(decoder, encoded(photo(), "PNG"))
        children.append(child_of(decoder) if decoder._idle else None)
    assert children[1] is None
    assert children[0] != children[2]
    await decoder.close()


async def test_many_jobs_share_few_children() -> None:
    decoder = Decoder(processes=2)
    data = encoded(photo(), "PNG")
    results = await asyncio.gather(*(decode(decoder, data) for _ in range(12)))
    assert {result.width for result in results} == {120}
    assert len(decoder._idle) == 2
    await decoder.close()
    assert decoder._idle == []


async def test_a_child_ends_when_its_input_ends(decoder: Decoder) -> None:
    # What happens when the server is killed: the pipe closes and nobody asks any more.
    await decode(decoder, encoded(photo(), "PNG"))
    child = decoder._idle.pop()
    child._requests.close()
    async with asyncio.timeout(5):
        assert await child._process.wait() == 0


async def test_a_decoder_that_cannot_start_is_our_problem_not_the_customers() -> None:
    decoder = Decoder(memory_bytes=2**70)  # no such limit can be set
    with pytest.raises(Unavailable):
        await decode(decoder, encoded(photo(), "PNG"))


async def test_a_url_is_fetched_and_redrawn(references: References) -> None:
    body = encoded(photo(), "PNG") + MARK
    async with serving(answer(body=body, content_type="image/png"), "127.0.0.2") as server:
        result = await references.load(UrlReference(f"http://127.0.0.2:{server.port}/a.png"))
    assert (result.width, result.height) == (120, 80)
    assert MARK not in result.data


async def test_data_is_redrawn(references: References) -> None:
    assert (await references.load(DataReference(encoded(photo(), "PNG")))).width == 120


GIF = encoded(Image.new("P", (5, 5)), "GIF")
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script/></svg>'


@pytest.mark.parametrize(
    ("status", "content_type", "body", "problem"),
    [
        (404, "image/png", b"", Problem.NOT_FETCHED),
        (200, "text/html", b"<html>", Problem.NOT_AN_IMAGE),
        (200, "image/png", b"<html>", Problem.NOT_AN_IMAGE),
        (200, "image/svg+xml", SVG, Problem.NOT_AN_IMAGE),
        (200, "image/gif", GIF, Problem.NOT_AN_IMAGE),
        (200, "image/png", b"", Problem.NOT_AN_IMAGE),
        (200, "image/png", png(9000, 9000, rows=b""), Problem.TOO_LARGE),
        (200, "image/png", bytes(20 * MIB + 1), Problem.TOO_LARGE),
        (200, "image/png", b"\x89PNG\r\n\x1a\nx", Problem.NOT_DECODED),
    ],
)
async def test_each_failure_has_one_fixed_sentence(
    references: References, status: int, content_type: str, body: bytes, problem: Problem
) -> None:
    handler = answer(status, body, content_type=content_type)
    async with serving(handler, "127.0.0.2") as server:
        url = f"http://127.0.0.2:{server.port}/"
        with pytest.raises(ReferenceFailed) as failed:
            await references.load(UrlReference(url))
    assert failed.value.problem is problem
    assert str(failed.value) == problem.value


async def test_an_internal_url_and_a_dead_one_fail_with_the_same_sentence(
    references: References,
) -> None:
    async with serving(answer(body=encoded(photo(), "PNG")), "127.0.0.1") as internal:
        sentences = set()
        for url in (f"http://127.0.0.1:{internal.port}/", "http://127.0.0.2:1/", "http://a..b/"):
            with pytest.raises(ReferenceFailed) as failed:
                await references.load(UrlReference(url))
            sentences.add(str(failed.value))
        assert internal.connections == 0
    assert sentences == {"a reference image could not be fetched"}


def test_a_picture_is_made_and_read_back() -> None:
    # The helpers above must not agree with the product by accident.
    assert Image.open(io.BytesIO(png(3, 2))).size == (3, 2)
