"""Toadstools: a tall one with a spotted cap, and two young ones at its foot."""

from __future__ import annotations

from ketchup.providers.studio.model import Pen, Place, Subject
from ketchup.providers.studio.svg import ring
from ketchup.providers.studio.terrain import blades

_SPOTS = (
    (-18, -74, 6.4, 4.2),
    (6, -84, 7.4, 4.4),
    (26, -72, 6, 4.6),
    (-33, -62, 4.4, 4),
    (-2, -66, 5, 3),
    (40, -60, 3.2, 3.4),
    (14, -61, 3.4, 2),
)


def draw(pen: Pen) -> None:
    """Draw the small ones behind, then the tall one, then grass about their feet."""
    with pen.canvas.moved(0, 0, scale=(pen.side, 1)):
        for x, y, size, lean in ((-34, 0, 0.4, -7), (33, 0, 0.3, 9)):
            with pen.canvas.moved(x, y, scale=(size, size), turn=lean):
                _mushroom(pen)
        _mushroom(pen)
        _grass(pen)


def _mushroom(pen: Pen) -> None:
    canvas, cap, stalk = pen.canvas, pen.tone(pen.part("cap", pen.colour)), pen.tone("#f3e7d2")
    upright = canvas.linear(
        [(0, stalk.deep), (0.3, stalk.dark), (0.7, stalk.light), (1, stalk.base)], (0, 0), (1, 0)
    )
    canvas.path("M-10 -56C-9 -36 -11 -16 -16 -4C-17 1 17 1 16 -4C11 -16 9 -36 10 -56Z", upright)
    canvas.path("M-48 -54C-30 -44 30 -44 48 -54C30 -60 -30 -60 -48 -54Z", stalk.dark)
    gills = "".join(
        f"M{x * 0.42:.1f} -55L{x} {-50.6 + abs(x) * 0.05:.1f}" for x in range(-40, 41, 5)
    )
    canvas.line(gills, stalk.deep, 0.8, alpha=0.7)
    canvas.path(
        "M-13 -47C-18 -42 -18 -38 -17 -35C-8 -39 8 -39 17 -35C18 -38 18 -42 13 -47C6 -45 "
        "-6 -45 -13 -47Z",
        stalk.light,
    )
    canvas.line("M-16 -36C-8 -40 8 -40 16 -36", stalk.dark, 0.8)
    shape = "M-50 -54C-50 -82 -26 -98 0 -98C26 -98 50 -82 50 -54C34 -61 -34 -61 -50 -54Z"
    canvas.path(
        shape,
        canvas.radial(
            [(0, cap.glint), (0.22, cap.light), (0.55, cap.base), (1, cap.deep)], (0.66, 0.24), 0.85
        ),
    )
    spots = "".join(ring(*spot) for spot in _SPOTS)
    canvas.path(spots, pen.tone("#fff8ec").base)


def _grass(pen: Pen) -> None:
    growth = pen.stage.growth
    for colour, facing, count in ((growth.conifer, -0.2, 26), (growth.grass, 0.6, 26)):
        tufts = blades(pen.chance, (-46, -1, 92, 4), count, 17)
        pen.canvas.path(tufts, pen.stage.shade(colour, pen.depth, facing))


SUBJECT = Subject(
    name="mushroom",
    words=(
        "mushroom",
        "toadstool",
        "fly agaric",
        "fungus",
        "pilz",
        "fliegenpilz",
        "paddenstoel",
        "きのこ",
        "キノコ",
    ),
    place=Place.LAND,
    home="forest",
    colour="#cf352f",
    stature=0.27,
    metres=0.3,
    breadth=1.0,
    draw=draw,
    plurals=("fungi", "pilze", "fliegenpilze", "paddenstoelen"),
    parts=("cap",),
)
