"""A sandy shore: waves that run out in foam, shells, and a palm that leans in."""

from __future__ import annotations

import math

from ketchup.providers.studio.colour import mix
from ketchup.providers.studio.model import Setting, Stage, Surface
from ketchup.providers.studio.settings.sea import water
from ketchup.providers.studio.svg import circles, num, ring, smooth, star


def paint(stage: Stage) -> None:
    """Paint the sea, then the sand with its wet edge and two lines of foam."""
    water(stage, stage.tint("sea", "#1fa3b0"))
    unit, side = stage.unit, stage.side
    sand = stage.tint("beach", stage.tint("sand", "#ecd0a0"))
    for lift, colour, alpha in (
        (-74, stage.shade("#7fd6d0", 0.1, 0.4), 0.55),
        (-46, stage.shade("#ffffff", 0.02, 0.6), 0.9),
        (-38, stage.shade("#8fd9d2", 0.1, 0.3), 0.6),
        (-12, stage.shade("#ffffff", 0.02, 0.6), 0.95),
        (0, stage.shade(mix(sand, "#8a6a50", 0.5), 0.02), 1.0),
        (34, stage.shade(sand, 0, 0.6), 1.0),
    ):
        edge = [
            (
                x * stage.width / 12,
                stage.ground(0.56)
                + unit * (lift + 26 * math.sin(x * 0.9 + 0.6 + lift * 0.01) + side * (x - 6) * 13),
            )
            for x in range(-1, 14)
        ]
        shape = (
            f"{smooth(edge)}L{num(stage.width * 1.1)} {num(stage.height)}"
            f"L{num(-stage.width * 0.1)} {num(stage.height)}Z"
        )
        fill = colour
        if lift == 34:
            fill = stage.canvas.vertical(
                [(0, colour), (1, stage.shade(mix(sand, "#b07a4a", 0.45), 0, -0.2))],
                stage.ground(0.5),
                stage.height,
            )
        stage.canvas.path(shape, fill, alpha=alpha)
    _grain(stage)


def front(stage: Stage) -> None:
    """Lean palm leaves in from the upper corner, away from the sun, and scatter shells."""
    unit, side = stage.unit, stage.side
    crown = (stage.width / 2 - side * (stage.width / 2 - 30 * unit), 90 * unit)
    for i, angle in enumerate((-0.5, -0.1, 0.25, 0.6, 0.95, 1.35)):
        reach = unit * (330 - 24 * abs(i - 2))
        tip = (
            crown[0] + side * math.cos(angle) * reach,
            crown[1] + math.sin(angle) * reach * 0.8 + 40 * unit,
        )
        bend = (
            crown[0] + side * math.cos(angle - 0.35) * reach * 0.6,
            crown[1] + math.sin(angle - 0.6) * reach * 0.55,
        )
        leaflets = []
        for k in range(2, 24):
            t = k / 24
            x = crown[0] * (1 - t) ** 2 + 2 * bend[0] * t * (1 - t) + tip[0] * t * t
            y = crown[1] * (1 - t) ** 2 + 2 * bend[1] * t * (1 - t) + tip[1] * t * t
            length = unit * 96 * math.sin(math.pi * min(1, t * 0.9 + 0.12)) ** 0.7
            for way in (-0.55, 0.75):
                lean = math.atan2(tip[1] - bend[1], tip[0] - bend[0]) + way
                leaflets.append(
                    f"M{num(x)} {num(y)}"
                    f"q{num(math.cos(lean) * length * 0.5 - 4 * unit)}"
                    f" {num(math.sin(lean) * length * 0.4)}"
                    f" {num(math.cos(lean) * length)}"
                    f" {num(math.sin(lean) * length + 12 * unit)}"
                    f"q{num(-math.cos(lean) * length * 0.4)}"
                    f" {num(-math.sin(lean) * length * 0.7)}"
                    f" {num(-math.cos(lean) * length)}"
                    f" {num(-math.sin(lean) * length - 12 * unit)}Z"
                )
        tone = stage.shade("#2f7d4f" if i % 2 else "#1f5f45", 0, -0.5 + 0.25 * i)
        stage.canvas.path("".join(leaflets), tone)
        stage.canvas.line(
            f"M{num(crown[0])} {num(crown[1])}Q{num(bend[0])} {num(bend[1])}"
            f" {num(tip[0])} {num(tip[1])}",
            tone,
            4 * unit,
        )


def _grain(stage: Stage) -> None:
    """Scatter shells, stones and a starfish over the sand."""
    chance, unit = stage.stream("shells"), stage.unit
    for colour, count, size in (("#b98f68", 90, 2.2), ("#fff6e6", 60, 2.6), ("#8d6b55", 26, 4.5)):
        dots = [
            (
                chance.random() * stage.width,
                stage.ground(chance.uniform(0.8, 1.0)),
                unit * size * chance.uniform(0.5, 1.3),
            )
            for _ in range(count)
        ]
        stage.canvas.path(circles(dots), stage.shade(colour, 0, 0.3), alpha=0.8)
    x, y = stage.width * (0.5 + stage.side * 0.33), stage.ground(0.88)
    stage.canvas.ellipse(
        (x - stage.side * 5 * unit, y + 8 * unit),
        (36 * unit, 11 * unit),
        stage.shade("#7a5138", 0, -0.4),
        alpha=0.5,
    )
    with stage.canvas.moved(x, y, scale=(1, 0.66), turn=12):
        stage.canvas.path(
            star(0, 0, 40 * unit, points=5, waist=0.42), stage.shade("#e8704a", 0, 0.2)
        )
        stage.canvas.path(
            star(0, -3 * unit, 26 * unit, points=5, waist=0.3), stage.shade("#f59a6c", 0, 0.5)
        )
    for share, at in ((0.18, 0.9), (0.68, 0.95)):
        cx, cy, size = stage.width * share, stage.ground(at), 17 * unit
        stage.canvas.path(ring(cx, cy, size, size * 0.7), stage.shade("#f7e0cf", 0, 0.4))
        ribs = "".join(
            f"M{num(cx)} {num(cy + size * 0.6)}L{num(cx + k * size * 0.28)} {num(cy - size * 0.6)}"
            for k in range(-2, 3)
        )
        stage.canvas.line(ribs, stage.shade("#c98f7a", 0, 0), 1.6 * unit)


SETTING = Setting(
    name="beach",
    words=(
        "beach",
        "coast",
        "shore",
        "seaside",
        "sand",
        "tropical",
        "island",
        "strand",
        "küste",
        "insel",
        "kust",
        "eiland",
        "ビーチ",
        "海岸",
        "浜辺",
        "島",
    ),
    near=41,
    surface=Surface.LAND,
    horizon=0.46,
    paint=paint,
    front=front,
)
