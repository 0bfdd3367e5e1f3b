"""A reef fish with bands, a fan of a tail and flowing fins."""

from __future__ import annotations

from ketchup.providers.studio.colour import mix
from ketchup.providers.studio.model import Pen, Place, Subject


def draw(pen: Pen) -> None:
    """Draw it swimming towards the light: fins, body, bands, face."""
    with pen.canvas.moved(0, -50, scale=(pen.side, 1)):
        _fish(pen)


def _fish(pen: Pen) -> None:
    canvas, tone = pen.canvas, pen.tone()
    band = pen.tone(pen.colours[1] if len(pen.colours) > 1 else "#fdf4e6")
    edge = pen.tone(mix(pen.colour, "#1d1430", 0.8))
    fin = canvas.linear([(0, tone.light), (1, tone.dark)])
    canvas.path(
        "M-44 2C-62 -30 -84 -38 -88 -34C-82 -16 -82 18 -90 38C-82 42 -62 30 -44 2Z", edge.base
    )
    canvas.path("M-44 2C-60 -26 -78 -32 -84 -30C-78 -14 -78 16 -85 33C-78 35 -60 26 -44 2Z", fin)
    canvas.path(
        "M-26 -26C-16 -52 14 -54 34 -32C22 -30 -4 -26 -26 -26ZM-14 26C-8 46 10 50 22 "
        "44C18 36 12 30 10 26Z",
        edge.base,
    )
    canvas.path(
        "M-23 -26C-14 -47 13 -49 30 -32C20 -30 -4 -26 -23 -26ZM-11 26C-6 42 9 45 18 "
        "41C15 35 11 30 9 26Z",
        fin,
    )
    body = "M66 2C52 -26 20 -36 -8 -30C-28 -26 -42 -12 -54 2C-42 16 -28 28 -8 32C20 38 52 28 66 2Z"
    canvas.path(
        body,
        canvas.linear([(0, tone.glint), (0.25, tone.light), (0.55, tone.base), (1, tone.deep)]),
    )
    with canvas.clipped(body):
        for x, wide in ((28, 13), (-12, 16), (-46, 9)):
            for grow, fill in ((3, edge.base), (0, band.light)):
                canvas.path(
                    f"M{x - wide / 2 - grow} -44Q{x + wide * 0.7 - grow} 0"
                    f" {x - wide / 2 - grow} 44H{x + wide / 2 + grow}"
                    f"Q{x + wide * 1.5 + grow} 0 {x + wide / 2 + grow} -44Z",
                    fill,
                )
        canvas.path("M70 2C50 34 -20 40 -56 2C-30 26 30 30 70 2Z", tone.deep, alpha=0.35)
        canvas.path("M60 -10C40 -28 0 -34 -30 -22C0 -28 36 -24 60 -10Z", "#ffffff", alpha=0.45)
    canvas.path("M6 8C-6 10 -18 20 -20 28C-8 28 6 22 12 12Z", edge.base)
    canvas.path("M6 8C-4 10 -15 19 -17 26C-7 26 5 20 11 12Z", tone.light)
    canvas.circle((48, -5), 6.6, "#fffdf6")
    canvas.circle((49.4, -5), 4.3, "#1a1320")
    canvas.circle((51, -6.8), 1.5, "#ffffff")
    canvas.line("M63 6Q58 9 54 8", tone.deep, 1.4)


SUBJECT = Subject(
    name="fish",
    words=("fish", "goldfish", "clownfish", "fisch", "vis", "魚", "金魚"),
    place=Place.DEEP,
    home="underwater",
    colour="#f07a2e",
    stature=0.3,
    metres=0.3,
    breadth=1.7,
    draw=draw,
    plurals=("fishes", "fische", "vissen"),
)
