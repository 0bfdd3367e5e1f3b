"""A small sailing boat with mainsail and jib."""

from __future__ import annotations

from ketchup.providers.studio.colour import mix
from ketchup.providers.studio.model import Pen, Place, Subject


def draw(pen: Pen) -> None:
    """Draw the hull on its waterline, then mast and sails."""
    canvas, hull = pen.canvas, pen.part("hull", pen.colour)
    second = pen.colours[1] if len(pen.colours) > 1 else mix("#fdf6e8", pen.colour, 0.08)
    sail = pen.tone(pen.part("sail", pen.part("sails", second)))
    tone = pen.tone(hull)
    ends = ((0.0, 0.0), (1.0, 0.5)) if pen.side < 0 else ((1.0, 0.0), (0.0, 0.5))
    # Sailcloth lets the light through: it glows where other things would be dark.
    through = mix(sail.light, pen.stage.light.sun, 0.45)
    main = canvas.linear(
        [(0, mix(through, sail.glint, 0.5)), (0.45, through), (1, sail.base)], *ends
    )
    jib = canvas.linear([(0, through), (0.6, sail.light), (1, sail.dark)], *ends)
    canvas.path("M2 -97C14 -74 30 -48 33 -19C22 -16 10 -16 2 -17Z", main)
    canvas.path("M-1.5 -90C-8 -66 -20 -42 -31 -19C-20 -16 -9 -17 -1.5 -18Z", jib)
    seams = (
        "M2 -78Q10 -77 13 -76M2 -58Q14 -56 23 -54M2 -38Q18 -35 30 -33M-2 -66Q-8 -64 -13 "
        "-62M-2 -42Q-12 -39 -21 -37"
    )
    canvas.line(seams, sail.dark, 0.5, alpha=0.7)
    wood = pen.tone("#8a5a3a")
    canvas.line("M0.5 -100V-8", wood.base, 1.5)
    canvas.line(f"M{0.5 + pen.side * 0.45} -99V-9", wood.glint, 0.4, alpha=0.8)
    canvas.line("M1 -16.5H34", wood.dark, 1.1)
    canvas.path("M0.5 -100q6 -1 10 2q-4 1.6 -10 1.4Z", pen.tone(hull).light)
    canvas.path(
        "M-39 -11C-24 -9 20 -9 41 -13C38 -5 34 -0.5 30 1H-26C-33 0 -37 -5 -39 -11Z",
        pen.canvas.linear([(0, tone.light), (0.4, tone.base), (1, tone.deep)]),
    )
    canvas.path(
        "M-39 -11C-24 -9 20 -9 41 -13L40.2 -10.2C20 -6.6 -24 -6.6 -38.2 -8.6Z",
        pen.tone("#fbf4e4").light,
    )
    canvas.path(
        "M-33.5 -2.4C-20 -1 20 -1 33.5 -2.6L30 1H-26C-29 0.6 -31.5 -0.6 -33.5 -2.4Z", tone.deep
    )
    canvas.path("M-14 -10.2C-13 -14.6 -2 -15.4 2 -15V-9.6Z", wood.light)
    canvas.path("M18 -10.6C18 -15 19 -18.6 21 -18.6S24 -15 24 -10.9Z", pen.tone("#33415e").base)
    canvas.circle((21, -20.6), 2.1, pen.tone("#e6b48e").base)


SUBJECT = Subject(
    name="boat",
    words=(
        "boat",
        "sailboat",
        "sailing boat",
        "ship",
        "yacht",
        "boot",
        "segelboot",
        "schiff",
        "schip",
        "zeilboot",
        "船",
        "ボート",
        "ヨット",
    ),
    place=Place.WATER,
    home="sea",
    colour="#c8453b",
    stature=0.36,
    metres=9,
    breadth=0.8,
    draw=draw,
    varied=True,
    plurals=("boten", "boote"),
    parts=("sail", "sails", "hull"),
)
