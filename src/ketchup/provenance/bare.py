"""A picture's file reduced to the parts that draw it: no metadata, no trailer, no second picture.

For the pictures that no child could draw anew, and that were paid for. Only the container is read,
never a pixel, so that a server may do it; what the parts themselves say is not judged.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from typing import Final

from ketchup.provenance.containers import parts
from ketchup.providers.base import ImageFormat

_PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_PNG_KEPT: Final = {b"IHDR", b"PLTE", b"tRNS", b"IDAT"}
_PNG_END: Final = b"IEND"
# Frames, tables, restarts and the number of lines. Adobe's segment says how colours are coded.
_JPEG_KEPT: Final = {0xC0, 0xC1, 0xC2, 0xC4, 0xDB, 0xDD, 0xDC}
_ADOBE, _ADOBE_BYTES, _SCAN, _END = 0xEE, 12, 0xDA, 0xD9
_JPEG_MARKER: Final = re.compile(rb"\xff+([^\x00\xd0-\xd7\xff])", re.DOTALL)
_WEBP_KEPT: Final = {b"VP8 ", b"VP8L", b"ALPH"}
_WEBP_ALPHA: Final = 0x10


def stripped(data: bytes, image_format: ImageFormat) -> bytes:
    """Return the same picture without anything else. Raises ValueError for what does not add up."""
    match image_format:
        case ImageFormat.PNG:
            return _PNG_SIGNATURE + b"".join(_of_png(data))
        case ImageFormat.JPEG:
            return b"\xff\xd8" + b"".join(_of_jpeg(data)) + b"\xff\xd9"
        case ImageFormat.WEBP:
            body = b"WEBP" + b"".join(_of_webp(data))
            return b"RIFF" + struct.pack("<I", len(body)) + body


def _of_png(data: bytes) -> Iterator[bytes]:
    if not data.startswith(_PNG_SIGNATURE):
        raise ValueError("not a PNG")
    for start, end, kind in parts(data, ImageFormat.PNG):
        if kind == _PNG_END:
            yield struct.pack(">I", 0) + _PNG_END + struct.pack(">I", zlib.crc32(_PNG_END))
            return
        if kind in _PNG_KEPT:
            # Its sum is made anew: four bytes are room for a stranger's, too.
            yield data[start : end - 4] + struct.pack(">I", zlib.crc32(data[start + 4 : end - 4]))
    raise ValueError("a PNG without an end")


def _of_jpeg(data: bytes) -> Iterator[bytes]:
    at = 2
    while found := _JPEG_MARKER.match(data, at):
        kind, start = found[1][0], found.end() - 2
        if kind == _END:
            return
        end = start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")
        if not start + 4 <= end <= len(data):
            break
        if kind == _ADOBE and data.startswith(b"Adobe", start + 4):
            body = data[start + 4 : end][:_ADOBE_BYTES]
            yield b"\xff\xee" + struct.pack(">H", len(body) + 2) + body
        elif kind in _JPEG_KEPT:
            yield data[start:end]
        elif kind == _SCAN:
            following = _JPEG_MARKER.search(data, end)
            if following is None:
                break
            end = following.start()
            yield data[start:end]
        at = end
    raise ValueError("a JPEG without an end")


def _of_webp(data: bytes) -> Iterator[bytes]:
    kept = [
        (start, end, kind)
        for start, end, kind in parts(data, ImageFormat.WEBP)
        if kind in {b"VP8X", *_WEBP_KEPT}
    ]
    if not any(kind in _WEBP_KEPT for _, _, kind in kept):
        raise ValueError("a WebP without a picture")
    for start, end, kind in kept:
        part = data[start:end]
        if kind == b"VP8X":
            # Of its flags, that there is alpha; the sides of the canvas; nothing after them.
            part = b"VP8X" + struct.pack("<I", 10) + bytes([part[8] & _WEBP_ALPHA, 0, 0, 0])
            part += data[start + 12 : start + 18]
        yield part
