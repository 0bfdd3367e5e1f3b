"""A broad old tree with a leaning trunk and a crown in three tones of the season."""

from __future__ import annotations

import math

from ketchup.providers.studio.colour import Colour, mix
from ketchup.providers.studio.model import Pen, Place, Subject
from ketchup.providers.studio.svg import circles
from ketchup.providers.studio.terrain import crown, leaf

Disc = tuple[float, float, float]


def draw(pen: Pen) -> None:
    """Draw trunk and boughs, then the crown from its shadow to its light."""
    canvas, side = pen.canvas, pen.side
    bark = pen.tone("#6b4a38")
    trunk = (
        "M-8 1C-3 -3 -4 -16 -5 -26C-6 -36 -14 -44 -22 -52L-19 -54C-11 -48 -5 -44 -2 -40"
        "C-2 -50 -4 -58 -6 -66H-2C0 -58 3 -50 4 -42C8 -50 14 -56 22 -60L24 -57C16 -52 9 "
        "-42 6.4 -32C5 -22 6 -6 12 1Z"
    )
    canvas.path(trunk, pen.across("#6b4a38"))
    canvas.line("M-2 -4C-1 -16 -2 -28 -3 -36M3 -3C2 -14 2.4 -26 4 -36", bark.deep, 0.7, alpha=0.5)
    leaves = _leaves(pen)
    masses = ((0, -66, 34, 23), (-23, -56, 17, 12), (24, -58, 17, 12), (3, -84, 21, 12))
    layers: list[list[Disc]] = [[], [], [], []]
    for x, y, rx, ry in masses:
        layers[0] += crown(pen.chance, (x - side * 2, y + 3), (rx, ry), 22)
        layers[1] += crown(pen.chance, (x + side * 1.5, y - 3), (rx * 0.86, ry * 0.8), 18)
        layers[2] += crown(
            pen.chance, (x + side * rx * 0.22, y - ry * 0.36), (rx * 0.6, ry * 0.5), 14
        )
        layers[3] += crown(
            pen.chance, (x + side * rx * 0.34, y - ry * 0.5), (rx * 0.34, ry * 0.28), 9
        )
    tones = (pen.tone(leaves[2]).dark, pen.tone(leaves[0]).base, pen.tone(leaves[0]).light)
    for discs, tone in zip(layers, (*tones, pen.tone(leaves[1]).light), strict=True):
        canvas.path(circles(discs), tone)
    for discs, tone in ((layers[0], tones[0]), (layers[1], tones[1]), (layers[2], tones[2])):
        canvas.path(_leafage(pen, discs), tone)
    canvas.path(_leafage(pen, layers[1]), pen.tone(leaves[1]).light, alpha=0.6)


def _leafage(pen: Pen, discs: list[Disc]) -> str:
    """Scatter leaves along the rims of the discs, which turns bubbles into foliage."""
    chance, leaves = pen.chance, []
    for x, y, r in discs[1:]:
        for _ in range(5):
            angle = chance.uniform(0, math.tau)
            start = r * chance.uniform(0.75, 1.0)
            leaves.append(
                leaf(
                    x + math.cos(angle) * start,
                    y + math.sin(angle) * start,
                    3.4,
                    angle + chance.uniform(-1, 1),
                )
            )
    return "".join(leaves)


def _leaves(pen: Pen) -> tuple[Colour, ...]:
    if pen.stated:
        return pen.colour, mix(pen.colour, "#ffffff", 0.25), mix(pen.colour, "#1d1a30", 0.2)
    if pen.stage.words & {"cherry blossom", "cherry blossoms", "blossom", "blossoms", "桜"}:
        return "#f4a6bf", "#ffdce6", "#d97a9c"
    return pen.stage.growth.leaves


SUBJECT = Subject(
    name="tree",
    words=("tree", "oak", "maple", "apple tree", "baum", "boom", "eiche", "木"),
    place=Place.LAND,
    home="countryside",
    colour="#4f9348",
    stature=0.5,
    metres=12,
    breadth=0.85,
    draw=draw,
    plurals=("bäume", "bomen"),
)
