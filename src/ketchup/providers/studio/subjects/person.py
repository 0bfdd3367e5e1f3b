"""Someone seen from behind, in a long coat, with a scarf in the wind."""

from __future__ import annotations

from ketchup.providers.studio.model import Pen, Place, Subject, Tone
from ketchup.providers.studio.svg import Point


def draw(pen: Pen) -> None:
    """Draw legs, coat, hair and scarf, from the feet up."""
    coat = pen.tone(pen.part("coat", pen.part("dress", pen.part("jacket", pen.colour))))
    _legs(pen)
    _coat(pen, coat)
    _hair(pen)
    _scarf(pen)


def _ends(side: int) -> tuple[Point, Point]:
    """Return the ends of a gradient whose light falls from a side."""
    return ((0.0, 0.2), (1.0, 0.5)) if side < 0 else ((1.0, 0.2), (0.0, 0.5))


def _legs(pen: Pen) -> None:
    canvas, boots = pen.canvas, pen.tone("#3a2c2e")
    canvas.path(
        "M-6.5 -26L-6 -3Q-6 0 -3 0H-0.6L-0.6 -26ZM1.4 -26L2 0H5Q7 0 7 -3L7.4 -26Z", boots.base
    )
    canvas.path("M-8 -3.4Q-4 -6 -0.4 -3.2V0.6H-8.4ZM1.4 -3.2Q5 -6 8.6 -3.4L9 0.6H1.4Z", boots.dark)


def _coat(pen: Pen, coat: Tone) -> None:
    canvas, side = pen.canvas, pen.side
    flare = -side * 5
    coat_path = (
        f"M-5 -81C-11 -79 -12.4 -72 -12.6 -62C-13 -46 -15 -32 {-16.5 + min(0, flare)} -19"
        f"C-8 -15 6 -14 {15.5 + max(0, flare)} -18.5C14 -34 12 -48 11.6 -62C11.4 -72 "
        "10.4 -79 5 -81Z"
    )
    canvas.path(
        coat_path,
        canvas.linear(
            [(0, coat.glint), (0.16, coat.light), (0.5, coat.base), (1, coat.dark)], *_ends(side)
        ),
    )
    canvas.path(
        "M-11.5 -76C-16 -66 -16.5 -54 -15 -43C-13.6 -41.5 -11 -42 -10.4 -43.6C-10.4 "
        "-54 -9.6 -64 -8 -72Z",
        coat.base if side < 0 else coat.dark,
    )
    canvas.path(
        "M10.6 -76C15.4 -66 16 -54 14.4 -43C13 -41.5 10.4 -42 9.8 -43.6C9.8 -54 9 -64 7.4 -72Z",
        coat.light if side > 0 else coat.dark,
    )
    canvas.line(
        "M0 -50C-0.6 -38 -0.6 -28 -0.4 -17M-6 -46C-7.4 -36 -8.6 -27 -9.4 -19M6 -46"
        "C7.4 -36 8.4 -27 9 -19",
        coat.deep,
        0.8,
        alpha=0.55,
    )
    canvas.path("M-12 -50Q0 -47.4 11.6 -50V-47.6Q0 -45 -12 -47.6Z", coat.deep)
    canvas.line(
        f"M{side * 12} -74C{side * 15.6} -64 {side * 15.8} -54 {side * 14.4} -44",
        coat.glint,
        0.8,
        alpha=0.8,
    )


def _hair(pen: Pen) -> None:
    canvas, side = pen.canvas, pen.side
    hair, skin = pen.tone(pen.part("hair", "#4a2f2a")), pen.tone("#e2ab84")
    canvas.path("M-3.2 -86H3.2V-78H-3.2Z", skin.dark)
    lee = -side
    canvas.path(
        "M-6.6 -92C-7.4 -99 -3.4 -101.4 0 -101.4S7.4 -99 6.6 -92C8.4 -84"
        f" {8 + lee * 2} -76 {5 + lee * 6} -66"
        f"C{2 + lee * 6} -63 {lee * 5} -64 {lee * 3} -62C{-3 + lee * 3} -64"
        f" {-5 + lee * 4} -66 {-6 + lee * 3} -70C-8.4 -78 -8.4 -86 -6.6 -92Z",
        canvas.linear(
            [(0, hair.glint), (0.25, hair.light), (0.6, hair.base), (1, hair.dark)], *_ends(side)
        ),
    )
    canvas.line(
        f"M-3.6 -99C-6 -90 -5 -80 {-4 + lee * 3} -68M0 -101C-0.6 -90 0 -78 {lee * 4} "
        f"-64M3.6 -99C5.4 -90 5.4 -80 {4 + lee * 4} -67",
        hair.deep,
        0.55,
        alpha=0.6,
    )


def _scarf(pen: Pen) -> None:
    canvas = pen.canvas
    scarf = pen.tone(pen.part("scarf", pen.colours[1] if len(pen.colours) > 1 else "#f0e2c8"))
    blow = -pen.side
    canvas.path("M-8.4 -79.4Q0 -75.4 8.4 -79.4L8 -74.6Q0 -71 -8 -74.6Z", scarf.base)
    canvas.path(
        f"M{blow * 4} -77C{blow * 14} -80 {blow * 20} -72 {blow * 31} -77C{blow * 27} "
        f"-72 {blow * 28} -70 {blow * 30} -68C{blow * 20} -65 {blow * 14} -72"
        f" {blow * 4} -72.6Z",
        scarf.light,
    )
    canvas.line(
        f"M{blow * 8} -76C{blow * 15} -77 {blow * 20} -70.6 {blow * 28} -73",
        scarf.dark,
        0.6,
        alpha=0.8,
    )


SUBJECT = Subject(
    name="person",
    words=(
        "person",
        "girl",
        "boy",
        "woman",
        "man",
        "child",
        "traveller",
        "traveler",
        "wanderer",
        "hiker",
        "mädchen",
        "junge",
        "frau",
        "mann",
        "kind",
        "meisje",
        "jongen",
        "vrouw",
        "wandelaar",
        "女の子",
        "男の子",
        "少女",
        "少年",
        "女性",
        "男性",
        "人",
    ),
    place=Place.LAND,
    home="mountains",
    colour="#c8402f",
    stature=0.34,
    metres=1.7,
    breadth=0.5,
    draw=draw,
    plurals=("people", "men", "women", "children"),
    parts=("coat", "dress", "jacket", "hair", "scarf"),
)
