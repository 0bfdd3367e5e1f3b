"""What a file says about itself, against what Pillow reads of the same file."""

from __future__ import annotations

import base64
import random
import struct
import threading
import time
import zlib
from contextlib import suppress

import pytest
from PIL import Image

from ketchup.providers.base import AnswerLost, GeneratedImage, ImageFormat
from ketchup.providers.headers import Header, NotAnImage, read_header
from ketchup.providers.upstream import Bounds, checked, picture_of, read_picture
from ketchup.testing.pictures import SVG, bomb
from tests.support.pictures import encoded, noise, opened, photo

FILES = {
    "png": encoded(photo(), "PNG"),
    "png of one bit": encoded(photo().convert("1"), "PNG"),
    "jpeg": encoded(photo(), "JPEG"),
    "progressive jpeg": encoded(noise(120, 80), "JPEG", progressive=True),
    "jpeg with exif": encoded(photo(), "JPEG", exif=b"Exif\0\0" + bytes(5000)),
    "webp": encoded(photo(), "WEBP"),
    "lossless webp": encoded(photo(), "WEBP", lossless=True),
    "webp with alpha": encoded(photo().convert("RGBA"), "WEBP", exif=b"Exif\0\0" + bytes(50)),
    "wide webp": encoded(Image.new("RGB", (9000, 3), "red"), "WEBP", lossless=True),
}
files = pytest.mark.parametrize("data", FILES.values(), ids=FILES.keys())


@files
def test_a_header_says_what_pillow_decodes(data: bytes) -> None:
    picture = opened(data)

    assert read_header(data) == Header(
        ImageFormat(str(picture.format).lower()), picture.width, picture.height
    )


@files
def test_a_file_that_was_cut_short_is_none(data: bytes) -> None:
    for length in {0, 1, 11, 20, len(data) // 2, len(data) - 3}:
        with pytest.raises(NotAnImage):
            read_header(data[:length])


@files
def test_damaged_bytes_are_read_or_refused_and_never_worse(data: bytes) -> None:
    chance = random.Random(7)
    for _ in range(300):
        damaged = bytearray(data)
        for _ in range(chance.randint(1, 4)):
            damaged[chance.randrange(min(len(data), 64))] = chance.randrange(256)
        with suppress(NotAnImage):
            read_header(bytes(damaged))


NO_SIDES = b"RIFF\0\0\0\0WEBPVP8X"


@pytest.mark.parametrize(
    "data",
    [
        SVG,
        b"GIF89a" + bytes(50),
        b"",
        b"\xff\xd8\xff\xff\xff\xd9",
        NO_SIDES,
        NO_SIDES + bytes(13),
    ],
)
def test_everything_else_is_no_image(data: bytes) -> None:
    with pytest.raises(NotAnImage):
        read_header(data)


def _chunk(name: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


ENDLESS = {
    "fill bytes": b"\xff\xd8" + b"\xff" * 32 * 1024 * 1024 + b"\xd9",
    "segments": b"\xff\xd8" + b"\xff\xe0\0\x02" * 8 * 1024 * 1024 + b"\xff\xd9",
    "chunks": FILES["png"][:33] + _chunk(b"teXt") * 2_500_000 + _chunk(b"IEND"),
}


@pytest.mark.parametrize("data", ENDLESS.values(), ids=ENDLESS.keys())
def test_an_endless_header_is_refused_at_once(data: bytes) -> None:
    began = time.process_time()

    with pytest.raises(NotAnImage):
        read_header(data)

    assert time.process_time() - began < 0.5


def test_fill_bytes_before_a_marker_mean_nothing() -> None:
    plain = FILES["jpeg"]

    for fill in (1, 2, 65_535, 65_536, 65_537, 200_000):
        assert read_header(plain[:2] + b"\xff" * fill + plain[2:]) == read_header(plain)


def test_a_picture_that_nobody_can_hold_is_not_passed_on() -> None:
    assert len(bomb()) < 120_000
    with pytest.raises(AnswerLost, match="30000 x 30000"):
        checked(bomb(), Bounds())


def test_base64_is_measured_before_it_is_decoded() -> None:
    with pytest.raises(AnswerLost, match="characters"):
        picture_of("A" * 1000, Bounds(answer_bytes=100))


def test_base64_is_the_same_in_pieces() -> None:
    # Bytes behind its end make no other picture of a PNG.
    for more in range(4):
        data = encoded(noise(900, 900), "PNG") + bytes(more)
        text = base64.urlsafe_b64encode(data).decode()
        assert len(text) > 2 * 1024 * 1024

        assert picture_of(text, Bounds()).data == data
        assert picture_of(text.rstrip("="), Bounds()).data == data


@pytest.mark.parametrize("place", [3, 1024 * 1024 - 1, 1024 * 1024 + 8])
def test_base64_that_goes_on_behind_its_end_is_broken(place: int) -> None:
    text = base64.b64encode(encoded(noise(900, 900), "PNG")).decode()

    with pytest.raises(AnswerLost, match="broken base64"):
        picture_of(text[:place] + "=" + text[place + 1 :], Bounds())


async def test_large_data_is_read_in_a_thread() -> None:
    threads = []

    def read(data: bytes, _bounds: Bounds) -> GeneratedImage:
        threads.append(threading.current_thread() is threading.main_thread())
        return GeneratedImage(data, ImageFormat.PNG, 1, 1)

    await read_picture(read, bytes(1000), Bounds())
    await read_picture(read, bytes(1_000_000), Bounds())

    assert threads == [True, False]
