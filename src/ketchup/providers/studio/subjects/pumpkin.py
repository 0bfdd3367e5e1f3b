"""A ripe pumpkin with its stem, a leaf, and a carved face that is lit after dark."""

from __future__ import annotations

from ketchup.providers.studio.colour import mix
from ketchup.providers.studio.light import Season
from ketchup.providers.studio.model import Pen, Place, Subject

_RIBS = ((-46, 26, 40), (46, 26, 40), (-30, 30, 46), (30, 30, 46), (-14, 30, 48), (14, 30, 48))
_FACE = (
    "M-34 -52L-16 -46L-30 -36ZM34 -52L16 -46L30 -36ZM0 -40L6 -30H-6Z"
    "M-38 -26C-26 -20 -20 -18 -14 -18L-10 -24L-5 -17H5L10 -24L14 -18C20 -18 26 -20 38 "
    "-26C32 -12 18 -5 6 -5L2 -10L-4 -5C-18 -5 -32 -12 -38 -26Z"
)


def draw(pen: Pen) -> None:
    """Draw the ribs from the sides to the middle, the stem, the leaf, and the face."""
    canvas, tone = pen.canvas, pen.tone()
    lit = (0.5 + pen.side * 0.2, 0.25)
    canvas.path("M-60 -12C-50 2 50 2 60 -12C40 6 -40 6 -60 -12Z", tone.deep)
    for x, wide, tall in _RIBS:
        fill = canvas.radial([(0, tone.light), (0.5, tone.base), (1, tone.dark)], lit, 0.85)
        canvas.ellipse((x * 0.94, -40), (wide, tall * 0.86), fill)
    canvas.ellipse(
        (0, -40),
        (17, 42),
        canvas.radial([(0, tone.glint), (0.4, tone.light), (1, tone.base)], lit, 0.8),
    )
    canvas.line(
        "M-16 -78C-26 -60 -26 -20 -14 0M16 -78C26 -60 26 -20 14 0M-36 -76C-54 -58 -54 -22 "
        "-36 -4M36 -76C54 -58 54 -22 36 -4",
        tone.deep,
        1.2,
        alpha=0.6,
    )
    _stem(pen)
    _face(pen)


def _stem(pen: Pen) -> None:
    canvas, stem = pen.canvas, pen.tone("#6f7a3a")
    canvas.path(
        "M-16 -78C-8 -82 8 -82 16 -78C10 -76 8 -80 7 -86C7 -92 12 -96 17 -98L10 -102C2 "
        "-100 -5 -92 -6 -86C-7 -80 -10 -77 -16 -78Z",
        canvas.linear([(0, stem.light), (1, stem.dark)], (0, 0), (1, 0.4)),
    )
    canvas.path(
        "M14 -80C26 -92 44 -94 56 -84C48 -72 30 -68 14 -80Z",
        pen.tone(mix("#6f7a3a", "#3f8a46", 0.6)).base,
    )
    canvas.line(
        "M16 -80C28 -84 42 -86 54 -84M28 -83L34 -90M38 -85L46 -90M30 -82L36 -75", stem.light, 0.9
    )
    canvas.line("M-14 -80C-26 -90 -36 -86 -34 -78C-32 -72 -42 -70 -46 -76", stem.base, 1.6)


def _face(pen: Pen) -> None:
    """Carve a face where a candle would be lit: by day a pumpkin is only a pumpkin."""
    if not (pen.lamps or pen.stage.words & {"halloween", "jack o lantern"}):
        return
    canvas = pen.canvas
    canvas.line(_FACE, pen.tone().deep, 2.6)
    canvas.path(_FACE, canvas.vertical([(0, "#ffb43c"), (0.6, "#ffe27a"), (1, "#fff6c8")], -56, -2))
    canvas.soft((0, -28), (58, 34), "#ffb43c", 0.4)


SUBJECT = Subject(
    name="pumpkin",
    words=(
        "pumpkin",
        "jack o lantern",
        "halloween",
        "kürbis",
        "pompoen",
        "かぼちゃ",
        "カボチャ",
        "ハロウィン",
    ),
    place=Place.LAND,
    home="countryside",
    colour="#e67a22",
    stature=0.17,
    metres=0.5,
    breadth=1.35,
    draw=draw,
    season=Season.AUTUMN,
    plurals=("kürbisse", "pompoenen"),
    lamp=1.2,
)
