"""Below the surface: light from above, a coral reef, weed, and bubbles."""

from __future__ import annotations

import math
import random

from ketchup.providers.studio.colour import Colour, mix
from ketchup.providers.studio.model import Setting, Stage, Surface, Wash
from ketchup.providers.studio.svg import num, polyline, ring, smooth
from ketchup.providers.studio.terrain import hill_under, swell

_CORALS: tuple[Colour, ...] = ("#f2705c", "#f7a35c", "#d95a8c", "#8d5bb8", "#f4c95d", "#3fb8a8")


def paint(stage: Stage) -> None:
    """Paint the water from the bright surface down, then the reef from its far side to its near."""
    chance, unit = stage.stream("deep"), stage.unit
    water = stage.tint("underwater", stage.tint("sea", "#0f7fa8"))
    dim = 1 - stage.light.darkness
    top, low = (
        mix("#06182e", mix(water, "#d9fff4", 0.62), dim),
        mix("#020a18", mix(water, "#041a3a", 0.72), dim),
    )
    stage.column = [(0, top), (stage.height * 0.35, mix(top, water, 0.75)), (stage.height, low)]
    stage.behind.append(Wash((stage.sun[0], 0), (760 * unit, 640 * unit), "#eafff6", 0.75 * dim))
    _beams(stage, chance)
    _school(stage, chance, mix(water, "#06243f", 0.35))
    for row, (share, depth) in enumerate(((0.64, 0.66), (0.78, 0.4), (0.97, 0.0))):
        _reef(stage, chance, (share, depth, row), water)
    stage.bloom = 0.35


def front(stage: Stage) -> None:
    """Let bubbles rise before everything."""
    chance, unit = stage.stream("bubbles"), stage.unit
    for _ in range(34):
        x, y = chance.random() * stage.width, chance.random() * stage.height
        size = unit * chance.uniform(2, 13) ** 0.95
        stage.canvas.line(ring(x, y, size, size), "#e9fffb", 1.2 * unit, alpha=0.5)
        stage.canvas.circle(
            (x + stage.side * size * 0.35, y - size * 0.35), size * 0.22, "#ffffff", alpha=0.8
        )


def _beams(stage: Stage, chance: random.Random) -> None:
    unit = stage.unit
    for _ in range(7):
        x = stage.sun[0] + chance.uniform(-330, 330) * unit
        lean = (x - stage.sun[0]) * 0.9 - stage.side * 120 * unit
        wide, foot = unit * chance.uniform(16, 60), stage.height * chance.uniform(0.5, 0.85)
        beam = [(x, -5), (x + wide, -5), (x + wide * 2.6 + lean, foot), (x + lean, foot)]
        stage.canvas.path(
            polyline(beam), stage.canvas.linear([(0, "#eafff6", 0.2), (1, "#eafff6", 0)])
        )


def _school(stage: Stage, chance: random.Random, colour: Colour) -> None:
    """Let a school of small fish pass in the distance."""
    unit, shapes = stage.unit, []
    middle = (stage.width * (0.5 - stage.side * 0.22), stage.height * 0.36)
    for _ in range(36):
        x, y = middle[0] + chance.gauss(0, 120) * unit, middle[1] + chance.gauss(0, 44) * unit
        size = unit * chance.uniform(7, 13)
        way = stage.side
        shapes.append(
            f"M{num(x - way * size)} {num(y)}q{num(way * size)} {num(-size * 0.6)}"
            f" {num(way * 2 * size)} 0q{num(-way * size)} {num(size * 0.6)}"
            f" {num(-way * 2 * size)} 0l{num(-way * size * 0.7)} {num(-size * 0.4)}"
            f"v{num(size * 0.8)}Z"
        )
    stage.canvas.path("".join(shapes), colour, alpha=0.55)


def _reef(
    stage: Stage, chance: random.Random, row: tuple[float, float, int], water: Colour
) -> None:
    share, depth, index = row
    unit, canvas = stage.unit, stage.canvas
    base = stage.height * share
    line = [
        (x, base + unit * (150 * (0.5 - abs(x / stage.width - 0.5)) - 20 * y))
        for x, y in swell(chance, stage.width, waves=1.7)
    ]
    sunk = mix(water, "#04203c", 0.45)
    rock = mix("#4a4a6a", sunk, 0.3 + depth)
    size = unit * (60 + 56 * index)
    for i in range(13):
        x = stage.width * (i + chance.random()) / 13
        y = min(line, key=lambda p: abs(p[0] - x))[1] + 12 * unit
        colour = mix(
            chance.choice(_CORALS), sunk, min(0.9, 0.12 + depth * 1.2 + 0.25 * stage.light.darkness)
        )
        (_fan, _tubes, _brain, _weed)[chance.randrange(4)](stage, chance, (x, y, size), colour)
    canvas.path(
        hill_under(line, stage.height),
        canvas.vertical(
            [(0, mix(rock, "#ffffff", 0.12)), (1, mix(rock, "#020814", 0.5))], base, stage.height
        ),
    )


