"""What a style asks of the stage besides its canvas: when and where it is, and how it ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from ketchup.providers.studio.colour import Colour, mix
from ketchup.providers.studio.light import Time, Weather, light_of
from ketchup.providers.studio.model import Setting, Stage, Surface
from ketchup.providers.studio.prompt import Scene
from ketchup.providers.studio.styles import PAPER, PaperCut
from ketchup.providers.studio.svg import Canvas
from ketchup.providers.studio.terrain import hill_under, swell
from ketchup.providers.studio.wishes import Style

WALL: Final = "bricks"
"""The setting that tubes hang in."""
_HUNG: Final = 0.47
_HUNG_UNDER_WORDS: Final = 0.38
"""The stature of a sign on the wall, alone and with words above it."""
_SKY_SHEETS: Final = 5
_GROUND_SHEETS: Final = 6


def lit_for(scene: Scene) -> Scene:
    """Return the scene where and when its style can be shown.

    Ink has no night. Tubes hang on a wall in the dark, unless a place was asked for.
    """
    if scene.style is Style.LINE:
        return replace(scene, time=Time.DAY)
    if scene.style is Style.NEON:
        return replace(scene, settings=scene.settings or (WALL,), time=Time.NIGHT)
    return scene


def hang(stage: Stage, wall: Setting, tallest: float) -> Setting:
    """Paint the wall that tubes hang on, and return it as a place for them.

    The wall is painted as it is, by night; what hangs on it has its colours as by day, and one size
    whatever it shows: `tallest` is the largest stature among it.
    """
    tubes, stage.canvas = stage.canvas, Canvas(stage.width, stage.height, prefix="w")
    wall.paint(stage)
    tubes.lay_over(stage.canvas)
    stage.canvas, stage.light = tubes, light_of(Time.DAY, Weather.CLEAR)
    size = (_HUNG_UNDER_WORDS if stage.lettering else _HUNG) / tallest
    return replace(wall, surface=Surface.TABLE, stand=-0.32, scale=size, hung=True)


def finish(stage: Stage) -> None:
    """Give a finished stage what its style is laid on, and take away what it cannot have."""
    match stage.style:
        case Style.LINE:
            stage.column = [(0, PAPER), (stage.height, PAPER)]
            _bare(stage, vignette=0.0)
        case Style.PAPER:
            if stage.plate is None:
                _sheets(stage)
            _bare(stage, vignette=0.16)
        case Style.NEON:
            stage.bloom, stage.vignette = 1.25, 0.5
        case Style.WATERCOLOUR:
            stage.bloom, stage.vignette = 0.0, 0.0
        case Style.PLAIN:
            pass


def _bare(stage: Stage, *, vignette: float) -> None:
    stage.behind.clear()
    stage.before.clear()
    stage.bloom, stage.vignette = 0.0, vignette


def _sheets(stage: Stage) -> None:
    """Lay sheets of paper in the colours of sky and ground under everything."""
    under = PaperCut(stage.width, stage.height, prefix="u")
    chance, unit = stage.stream("sheets"), stage.unit
    horizon = min(stage.horizon, stage.height)
    under.rect((0, 0, stage.width, stage.height), _colour_at(stage.column, horizon * 0.94))
    for i in range(_SKY_SHEETS - 1, -1, -1):
        y = horizon * (i + 0.55) / _SKY_SHEETS
        line = [(x, y + v * 26 * unit) for x, v in swell(chance, stage.width, waves=1.1)]
        under.path(
            hill_under(line, -20), _colour_at(stage.column, horizon * (i + 0.1) / _SKY_SHEETS)
        )
    for i in range(_GROUND_SHEETS):
        share = (i / _GROUND_SHEETS) ** 1.5
        y = stage.ground(share)
        lift = 0.0 if i == 0 else 5 + 16 * share
        line = [(x, y + v * lift * unit) for x, v in swell(chance, stage.width, waves=1.6)]
        under.path(
            hill_under(line, stage.height + 20),
            _colour_at(stage.column, stage.ground(min(1, share + 0.06))),
        )
    stage.canvas.lay_over(under)


def _colour_at(column: Sequence[tuple[float, Colour]], y: float) -> Colour:
    before = column[0]
    for stop in column:
        if stop[0] > y:
            return mix(before[1], stop[1], (y - before[0]) / max(1e-6, stop[0] - before[0]))
        before = stop
    return before[1]
