"""A wooden sign on a post, with words painted on its board."""

from __future__ import annotations

from ketchup.providers.studio.colour import mix
from ketchup.providers.studio.lettering import block
from ketchup.providers.studio.model import Pen, Place, Subject
from ketchup.providers.studio.svg import circles
from ketchup.providers.studio.terrain import blades


def draw(pen: Pen) -> None:
    """Draw two posts, the boards across them, the words, and grass about the feet."""
    _posts(pen)
    _boards(pen)
    _words(pen)
    growth = pen.stage.growth
    for x in (-34, 34):
        tufts = blades(pen.chance, (x - 10, -1, 20, 3), 14, 13)
        pen.canvas.path(tufts, pen.stage.shade(growth.grass, pen.depth, 0.3))


def _posts(pen: Pen) -> None:
    dark = mix(pen.colour, "#3a2618", 0.45)
    for x in (-34, 34):
        pen.canvas.path(f"M{x - 4} 0V-97L{x} -101L{x + 4} -97V0Z", pen.round(dark))


def _boards(pen: Pen) -> None:
    canvas, tone = pen.canvas, pen.tone()
    for i, (left, right) in enumerate(((-57, 56), (-55, 58), (-58, 55))):
        y = -93 + i * 17.4
        board = (
            f"M{left} {y + 1}L{left + 3} {y}H{right - 2}L{right} {y + 1.4}V{y + 15}"
            f"L{right - 3} {y + 16.6}H{left + 2}L{left} {y + 15.4}Z"
        )
        canvas.path(
            board,
            canvas.linear(
                [(0, tone.light), (0.5, tone.base), (1, tone.dark)],
                (0.5 - pen.side * 0.1, 0),
                (0.5, 1),
            ),
        )
        grain = "".join(
            f"M{left + 6 + k * 3} {y + 4 + k * 4}C{left + 30} {y + 2.6 + k * 4} {right - 40} "
            f"{y + 6 + k * 4} {right - 8 - k * 5} {y + 4.4 + k * 4}"
            for k in range(3)
        )
        canvas.line(grain, tone.deep, 0.5, alpha=0.5)
        nails = [(x, y + dy, 0.9) for x in (-34, 34) for dy in (5, 12)]
        canvas.path(circles(nails), pen.tone("#3c3a3e").base)


def _words(pen: Pen) -> None:
    letters = block(pen.stage.lettering, 96, 42) if pen.stage.lettering else None
    if letters is None:
        return
    paint = pen.tone(pen.stage.ink or "#fff6e4")
    with pen.canvas.moved(0, -67):
        with pen.canvas.moved(0, letters.size * 0.05):
            pen.canvas.path(letters.data, pen.tone().deep)
        pen.canvas.path(letters.data, paint.light)


SUBJECT = Subject(
    name="sign",
    words=(
        "sign",
        "signpost",
        "wooden sign",
        "signboard",
        "holzschild",
        "schild",
        "wegweiser",
        "bord",
        "uithangbord",
        "wegwijzer",
        "看板",
        "標識",
    ),
    place=Place.LAND,
    home="countryside",
    colour="#9a6a43",
    stature=0.4,
    metres=1.9,
    breadth=1.2,
    draw=draw,
    plurals=("schilder", "borden"),
    lettered=True,
)
