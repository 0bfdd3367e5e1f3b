"""A broad old tree with a leaning trunk and a crown in three tones of the season."""

from __future__ import annotations

from ketchup.providers.studio.colour import Colour, mix
from ketchup.providers.studio.model import Pen, Place, Subject
from ketchup.providers.studio.svg import circles
from ketchup.providers.studio.terrain import crown


def draw(pen: Pen) -> None:
    """Draw trunk and boughs, then the crown from its shadow to its light."""
    canvas, side = pen.canvas, pen.side
    bark = pen.tone("#6b4a38")
    trunk = "M-8 1C-3 -3 -4 -16 -5 -26C-6 -36 -14 -44 -22 -52L-19 -54C-11 -48 -5 -44 -2 -40C-2 -50 -4 -58 -6 -66H-2C0 -58 3 -50 4 -42C8 -50 14 -56 22 -60L24 -57C16 -52 9 -42 6.4 -32C5 -22 6 -6 12 1Z"
    canvas.path(trunk, pen.across("#6b4a38"))
    canvas.line("M-2 -4C-1 -16 -2 -28 -3 -36M3 -3C2 -14 2.4 -26 4 -36", bark.deep, 0.7, alpha=0.5)
    leaves = _leaves(pen)
    masses = ((0, -66, 36, 24), (-22, -56, 18, 13), (23, -58, 18, 13), (2, -83, 22, 13))
    deep, body, lit, spark = [], [], [], []
    for x, y, rx, ry in masses:
        deep += crown(pen.chance, (x - side * 2, y + 4), (rx, ry), 16)
        body += crown(pen.chance, (x, y - 1), (rx * 0.92, ry * 0.9), 15)
        lit += crown(pen.chance, (x + side * rx * 0.22, y - ry * 0.3), (rx * 0.62, ry * 0.55), 10)
        spark += crown(pen.chance, (x + side * rx * 0.34, y - ry * 0.45), (rx * 0.6, ry * 0.5), 18)
    canvas.path(circles(deep), pen.tone(leaves[2]).deep)
    canvas.path(circles((x, y, r * 0.8) for x, y, r in body), pen.tone(leaves[0]).dark)
    canvas.path(circles((x, y, r * 0.62) for x, y, r in lit), pen.tone(leaves[0]).light)
    canvas.path(circles((x, y, r * 0.2) for x, y, r in spark), pen.tone(leaves[1]).glint, alpha=0.8)
    canvas.path(
        circles((x, y + 1, r * 0.16) for x, y, r in reversed(deep)),
        pen.tone(leaves[2]).base,
        alpha=0.7,
    )


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
