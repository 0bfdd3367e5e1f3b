"""A penguin that stands on its ice."""

from __future__ import annotations

from ketchup.providers.studio.light import Season
from ketchup.providers.studio.model import Pen, Place, Subject

_COAT = (
    "M2 -99C14 -99 21 -91 21 -80C22 -74 30 -64 32 -46C34 -26 30 -8 20 -3H-20C-30 -8 "
    "-34 -26 -32 -46C-30 -64 -20 -72 -18 -82C-17 -92 -10 -99 2 -99Z"
)


def draw(pen: Pen) -> None:
    """Draw feet, coat, shirt, flippers and face, turned to the light."""
    with pen.canvas.moved(0, 0, scale=(pen.side, 1)):
        _feet(pen)
        _coat(pen)
        _face(pen)


def _feet(pen: Pen) -> None:
    foot = pen.tone("#f0a030")
    for x in (-11, 11):
        pen.canvas.path(
            f"M{x - 8} 0C{x - 10} -4 {x - 4} -8 {x} -7C{x + 5} -8 {x + 11} -4 {x + 10} 0"
            f"Q{x + 6} -2 {x + 4} 0Q{x + 1} -2 {x - 1} 0Q{x - 5} -2 {x - 8} 0Z",
            foot.base if x < 0 else foot.light,
        )


def _coat(pen: Pen) -> None:
    canvas, tone, shirt = pen.canvas, pen.tone(), pen.tone("#f7f4ec")
    canvas.path("M-27 -62C-40 -52 -44 -34 -42 -20C-38 -20 -32 -28 -29 -38Z", tone.dark)
    canvas.path(
        _COAT,
        canvas.linear(
            [(0, tone.deep), (0.45, tone.base), (0.85, tone.light), (1, tone.base)], (0, 0), (1, 0)
        ),
    )
    canvas.path(
        "M8 -70C20 -68 26 -54 26 -40C26 -20 18 -5 4 -5C-10 -5 -20 -20 -20 -40C-20 -56 -10 "
        "-70 8 -70Z",
        canvas.linear([(0, shirt.dark), (0.4, shirt.base), (1, shirt.glint)], (0, 0), (1, 0)),
    )
    canvas.path(
        "M-14 -60C-6 -68 12 -72 20 -64C14 -58 -4 -56 -14 -60Z",
        pen.tone("#f6c85c").light,
        alpha=0.75,
    )
    canvas.path(
        "M28 -60C40 -52 46 -36 44 -18C38 -18 32 -28 28 -40C26 -48 26 -56 28 -60Z",
        canvas.linear([(0, tone.light), (1, tone.dark)], (0, 0), (1, 0)),
    )


def _face(pen: Pen) -> None:
    canvas, cheek, beak = pen.canvas, pen.tone("#f6f1e2"), pen.tone("#ee8f2c")
    canvas.path(
        "M6 -90C14 -94 20 -88 20 -81C20 -74 14 -69 8 -70C2 -71 -1 -77 0 -82C1 -86 3 -89 6 -90Z",
        cheek.base,
    )
    canvas.path(
        "M-6 -84C-2 -88 2 -84 1 -78C0 -72 -4 -68 -8 -68C-10 -74 -10 -80 -6 -84Z",
        pen.tone("#f6b73c").base,
    )
    canvas.circle((10.6, -84), 2.8, "#15131b")
    canvas.circle((11.5, -85), 0.9, "#ffffff")
    canvas.path(
        "M17 -84C24 -84 31 -81 34 -77.6C28 -76 21 -75 16.6 -76.4C15.4 -79 15.6 -82 17 -84Z",
        canvas.linear([(0, beak.light), (1, beak.dark)]),
    )
    canvas.line("M17 -79.4C23 -79.4 28 -78.6 32 -77.6", beak.deep, 0.8)


SUBJECT = Subject(
    name="penguin",
    words=("penguin", "pinguin", "pinguïn", "ペンギン"),
    place=Place.LAND,
    home="mountains",
    colour="#2b3040",
    stature=0.3,
    metres=0.9,
    breadth=0.8,
    draw=draw,
    season=Season.WINTER,
    plurals=("pinguine", "pinguïns"),
    many=5,
)
