"""Encoding a picture again so that it looks as it did: how it was compressed is found out first.

PNG loses nothing. A JPEG that is encoded with the tables it had loses almost nothing a second time;
its tables are a stranger's bytes, so the nearest of the standard ones that are as fine are taken.

It loads Pillow: only the workshop imports it.
"""

from __future__ import annotations

import io
from functools import cache
from typing import Final

from PIL import Image, JpegImagePlugin

from ketchup.provenance import containers
from ketchup.providers.base import ImageFormat, sniff

_OPTIONS: Final[dict[ImageFormat, dict[str, int]]] = {
    # Level 6, the default, takes three times as long and saves an eighth.
    ImageFormat.PNG: {"compress_level": 2},
    ImageFormat.JPEG: {"quality": 92},
    # Method 4, the default, takes twice as long and saves 5 %.
    ImageFormat.WEBP: {"quality": 90, "method": 2},
}
_LOSSLESS_WEBP: Final = {"lossless": 1, "quality": 20, "method": 1, "exact": 1}
# Without loss, the encoder wants forty bytes for a pixel: that is for 2K, not for 4K.
_MAX_LOSSLESS_PIXELS: Final = 2048 * 2048
_QUALITIES: Final = range(50, 101)
# What Pillow calls a JPEG whose colours are sampled in a way that its writer does not know.
_UNKNOWN_SAMPLING: Final = -1


def options(data: bytes, wished: ImageFormat, pixels: int) -> dict[str, int]:
    """Return what to encode with: as the file was, when it is of that format already."""
    usual = _OPTIONS[wished]
    if sniff(data) is not wished:
        return usual
    if wished is ImageFormat.JPEG:
        return {**usual, **_like_jpeg(data)}
    if wished is ImageFormat.WEBP and containers.is_lossless_webp(data):
        return _LOSSLESS_WEBP if pixels <= _MAX_LOSSLESS_PIXELS else {**usual, "quality": 98}
    return usual


def _like_jpeg(data: bytes) -> dict[str, int]:
    with Image.open(io.BytesIO(data), formats=("JPEG",)) as source:
        if not isinstance(source, JpegImagePlugin.JpegImageFile):
            return {}
        tables, sampling = source.quantization, JpegImagePlugin.get_sampling(source)
    wanted = tables.get(0, [1])
    fine = (q for q in _QUALITIES if all(a <= b for a, b in zip(_table(q), wanted, strict=False)))
    found = {"quality": next(fine, _QUALITIES[-1])}
    return found if sampling == _UNKNOWN_SAMPLING else {**found, "subsampling": sampling}


@cache
def _table(quality: int) -> list[int]:
    """Return the standard table of a quality, as libjpeg makes it."""
    file = io.BytesIO()
    Image.new("L", (8, 8)).save(file, "JPEG", quality=quality)
    with Image.open(file, formats=("JPEG",)) as image:
        assert isinstance(image, JpegImagePlugin.JpegImageFile)  # noqa: S101 for the type checker
        return image.quantization[0]
