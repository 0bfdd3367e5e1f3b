"""Edits of a photograph that fills the picture: its colours, its light, a frame around it.

Only the pixels of the photograph are touched here; what is added to it is painted by `placing`,
in the light and on the ground that `read_light` and `read_horizon` find in it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from PIL import Image, ImageFilter, ImageOps, ImageStat

from ketchup.providers.studio.colour import Colour, darker, from_rgb, lighter, mix, rgb
from ketchup.providers.studio.light import Light, Time, Weather, light_of
from ketchup.providers.studio.wishes import Edit

_BINS: Final = 256
_SMALL: Final = 96
_EDGE: Final = 6
"""How many rows a step in brightness is looked for over."""
FRAME: Final = 0.055
"""The width of the frame's wood, as a share of the short side."""
_MAT: Final = 0.05


def _curves(*gains: float) -> list[int]:
    return [min(255, round(value * gain)) for gain in gains for value in range(_BINS)]


def _power(exponent: float) -> list[int]:
    return [round(255 * (value / 255) ** exponent) for value in range(_BINS)]


_CURVES: Final = {
    Edit.WARMER: _curves(1.12, 1.02, 0.8),
    Edit.COOLER: _curves(0.82, 0.99, 1.14),
    Edit.BRIGHTER: _power(0.7) * 3,
    Edit.DARKER: _power(1.55) * 3,
}


def retouched(photograph: Image.Image, edits: Iterable[Edit], colour: Colour | None) -> Image.Image:
    """Return the photograph with its edits, and in a colour if one is given."""
    picture = photograph.convert("RGB")
    if colour is not None:
        picture = _recoloured(picture, colour)
    for edit in edits:
        picture = _edited(picture, edit)
    return picture


def _edited(picture: Image.Image, edit: Edit) -> Image.Image:
    """Return the picture after one edit; a frame, and what is added, are painted by others."""
    if edit in _CURVES:
        return picture.point(_CURVES[edit])
    if edit is Edit.GREY:
        return ImageOps.autocontrast(picture.convert("L"), cutoff=0.5).convert("RGB")
    if edit is Edit.SEPIA:
        return ImageOps.colorize(picture.convert("L"), "#1f120a", "#fff4df", "#a5764c")
    return picture


def _recoloured(picture: Image.Image, colour: Colour) -> Image.Image:
    """Give every tone the colour's hue, as dark or light as it was, and keep a trace of its own."""
    grey = ImageOps.autocontrast(picture.convert("L"), cutoff=0.2)
    tinted = ImageOps.colorize(grey, darker(colour, 0.88), lighter(colour, 0.9), mid=colour)
    return Image.blend(tinted, picture, 0.12)


def shaped(photograph: Image.Image, ratio: float) -> Image.Image:
    """Return its middle, in the shape of the picture that it is going to fill."""
    width, height = photograph.size
    if width / height > ratio:
        size = (round(height * ratio), height)
    else:
        size = (width, round(width / ratio))
    return ImageOps.fit(photograph, (max(1, size[0]), max(1, size[1])), Image.Resampling.BICUBIC)


def framed(photograph: Image.Image, ratio: float) -> Image.Image:
    """Return the whole photograph on a mat, in the picture's shape; the wood is painted over it."""
    long = max(photograph.size)
    width, height = (long, round(long / ratio)) if ratio > 1 else (round(long * ratio), long)
    inset = round((FRAME + _MAT) * min(width, height))
    mat = Image.new("RGB", (width, height), rgb("#f6f1e6"))
    box = (width - 2 * inset, height - 2 * inset)
    inner = ImageOps.contain(photograph.convert("RGB"), box, Image.Resampling.BICUBIC)
    corner = ((width - inner.width) // 2, (height - inner.height) // 2)
    edge = max(1, round(min(width, height) / 260))
    shade = (corner[0] - edge, corner[1] - edge, inner.width + 2 * edge, inner.height + 2 * edge)
    mat.paste(rgb("#cfc6b4"), (shade[0], shade[1], shade[0] + shade[2], shade[1] + shade[3]))
    mat.paste(inner, corner)
    return mat


def read_light(photograph: Image.Image) -> tuple[Light, int]:
    """Return a light like the photograph's, and the side it comes from (-1 or 1)."""
    small = photograph.convert("RGB").resize((_SMALL, _SMALL), Image.Resampling.BOX)
    brightness = ImageStat.Stat(small.convert("L")).mean[0] / 255
    upper = small.crop((0, 0, _SMALL, _SMALL // 2))
    left, right = (
        ImageStat.Stat(upper.crop((x, 0, x + _SMALL // 2, _SMALL // 2)).convert("L")).mean[0]
        for x in (0, _SMALL // 2)
    )
    tone = from_rgb(*ImageStat.Stat(small).mean)
    day = light_of(Time.DAY, Weather.CLEAR)
    dark = max(0.04, min(0.62, 0.75 - brightness * 1.25))
    light = replace(
        day,
        darkness=dark,
        ambient=mix(tone, "#10142a", 0.6),
        haze=tone,
        sun=mix("#fff6e0", tone, 0.25),
        lamps=dark > 0.4,  # noqa: PLR2004 - as dark as dusk
    )
    return light, 1 if right > left else -1


def read_horizon(photograph: Image.Image) -> float:
    """Return where the ground begins, as a share of the height: at the strongest step."""
    rows = photograph.convert("L").resize((1, _SMALL), Image.Resampling.BOX)
    tones = list(rows.filter(ImageFilter.GaussianBlur(1)).tobytes())
    low, high = round(_SMALL * 0.3), round(_SMALL * 0.7)
    steps = {
        y: abs(sum(tones[y - _EDGE : y]) - sum(tones[y : y + _EDGE])) for y in range(low, high)
    }
    best = max(steps, key=lambda y: (steps[y], y))
    return best / _SMALL


def tone_at(photograph: Image.Image, across: float, down: float) -> Colour:
    """Return the mean colour around a spot, given in shares."""
    small = photograph.convert("RGB").resize((24, 24), Image.Resampling.BOX)
    pixel = small.getpixel((min(23, int(across * 24)), min(23, int(down * 24))))
    if not isinstance(pixel, tuple):
        raise TypeError("The image is RGB, so a pixel has three channels.")
    return from_rgb(*pixel[:3])
