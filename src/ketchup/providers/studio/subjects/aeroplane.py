"""A propeller plane that climbs, its two wings tied by struts."""

from __future__ import annotations

from ketchup.providers.studio.colour import mix
from ketchup.providers.studio.model import Pen, Place, Subject


def draw(pen: Pen) -> None:
    """Draw it from the side, climbing towards the light: far wings, body, near wings, propeller."""
    with pen.canvas.moved(0, -46, turn=-pen.side * 9, scale=(pen.side, 1)):
        _gear(pen)
        _body(pen)
        _wings(pen)
        _propeller(pen)


def _gear(pen: Pen) -> None:
    canvas, iron = pen.canvas, pen.tone("#3a3a42")
    canvas.line("M26 12L34 38M46 12L36 38", iron.base, 2.4)
    canvas.circle((35, 40), 9, iron.dark)
    canvas.circle((35, 40), 4.4, pen.tone("#d5d9de").light)
    canvas.line("M-88 12L-92 20", iron.base, 2)
    canvas.circle((-93, 21), 3.4, iron.dark)


def _body(pen: Pen) -> None:
    canvas, tone = pen.canvas, pen.tone()
    second = pen.tone(pen.colours[1] if len(pen.colours) > 1 else "#fbf3df")
    canvas.path(
        "M-84 -4C-92 -22 -100 -40 -112 -44C-118 -44 -116 -34 -114 -26L-106 2Z",
        canvas.linear([(0, tone.light), (1, tone.dark)]),
    )
    canvas.line("M-108 -34L-98 -2", second.base, 3)
    body = (
        "M78 -12C82 -2 80 14 70 18C40 24 -20 20 -112 6C-116 4 -116 -2 -110 -4C-60 -14 -20 "
        "-24 10 -24C40 -25 66 -24 78 -12Z"
    )
    canvas.path(
        body,
        canvas.linear([(0, tone.glint), (0.25, tone.light), (0.55, tone.base), (1, tone.deep)]),
    )
    with canvas.clipped(body):
        canvas.path("M-120 2C-40 4 40 6 90 0V6C40 12 -40 10 -120 7Z", second.base)
    canvas.path(
        "M56 -24C70 -23 79 -18 80 -6C81 8 78 16 70 18C60 19 54 19 50 19C56 6 58 -10 56 -24Z",
        canvas.linear([(0, second.glint), (0.4, second.base), (1, second.deep)]),
    )
    canvas.line("M60 -16V12M66 -16V12M72 -12V10", second.dark, 1.4, alpha=0.7)
    canvas.path("M-96 -2C-100 -8 -128 -8 -132 -3C-130 1 -104 3 -96 2Z", tone.dark)
    _pilot(pen)


def _pilot(pen: Pen) -> None:
    canvas, leather, skin = pen.canvas, pen.tone("#6b4630"), pen.tone("#e2ab84")
    canvas.path("M-14 -23C-12 -34 8 -34 10 -24Z", leather.deep)
    canvas.circle((-3, -36), 8.6, leather.base)
    canvas.path("M0 -42C6 -41 7 -34 4 -30C0 -30 -2 -32 -2 -36Z", skin.base)
    canvas.ellipse((3, -37.4), (4.4, 3.2), pen.tone("#cfe6ef").light)
    canvas.line("M-1 -37.4H-11", pen.tone("#2c2a30").base, 1.8)
    scarf = pen.tone(mix(pen.colour, "#fff3df", 0.7))
    canvas.path(
        "M-8 -28C-18 -30 -30 -36 -42 -32C-34 -30 -32 -26 -44 -22C-30 -20 -16 -22 -4 -26Z",
        scarf.base,
    )
    canvas.path("M16 -24L22 -36L26 -36L24 -24Z", pen.tone("#d7ecf4").light, alpha=0.8)


def _wings(pen: Pen) -> None:
    canvas, tone = pen.canvas, pen.tone()
    second = pen.tone(pen.colours[1] if len(pen.colours) > 1 else "#fbf3df")
    struts = pen.tone("#7a5638")
    canvas.path("M10 -58H66Q70 -56 66 -54H10Z", tone.deep)
    canvas.line("M18 -52L22 4M52 -52L50 4M30 -50L26 -22M44 -50L46 -24", struts.base, 2.4)
    canvas.line("M19 -50L49 2M51 -50L23 2", pen.tone("#c9ced6").light, 0.6, alpha=0.8)
    for y, grow in ((-56, 6), (5, 0)):
        canvas.path(
            f"M{-2 - grow} {y}C{4 - grow} {y - 7} {64 + grow} {y - 8} {72 + grow} {y - 1}"
            f"C{72 + grow} {y + 5} {0 - grow} {y + 7} {-2 - grow} {y}Z",
            canvas.linear([(0, tone.glint), (0.4, tone.light), (1, tone.dark)]),
        )
        canvas.path(
            f"M{60 + grow} {y - 5.4}C{66 + grow} {y - 5} {71 + grow} {y - 3} {72 + grow} "
            f"{y - 1}C{72 + grow} {y + 2} {66 + grow} {y + 4} {58 + grow} {y + 4.4}Z",
            second.base,
        )


def _propeller(pen: Pen) -> None:
    canvas, steel = pen.canvas, pen.tone("#d9dde2")
    canvas.path("M84 -50C88 -34 88 28 84 44C80 28 80 -34 84 -50Z", steel.light, alpha=0.4)
    canvas.path(
        "M84 -48C87 -34 86 -10 84 -4C82 -10 81 -34 84 -48ZM84 42C87 28 86 4 84 -2C82 4 81 "
        "28 84 42Z",
        pen.tone("#7a5638").base,
    )
    canvas.path(
        "M79 -9C88 -9 94 -6 94 -3C94 0 88 3 79 3Z",
        canvas.linear([(0, steel.glint), (1, steel.dark)]),
    )


SUBJECT = Subject(
    name="aeroplane",
    words=(
        "aeroplane",
        "airplane",
        "plane",
        "aircraft",
        "biplane",
        "flugzeug",
        "doppeldecker",
        "vliegtuig",
        "飛行機",
    ),
    place=Place.SKY,
    home="countryside",
    colour="#d2443a",
    stature=0.22,
    metres=9,
    breadth=2.3,
    draw=draw,
    plurals=("aircraft", "flugzeuge", "vliegtuigen"),
    varied=True,
)
