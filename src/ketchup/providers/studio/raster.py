"""Turns a stage into the bytes of an image file.

The SVG holds everything with an edge. What has none is done here on pixels, where it costs a tenth:
the column of sky and ground colours, the washes, the bloom of bright lights, the vignette, and a
fine grain that keeps smooth gradients from banding.
"""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Sequence

import resvg_py
from PIL import Image, ImageChops, ImageFilter, ImageOps

from ketchup.providers.studio.colour import Colour, mix, rgb
from ketchup.providers.studio.model import Stage, Wash
from ketchup.providers.studio.watercolour import painted
from ketchup.providers.studio.wishes import Style

_LARGE = 2048
_GRAIN_TILE = 256
_GRAIN_SHARE = 0.028
_DARK: Colour = "#0a0616"


def _contrast(value: int) -> int:
    """Return a channel on a gentle S: glow and grain both flatten a picture a little."""
    share = value / 255
    curved = share * share * (3 - 2 * share)
    return max(0, min(255, round(255 * (share + 0.32 * (curved - share)) * 1.03 - 3)))


_CURVE = [_contrast(value) for value in range(256)]


def rasterise(
    stage: Stage,
    size: tuple[int, int],
    image_format: str,
    mark: Callable[[Image.Image], None] | None = None,
) -> bytes:
    """Render the stage at `size` pixels and encode it as `png`, `jpeg` or `webp`.

    `mark` paints over what is done otherwise.
    """
    scale = size[0] / stage.width
    plate = stage.plate
    picture = _column(stage.column, size, scale) if plate is None else _cover(plate, size)
    for wash in stage.behind:
        _lay(picture, wash, scale)
    drawing = _drawing(stage, size)
    picture.paste(drawing, (0, 0), drawing)
    for wash in stage.before:
        _lay(picture, wash, scale)
    if stage.bloom:
        picture = _bloom(picture, stage.bloom)
    _vignette(picture, stage.vignette)
    picture = picture.point(_CURVE * 3)
    if stage.style is Style.WATERCOLOUR:
        picture = painted(picture, stage.stream("water"))
    else:
        picture = _grain(picture, stage.stream("grain"))
    if mark is not None:
        mark(picture)
    return _encode(picture, image_format)


def _drawing(stage: Stage, size: tuple[int, int]) -> Image.Image:
    png = resvg_py.svg_to_bytes(
        svg_string=stage.canvas.document(), width=size[0], height=size[1], skip_system_fonts=True
    )
    drawing = Image.open(io.BytesIO(bytes(png)), formats=("PNG",))
    drawing.load()
    return drawing


def _column(
    stops: Sequence[tuple[float, Colour]], size: tuple[int, int], scale: float
) -> Image.Image:
    """Return the picture of a vertical gradient; the stops are heights, from the top down."""
    strip = Image.new("RGB", (1, size[1]))
    index = 0
    for y in range(size[1]):
        here = y / scale
        while index < len(stops) - 2 and here >= stops[index + 1][0]:
            index += 1
        (top, first), (bottom, second) = stops[index], stops[index + 1]
        share = (here - top) / max(1e-6, bottom - top)
        strip.putpixel((0, y), rgb(mix(first, second, round(share, 3))))
    return strip.resize(size, Image.Resampling.NEAREST)


def _cover(plate: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Return the photograph cropped to the picture's shape, its middle kept."""
    return ImageOps.fit(plate.convert("RGB"), size, Image.Resampling.BICUBIC)


def _lay(picture: Image.Image, wash: Wash, scale: float) -> None:
    width, height = (max(1, round(2 * radius * scale)) for radius in wash.radii)
    left = round((wash.centre[0] - wash.radii[0]) * scale)
    top = round((wash.centre[1] - wash.radii[1]) * scale)
    box = (
        max(0, left),
        max(0, top),
        min(picture.width, left + width),
        min(picture.height, top + height),
    )
    if box[0] >= box[2] or box[1] >= box[3]:
        return
    shape = Image.radial_gradient("L").point([_falloff(v) * wash.alpha for v in range(256)])
    # Only the visible part is scaled up: a wash may be many times the picture.
    source = tuple(
        (edge - origin) * 256 / extent
        for edge, origin, extent in zip(box, (left, top) * 2, (width, height) * 2, strict=True)
    )
    mask = shape.resize(
        (box[2] - box[0], box[3] - box[1]), Image.Resampling.BICUBIC,
        box=(source[0], source[1], source[2], source[3]),
    )  # fmt: skip
    picture.paste(rgb(wash.colour), box, mask)


def _falloff(distance: int) -> float:
    # Pillow's gradient reaches 255 in its corners, and 181 where the ellipse touches its box.
    near = max(0.0, 1 - distance / 180)
    return 255 * near * near * (3 - 2 * near)


def _bloom(picture: Image.Image, strength: float) -> Image.Image:
    """Let the brightest parts bleed into their surroundings, as they do in a lens."""
    small = picture.reduce(8 if picture.width > _LARGE else 4)
    curve = [max(0, value - 150) * 255 / 105 * strength for value in range(256)]
    glow = small.point(curve * 3)
    glow = glow.filter(ImageFilter.GaussianBlur(small.width / 40))
    return ImageChops.screen(picture, glow.resize(picture.size, Image.Resampling.BILINEAR))


def _vignette(picture: Image.Image, strength: float) -> None:
    shape = Image.radial_gradient("L")
    mask = shape.point([max(0, value - 110) * strength * 255 / 145 for value in range(256)])
    picture.paste(rgb(_DARK), (0, 0), mask.resize(picture.size, Image.Resampling.BICUBIC))


def _grain(picture: Image.Image, chance: random.Random) -> Image.Image:
    side = _GRAIN_TILE
    tile = Image.frombytes("L", (side, side), chance.randbytes(side * side))
    noise = Image.new("L", picture.size)
    for x in range(0, picture.width, side):
        for y in range(0, picture.height, side):
            noise.paste(tile, (x, y))
    return Image.blend(picture, Image.merge("RGB", (noise, noise, noise)), _GRAIN_SHARE)


def _encode(picture: Image.Image, image_format: str) -> bytes:
    out = io.BytesIO()
    if image_format == "jpeg":
        picture.save(out, "JPEG", quality=92, optimize=True)
    elif image_format == "webp":
        picture.save(out, "WEBP", quality=90, method=3)
    else:
        # Level 6 takes five times as long as level 2 and saves 4 %.
        picture.save(out, "PNG", compress_level=2)
    return out.getvalue()
