"""Draws quoted words as the picture's title: across its sky, on its wall, or as glowing tubes.

Where a thing that can be written on stands in the picture, a sign or a book, it carries the words
itself and there is no title.
"""

from __future__ import annotations

from ketchup.providers.studio.colour import lightness, mix, turn
from ketchup.providers.studio.lettering import block
from ketchup.providers.studio.light import Time
from ketchup.providers.studio.model import Stage, Wash
from ketchup.providers.studio.styles import Tubes
from ketchup.providers.studio.svg import Canvas
from ketchup.providers.studio.wishes import Style

_CREAM = "#fff6e2"
_NIGHT = "#1b1533"
_PALE_SKY = 0.8


def paint_title(stage: Stage, *, alone: bool = False) -> None:
    """Letter the words across the upper part, or over the middle when nothing else is shown."""
    width, height, unit = stage.width, stage.height, stage.unit
    tall = min(300 * unit, height * 0.5) if alone else min(190 * unit, height * 0.22)
    letters = block(stage.lettering, min(width * 0.8, 1500 * unit), tall)
    if letters is None:
        return
    middle = height * 0.42 if alone else 62 * unit + letters.height / 2 + height * 0.02
    lit = stage.style is Style.NEON or stage.time is Time.NEON
    with stage.canvas.moved(width / 2, middle):
        if lit:
            _glowing(stage, letters.data, letters.size)
        else:
            _painted(stage, letters.data, letters.size)
    if lit:
        reach = (letters.width * 0.75, letters.height * 0.9 + 120 * unit)
        stage.before.append(Wash((width / 2, middle), reach, _gas(stage), 0.34))


def _painted(stage: Stage, data: str, size: float) -> None:
    """Paint the letters with an edge that keeps them legible on any sky."""
    canvas = stage.canvas
    sky = stage.column[min(1, len(stage.column) - 1)][1] if stage.column else _NIGHT
    if lightness(sky) > _PALE_SKY and stage.ink is None:
        face, edge = mix(stage.light.ambient, _NIGHT, 0.4), _CREAM
    else:
        face, edge = stage.ink or _CREAM, mix(mix(sky, stage.light.ambient, 0.6), _NIGHT, 0.55)
    if stage.style is not Style.LINE:
        if stage.style is not Style.PAPER:
            with canvas.moved(0, size * 0.055):
                canvas.line(data, edge, size * 0.12, alpha=0.55)
        canvas.line(data, edge, size * 0.1)
    canvas.path(data, face)


def _glowing(stage: Stage, data: str, size: float) -> None:
    """Bend the letters out of glass: a halo, the coloured tube, its white-hot middle."""
    gas = _gas(stage)
    # The strokes are ours to draw: the canvas of tubes would bend a second tube round each.
    canvas, stroke = stage.canvas, Canvas.line
    wide = max(size / 110, 1.2 * stage.unit)
    if not isinstance(canvas, Tubes):
        canvas.path(data, mix(gas, "#0c0616", 0.8), alpha=0.55)
    for width, alpha, colour in (
        (15, 0.12, gas),
        (9, 0.22, gas),
        (5.6, 1.0, gas),
        (1.9, 1.0, mix(gas, "#ffffff", 0.82)),
    ):
        stroke(canvas, data, colour, width * wide, alpha=alpha)


def _gas(stage: Stage) -> str:
    return turn(stage.ink, 0, saturation=1.3) if stage.ink else "#ff4f9a"
