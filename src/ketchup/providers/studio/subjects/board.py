"""A small chalkboard on an easel, as it stands on the counter of a café."""

from __future__ import annotations

from ketchup.providers.studio.lettering import block
from ketchup.providers.studio.model import Pen, Place, Subject


def draw(pen: Pen) -> None:
    """Draw the easel's legs, the frame, the slate, and the chalk on it."""
    canvas, wood = pen.canvas, pen.tone(pen.colour)
    canvas.path("M-46 0L-40 -30H-34L-40 0ZM46 0L40 -30H34L40 0Z", wood.dark)
    canvas.rect((-62, -100, 124, 82), pen.across(), radius=3)
    canvas.line("M-61 -99H61", wood.glint, 0.9, alpha=0.7)
    canvas.line("M-62 -100L-56 -94M62 -100L56 -94M-62 -18L-56 -24M62 -18L56 -24", wood.deep, 0.9)
    slate = pen.tone("#2c3438")
    canvas.rect(
        (-56, -94, 112, 70),
        canvas.linear([(0, slate.base), (0.5, slate.light), (1, slate.dark)], (0, 0), (1, 1)),
    )
    canvas.path(
        "M-50 -80C-20 -92 10 -70 48 -84L50 -64C10 -50 -20 -72 -52 -60Z", "#ffffff", alpha=0.04
    )
    canvas.path("M-62 -20H62V-14H-62Z", wood.light)
    _chalk(pen)


def _chalk(pen: Pen) -> None:
    canvas = pen.canvas
    chalk = pen.stage.ink or "#f6f3ea"
    letters = block(pen.stage.lettering, 98, 46) if pen.stage.lettering else None
    if letters:
        with canvas.moved(0, -59):
            canvas.path(letters.data, chalk, alpha=0.95)
    canvas.line(
        "M-50 -89H-40M-50 -89V-80M50 -89H40M50 -89V-80M-50 -29H-40M-50 -29V-38M50 -29H40"
        "M50 -29V-38",
        chalk,
        0.9,
        alpha=0.8,
    )
    canvas.rect((22, -22.4, 13, 2.6), "#f4efe6", radius=1.2)
    canvas.rect((38, -22.2, 8, 2.4), pen.tone("#f2b8c0").light, radius=1.2)


SUBJECT = Subject(
    name="board",
    words=(
        "chalkboard",
        "blackboard",
        "menu board",
        "letter board",
        "kreidetafel",
        "menütafel",
        "krijtbord",
        "schoolbord",
        "黒板",
        "メニュー",
    ),
    place=Place.TABLE,
    home="room",
    colour="#9a6b45",
    stature=0.4,
    metres=0.34,
    breadth=1.25,
    draw=draw,
    plurals=("kreidetafeln", "krijtborden"),
    lettered=True,
)