def _fan(
    stage: Stage, chance: random.Random, spot: tuple[float, float, float], colour: Colour
) -> None:
    """A branching coral."""
    x, y, size = spot
    lines: list[str] = []

    def branch(px: float, py: float, length: float, angle: float, level: int) -> None:
        qx, qy = px + math.cos(angle) * length, py + math.sin(angle) * length
        lines.append(f"M{num(px)} {num(py)}L{num(qx)} {num(qy)}")
        if level:
            for turn in (-0.5, 0.08, 0.55):
                branch(qx, qy, length * 0.72, angle + turn + chance.uniform(-0.16, 0.16), level - 1)

    branch(x, y, size * 0.5, -math.pi / 2, 3)
    stage.canvas.line("".join(lines), mix(colour, "#1a0f2e", 0.25), size * 0.1)
    stage.canvas.line("".join(lines), colour, size * 0.055)


def _tubes(
    stage: Stage, chance: random.Random, spot: tuple[float, float, float], colour: Colour
) -> None:
    x, y, size = spot
    for i in range(5):
        px, tall, half = x + (i - 2) * size * 0.24, size * chance.uniform(0.6, 1.5), size * 0.12
        lean = (i - 2) * size * 0.07
        tube = (
            f"M{num(px - half)} {num(y)}L{num(px - half * 1.2 + lean)} {num(y - tall)}"
            f"H{num(px + half * 1.2 + lean)}L{num(px + half)} {num(y)}Z"
        )
        stage.canvas.path(
            tube,
            stage.canvas.linear(
                [(0, mix(colour, "#ffffff", 0.22)), (1, mix(colour, "#1a0f2e", 0.35))],
                (0, 0),
                (1, 0.4),
            ),
        )
        stage.canvas.ellipse(
            (px + lean, y - tall), (half * 1.2, half * 0.5), mix(colour, "#1a0f2e", 0.6)
        )


def _brain(
    stage: Stage, chance: random.Random, spot: tuple[float, float, float], colour: Colour
) -> None:
    x, y, size = spot
    half, tall = size * chance.uniform(0.5, 0.8), size * chance.uniform(0.55, 0.8)
    dome = f"M{num(x - half)} {num(y)}A{num(half)} {num(tall)} 0 0 1 {num(x + half)} {num(y)}Z"
    stage.canvas.path(
        dome,
        stage.canvas.radial(
            [(0, mix(colour, "#ffffff", 0.3)), (0.6, colour), (1, mix(colour, "#1a0f2e", 0.45))],
            (0.5 + stage.side * 0.2, 0.25),
            0.8,
        ),
    )
    grooves = []
    for i in range(4):
        t = 0.25 + i * 0.18
        grooves.append(
            smooth(
                [
                    (
                        x + math.cos(a) * half * t,
                        y - math.sin(a) * tall * t * (1 + 0.08 * math.sin(a * 9)),
                    )
                    for a in (0.15 * math.pi * k / 1.0 for k in range(7))
                ]
            )
        )
    stage.canvas.line("".join(grooves), mix(colour, "#1a0f2e", 0.4), size * 0.025, alpha=0.7)


def _weed(
    stage: Stage, chance: random.Random, spot: tuple[float, float, float], colour: Colour
) -> None:
    x, y, size = spot
    green = mix("#2f9e73", colour, 0.22)
    shapes = []
    for i in range(5):
        px, tall, half = x + (i - 2) * size * 0.16, size * chance.uniform(1.2, 2.6), size * 0.07
        phase = chance.uniform(0, math.tau)
        left = [
            (px + math.sin(phase + t * 5) * size * 0.16 * t - half * (1 - t), y - tall * t)
            for t in (j / 7 for j in range(8))
        ]
        right = [
            (px + math.sin(phase + t * 5) * size * 0.16 * t + half * (1 - t), y - tall * t)
            for t in (j / 7 for j in range(8))
        ]
        shapes.append(smooth(left) + "L" + smooth(right[::-1])[1:] + "Z")
    stage.canvas.path("".join(shapes), green)


SETTING = Setting(
    name="underwater",
    words=(
        "underwater",
        "under water",
        "under the sea",
        "coral",
        "coral reef",
        "reef",
        "aquarium",
        "seabed",
        "unterwasser",
        "korallenriff",
        "onderwater",
        "koraalrif",
        "水中",
        "海底",
        "珊瑚",
    ),
    near=42,
    surface=Surface.DEEP,
    horizon=0.62,
    paint=paint,
    front=front,
    sky=False,
)
