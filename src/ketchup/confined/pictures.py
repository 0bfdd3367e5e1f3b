"""What a stranger's picture may cost: judged by its head, before a pixel of it is decoded.

A file of a few kilobytes can be written so that its decoder wants a gigabyte, or a minute. These
limits hold what one picture takes to 256 MiB and ten seconds, in every format; the process's own
limits of memory and time stand behind them.

Only scripts that run in a confined child import this: it loads Pillow.
"""

from __future__ import annotations

import io
import re
from typing import Final

from PIL import Image, JpegImagePlugin, WebPImagePlugin
from typing_extensions import override

# Pillow holds a WebP image three times over while it decodes. Our own 4K has this many at most.
MAX_WEBP_PIXELS: Final = 17_100_000
# What a JPEG of several scans keeps of its coefficients, and its pixels besides.
MAX_HELD_BYTES: Final = 190 * 1024 * 1024
# Encoders write ten or so. Each is a walk over the whole picture, and takes ten bytes to ask for.
MAX_SCANS: Final = 100

_EXIF_ORIENTATION: Final = 0x0112
_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Inside a scan, 0xFF is followed by 0, by the number of a restart, or by itself as a filling.
_NEXT_MARKER: Final = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9


class TooDear(Exception):
    """The picture would cost more than one may."""


class _WebP(WebPImagePlugin.WebPImageFile):
    """Lets go of the decoder, which holds two pictures, before the pixels get a third place."""

    @override
    def _get_next(self) -> tuple[bytes, int, int]:
        taken = super()._get_next()
        self._decoder = None
        return taken


Image.register_open("WEBP", _WebP, WebPImagePlugin._accept)  # noqa: SLF001 a plugin is registered with its test


def check(
    source: Image.Image, data: bytes, *, max_pixels: int, shrunk_to: int | None = None
) -> None:
    """Judge an opened picture by its head. Raises TooDear.

    A JPEG is then decoded to less than twice `shrunk_to`, which costs less of everything.
    """
    width, height = source.size
    if width * height > (MAX_WEBP_PIXELS if source.format == "WEBP" else max_pixels):
        raise TooDear("the picture is too large")
    if isinstance(source, JpegImagePlugin.JpegImageFile):
        if shrunk_to is not None:
            source.draft("RGB", (shrunk_to, shrunk_to))
        _check_scans(source, data, width * height)


def _check_scans(source: JpegImagePlugin.JpegImageFile, data: bytes, pixels: int) -> None:
    found = scans(data, MAX_SCANS + 1)
    if found > MAX_SCANS:
        raise TooDear("the picture has too many scans")
    across = [(layer[1], layer[2]) for layer in source.layer]
    full = max(h for h, _ in across) * max(v for _, v in across)
    # Two bytes for each coefficient, of each layer as many as it is sampled.
    coefficients = pixels * 2 * sum(h * v for h, v in across) // full
    if found > 1 and coefficients + source.width * source.height * 4 > MAX_HELD_BYTES:
        raise TooDear("the picture is too large for one of several scans")


def scans(data: bytes, at_most: int) -> int:
    """Count the scans of a JPEG's first image, and stop counting there."""
    at, found = 2, 0
    while found < at_most and (marker := _NEXT_MARKER.search(data, at)):
        kind = data[marker.start() + 1]
        if kind == _END_OF_IMAGE:
            break
        found += kind == _START_OF_SCAN
        # A segment's length counts itself. What follows a scan's head is skipped by the search.
        length = int.from_bytes(data[marker.end() : marker.end() + 2], "big")
        at = marker.end() + max(length, 2)
    return found


def turn(source: Image.Image) -> Image.Transpose | None:
    """Return how to turn the pixels upright, as EXIF says."""
    try:
        return _TURNS.get(source.getexif().get(_EXIF_ORIENTATION, 1))
    except Exception:  # noqa: BLE001 broken metadata, in whatever way, does not spoil the pixels
        return None


def in_mode(image: Image.Image, mode: str) -> Image.Image:
    """Convert to RGB or RGBA; what is in that mode already is returned as it is."""
    if image.mode.startswith("I"):
        # 16-bit grey. A plain conversion would cut the values off at 255.
        image = image.convert("I").point(lambda value: value * (1 / 257)).convert("L")
    return image if image.mode == mode else image.convert(mode)


def opened(data: bytes, name: str, *, max_pixels: int) -> Image.Image:
    """Decode to the last row, upright, as RGB or RGBA without metadata. Raises TooDear and others.

    It holds the pixels once, or twice while they are turned or converted.
    """
    with Image.open(io.BytesIO(data), formats=(name,)) as source:
        check(source, data, max_pixels=max_pixels)
        source.load()
        how = turn(source)
        image = in_mode(source, "RGBA" if source.has_transparency_data else "RGB")
        if image is source:
            # The same pixels without the file: Pillow's writers would ask for its path.
            image = source._new(source.im)  # noqa: SLF001 a copy would be the picture a second time
    if how is not None:
        image = image.transpose(how)
    # Pillow's writers pass on comments and profiles that they find here.
    image.info.clear()
    return image
