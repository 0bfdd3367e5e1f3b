"""Pictures for the fake: real ones in one colour, and those that nobody should decode."""

from __future__ import annotations

import io
import struct
import zlib
from functools import cache
from typing import Final

from PIL import Image

SVG: Final = b'<svg xmlns="http://www.w3.org/2000/svg" width="64" height="64"/>'
_BOMB_SIDE: Final = 30_000


def picture(size: tuple[int, int], image_format: str, seed: int) -> bytes:
    """Draw a picture; its colour tells the seed."""
    colour = (seed * 37 % 256, seed * 91 % 256, seed * 151 % 256)
    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, image_format)
    return out.getvalue()


@cache
def bomb() -> bytes:
    """Return a PNG of 30,000 pixels square and one bit: 109 kB, and 900 MB once decoded."""
    squeeze = zlib.compressobj(9)
    row = bytes(_BOMB_SIDE // 8 + 1)
    rows = b"".join(squeeze.compress(row) for _ in range(_BOMB_SIDE)) + squeeze.flush()
    head = struct.pack(">IIBBBBB", _BOMB_SIDE, _BOMB_SIDE, 1, 0, 0, 0, 0)
    chunks = (b"IHDR", head), (b"IDAT", rows), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    body = kind + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))
