"""A bunch of flowers in a ceramic vase."""

from __future__ import annotations

import math

from ketchup.providers.studio.colour import Colour, deeper, mix, turn
from ketchup.providers.studio.model import Pen, Place, Subject
from ketchup.providers.studio.svg import circles, num
from ketchup.providers.studio.terrain import leaf

_HEADS = (
    (0, -88, 11),
    (-17, -80, 10),
    (18, -79, 10),
    (-28, -66, 8.5),
    (29, -64, 8.5),
    (-8, -70, 10),
    (9, -66, 9.5),
    (-18, -58, 8),
    (19, -55, 7.5),
    (1, -55, 8),
)


def draw(pen: Pen) -> None:
    """Draw stems and leaves, the vase over them, then the heads from back to front."""
    canvas = pen.canvas
    colours = _flowers(pen)
    green = pen.tone("#4b8a53")
    stems = "".join(f"M0 -36Q{num(x * 0.3)} {num(y * 0.6)} {x} {y}" for x, y, _ in _HEADS)
    canvas.line(stems, green.dark, 1.3)
    foliage = [
        leaf(x * 0.3, -44 + abs(x) * 0.2, 24, -math.pi / 2 + x * 0.045) for x in range(-36, 37, 6)
    ]
    canvas.path("".join(foliage[::2]), green.dark)
    canvas.path("".join(foliage[1::2]), green.light)
    sprigs = [(x * 1.18 + 3, y * 1.06 - 4 + (i % 3) * 4, 1.3) for i, (x, y, _) in enumerate(_HEADS)]
    canvas.line(
        "".join(f"M{num(x * 0.6)} {num(y * 0.75)}L{num(x)} {num(y)}" for x, y, _ in sprigs),
        green.base,
        0.5,
    )
    canvas.path(circles(sprigs), pen.tone("#fff6e2").light)
    vase = (
        "M-8 -42C-8 -36 -18 -30 -18 -18C-18 -6 -12 0 -8 0H8C12 0 18 -6 18 -18C18 -30 8 -36 8 -42Z"
    )
    clay = "#f0e6d8"
    canvas.path(vase, pen.round(clay))
    with canvas.clipped(vase):
        canvas.path(
            "M-20 -20Q0 -15 20 -20V-16Q0 -11 -20 -16Z", pen.round(mix(clay, "#6f8fae", 0.7))
        )
        canvas.rect(
            (-20, -9, 40, 10),
            canvas.linear([(0, pen.tone(clay).deep, 0), (1, pen.tone(clay).deep, 0.6)]),
        )
    canvas.ellipse((0, -42), (8.4, 1.9), pen.tone(clay).deep)
    for i, (x, y, size) in enumerate(sorted(_HEADS, key=lambda h: h[1])):
        _bloom(pen, (x, y, size), colours[i % len(colours)])


def _flowers(pen: Pen) -> tuple[Colour, ...]:
    first = pen.part("flowers", pen.colour)
    if len(pen.colours) > 1:
        return pen.colours
    return first, mix(first, "#fff1ea", 0.55), turn(first, -22), mix(first, "#fff1ea", 0.25)


def _bloom(pen: Pen, head: tuple[float, float, float], colour: Colour) -> None:
    """Draw one full flower: three rings of petals, darker outside."""
    x, y, size = head
    tone = pen.tone(colour)
    turn_by = pen.chance.uniform(0, 1)
    for ring, (reach, broad, fill) in enumerate(
        ((0.66, 0.46, tone.dark), (0.44, 0.38, tone.base), (0.2, 0.3, tone.light))
    ):
        petals = [
            (
                x + math.cos(turn_by + ring * 0.5 + i * math.tau / 7) * size * reach,
                y
                - ring * 0.3
                + math.sin(turn_by + ring * 0.5 + i * math.tau / 7) * size * reach * 0.86,
                size * broad,
            )
            for i in range(7)
        ]
        pen.canvas.path(circles(petals), fill)
    pen.canvas.circle((x, y - 0.9), size * 0.2, pen.tone(deeper(colour, 0.25)).base)
    pen.canvas.line(
        f"M{num(x - size * 0.3)} {num(y - size * 0.1)}q{num(size * 0.3)}"
        f" {num(-size * 0.35)} {num(size * 0.6)} 0",
        tone.glint,
        0.6,
        alpha=0.7,
    )


SUBJECT = Subject(
    name="vase",
    words=(
        "vase",
        "bouquet",
        "vase of flowers",
        "roses",
        "peonies",
        "strauß",
        "blumenstrauß",
        "blumenvase",
        "vaas",
        "boeket",
        "bos bloemen",
        "花瓶",
        "花束",
    ),
    place=Place.TABLE,
    home="room",
    colour="#e5677f",
    stature=0.52,
    metres=0.4,
    breadth=0.75,
    draw=draw,
    parts=("flowers",),
    plurals=("vasen", "vazen"),
)
