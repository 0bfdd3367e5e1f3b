"""Dunes with sharp crests: one side in the sun, the other in its own shadow."""

from __future__ import annotations

import math
import random

from ketchup.providers.studio.colour import mix
from ketchup.providers.studio.model import Setting, Stage, Surface
from ketchup.providers.studio.svg import Point, circles, num, polyline, smooth
from ketchup.providers.studio.terrain import hill_under, ridge, swell


def backdrop(stage: Stage) -> None:
    """Paint table mountains and the first pale dunes on the horizon."""
    chance, unit = stage.stream("mesa"), stage.unit
    for depth, tall in ((0.8, 60), (0.66, 34)):
        line: list[Point] = []
        for x, y in ridge(chance, stage.width, steps=4, rough=0.6):
            level = stage.horizon - unit * tall * max(0.0, min(1.0, 0.35 + y))
            line += [(x - 26 * unit, level + 4 * unit), (x + 24 * unit, level)]
        shape = polyline(
            [
                (line[0][0], stage.horizon + 30 * unit),
                *line,
                (line[-1][0], stage.horizon + 30 * unit),
            ]
        )
        stage.canvas.path(shape, stage.shade("#a8633f", depth, 0.2))


def paint(stage: Stage) -> None:
    """Paint the dunes, the farthest first, and ripples in the sand near by."""
    chance, unit = stage.stream("dunes"), stage.unit
    sand = stage.tint("desert", "#e0a05c")
    stage.floor((0, stage.shade(sand, 0.7, 0.6)), (1, stage.shade(sand, 0, 0.2)))
    for i, (depth, share, tall) in enumerate(
        ((0.62, 0.06, 34), (0.46, 0.16, 62), (0.3, 0.3, 92), (0.14, 0.5, 130))
    ):
        way = 1 if i % 2 else -1
        _dune(stage, chance, (depth, stage.ground(share), tall * unit), way * stage.side)
    _foreground(stage, chance, sand)


def _dune(stage: Stage, chance: random.Random, shape: tuple[float, float, float], way: int) -> None:
    depth, base, tall = shape
    sand = stage.tint("desert", "#e0a05c")
    width = stage.width
    line = [
        (x, base - tall * (0.45 + 0.55 * y))
        for x, y in swell(chance, width, waves=chance.uniform(0.7, 1.1))
    ]
    lit = stage.shade(sand, depth, 0.9)
    fill = stage.canvas.vertical(
        [(0, lit), (1, stage.shade(mix(sand, "#c47a44", 0.4), depth, 0.1))],
        base - tall,
        base + tall * 1.6,
    )
    stage.canvas.path(hill_under(line, stage.height), fill)
    peak = min(
        range(2, len(line) - 2),
        key=lambda i: line[i][1] + abs(line[i][0] - width * (0.5 + 0.2 * way)) * 0.2,
    )
    crest = line[peak]
    dark = stage.shade(mix(sand, "#8a4630", 0.5), depth, -0.55)
    shadow = stage.canvas.vertical(
        [(0, dark), (1, mix(dark, lit, 0.7))], crest[1], crest[1] + tall * 2.4
    )
    away = -stage.side
    edge = [p for p in line if (p[0] - crest[0]) * away >= 0]
    edge.sort(key=lambda p: abs(p[0] - crest[0]))
    far = edge[-1]
    spine = [
        (
            crest[0] + stage.side * tall * 1.1 * math.sin(t * 2.6) + away * tall * 3.4 * t * t,
            crest[1] + tall * 2.6 * t,
        )
        for t in (0.0, 0.15, 0.3, 0.5, 0.75, 1.0)
    ]
    body = smooth(spine)
    back = "".join(f"L{num(x)} {num(y)}" for x, y in [(far[0], spine[-1][1]), *reversed(edge)])
    stage.canvas.path(body + back + "Z", shadow)


def _foreground(stage: Stage, chance: random.Random, sand: str) -> None:
    unit = stage.unit
    line = [
        (x, stage.ground(0.7) - unit * 46 * y) for x, y in swell(chance, stage.width, waves=0.7)
    ]
    near = stage.shade(sand, 0.02, 0.7)
    far = stage.shade(mix(sand, "#9c5632", 0.5), 0, -0.35)
    stage.canvas.path(
        hill_under(line, stage.height),
        stage.canvas.vertical([(0, near), (1, far)], stage.ground(0.62), stage.height),
    )
    ripples = []
    for i in range(26):
        t = i / 26
        y = stage.ground(0.74 + 0.3 * t)
        phase = chance.uniform(0, 0.7)
        wave = [
            (x * stage.width / 16, y + unit * (3 + 8 * t) * math.sin(x * 1.25 + phase + i * 0.5))
            for x in range(-1, 18)
        ]
        ripples.append(smooth(wave))
    stage.canvas.line("".join(ripples), far, 3 * unit, alpha=0.28)
    _plants(stage, chance)


def _plants(stage: Stage, chance: random.Random) -> None:
    """Set stones and dry tufts into the sand, each with its shadow."""
    unit = stage.unit
    stones, shadows, tufts = [], [], []
    for _ in range(11):
        share = chance.uniform(0.6, 0.98)
        x, y, size = (
            chance.random() * stage.width,
            stage.ground(share),
            unit * chance.uniform(5, 22) * share,
        )
        stones.append((x, y - size * 0.3, size))
        shadows.append((x - stage.side * size * 1.6, y + size * 0.25, size * 1.1))
        for _ in range(7):
            lean = chance.uniform(-1, 1)
            tufts.append(
                f"M{num(x + size * 1.4)} {num(y + size)}q{num(lean * size)}"
                f" {num(-size * 1.6)} {num(lean * size * 2)} {num(-size * 2.6)}"
            )
    for x, y, r in shadows:
        stage.canvas.ellipse((x, y), (r * 2, r * 0.4), stage.shade("#6b3a34", 0, -0.5), alpha=0.4)
    stage.canvas.path(circles(stones), stage.shade("#8c5a44", 0, -0.4))
    stage.canvas.path(
        circles((x + stage.side * r * 0.2, y - r * 0.2, r * 0.72) for x, y, r in stones),
        stage.shade("#c48a62", 0, 0.5),
    )
    stage.canvas.line("".join(tufts), stage.shade("#7a6a3a", 0, -0.2), 2 * unit)


SETTING = Setting(
    name="desert",
    words=("desert", "dune", "dunes", "sahara", "wüste", "woestijn", "duinen", "砂漠"),
    near=31,
    surface=Surface.LAND,
    horizon=0.55,
    paint=paint,
    backdrop=backdrop,
)
