"""A wicker basket: woven body, braided rim, bowed handle. It can hold other things."""

from __future__ import annotations

from ketchup.providers.studio.colour import mix
from ketchup.providers.studio.model import Pen, Place, Subject
from ketchup.providers.studio.svg import num

_BODY = "M-44 -46Q0 -34 44 -46L35 -5Q34 0 28 0H-28Q-34 0 -35 -5Z"


def draw(pen: Pen) -> None:
    """Draw the whole basket, empty."""
    back(pen)
    front(pen)


def back(pen: Pen) -> None:
    """Draw what lies behind the contents: the handle and the inside."""
    canvas, tone = pen.canvas, pen.tone()
    canvas.ellipse((0, -46), (44, 9.5), tone.deep)
    canvas.ellipse((0, -44.6), (40, 7.2), mix(tone.deep, "#120a06", 0.5))
    canvas.line("M-40 -46C-42 -116 42 -116 40 -46", tone.deep, 5.4)
    canvas.line("M-40 -46C-42 -116 42 -116 40 -46", tone.base, 3.8)
    braid = "".join(f"M{num(x)} {num(y)}l2.2 -3.4" for x, y in _handle_points())
    canvas.line(braid, tone.light, 1.5)


def _handle_points() -> list[tuple[float, float]]:
    points = []
    for i in range(1, 40):
        t = i / 40
        a, b, c, d = (1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3
        points.append((-41 * a - 43 * b + 41 * c + 39 * d, (-45) * (a + d) - 114.4 * (b + c)))
    return points


def front(pen: Pen) -> None:
    """Draw what lies before the contents: the woven wall and its rim."""
    canvas, tone = pen.canvas, pen.tone()
    canvas.path(_BODY, tone.deep)
    with canvas.clipped(_BODY):
        for row in range(8):
            y = -46 + row * 6.2
            for phase, colour in ((0, tone.light), (1, tone.base)):
                strands = []
                for column in range(-5, 6):
                    if (row + column) % 2 != phase:
                        continue
                    x = column * 9.2 * (1 - row * 0.022)
                    sag = 11 * (1 - (x / 46) ** 2) * (1 - row / 9)
                    strands.append(
                        f"M{num(x - 5)} {num(y + sag)}q5 -3.4 10 0q1 2.8 0 5.2q-5 2 "
                        "-10 0q-1 -2.6 0 -5.2Z"
                    )
                canvas.path("".join(strands), colour)
        stakes = "".join(
            f"M{num(x * 9.2 + 4.6)} -40L{num((x * 9.2 + 4.6) * 0.82)} 0" for x in range(-5, 5)
        )
        canvas.line(stakes, tone.deep, 1.1, alpha=0.6)
        ends = ((0.0, 0.0), (1.0, 0.0)) if pen.side < 0 else ((1.0, 0.0), (0.0, 0.0))
        canvas.path(
            _BODY,
            canvas.linear(
                [
                    (0, tone.deep, 0.35),
                    (0.25, "#fff1d0", 0.16),
                    (0.6, tone.deep, 0.12),
                    (1, "#1a0d08", 0.62),
                ],
                *ends,
            ),
        )
        canvas.rect((-46, -12, 92, 13), canvas.linear([(0, "#1a0d08", 0), (1, "#1a0d08", 0.45)]))
    canvas.line("M-44 -46Q0 -34 44 -46", tone.deep, 6.4)
    canvas.line("M-44 -46.6Q0 -34.6 44 -46.6", tone.base, 4.6)
    rim = "".join(
        f"M{num(-43 + i * 4.3)}"
        f" {num(-46 + 12 * (1 - ((i * 4.3 - 43) / 44) ** 2) * 0.5 + 1.6)}l3 -3.6"
        for i in range(21)
    )
    canvas.line(rim, tone.light, 1.6)


SUBJECT = Subject(
    name="basket",
    words=(
        "basket",
        "wicker basket",
        "hamper",
        "korb",
        "mand",
        "mandje",
        "バスケット",
        "かご",
        "籠",
    ),
    place=Place.TABLE,
    home="studio",
    colour="#b07a42",
    stature=0.5,
    metres=0.4,
    breadth=0.9,
    draw=draw,
    plurals=("körbe", "manden"),
)
