from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ketchup.clock import Micros
from ketchup.providers.base import ImageFormat
from ketchup.storage import ImageKey, image_key, parse_image_key, reference_key

BITS = "0123456789abcdef0123456789abcdef"
AT = Micros(1_756_432_513_771_985)
KEY = f"fileSystem/response_images/287/2025/08/29/1756432513771985000_{BITS}.png"


def test_an_image_key_is_as_the_contract_shows() -> None:
    assert image_key(287, AT, ImageFormat.PNG, BITS) == KEY


def test_the_images_of_one_task_keep_their_order() -> None:
    keys = [image_key(1, AT, ImageFormat.WEBP, BITS, sequence=i) for i in range(8)]
    assert keys == sorted(set(keys))
    assert keys[7].endswith(f"/1756432513771985007_{BITS}.webp")


@given(
    number=st.integers(1, 10**12),
    at=st.integers(0, 253_402_300_799_999_999),
    image_format=st.sampled_from(ImageFormat),
    bits=st.binary(min_size=16, max_size=16),
    sequence=st.integers(0, 999),
)
def test_every_key_that_is_made_is_read_back(
    number: int, at: int, image_format: ImageFormat, bits: bytes, sequence: int
) -> None:
    key = image_key(number, Micros(at), image_format, bits.hex(), sequence=sequence)
    assert parse_image_key(key) == ImageKey(number, Micros(at), bits.hex(), image_format)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/" + KEY,
        KEY + "/",
        KEY + "\n",
        KEY + "\0",
        KEY.upper(),
        KEY.replace("287", "0287"),
        KEY.replace("287", "../287"),
        KEY.replace("287", "287/../287"),
        KEY.replace("/08/", "/8/"),
        KEY.replace("/08/29/", "/08/30/"),
        KEY.replace("/2025/", "//2025/"),
        KEY.replace("_0", "_%30"),
        KEY.replace("_0", "_O"),
        KEY.replace("abcdef.", "ABCDEF."),
        KEY.replace(".png", ".svg"),
        KEY.replace(".png", ".jpeg"),
        KEY.replace(".png", ".png.html"),
        KEY.replace("287", "\u0662\u0668\u0667"),
        KEY.replace("fileSystem", "filesystem"),
        KEY.replace("1756432513771985000", "01756432513771985000"),
        KEY.replace("1756432513771985000", "9" * 19),
        reference_key(AT, BITS),
    ],
)
def test_any_other_spelling_is_no_image(path: str) -> None:
    assert parse_image_key(path) is None


@given(st.text())
def test_no_text_raises(text: str) -> None:
    assert parse_image_key(text) is None
    parsed = parse_image_key(KEY.replace("287", text))
    assert parsed is None or text == str(parsed.number)
