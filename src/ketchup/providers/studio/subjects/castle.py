"""A castle on its rock: a keep, round towers with pointed roofs, flags."""

from __future__ import annotations

from ketchup.providers.studio.model import Pen, Place, Subject
from ketchup.providers.studio.svg import polyline

_TOWERS = (
    (-30, -52, 8.5),
    (27, -58, 9),
    (-12, -74, 7.5),
    (11, -84, 8),
    (42, -40, 6.5),
    (-43, -38, 6),
)


def draw(pen: Pen) -> None:
    """Draw from the back: tall towers, the walls between, the gate, the rock."""
    canvas = pen.canvas
    stone = pen.colour if pen.stated else "#c9bda8"
    for x, top, half in _TOWERS[2:4]:
        _tower(pen, (x, top, half), stone)
    wall = pen.tone(stone)
    canvas.path(_battlement(-24, 24, -46), pen.across(stone))
    for x, top, half in (*_TOWERS[:2], *_TOWERS[4:]):
        _tower(pen, (x, top, half), stone)
    canvas.path(_battlement(-44, 44, -26), canvas.linear([(0, wall.light), (1, wall.dark)]))
    canvas.path("M-6.4 -7V-17Q0 -25 6.4 -17V-7Z", pen.tone("#4a342c").base)
    canvas.line("M-3.2 -7V-19M0 -7V-21M3.2 -7V-19M-6 -12H6", pen.tone("#2a1f20").base, 0.6)
    for x in (-22, 20):
        canvas.rect((x - 1, -19, 2.2, 6), "#ffd98a" if pen.lamps else wall.deep, radius=1)
    rock = pen.tone("#6f6a70")
    cliff = [(-58, 2), (-50, -6), (-44, -8), (44, -8), (52, -5), (60, 2)]
    canvas.path(polyline(cliff), rock.dark)
    canvas.path(
        polyline([(-58, 2), (-50, -6), (-44, -8), (-12, -8), (-24, -2), (-20, 2)]),
        rock.light if pen.side < 0 else rock.base,
    )
    grass = pen.tone(pen.stage.growth.grass)
    mound = (
        "M-118 14C-92 4 -72 -3 -56 -3C-30 -1 -12 -5 4 -3C30 -1 48 -4 60 -2C78 2 96 6 118 14"
        "C80 40 -80 40 -118 14Z"
    )
    canvas.path(
        mound, canvas.linear([(0, grass.light, 1), (0.4, grass.base, 1), (1, grass.base, 0)])
    )


def _tower(pen: Pen, shape: tuple[float, float, float], stone: str) -> None:
    x, top, half = shape
    canvas, wall, roof = pen.canvas, pen.tone(stone), pen.tone(pen.part("roof", "#54608a"))
    canvas.rect((x - half, top, 2 * half, -top - 6), pen.round(stone))
    canvas.rect((x - half * 1.2, top - 3, half * 2.4, 5), wall.light)
    canvas.line(
        "".join(f"M{x - half * 1.2 + i * half * 0.6:.2f} {top - 3}v2.6" for i in range(5)),
        wall.deep,
        0.7,
    )
    peak = top - 3 - half * 2.6
    lit, dark = (roof.light, roof.dark) if pen.side < 0 else (roof.dark, roof.light)
    canvas.path(f"M{x - half * 1.35} {top - 2.6}L{x} {peak}V{top - 2.6}Z", lit)
    canvas.path(f"M{x + half * 1.35} {top - 2.6}L{x} {peak}V{top - 2.6}Z", dark)
    canvas.line(f"M{x} {peak}v-7", wall.deep, 0.6)
    way = -pen.side
    canvas.path(
        f"M{x} {peak - 7}q{way * 3} -1 {way * 7} 1.4q{way * -3} 1.4 {way * -7} 1.6Z",
        pen.tone("#c8382f").light,
    )
    for y in (top + 10, top + 24):
        if y < -14:
            canvas.rect((x - 1.1, y, 2.2, 5), "#ffd98a" if pen.lamps else wall.deep, radius=1.1)


def _battlement(left: float, right: float, top: float) -> str:
    """Return path data of a wall with merlons."""
    steps, x = [f"M{left} -6V{top}"], left
    while x < right:
        steps.append("h2.2v-2.4h2.2v2.4")
        x += 4.4
    return "".join(steps) + "V-6Z"


SUBJECT = Subject(
    name="castle",
    words=("castle", "palace", "fortress", "schloss", "burg", "kasteel", "城"),
    place=Place.LAND,
    home="mountains",
    colour="#c9bda8",
    stature=0.5,
    metres=40,
    breadth=1.1,
    draw=draw,
    parts=("roof",),
    plurals=("schlösser", "burgen", "kastelen"),
    many=2,
)
