"""What an image file says about itself, read from its header: nothing is decoded.

An upstream's answer is not trusted: a file of 109 kB can stand for 900 MB of pixels, and an SVG is
a program. This says the format by the first bytes, the sides by the header, and whether the file
goes on to its end. It does not say that the pixels can be decoded.

A hostile file costs a bounded number of steps, whatever its length.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from ketchup.providers.base import ImageFormat

_PNG: Final = b"\x89PNG\r\n\x1a\n"
_JPEG_END: Final = b"\xff\xd9"
# Some cameras and tools add a few bytes behind the end.
_SPARE: Final = 4096
# Start of frame, in its thirteen forms; C4, C8 and CC mean other things (ITU T.81, table B.1).
_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_WEBP_BITS: Final = 0x3FFF
# A picture of 64 MiB in chunks of 8 KiB, which is how libpng cuts them, has 8,192.
_MAX_STEPS: Final = 10_000
# Any number of fill bytes may stand before a marker. One step passes over that many, so that a
# thread that does it lets the others in now and then.
_FILL: Final = re.compile(rb"\xff{1,65536}(?=\xff)")


class NotAnImage(ValueError):
    """The bytes are no PNG, JPEG or WebP, or end too early."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a file claims to be."""

    format: ImageFormat
    width: int
    height: int


def read_header(data: bytes) -> Header:
    """Read format and sides of a file that is there to its end. Raises NotAnImage."""
    try:
        if data.startswith(_PNG):
            return _png(data)
        if data.startswith(b"\xff\xd8\xff"):
            return _jpeg(data)
        if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
            return _webp(data)
    except (struct.error, IndexError) as error:
        raise NotAnImage("the file ends too early") from error
    raise NotAnImage(f"no PNG, JPEG or WebP: it starts with {data[:16]!r}")


def _png(data: bytes) -> Header:
    """PNG, second edition, section 5.3: chunks of a length, a name, data and a checksum."""
    width, height = struct.unpack_from(">II", data, 16)
    place = len(_PNG)
    for _ in _steps():
        length, name = struct.unpack_from(">I4s", data, place)
        place += length + 12
        if place > len(data):
            raise NotAnImage("the PNG ends too early")
        if name == b"IEND":
            break
    return Header(ImageFormat.PNG, width, height)


def _jpeg(data: bytes) -> Header:
    """ITU T.81, annex B: markers, each with a length, up to the start of the frame."""
    if _JPEG_END not in data[-_SPARE:]:
        raise NotAnImage("the JPEG ends too early")
    place = 2
    for _ in _steps():
        if data[place] != 0xFF:  # noqa: PLR2004 every marker starts so
            break
        if filled := _FILL.match(data, place):
            place = filled.end()
            continue
        if data[place + 1] in _FRAMES:
            height, width = struct.unpack_from(">HH", data, place + 5)
            return Header(ImageFormat.JPEG, width, height)
        # Everything before the frame has a length.
        place += 2 + struct.unpack_from(">H", data, place + 2)[0]
    raise NotAnImage("a JPEG without a frame")


def _steps() -> Iterator[int]:
    """Count what is passed over in a file. Raises NotAnImage when it goes on and on."""
    yield from range(_MAX_STEPS)
    raise NotAnImage(f"a header of more than {_MAX_STEPS} parts")


def _webp(data: bytes) -> Header:
    """RFC 9649: one RIFF file whose first chunk has the sides, in one of three ways."""
    if len(data) < struct.unpack_from("<I", data, 4)[0] + 8:
        raise NotAnImage("the WebP ends too early")
    match data[12:16]:
        case b"VP8X":
            # Three bytes each, less one.
            low, wide, short, high = struct.unpack_from("<HBHB", data, 24)
            return _webp_of((wide << 16 | low) + 1, (high << 16 | short) + 1)
        case b"VP8L":
            bits = struct.unpack_from("<I", data, 21)[0]
            return _webp_of((bits & _WEBP_BITS) + 1, (bits >> 14 & _WEBP_BITS) + 1)
        case b"VP8 ":
            width, height = struct.unpack_from("<HH", data, 26)
            return _webp_of(width & _WEBP_BITS, height & _WEBP_BITS)
        case other:
            raise NotAnImage(f"a WebP that starts with {other!r}")


def _webp_of(width: int, height: int) -> Header:
    return Header(ImageFormat.WEBP, width, height)
