"""A cup of coffee on a saucer, steaming."""

from __future__ import annotations

from ketchup.providers.studio.colour import mix
from ketchup.providers.studio.model import Pen, Place, Subject
from ketchup.providers.studio.svg import ring


def draw(pen: Pen) -> None:
    """Draw saucer, handle, cup, drink and steam."""
    canvas, side, tone = pen.canvas, pen.side, pen.tone()
    canvas.ellipse((0, -6), (56, 11), tone.deep)
    canvas.ellipse((0, -8.5), (56, 11), pen.round())
    canvas.ellipse((0, -8.5), (38, 7), tone.dark, alpha=0.6)
    grip = -side
    handle = f"M{grip * 31} -56C{grip * 58} -64 {grip * 62} -28 {grip * 27} -24"
    canvas.line(handle, tone.dark, 8)
    canvas.line(handle, tone.light, 5.2)
    bowl = "M-36 -66C-36 -36 -30 -12 -14 -9H14C30 -12 36 -36 36 -66Z"
    canvas.path(bowl, pen.round())
    with canvas.clipped(bowl):
        canvas.rect((-40, -26, 80, 20), canvas.linear([(0, tone.deep, 0), (1, tone.deep, 0.6)]))
    canvas.ellipse((0, -66), (36, 8.6), tone.light)
    canvas.ellipse((0, -65.4), (33, 7.2), tone.dark)
    drink = pen.part("coffee", "#6b3f22")
    canvas.path(
        ring(0, -64.4, 32, 6.4), canvas.linear([(0, mix(drink, "#1a0c06", 0.45)), (1, drink)])
    )
    canvas.path(
        "M-14 -64.4C-14 -68 14 -68 14 -64.4C14 -61 6 -60.4 0 -61.4C-6 -60.4 -14 -61 -14 -64.4Z",
        "#e6c49a",
        alpha=0.9,
    )
    canvas.path("M-6 -64.6Q0 -67.4 6 -64.6Q0 -60.8 -6 -64.6Z", "#a8733f")
    canvas.line(
        f"M{side * 27} -58C{side * 27} -44 {side * 24} -28 {side * 17} -18", "#ffffff", 3, alpha=0.5
    )
    steam = pen.stage.shade("#ffffff", 0.1, 0.5)
    for x, tall in ((-11, 26), (2, 36), (13, 24)):
        for spread, alpha in ((5.5, 0.1), (3, 0.18)):
            canvas.line(
                f"M{x} -72c-9 {-tall * 0.3} 9 {-tall * 0.45} 0 {-tall * 0.75}s5"
                f" {-tall * 0.3} 1 {-tall * 0.45}",
                steam,
                spread,
                alpha=alpha,
            )


SUBJECT = Subject(
    name="cup",
    words=(
        "cup",
        "mug",
        "coffee",
        "tea",
        "coffee cup",
        "teacup",
        "cappuccino",
        "latte",
        "tasse",
        "kaffee",
        "tee",
        "kopje",
        "koffie",
        "thee",
        "カップ",
        "コーヒー",
        "お茶",
    ),
    place=Place.TABLE,
    home="room",
    colour="#e9dfcf",
    stature=0.36,
    metres=0.16,
    breadth=1.1,
    draw=draw,
    varied=True,
    plurals=("tassen", "kopjes"),
    parts=("coffee",),
    many=2,
)
