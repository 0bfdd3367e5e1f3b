"""A small round car from the fifties, seen from its side."""

from __future__ import annotations

from ketchup.providers.studio.colour import mix
from ketchup.providers.studio.model import Pen, Place, Subject
from ketchup.providers.studio.svg import ring


def draw(pen: Pen) -> None:
    """Draw it driving towards the light: body, glass, chrome, wheels."""
    with pen.canvas.moved(0, 0, scale=(pen.side, 1)):
        _car(pen)


def _car(pen: Pen) -> None:
    canvas, tone = pen.canvas, pen.tone()
    chrome = pen.tone("#cdd3da")
    body = (
        "M-106 -24C-110 -40 -104 -54 -88 -58C-80 -60 -74 -61 -68 -62C-58 -84 -40 -98 -8 "
        "-99C24 -100 42 -84 54 -62C76 -60 98 -56 104 -42C108 -34 108 -28 106 -22C104 -18 "
        "98 -16 92 -16H-94C-100 -16 -105 -18 -106 -24Z"
    )
    canvas.path(
        body,
        canvas.linear(
            [
                (0, tone.glint),
                (0.2, tone.light),
                (0.5, tone.base),
                (0.85, tone.dark),
                (1, tone.deep),
            ]
        ),
    )
    _glass(pen)
    canvas.line(
        "M-7 -92V-60V-20M52 -60C56 -46 54 -32 50 -20M-62 -60C-66 -46 -64 -34 -58 -22",
        tone.deep,
        1.1,
        alpha=0.7,
    )
    canvas.line("M-104 -44C-60 -50 60 -50 104 -40", chrome.light, 1.8)
    canvas.line("M-2 -54H8", chrome.glint, 2.2)
    canvas.path(
        "M-112 -26H-92V-19H-108Q-113 -20 -112 -26ZM112 -24H90V-17H106Q113 -18 112 -24Z",
        canvas.linear([(0, chrome.glint), (1, chrome.dark)]),
    )
    _lights(pen)
    _wheels(pen)
    canvas.path(
        "M-86 -57C-84 -59 -76 -60.6 -68 -61.4C-60 -80 -42 -95.6 -8 -96.4C-40 -93 -54 -78 -62 -59Z",
        "#ffffff",
        alpha=0.35,
    )


def _glass(pen: Pen) -> None:
    """Mirror the sky in the windows."""
    canvas = pen.canvas
    sky = pen.stage.light.sky
    glass = canvas.linear(
        [
            (0, mix(sky[0], "#1b2433", 0.35)),
            (0.5, mix(sky[-1], "#cfe3ee", 0.2)),
            (1, mix(sky[-1], "#5a6b7c", 0.5)),
        ],
        (0, 0),
        (0.6, 1),
    )
    canvas.path("M-58 -62C-50 -80 -36 -90 -11 -91.5V-62ZM-3 -91.6C22 -92 35 -80 45 -62H-3Z", glass)
    canvas.path(
        "M-50 -62L-34 -86L-26 -89L-42 -62ZM6 -62L14 -90L22 -88L16 -62Z", "#ffffff", alpha=0.3
    )


def _lights(pen: Pen) -> None:
    canvas, chrome = pen.canvas, pen.tone("#cdd3da")
    canvas.ellipse((98, -42), (6.4, 8), chrome.light)
    canvas.ellipse((99, -42), (4.6, 6.2), "#fff2c4" if pen.lamps else pen.tone("#f2efe2").light)
    canvas.ellipse((-102, -42), (3.4, 6), pen.tone("#c22f2f").light)
    if pen.lamps:
        canvas.path(
            "M102 -46L210 -70V-6L102 -36Z",
            canvas.linear([(0, "#fff0c0", 0.6), (1, "#fff0c0", 0)], (0, 0), (1, 0)),
        )


def _wheels(pen: Pen) -> None:
    canvas, tone, chrome = pen.canvas, pen.tone(), pen.tone("#cdd3da")
    for x in (-60, 64):
        canvas.path(f"M{x - 25} -16A25 25 0 0 1 {x + 25} -16Z", tone.deep)
        canvas.circle((x, -19), 19.4, pen.tone("#24242b").base)
        canvas.circle((x, -19), 13.4, pen.tone("#f1ece0").base)
        canvas.circle((x, -19), 9.8, canvas.linear([(0, chrome.glint), (1, chrome.dark)]))
        canvas.line(ring(x, -19, 5, 5), chrome.deep, 0.9)


SUBJECT = Subject(
    name="car",
    words=(
        "car",
        "vintage car",
        "automobile",
        "beetle",
        "auto",
        "oldtimer",
        "wagen",
        "車",
        "自動車",
    ),
    place=Place.LAND,
    home="countryside",
    colour="#3fa6a0",
    stature=0.23,
    metres=2.2,
    breadth=2.2,
    draw=draw,
    varied=True,
    plurals=("autos", "auto's"),
)
