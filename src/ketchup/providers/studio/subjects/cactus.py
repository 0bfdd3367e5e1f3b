"""A saguaro with two arms, ribs, and flowers at its tips."""

from __future__ import annotations

from ketchup.providers.studio.model import Pen, Place, Subject
from ketchup.providers.studio.svg import circles
from ketchup.providers.studio.terrain import blades

_ARMS = (
    "M0 -34H-22C-36 -34 -40 -42 -40 -52V-70C-40 -79 -28 -79 -28 -70V-54C-28 -48 -26 -46 -20 -46H0Z",
    "M0 -24H20C34 -24 38 -32 38 -42V-58C38 -67 26 -67 26 -58V-44C26 -38 24 -36 18 -36H0Z",
)


def draw(pen: Pen) -> None:
    """Draw the arms, the trunk over them, ribs, spines, flowers, and stones at the foot."""
    canvas, tone = pen.canvas, pen.tone()
    for arm in _ARMS:
        canvas.path(arm, pen.across())
    canvas.line(
        "M-34 -70V-52C-34 -44 -30 -40 -22 -40H-6M32 -58V-42C32 -34 28 -30 20 -30H6",
        tone.dark,
        1,
        alpha=0.7,
    )
    canvas.path("M-12 0V-86C-12 -103 12 -103 12 -86V0Z", pen.round())
    canvas.line("M-7.4 0V-89M-2.6 0V-96M2.6 0V-96M7.4 0V-89", tone.deep, 0.9, alpha=0.7)
    spines = "".join(
        f"M{x} {y}l-2.2 -1.6M{x} {y}l2.2 -1.6"
        for y in range(-88, -4, 9)
        for x in (-10, -5, 0, 5, 10)
    )
    canvas.line(spines, pen.tone("#fbf3d8").light, 0.5, alpha=0.85)
    blossom = pen.tone(pen.part("flowers", "#ef6f9a"))
    for x, y in ((0, -99), (-34, -77), (32, -65)):
        canvas.path(
            circles(
                (x + dx, y + dy, 3.2) for dx, dy in ((-3.4, 0), (3.4, 0), (0, -3), (-2, 2), (2, 2))
            ),
            blossom.base,
        )
        canvas.circle((x, y - 0.4), 2, pen.tone("#ffd75e").light)
    stone = pen.tone("#a98a6a")
    canvas.path(
        "M-30 1C-31 -5 -20 -8 -15 -3C-12 -7 -4 -5 -4 1ZM12 1C12 -5 22 -6 26 1Z",
        canvas.linear([(0, stone.light), (1, stone.dark)]),
    )
    canvas.path(blades(pen.chance, (-26, 0, 52, 2), 14, 9), pen.tone("#b8a056").base)


SUBJECT = Subject(
    name="cactus",
    words=("cactus", "saguaro", "kaktus", "サボテン"),
    place=Place.LAND,
    home="desert",
    colour="#4a8f5c",
    stature=0.4,
    metres=4,
    breadth=0.85,
    draw=draw,
    plurals=("cacti", "kakteen", "cactussen"),
    parts=("flowers",),
)
