"""A steam engine on its rails, drawing a coach."""

from __future__ import annotations

from ketchup.providers.studio.colour import mix
from ketchup.providers.studio.model import Pen, Place, Subject
from ketchup.providers.studio.svg import circles, num, ring

_STEAM = (
    (72, -112, 9),
    (60, -122, 13),
    (42, -130, 16),
    (20, -136, 18),
    (-6, -138, 17),
    (-30, -137, 14),
    (-52, -136, 10),
    (84, -106, 6),
)


def draw(pen: Pen) -> None:
    """Draw it driving towards the light: rails, coach, tender, engine, steam."""
    with pen.canvas.moved(-20 * pen.side, 0, scale=(pen.side, 1)):
        _rails(pen)
        _steam(pen)
        _coach(pen)
        _engine(pen)


def _rails(pen: Pen) -> None:
    canvas, steel, wood = pen.canvas, pen.tone("#9aa0a8"), pen.tone("#5d4637")
    canvas.path("M-1400 0H1400V10H-1400Z", pen.tone("#8d8478").dark, alpha=0.7)
    canvas.path("".join(f"M{x} 1H{x + 9}V7H{x}Z" for x in range(-1400, 1400, 18)), wood.base)
    canvas.rect((-1400, -1.6, 2800, 3), steel.light)


def _steam(pen: Pen) -> None:
    tone = pen.tone("#f5f4f2")
    pen.canvas.path(circles((x - 3, y + 4, r) for x, y, r in _STEAM), tone.base, alpha=0.5)
    pen.canvas.path(circles((x, y, r * 0.9) for x, y, r in _STEAM), tone.light, alpha=0.85)


def _wheel(pen: Pen, x: float, radius: float) -> None:
    canvas, iron, red = pen.canvas, pen.tone("#2b2a31"), pen.tone(mix(pen.colour, "#c8352c", 0.7))
    y = -radius
    canvas.circle((x, y), radius, iron.base)
    canvas.circle((x, y), radius * 0.82, red.dark)
    spokes = "".join(
        f"M{num(x - dx * radius * 0.8)} {num(y - dy * radius * 0.8)}"
        f"L{num(x + dx * radius * 0.8)} {num(y + dy * radius * 0.8)}"
        for dx, dy in ((1, 0), (0, 1), (0.7, 0.7), (0.7, -0.7))
    )
    canvas.line(spokes, iron.dark, radius * 0.1)
    canvas.line(ring(x, y, radius * 0.9, radius * 0.9), pen.tone("#b9bec6").base, radius * 0.07)
    canvas.circle((x, y), radius * 0.2, red.light)


def _coach(pen: Pen) -> None:
    canvas = pen.canvas
    wall, cream = pen.tone(mix(pen.colour, "#5b1f24", 0.35)), pen.tone("#f1e4c6")
    canvas.path(
        "M-252 -82H-98V-22H-252Z",
        canvas.linear([(0, wall.light), (0.5, wall.base), (1, wall.dark)]),
    )
    canvas.path("M-252 -82H-98V-58H-252Z", cream.base)
    canvas.path(
        "M-258 -82C-256 -92 -246 -95 -236 -95H-114C-104 -95 -94 -92 -92 -82Z",
        pen.tone("#4b4a52").base,
    )
    glass = "#ffe3a0" if pen.lamps else mix(pen.stage.light.sky[0], "#dfeaf2", 0.45)
    for x in range(-244, -108, 27):
        canvas.rect((x, -78, 20, 24), pen.tone("#6b3a2c").dark, radius=2)
        canvas.rect((x + 1.6, -76.4, 16.8, 20.8), glass, radius=1.4)
    canvas.line("M-252 -50H-98M-252 -28H-98", cream.dark, 1.2)
    canvas.rect((-256, -22, 162, 6), pen.tone("#2b2a31").base)
    for x in (-226, -198, -152, -124):
        _wheel(pen, x, 11)


