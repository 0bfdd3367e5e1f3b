"""Rolling farmland with striped fields, hedges, and a road that winds to the horizon."""

from __future__ import annotations

import random

from ketchup.providers.studio.colour import deeper, mix
from ketchup.providers.studio.model import Setting, Stage, Surface
from ketchup.providers.studio.settings.garden import backdrop as hills
from ketchup.providers.studio.svg import circles, num, smooth
from ketchup.providers.studio.terrain import blades, crown, height_at, hill_under, swell


def paint(stage: Stage) -> None:
    """Paint the fields and the road."""
    chance, unit, growth = stage.stream("fields"), stage.unit, stage.growth
    wheat = "#d9b65a" if not growth.snow else "#e6eef5"
    lines = []
    for i, (share, colour) in enumerate(
        (
            (0.02, mix(growth.grass, wheat, 0.4)),
            (0.16, growth.grass),
            (0.36, mix(growth.grass, wheat, 0.75)),
            (0.6, growth.grass),
        )
    ):
        depth = 0.42 - 0.12 * i
        line = [
            (x, stage.ground(share) - unit * (20 + 8 * i) * y)
            for x, y in swell(chance, stage.width, waves=0.9)
        ]
        top, bottom = stage.ground(share) - 30 * unit, stage.ground(share + 0.3)
        fill = stage.canvas.vertical(
            [
                (0, stage.shade(colour, depth, 0.7)),
                (1, stage.shade(mix(colour, growth.conifer, 0.35), depth, -0.3)),
            ],
            top,
            bottom,
        )
        if i:
            _hedge(stage, chance, line, (depth + 0.08, unit * (20 + 22 * i)))
        shape = hill_under(line, stage.height)
        stage.canvas.path(shape, fill)
        _furrows(stage, chance, line, (shape, i))
        lines.append(line)
    _road(stage)
    area = (0, stage.ground(0.7), stage.width, stage.height - stage.ground(0.7))
    for colour, facing in ((mix(growth.grass, growth.conifer, 0.55), -0.3), (growth.grass, 0.8)):
        stage.canvas.path(
            blades(chance, area, 40 if growth.snow else 240, 36 * unit),
            stage.shade(colour, 0, facing),
        )


def front(stage: Stage) -> None:
    """Set tall grass before the lower edge."""
    chance, unit, growth = stage.stream("verge"), stage.unit, stage.growth
    area = (0, stage.height - 20 * unit, stage.width, 40 * unit)
    dark = stage.shade(mix(growth.grass, growth.conifer, 0.75), 0, -0.4)
    stage.canvas.path(blades(chance, area, 60 if growth.snow else 260, 84 * unit), dark)


def _furrows(
    stage: Stage, chance: random.Random, line: list[tuple[float, float]], field: tuple[str, int]
) -> None:
    """Comb a field with lines that meet at a far point."""
    shape, index = field
    unit = stage.unit
    target = stage.width * chance.uniform(-0.2, 1.2)
    furrows = []
    for i in range(26):
        x = stage.width * (i - 4) / 18
        top = x * 0.35 + target * 0.65
        y = height_at(line, min(max(top, 0), stage.width))
        furrows.append(
            f"M{num(top)} {num(y)}Q{num((top + x) / 2)} {num(y + 40 * unit)} {num(x)}"
            f" {num(y + 260 * unit)}"
        )
    if index % 2 == 0:
        with stage.canvas.clipped(shape):
            stage.canvas.line(
                "".join(furrows),
                stage.shade(stage.growth.conifer, 0.2, -0.2),
                (2 + index) * unit,
                alpha=0.2,
            )


def _hedge(
    stage: Stage, chance: random.Random, line: list[tuple[float, float]], shape: tuple[float, float]
) -> None:
    depth, tall = shape
    dark, lit = [], []
    x = -tall
    while x < stage.width + tall:
        size = tall * chance.uniform(0.3, 1.0)
        y = height_at(line, min(max(x, 0), stage.width))
        dark += crown(chance, (x, y - size * 0.4), (size * 0.6, size * 0.5), 8)
        lit += crown(
            chance, (x + stage.side * size * 0.2, y - size * 0.6), (size * 0.3, size * 0.26), 4
        )
        x += tall * chance.choice((0.5, 0.6, 0.7, 2.4))
    leaf = stage.growth.leaves
    stage.canvas.path(circles(dark), stage.shade(deeper(leaf[0], 0.16), depth, -0.2))
    stage.canvas.path(circles(lit), stage.shade(leaf[1], depth, 0.5), alpha=0.75)


def _road(stage: Stage) -> None:
    """Wind a road from the lower edge to the horizon."""
    earth = "#c4d0e0" if stage.growth.snow else "#c9b48f"
    unit, middle, side = stage.unit, stage.width / 2, stage.side
    spots = (
        (1.05, -0.06, 190),
        (0.8, 0.06, 120),
        (0.56, 0.12, 74),
        (0.36, 0.02, 42),
        (0.2, -0.09, 24),
        (0.1, -0.04, 12),
        (0.04, 0.02, 6),
    )
    left = [
        (middle + side * x * stage.width - half * unit, stage.ground(share))
        for share, x, half in spots
    ]
    right = [
        (middle + side * x * stage.width + half * unit, stage.ground(share))
        for share, x, half in spots
    ]
    road = stage.canvas.vertical(
        [(0, stage.shade(earth, 0.35, 0.4)), (1, stage.shade(mix(earth, "#6b5140", 0.3), 0, 0))],
        stage.horizon,
        stage.height,
    )
    body = smooth(left) + "L" + smooth(list(reversed(right)))[1:] + "Z"
    stage.canvas.path(body, road)
    ruts = []
    for share in (0.3, 0.7):
        points = [(a[0] + (b[0] - a[0]) * share, a[1]) for a, b in zip(left, right, strict=True)]
        ruts.append(smooth(points))
    stage.canvas.line(
        "".join(ruts), stage.shade(mix(earth, "#4a3a30", 0.5), 0.1, -0.2), 9 * unit, alpha=0.3
    )


SETTING = Setting(
    name="countryside",
    words=(
        "countryside",
        "farmland",
        "farm",
        "hills",
        "hill",
        "road",
        "village",
        "field",
        "fields",
        "vineyard",
        "tuscany",
        "rural",
        "land",
        "dorf",
        "feld",
        "hügel",
        "straßenrand",
        "platteland",
        "dorp",
        "heuvel",
        "heuvels",
        "weg",
        "田舎",
        "丘",
        "道",
        "村",
    ),
    near=33,
    surface=Surface.LAND,
    horizon=0.5,
    paint=paint,
    backdrop=hills,
    front=front,
)
