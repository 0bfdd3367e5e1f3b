"""Lays a finished picture down in water and pigment, on rough paper.

What makes a watercolour is done in turn: edges wander, small detail runs together, washes are thin
and uneven, pigment gathers where a wash ends, the paper's grain shows through, and the painting
ends before the sheet does.
"""

from __future__ import annotations

import random
from typing import Final

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageOps

_PAPER: Final = (252, 248, 239)
_MARGIN: Final = 0.045
"""The bare border, as a share of the short side."""
_CELL: Final = 40
"""How many thousandths of the short side one wander of an edge is long."""


def painted(picture: Image.Image, chance: random.Random) -> Image.Image:
    """Return the picture as a watercolour."""
    unit = min(picture.size) / 1000
    small = picture.resize(
        [max(16, round(side / 2)) for side in picture.size], Image.Resampling.BOX
    )
    washes = small.filter(ImageFilter.MedianFilter(5)).resize(
        picture.size, Image.Resampling.BICUBIC
    )
    washes = Image.blend(washes, _wandering(picture, unit, chance), 0.35)
    washes = _wandering(washes, unit, chance).point(_thin())
    washes = _uneven(washes, chance)
    washes = _gathered(washes, unit)
    sheet = Image.new("RGB", picture.size, _PAPER)
    return _grained(_framed(sheet, washes, unit, chance), unit, chance)


def _thin() -> list[int]:
    """Return the curve of a thin wash: nothing is black, and light colours are almost paper."""
    curve = [255 - (255 - value) * (0.74 + 0.14 * (255 - value) / 255) for value in range(256)]
    return [round(value) for value in curve] * 3


def _wandering(picture: Image.Image, unit: float, chance: random.Random) -> Image.Image:
    """Move every place a little, so that no edge stays a drawn one."""
    step = max(6, round(_CELL * unit))
    reach = 3.2 * unit
    across, down = -(-picture.width // step), -(-picture.height // step)
    spots = {
        (i, j): (i * step + chance.gauss(0, reach), j * step + chance.gauss(0, reach))
        for j in range(down + 1)
        for i in range(across + 1)
    }
    mesh = []
    for j in range(down):
        for i in range(across):
            box = (i * step, j * step, (i + 1) * step, (j + 1) * step)
            corners = (spots[i, j], spots[i, j + 1], spots[i + 1, j + 1], spots[i + 1, j])
            mesh.append((box, tuple(edge for corner in corners for edge in corner)))
    return picture.transform(picture.size, Image.Transform.MESH, mesh, Image.Resampling.BILINEAR)


def _cloudy(size: tuple[int, int], cells: int, chance: random.Random) -> Image.Image:
    """Return soft grey noise with about that many cells along the long side."""
    long = max(size)
    small = (max(2, size[0] * cells // long), max(2, size[1] * cells // long))
    noise = Image.frombytes("L", small, chance.randbytes(small[0] * small[1]))
    return noise.resize(size, Image.Resampling.BICUBIC)


def _uneven(picture: Image.Image, chance: random.Random) -> Image.Image:
    """Let pigment settle in clouds: darker where it pools, lighter where water ran back."""
    pools = Image.blend(_cloudy(picture.size, 7, chance), _cloudy(picture.size, 34, chance), 0.42)
    dense = ImageChops.multiply(picture, picture)
    darker = Image.composite(
        dense, picture, pools.point([max(0, v - 96) * 0.62 for v in range(256)])
    )
    paler = Image.blend(darker, Image.new("RGB", picture.size, _PAPER), 0.55)
    return Image.composite(paler, darker, pools.point([max(0, 120 - v) * 1.15 for v in range(256)]))


def _gathered(picture: Image.Image, unit: float) -> Image.Image:
    """Darken the inner edge of each wash, where its pigment dries last."""
    grey = picture.convert("L")
    around = grey.filter(ImageFilter.GaussianBlur(3.2 * unit))
    edge = ImageChops.subtract(around, grey, 0.22).filter(ImageFilter.GaussianBlur(0.7 * unit))
    dark = ImageChops.multiply(picture, picture.point([round(v * 0.86) for v in range(256)] * 3))
    return Image.composite(
        dark, picture, edge.point([min(205, round(v * 0.9)) for v in range(256)])
    )


def _framed(
    sheet: Image.Image, washes: Image.Image, unit: float, chance: random.Random
) -> Image.Image:
    """Paint the washes on the sheet up to a ragged edge, with a rim where the water stood."""
    inner = Image.new("L", sheet.size, 0)
    margin = _MARGIN * 1000 * unit
    box = (margin, margin, sheet.width - margin, sheet.height - margin)
    ImageDraw.Draw(inner).rectangle(box, fill=255)
    soft = inner.filter(ImageFilter.GaussianBlur(13 * unit))
    ragged = Image.blend(_cloudy(sheet.size, 26, chance), _cloudy(sheet.size, 120, chance), 0.35)
    level = Image.blend(soft, ragged, 0.34)
    mask = level.point([max(0, min(255, (v - 112) * 14)) for v in range(256)])
    rim = ImageChops.subtract(
        mask, level.point([max(0, min(255, (v - 128) * 12)) for v in range(256)])
    )
    painted_edge = Image.composite(
        ImageChops.multiply(washes, washes), washes, rim.point([v // 2 for v in range(256)])
    )
    return Image.composite(painted_edge, sheet, mask)


def _grained(picture: Image.Image, unit: float, chance: random.Random) -> Image.Image:
    """Light the tooth of the paper from the side, and let it show through the paint."""
    side = 256
    noise = Image.frombytes("L", (side, side), chance.randbytes(side * side))
    tooth = noise.filter(ImageFilter.GaussianBlur(1.1)).filter(ImageFilter.EMBOSS)
    tooth = ImageOps.autocontrast(tooth.crop((2, 2, side - 2, side - 2)), cutoff=1)
    grain = max(1, round(1.3 * unit))
    tooth = tooth.resize((tooth.width * grain, tooth.height * grain), Image.Resampling.BICUBIC)
    paper = Image.new("L", picture.size)
    for x in range(0, picture.width, tooth.width):
        for y in range(0, picture.height, tooth.height):
            paper.paste(tooth, (x, y))
    shade = paper.point([round(237 + v * 18 / 255) for v in range(256)])
    return ImageChops.multiply(picture, Image.merge("RGB", (shade, shade, shade)))
