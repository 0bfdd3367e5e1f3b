"""A swan on the water, its neck in a curve."""

from __future__ import annotations

from ketchup.providers.studio.model import Pen, Place, Subject


def draw(pen: Pen) -> None:
    """Draw it swimming towards the light: tail, body, neck, wings, head."""
    with pen.canvas.moved(-6 * pen.side, 0, scale=(pen.side, 1)):
        _body(pen)
        _neck(pen)
        _wings(pen)
        _head(pen)


def _body(pen: Pen) -> None:
    canvas, tone = pen.canvas, pen.tone()
    canvas.path(
        "M-66 -34C-54 -30 -46 -28 -40 -32L28 -30C46 -30 56 -20 52 -8C49 -1 44 0 36 0H-28"
        "C-46 -2 -58 -14 -66 -34Z",
        canvas.linear([(0, tone.light), (0.5, tone.base), (1, tone.dark)]),
    )


def _neck(pen: Pen) -> None:
    canvas, tone = pen.canvas, pen.tone()
    canvas.path(
        "M24 -8C44 -8 58 -20 56 -36C54 -50 40 -56 38 -70C36 -84 44 -96 56 -97C66 -97 72 "
        "-90 71 -83L62 -80"
        "C60 -88 52 -88 50 -80C47 -68 66 -58 68 -38C70 -16 52 0 34 0Z",
        canvas.linear([(0, tone.dark), (0.5, tone.base), (1, tone.glint)], (0, 0.4), (1, 0.3)),
    )


def _wings(pen: Pen) -> None:
    canvas, tone = pen.canvas, pen.tone()
    canvas.path(
        "M-74 -46C-58 -48 -50 -52 -36 -56C-16 -62 14 -54 30 -34C34 -22 26 -10 8 -8C-22 -6 "
        "-52 -20 -74 -46Z",
        canvas.linear([(0, tone.glint), (0.55, tone.light), (1, tone.dark)]),
    )
    canvas.path(
        "M-62 -58C-46 -58 -38 -62 -22 -64C0 -66 18 -56 27 -40C20 -28 4 -24 -14 -26C-34 "
        "-30 -50 -42 -62 -58Z",
        canvas.linear([(0, tone.glint), (0.6, tone.light), (1, tone.base)]),
    )
    canvas.line(
        "M-54 -54C-40 -40 -22 -32 -4 -30M-42 -56C-30 -46 -14 -38 4 -37M-28 -60C-18 -52 -4 "
        "-46 10 -45",
        tone.dark,
        1,
        alpha=0.7,
    )
    canvas.line(
        "M-66 -42C-48 -26 -24 -16 0 -15M-56 -40C-40 -28 -20 -22 2 -21", tone.dark, 1, alpha=0.5
    )


def _head(pen: Pen) -> None:
    canvas, tone, bill = pen.canvas, pen.tone(), pen.tone("#ef8a2c")
    canvas.path(
        "M70 -91C78 -87 86 -83 92 -79C88 -77 78 -78 68 -81Z",
        canvas.linear([(0, bill.light), (1, bill.base)]),
    )
    canvas.path(
        "M47 -84C46 -94 54 -99 62 -98C70 -97 74 -91 72 -85C68 -79 58 -78 52 -80Z", tone.light
    )
    canvas.path(
        "M66 -94C71 -93 75 -90 76 -87C73 -85 69 -85 66 -87C68 -89 67 -92 66 -94Z", "#201c22"
    )
    canvas.circle((62.6, -90.6), 1.8, "#201c22")


SUBJECT = Subject(
    name="swan",
    words=("swan", "schwan", "zwaan", "白鳥"),
    place=Place.WATER,
    home="lake",
    colour="#f4f3ef",
    stature=0.19,
    metres=1.6,
    breadth=1.7,
    draw=draw,
    plurals=("schwäne", "zwanen"),
    many=2,
)
