"""Taking fingerprints: what of a picture is still the same when its manifest was taken away.

Three, from strict to lenient. `sha256` is that of the file as it was stored. `pixels` is that of
the decoded pixels: it finds a PNG or lossless WebP whose metadata was stripped, and a JPEG that was
not encoded again. `phash` is 64 bits of what the picture looks like: it stays within a few bits
when the picture is encoded again or made smaller.

The perceptual hash is pHash (https://www.phash.org): the signs, against their median, of the 64
lowest frequencies of the picture at 32 by 32 grey pixels.

What is measured over the 32 pictures of the gallery, in bits that differ:

    JPEG of quality 60, half the size, both together      0 to 2
    WebP of quality 50, JPEG of quality 20                0 to 2
    a tenth brighter                                      0 to 6
    3 % cut off on every side                             2 to 14
    two different pictures (496 pairs)                    10 and more

So `NEAR` finds every one that was encoded again, none that is another picture, and 24 of 32 that
were cut. dHash, which costs less than half, tells different pictures apart less well.

Pillow decodes here, in the process that asks, within a limit of size. A server has no image parser
in its memory: it asks a process that may do nothing else.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace
from typing import Final

from PIL import Image

from ketchup.confined import pictures
from ketchup.provenance.fingerprint import Fingerprint, PerceptualHash
from ketchup.providers.base import sniff

# Engines draw 17 million at most. A child must do with 256 MiB, and holds twice these at times.
MAX_PIXELS: Final = 24_000_000
_STRIP_ROWS: Final = 64
_SIDE: Final = 32
_FREQUENCIES: Final = 8
_WAVES: Final = [
    [math.cos((2 * x + 1) * u * math.pi / (2 * _SIDE)) for x in range(_SIDE)]
    for u in range(_FREQUENCIES)
]


class NoFingerprint(Exception):
    """The bytes are no picture that can be decoded, or one that is too large."""


def fingerprint(data: bytes) -> Fingerprint:
    """Take the fingerprints of a PNG, JPEG or WebP. Blocks. Raises NoFingerprint."""
    return replace(of_pixels(decoded(data)), sha256=sha256(data))


def sha256(data: bytes) -> str:
    """Return the fingerprint of a file's bytes."""
    return hashlib.sha256(data).hexdigest()


def of_pixels(image: Image.Image) -> Fingerprint:
    """Take the fingerprints of a decoded picture; that of its file is left empty. Blocks."""
    digest = hashlib.sha256(f"{image.mode} {image.width} {image.height} ".encode())
    # In strips: all at once would be the whole picture a second time.
    for top in range(0, image.height, _STRIP_ROWS):
        bottom = min(top + _STRIP_ROWS, image.height)
        digest.update(image.crop((0, top, image.width, bottom)).tobytes())
    return Fingerprint("", digest.hexdigest(), perceptual_hash(image))


def perceptual_hash(image: Image.Image) -> PerceptualHash:
    """Return what the picture looks like. Blocks for 2 ms."""
    small = image.convert("L").resize((_SIDE, _SIDE), Image.Resampling.BOX).tobytes()
    rows = [small[at : at + _SIDE] for at in range(0, len(small), _SIDE)]
    across = [[_along(wave, row) for row in rows] for wave in _WAVES]
    found = [_along(wave, column) for column in across for wave in _WAVES]
    # The first is the mean brightness: it says nothing about what is where.
    middle = sorted(found[1:])[len(found) // 2 - 1]
    return PerceptualHash(sum(1 << at for at, value in enumerate(found) if value > middle))


def _along(wave: list[float], values: bytes | list[float]) -> float:
    return math.fsum(a * b for a, b in zip(wave, values, strict=True))


def decoded(data: bytes) -> Image.Image:
    """Decode a picture to its last row, upright, as RGB or RGBA. Blocks. Raises NoFingerprint."""
    image_format = sniff(data)
    if image_format is None:
        raise NoFingerprint("not a PNG, JPEG or WebP image")
    try:
        return pictures.opened(data, image_format.name, max_pixels=MAX_PIXELS)
    except Exception as error:
        raise NoFingerprint(f"{type(error).__name__}: {error}") from error
