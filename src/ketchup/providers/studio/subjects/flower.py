"""A sunflower: two rings of petals, a seed head in spirals, a stem with leaves."""

from __future__ import annotations

import math

from ketchup.providers.studio.colour import mix
from ketchup.providers.studio.model import Pen, Place, Subject
from ketchup.providers.studio.svg import circles
from ketchup.providers.studio.terrain import blades, leaf


def draw(pen: Pen) -> None:
    """Draw stem and leaves, then the flower, turned a little to the light."""
    canvas, green = pen.canvas, pen.tone("#4f8a3f")
    side = pen.side
    canvas.line(f"M0 0C{-side * 3} -22 {side * 3} -40 {side * 2} -66", green.dark, 4.6)
    canvas.line(f"M{side} 0C{side * -2} -22 {side * 4} -40 {side * 3} -66", green.light, 1.6)
    for x, y, angle, size in (
        (0, -18, -0.5, 27),
        (-0.6, -27, math.pi + 0.45, 26),
        (1, -40, -0.75, 18),
    ):
        canvas.path(leaf(x, y, size, angle, 0.42), green.base)
        tip = (x + math.cos(angle) * size * 0.8, y + math.sin(angle) * size * 0.8)
        canvas.line(f"M{x} {y}L{tip[0]:.1f} {tip[1]:.1f}", green.light, 0.7)
    with canvas.moved(side * 2.5, -72, scale=(0.97, 1), turn=side * 8):
        _petals(pen)
        _seeds(pen)
    canvas.path(
        blades(pen.chance, (-14, -1, 28, 3), 18, 13),
        pen.stage.shade(pen.stage.growth.grass, pen.depth, 0.3),
    )


def _petals(pen: Pen) -> None:
    canvas, tone = pen.canvas, pen.tone()
    orange = pen.tone(mix(pen.colour, "#d9701c", 0.4))
    for count, reach, start, fill in (
        (19, 28, 0.0, orange.base),
        (19, 27, 0.16, tone.base),
        (17, 24, 0.08, tone.light),
    ):
        petals = []
        for i in range(count):
            angle = start + math.tau * i / count
            length = (reach - 9) * pen.chance.uniform(0.9, 1.06)
            petals.append(leaf(math.cos(angle) * 9, math.sin(angle) * 9, length, angle, 0.3))
        canvas.path("".join(petals), fill)


def _seeds(pen: Pen) -> None:
    canvas, seed = pen.canvas, pen.tone(pen.part("heart", "#5b3620"))
    canvas.circle((0, 0), 13, seed.deep)
    canvas.circle((0, 0), 12, canvas.radial([(0, seed.deep), (0.5, seed.base), (1, seed.dark)]))
    dots = [
        (
            math.cos(i * 2.39996) * 1.15 * math.sqrt(i),
            math.sin(i * 2.39996) * 1.15 * math.sqrt(i),
            0.62,
        )
        for i in range(96)
    ]
    canvas.path(circles(dots[:40]), seed.light)
    canvas.path(circles(dots[40:]), pen.tone("#c98a3a").base)


SUBJECT = Subject(
    name="flower",
    words=(
        "flower",
        "sunflower",
        "blossoming flower",
        "sonnenblume",
        "blume",
        "zonnebloem",
        "bloem",
        "ひまわり",
        "ヒマワリ",
        "向日葵",
    ),
    place=Place.LAND,
    home="garden",
    colour="#f6bd2c",
    stature=0.46,
    metres=1.8,
    breadth=0.6,
    draw=draw,
    plurals=("sunflowers", "sonnenblumen", "zonnebloemen"),
    parts=("heart",),
    many=5,
)
