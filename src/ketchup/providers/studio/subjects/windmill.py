"""A Dutch windmill with four lattice sails."""

from __future__ import annotations

from ketchup.providers.studio.model import Pen, Place, Subject


def draw(pen: Pen) -> None:
    """Draw the tower, its gallery and cap, then the sails as the wind left them."""
    canvas, tone = pen.canvas, pen.tone()
    brick = "#a3604a"
    canvas.path("M-15 0L-10 -34H10L15 0Z", pen.across(brick))
    rows = "".join(f"M{-14.6 + i * 0.9:.1f} {-4 - i * 6}H{14.6 - i * 0.9:.1f}" for i in range(5))
    canvas.line(rows, pen.tone(brick).deep, 0.4, alpha=0.5)
    canvas.path("M-11 -34L-6.4 -66H6.4L11 -34Z", pen.across())
    canvas.line("M-4 -36L-2.4 -65M4 -36L2.4 -65", tone.deep, 0.4, alpha=0.6)
    wood = pen.tone("#6b4a38")
    canvas.rect((-17, -36, 34, 2.4), wood.light)
    canvas.line(
        "M-16.4 -40V-34M-10 -40V-36M-4 -40V-36M4 -40V-36M10 -40V-36M16.4 -40V-34M-17 -40H17",
        wood.base,
        0.7,
    )
    canvas.path("M-7.6 -66C-8 -75 -3 -78 0 -78S8 -75 7.6 -66Z", pen.across("#5a4a48"))
    glow = "#ffd98a" if pen.lamps else pen.tone("#3c4a5c").base
    for x, y in ((-3, -26), (-2.4, -54)):
        canvas.rect((x, y, 5, 7), pen.tone("#f4ece0").light, radius=0.4)
        canvas.rect((x + 0.8, y + 0.8, 3.4, 5.4), glow)
    canvas.path("M-4.6 0V-12Q0 -16 4.6 -12V0Z", wood.dark)
    with canvas.moved(0, -70, turn=pen.chance.uniform(8, 38)):
        for turn in (0, 90, 180, 270):
            with canvas.moved(0, 0, turn=turn):
                _sail(pen)
    canvas.circle((0, -70), 2.1, wood.light)


def _sail(pen: Pen) -> None:
    canvas, wood, cloth = pen.canvas, pen.tone("#5f4434"), pen.tone("#f5ead6")
    canvas.path("M1 -7L7.4 -8V-39H1Z", cloth.light, alpha=0.9)
    lattice = "".join(f"M0 {-9 - i * 5}H7.4" for i in range(7))
    canvas.line("M0 0V-41M7.4 -8V-39M3.8 -8V-39" + lattice, wood.base, 0.8)


SUBJECT = Subject(
    name="windmill",
    words=("windmill", "mill", "windmühle", "mühle", "molen", "windmolen", "風車"),
    place=Place.LAND,
    home="countryside",
    colour="#5d6f5a",
    stature=0.52,
    metres=18,
    breadth=0.5,
    draw=draw,
    plurals=("windmühlen", "mühlen", "molens", "windmolens"),
    many=3,
)