def _engine(pen: Pen) -> None:
    canvas, tone, iron, brass = pen.canvas, pen.tone(), pen.tone("#2d2c34"), pen.tone("#d8a63c")
    canvas.rect((-92, -24, 254, 8), iron.dark)
    canvas.line("M-98 -19H-88", iron.base, 4)
    # The tender with its coal.
    canvas.path("M-90 -64H-46V-24H-90Z", pen.down())
    canvas.path(
        "M-88 -64C-84 -72 -76 -70 -72 -74C-66 -78 -58 -72 -54 -72C-50 -72 -48 -66 -48 -64Z",
        iron.dark,
    )
    canvas.line("M-90 -60H-46M-90 -28H-46", brass.base, 1.4)
    # The cab.
    canvas.path(
        "M-38 -92H10V-24H-38Z", canvas.linear([(0, tone.light), (0.5, tone.base), (1, tone.dark)])
    )
    canvas.path("M-45 -92C-42 -101 14 -101 18 -92Z", iron.base)
    canvas.rect(
        (-30, -84, 22, 24),
        "#ffe3a0" if pen.lamps else mix(pen.stage.light.sky[0], "#dfeaf2", 0.4),
        radius=4,
    )
    canvas.line("M-19 -84V-60", iron.base, 1.6)
    canvas.line("M-38 -52H10M-38 -28H10", brass.base, 1.4)
    # The boiler, its bands, dome and chimney.
    boiler = canvas.linear(
        [(0, tone.base), (0.18, tone.glint), (0.4, tone.light), (0.7, tone.base), (1, tone.deep)]
    )
    canvas.path("M10 -78H120C130 -78 130 -34 120 -34H10Z", boiler)
    canvas.path(
        "M104 -79H126Q134 -79 134 -72V-40Q134 -33 126 -33H104Z",
        canvas.linear([(0, iron.base), (0.2, iron.glint), (0.5, iron.base), (1, iron.deep)]),
    )
    canvas.line("M34 -78V-34M62 -78V-34M90 -78V-34", brass.base, 2)
    canvas.path(
        "M40 -78C40 -92 58 -92 58 -78Z",
        canvas.linear([(0, brass.dark), (0.6, brass.glint), (1, brass.base)], (0, 0), (1, 0)),
    )
    canvas.path(
        "M108 -78L106 -100H124L122 -78Z",
        canvas.linear([(0, iron.deep), (0.6, iron.light), (1, iron.base)], (0, 0), (1, 0)),
    )
    canvas.path("M103 -100H127L125 -106H105Z", brass.base)
    canvas.path("M128 -34H150L168 -3H130Z", canvas.linear([(0, tone.light), (1, tone.deep)]))
    canvas.line("M134 -32L138 -4M140 -32L148 -4M146 -32L158 -4", iron.base, 1.6)
    canvas.circle((138, -64), 7, brass.base)
    canvas.circle((139.6, -64), 5, "#fff3c8" if pen.lamps else pen.tone("#f4efdf").light)
    if pen.lamps:
        canvas.path(
            "M143 -68L270 -92V-30L143 -60Z",
            canvas.linear([(0, "#fff0c0", 0.5), (1, "#fff0c0", 0)], (0, 0), (1, 0)),
        )
    for x, r in ((-78, 11), (-54, 11), (-14, 20), (34, 20), (82, 20), (118, 11), (142, 10)):
        _wheel(pen, x, r)
    canvas.line("M-14 -14L34 -14L82 -14M60 -20H118", pen.tone("#c3c8cf").light, 4)
    canvas.rect((98, -32, 28, 14), pen.across(), radius=3)


SUBJECT = Subject(
    name="train",
    words=(
        "train",
        "steam train",
        "locomotive",
        "railway",
        "zug",
        "dampflok",
        "eisenbahn",
        "lokomotive",
        "trein",
        "stoomtrein",
        "列車",
        "電車",
        "汽車",
    ),
    place=Place.LAND,
    home="countryside",
    colour="#2f6b4f",
    stature=0.17,
    metres=4,
    breadth=4.0,
    draw=draw,
    plurals=("züge", "treinen"),
    varied=True,
)
