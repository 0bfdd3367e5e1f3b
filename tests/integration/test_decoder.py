from __future__ import annotations

import io
import itertools
import zlib
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio
from PIL import Image

from ketchup.providers.base import ImageFormat
from ketchup.references import Decoder, Problem
from tests.support.decoding import decode, problem_with
from tests.support.pictures import encoded, noise, opened, photo, png, png_chunk

MIB = 1024 * 1024


@pytest_asyncio.fixture
async def decoder() -> AsyncIterator[Decoder]:
    decoder = Decoder(processes=1)
    yield decoder
    await decoder.close()


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


@pytest.mark.parametrize("name", ["PNG", "WEBP"])
async def test_an_animation_is_refused(decoder: Decoder, name: str) -> None:
    frames = [photo(), Image.new("RGB", (120, 80), "red")]
    data = encoded(frames[0], name, save_all=True, append_images=frames[1:])
    assert await problem_with(decoder, data) is Problem.ANIMATED


def test_a_picture_is_made_and_read_back() -> None:
    # The helpers above must not agree with the product by accident.
    assert Image.open(io.BytesIO(png(3, 2))).size == (3, 2)
