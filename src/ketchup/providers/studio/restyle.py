"""Styles for a photograph, which has pixels and no shapes: the same materials by other means."""

from __future__ import annotations

from typing import Final

from PIL import Image, ImageChops, ImageFilter, ImageOps

from ketchup.providers.studio.colour import rgb
from ketchup.providers.studio.styles import DARK, INK, PAPER
from ketchup.providers.studio.wishes import Style

_SIDE: Final = 768
_SHEETS: Final = 10


def restyled(photograph: Image.Image, style: Style) -> Image.Image:
    """Return the photograph in a style; watercolour comes last of all, in `raster`."""
    picture = photograph.convert("RGB")
    picture.thumbnail((_SIDE, _SIDE), Image.Resampling.BICUBIC)
    match style:
        case Style.LINE:
            return _drawn(picture)
        case Style.PAPER:
            return _cut(picture)
        case Style.NEON:
            return _glowing(picture)
        case Style.PLAIN | Style.WATERCOLOUR:
            return photograph


def _drawn(picture: Image.Image) -> Image.Image:
    """Draw a line wherever it is darker than a little farther out, and fill what is black."""
    unit = max(picture.size) / 1000
    grey = ImageOps.autocontrast(picture.filter(ImageFilter.MedianFilter(3)).convert("L"), cutoff=1)
    near = grey.filter(ImageFilter.GaussianBlur(1.1 * unit))
    far = grey.filter(ImageFilter.GaussianBlur(3.4 * unit))
    lines = ImageChops.subtract(far, near).point([min(255, max(0, v - 4) * 34) for v in range(256)])
    black = near.point([255 if v < 34 else 0 for v in range(256)])  # noqa: PLR2004 - nearly black
    ink = ImageChops.lighter(lines, black.filter(ImageFilter.GaussianBlur(0.6)))
    sheet = Image.new("RGB", picture.size, rgb(PAPER))
    sheet.paste(rgb(INK), (0, 0), ink)
    return sheet


def _cut(picture: Image.Image) -> Image.Image:
    """Cut a sheet for each of its main colours, and lay the darker over the lighter."""
    unit = max(picture.size) / 1000
    calm = picture.filter(ImageFilter.MedianFilter(5))
    flat = calm.quantize(_SHEETS, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    table = flat.getpalette() or []
    colours = [(table[3 * i], table[3 * i + 1], table[3 * i + 2]) for i in range(len(table) // 3)]
    order = sorted(range(min(_SHEETS, len(colours))), key=lambda i: -sum(colours[i]))
    sheet = Image.new("RGB", picture.size, colours[order[0]])
    indices = Image.frombytes("L", flat.size, flat.tobytes())
    for place, index in enumerate(order[1:], 1):
        # A sheet goes on under every darker one, as paper does.
        here = {*order[place:]}
        mask = indices.point([255 if value in here else 0 for value in range(256)])
        mask = mask.filter(ImageFilter.MedianFilter(3)).filter(ImageFilter.GaussianBlur(0.6 * unit))
        shadow = ImageChops.offset(mask, round(2 * unit), round(4 * unit))
        shadow = shadow.filter(ImageFilter.GaussianBlur(3 * unit)).point(
            [v // 3 for v in range(256)]
        )
        sheet.paste(rgb(DARK), (0, 0), shadow)
        sheet.paste(colours[index], (0, 0), mask)
    return sheet


def _glowing(picture: Image.Image) -> Image.Image:
    """Let every edge glow in the colours on its two sides, and the rest go dark."""
    unit = max(picture.size) / 1000
    calm = picture.filter(ImageFilter.MedianFilter(5))
    edges = ImageChops.difference(
        calm.filter(ImageFilter.GaussianBlur(0.8 * unit)),
        calm.filter(ImageFilter.GaussianBlur(3.2 * unit)),
    )
    tubes = edges.point([min(255, max(0, v - 7) * 11) for v in range(256)] * 3)
    return ImageChops.lighter(tubes, Image.new("RGB", picture.size, rgb(DARK)))
