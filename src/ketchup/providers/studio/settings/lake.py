"""A still lake that mirrors what stands behind it, with reeds and stones on the near shore."""

from __future__ import annotations

from itertools import pairwise
from typing import Final

from ketchup.providers.studio.colour import Colour, mix
from ketchup.providers.studio.model import Setting, Stage, Surface
from ketchup.providers.studio.settings import mountains
from ketchup.providers.studio.svg import lens, num, ring
from ketchup.providers.studio.terrain import blades, conifer, ground_under, ridge

_BANDS: Final = 64
_MIDDLE: Final = 0.4


def backdrop(stage: Stage) -> None:
    """Paint mountains and a wooded shore, once upright and once upside down."""
    # Everything ends at the shore line, so that the mirror image needs no clipping: that would
    # cost a layer of the picture's size.
    with stage.canvas.named() as view:
        mountains.ranges(stage, stage.horizon + 1)
        _woods(stage)
    with stage.canvas.moved(0, 2 * stage.horizon, scale=(1, -1)):
        stage.canvas.again(view)


def paint(stage: Stage) -> None:
    """Lay the water over the mirror image, and break it with ripples."""
    light, unit = stage.light, stage.unit
    own = stage.shade(stage.tint("lake", "#2a7f9a"))
    stage.floor(
        *(
            (i / 5, mix(colour, own, 0.2))
            for i, colour in enumerate((light.sky * 2)[len(light.sky) - 1 :: -1][:6])
        )
    )
    _deepen(stage, mix(light.haze, own, 0.4), own, mix(own, light.ambient, 0.6))
    chance = stage.stream("ripples")
    for colour, alpha, count in (
        (mix(own, light.sky[-1], 0.7), 0.3, 90),
        (mix(own, light.ambient, 0.5), 0.24, 80),
    ):
        bands = []
        for _ in range(count):
            t = chance.random() ** 1.5
            length = unit * (20 + 170 * t) * chance.uniform(0.4, 1.4)
            bands.append(
                lens(
                    chance.random() * stage.width,
                    stage.ground(0.02 + 0.98 * t),
                    length,
                    unit * (0.6 + 4 * t),
                )
            )
        stage.canvas.path("".join(bands), colour, alpha=alpha)
    shore = stage.canvas.linear([(0, light.haze, 0), (0.5, light.haze, 0.5), (1, light.haze, 0)])
    stage.canvas.rect((0, stage.horizon - 18 * unit, stage.width, 36 * unit), shore)


def _deepen(stage: Stage, far: Colour, own: Colour, near: Colour) -> None:
    """Let the water take over from what it mirrors: in flat bands, a tenth of a gradient's cost."""
    top = round(stage.horizon)
    edges = [top + round((stage.height - top) * i / _BANDS) for i in range(_BANDS + 1)]
    for i, (upper, lower) in enumerate(pairwise(edges)):
        share = (i + 0.5) / _BANDS
        if share < _MIDDLE:
            t = share / _MIDDLE
            colour, alpha = mix(far, own, t), 0.12 + 0.3 * t
        else:
            t = (share - _MIDDLE) / (1 - _MIDDLE)
            colour, alpha = mix(own, near, t), 0.42 + 0.52 * t
        stage.canvas.rect((0, upper, stage.width, lower - upper), colour, alpha=alpha)


def front(stage: Stage) -> None:
    """Set stones and reeds at the lower corners."""
    chance, unit, growth = stage.stream("reeds"), stage.unit, stage.growth
    for side in (-1, 1):
        for _ in range(9):
            x = stage.width / 2 + side * stage.width * chance.uniform(0.27, 0.52)
            y, size = stage.ground(chance.uniform(0.86, 1.02)), unit * chance.uniform(20, 60)
            stage.canvas.path(ring(x, y, size * 1.3, size * 0.55), stage.shade("#4d4a55", 0, -0.5))
            stage.canvas.path(
                ring(x + stage.side * size * 0.14, y - size * 0.16, size * 1.0, size * 0.36),
                stage.shade("#8b8890" if not growth.snow else "#eef4fa", 0, 0.3),
            )
        area = (
            stage.width / 2 + side * stage.width * 0.4 - 110 * unit,
            stage.height - 20 * unit,
            220 * unit,
            40 * unit,
        )
        stage.canvas.path(
            blades(chance, area, 60, 260 * unit),
            stage.shade(mix(growth.grass, growth.conifer, 0.6), 0, -0.2),
        )
        stage.canvas.path(blades(chance, area, 34, 230 * unit), stage.shade(growth.grass, 0, 0.6))
        heads = []
        for _ in range(5):
            x, y = (
                area[0] + chance.random() * area[2],
                stage.height - chance.uniform(150, 260) * unit,
            )
            stage.canvas.line(
                f"M{num(x)} {num(stage.height)}L{num(x)} {num(y)}", stage.shade("#6f7a3f"), 3 * unit
            )
            heads.append(ring(x, y, 6 * unit, 24 * unit))
        stage.canvas.path("".join(heads), stage.shade("#6b4630", 0, 0.2))


def _woods(stage: Stage) -> None:
    chance, unit = stage.stream("shore woods"), stage.unit
    for depth, tall, lift in ((0.55, 70, 16), (0.36, 110, 5)):
        line = [
            (x, stage.horizon - unit * lift * (1 + 0.7 * y))
            for x, y in ridge(chance, stage.width, steps=5)
        ]
        trees, lit = [], []
        for _ in range(round(stage.width / (tall * unit) * 8)):
            x = chance.random() * stage.width
            gap = abs(x / stage.width - 0.5 - stage.side * 0.1)
            size = tall * unit * chance.uniform(0.4, 1.0) * min(1.0, 0.25 + 2.2 * gap)
            state = chance.getstate()
            trees.append(conifer(chance, (x, stage.horizon), size))
            chance.setstate(state)
            lit.append(conifer(chance, (x, stage.horizon), size, half=stage.side))
        dark = stage.shade(mix(stage.growth.conifer, "#12222e", 0.25), depth, -0.2)
        stage.canvas.path(ground_under(line, stage.horizon + 1) + "".join(trees), dark)
        bright = (
            mix(stage.growth.conifer, "#f4f9ff", 0.75)
            if stage.growth.snow
            else mix(stage.growth.conifer, "#b9cf72", 0.25)
        )
        stage.canvas.path("".join(lit), stage.shade(bright, depth, 0.5), alpha=0.6)


SETTING = Setting(
    name="lake",
    words=(
        "lake",
        "pond",
        "river",
        "reflection",
        "reflections",
        "bergsee",
        "am see",
        "dem see",
        "einem see",
        "een meer",
        "het meer",
        "teich",
        "fluss",
        "meer van",
        "rivier",
        "vijver",
        "湖",
        "池",
        "川",
    ),
    near=36,
    surface=Surface.WATER,
    horizon=0.5,
    paint=paint,
    backdrop=backdrop,
    front=front,
)
