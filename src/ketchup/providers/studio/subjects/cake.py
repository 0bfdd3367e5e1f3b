"""A layered cake on a stand, with icing that runs down its side, berries and candles."""

from __future__ import annotations

from ketchup.providers.studio.colour import mix
from ketchup.providers.studio.model import Pen, Place, Subject
from ketchup.providers.studio.svg import circles

_CANDLES = (-15, -5, 5, 15)


def draw(pen: Pen) -> None:
    """Draw the stand, the cake, its icing, and the candles that burn."""
    _stand(pen)
    _layers(pen)
    _icing(pen)
    _candles(pen)


def _stand(pen: Pen) -> None:
    canvas, glass = pen.canvas, pen.tone("#e7ecef")
    canvas.ellipse((0, -2.4), (19, 3), glass.dark)
    canvas.path("M-4 -20C-4 -10 -8 -5 -16 -3H16C8 -5 4 -10 4 -20Z", pen.round("#e7ecef"))
    canvas.ellipse((0, -20.4), (47, 6), glass.dark)
    canvas.ellipse(
        (0, -22), (47, 6), canvas.linear([(0, glass.base), (1, glass.glint)], (0, 0), (1, 0))
    )
    canvas.ellipse((0, -22), (40, 4.2), glass.dark, alpha=0.5)


def _layers(pen: Pen) -> None:
    canvas = pen.canvas
    sponge = pen.part("sponge", "#d9a766")
    body = "M-36 -62V-23C-24 -17 24 -17 36 -23V-62Z"
    canvas.path(body, pen.round(sponge))
    cream = pen.tone("#fff3e2")
    with canvas.clipped(body):
        for y in (-50, -36):
            canvas.line(f"M-37 {y}Q0 {y + 7} 37 {y}", cream.base, 3.6)
            jam = pen.tone(mix(pen.colour, "#a3162f", 0.55))
            canvas.line(f"M-37 {y + 3}Q0 {y + 10} 37 {y + 3}", jam.base, 1.6)


def _icing(pen: Pen) -> None:
    canvas, tone = pen.canvas, pen.tone(pen.part("icing", pen.colour))
    canvas.path(
        "M-36.6 -63V-51C-36 -46 -31 -46 -30.6 -51C-30 -55 -25 -54 -25 -50V-42C-25 -37 -19 "
        "-37 -19 -42"
        "V-47C-18 -51 -12 -51 -12 -46V-44C-12 -40 -6 -40 -6 -44C-5 -48 1 -48 1.4 -44V-36"
        "C2 -31 8 -31 8 -36"
        "V-44C9 -48 14 -48 14.6 -45C15 -41 21 -41 21 -46C22 -50 27 -50 27 -46V-43C27.4 "
        "-39 32 -39 32.4 -43"
        "V-52C33 -55 36.6 -55 36.6 -57V-63Z",
        pen.round(pen.part("icing", pen.colour)),
    )
    canvas.ellipse(
        (0, -63),
        (36.6, 8.4),
        canvas.linear([(0, tone.base), (1, tone.glint)], (0, 0), (pen.side * 0.5 + 0.5, 1)),
    )
    berry = pen.tone(pen.part("berries", "#b3213a"))
    spots = [
        (-29, -63, 3.6),
        (-21, -67, 3.4),
        (-10, -68.8, 3.4),
        (10, -68.8, 3.4),
        (21, -67, 3.4),
        (29, -63, 3.6),
        (-22, -58.6, 3.8),
        (-8, -56.8, 3.9),
        (8, -56.8, 3.9),
        (22, -58.6, 3.8),
    ]
    for x, y, r in spots:
        canvas.circle(
            (x, y),
            r,
            canvas.radial(
                [(0, berry.glint), (0.35, berry.light), (1, berry.dark)],
                (0.5 + 0.2 * pen.side, 0.3),
                0.7,
            ),
        )
    canvas.path(circles((x - 1, y - 1.2, 0.6) for x, y, _ in spots), "#ffffff", alpha=0.7)


def _candles(pen: Pen) -> None:
    canvas = pen.canvas
    for i, x in enumerate(_CANDLES):
        wax = ("#7fc7d9", "#f5d06b", "#f29ab8", "#9bcf8b")[i]
        base = -62 + (i % 2) * 2.5
        canvas.rect((x - 1.4, base - 20, 2.8, 20), pen.round(wax), radius=1)
        canvas.soft((x, base - 25), (8, 9), "#ffd27a", 0.5)
        canvas.path(
            f"M{x} {base - 31}C{x + 3.4} {base - 26} {x + 2.6} {base - 21} {x} {base - 21}"
            f"S{x - 3.4} {base - 26} {x} {base - 31}Z",
            "#ffb640",
        )
        canvas.path(
            f"M{x} {base - 27}C{x + 1.6} {base - 24} {x + 1.2} {base - 22} {x} {base - 22}"
            f"S{x - 1.6} {base - 24} {x} {base - 27}Z",
            "#fff6cf",
        )


SUBJECT = Subject(
    name="cake",
    words=(
        "cake",
        "birthday cake",
        "torte",
        "kuchen",
        "geburtstagskuchen",
        "geburtstagstorte",
        "taart",
        "verjaardagstaart",
        "ケーキ",
    ),
    place=Place.TABLE,
    home="room",
    colour="#f4b6c6",
    stature=0.46,
    metres=0.32,
    breadth=0.95,
    draw=draw,
    plurals=("torten", "kuchen", "taarten"),
    parts=("icing", "berries", "sponge"),
    many=2,
)
