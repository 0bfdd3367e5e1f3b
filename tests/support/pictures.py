"""Image files, good and hostile, made by the test that needs them."""

from __future__ import annotations

import io
import random
import struct
import zlib

from PIL import Image, ImageDraw


def encoded(image: Image.Image, name: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, name, **options)
    return file.getvalue()


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def png_chunk(kind: bytes, data: bytes) -> bytes:
    body = kind + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


def png(
    width: int,
    height: int,
    *,
    bits: int = 8,
    color: int = 2,
    extra: bytes = b"",
    rows: bytes | None = None,
) -> bytes:
    """Write a PNG by hand: as large as wanted in its header, as small as possible in bytes."""
    head = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0))
    if rows is None:
        per_row = -(-width * bits * {0: 1, 2: 3, 6: 4}[color] // 8) + 1
        squeeze = zlib.compressobj(9)
        rows = b"".join(squeeze.compress(bytes(per_row)) for _ in range(height)) + squeeze.flush()
    body = png_chunk(b"IDAT", rows)
    return b"\x89PNG\r\n\x1a\n" + head + extra + body + png_chunk(b"IEND", b"")


def noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    pixels = random.Random(7).randbytes(width * height * len(mode))
    return Image.frombytes(mode, (width, height), pixels)


def photo(width: int = 120, height: int = 80) -> Image.Image:
    image = Image.new("RGB", (width, height), "navy")
    ImageDraw.Draw(image).rectangle((0, 0, width // 3, height // 3), "orange")
    return image
