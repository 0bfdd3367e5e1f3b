"""A photographer's set: a seamless backdrop, a plinth, one soft light from the side."""

from __future__ import annotations

import math

from ketchup.providers.studio.colour import Colour, chroma, mix, turn, with_lightness
from ketchup.providers.studio.light import Time
from ketchup.providers.studio.model import Setting, Stage, Surface, Wash
from ketchup.providers.studio.svg import num, ring
from ketchup.providers.studio.terrain import leaf

_CALM: tuple[Colour, ...] = ("#c9a68a", "#8fa9b8", "#a8b59a", "#c4a1a8", "#a9a3c2")


def ground_colour(stage: Stage) -> Colour:
    """Return the backdrop's colour: asked for, or one that lets the subject's own colour glow."""
    asked = stage.tints.get("studio") or stage.tints.get("background")
    if asked:
        return with_lightness(asked, 0.82) if "minimal" in stage.words else asked
    if stage.palette and chroma(stage.palette[0]) > 0.04:
        return with_lightness(turn(stage.palette[0], 24, saturation=0.5), 0.8)
    return with_lightness(stage.stream("backdrop").choice(_CALM), 0.82)


def paint(stage: Stage) -> None:
    """Paint wall, light, arch and plinth."""
    wall = ground_colour(stage)
    _wall(stage, wall)
    _arch(stage, wall)
    _leaves(stage, wall)
    _plinth(stage, wall)
    stage.bloom, stage.vignette = 0.12, 0.22


def _wall(stage: Stage, wall: Colour) -> None:
    """Let the wall run into the floor without an edge, brightest where the light falls."""
    deep = mix(wall, "#2a2036", 0.3)
    stage.column = [
        (0, mix(wall, deep, 0.35)),
        (stage.horizon * 0.75, wall),
        (stage.horizon, mix(wall, deep, 0.16)),
        (stage.ground(0.3), mix(wall, "#ffffff", 0.14)),
        (stage.height, mix(wall, deep, 0.2)),
    ]
    x = stage.width * (0.5 + stage.side * 0.22)
    stage.behind.append(
        Wash((x, stage.height * 0.28), (stage.width * 0.75, stage.height * 0.62), "#fff8ec", 0.62)
    )
    far = stage.width * (0.5 - stage.side * 0.55)
    stage.behind.append(
        Wash((far, stage.height * 0.35), (stage.width * 0.55, stage.height * 0.8), deep, 0.5)
    )


def _arch(stage: Stage, wall: Colour) -> None:
    """Stand a niche behind the subject: a quiet shape that holds the composition."""
    unit, canvas, side = stage.unit, stage.canvas, stage.side
    half, top, foot = 262 * unit, stage.horizon - 560 * unit, stage.horizon + 6 * unit
    x = stage.width / 2 + side * 40 * unit
    shape = (
        f"M{num(x - half)} {num(foot)}V{num(top + half)}A{num(half)} {num(half)} 0 0 1"
        f" {num(x + half)} {num(top + half)}V{num(foot)}Z"
    )
    inner = mix(wall, "#3a2a3c", 0.2)
    ends = ((0.0, 0.0), (1.0, 0.25)) if side > 0 else ((1.0, 0.0), (0.0, 0.25))
    canvas.path(
        shape,
        canvas.linear(
            [(0, mix(inner, "#ffffff", 0.2)), (0.35, inner), (1, mix(inner, "#2a2036", 0.28))],
            *reversed(ends),
        ),
    )
    with canvas.clipped(shape), canvas.moved(-side * 22 * unit, 12 * unit):
        canvas.path(shape, mix(wall, "#ffffff", 0.34), alpha=0.5)
    edge = (
        f"M{num(x + side * half)} {num(foot)}V{num(top + half)}A{num(half)} {num(half)} 0 "
        f"0 {0 if side > 0 else 1} {num(x)} {num(top)}"
    )
    canvas.line(edge, mix(wall, "#ffffff", 0.75), 2 * unit, alpha=0.6)


def _leaves(stage: Stage, wall: Colour) -> None:
    """Throw the shadow of a palm leaf on the wall, as if by a window out of sight."""
    unit, side = stage.unit, stage.side
    root = (stage.width * (0.5 + side * 0.46), stage.height * 0.02)
    leaves = []
    for frond, (reach, fall) in enumerate(((470, 230), (330, 430))):
        tip = (root[0] - side * reach * unit, root[1] + fall * unit)
        bend = (root[0] - side * reach * 0.6 * unit, root[1] + fall * 0.15 * unit)
        for i in range(2, 22):
            t = i / 22
            x = root[0] * (1 - t) ** 2 + 2 * bend[0] * t * (1 - t) + tip[0] * t * t
            y = root[1] * (1 - t) ** 2 + 2 * bend[1] * t * (1 - t) + tip[1] * t * t
            along = math.atan2(tip[1] - root[1], tip[0] - root[0]) + (t - 0.5) * 0.5 * side
            length = unit * (150 - 16 * frond) * math.sin(math.pi * (0.15 + 0.8 * t)) ** 0.6
            leaves += [leaf(x, y, length, along + way, 0.16) for way in (-0.62, 0.62)]
    # Drawn twice, a little apart, the shadow gets the soft rim that a window's light gives it.
    for shift, alpha in ((0, 0.09), (7 * unit, 0.08)):
        with stage.canvas.moved(shift, shift):
            stage.canvas.path("".join(leaves), mix(wall, "#2b2140", 0.6), alpha=alpha)


def _plinth(stage: Stage, wall: Colour) -> None:
    unit, canvas = stage.unit, stage.canvas
    x, y = stage.width / 2, stage.ground(0.36)
    half = min((240 + 90 * stage.crowd) * unit, stage.width * 0.47)
    flat, tall = 40 * unit + half * 0.07, 74 * unit
    stone = mix(wall, "#ffffff", 0.45)
    dark = mix(wall, "#2a2036", 0.38)
    canvas.soft(
        (x - stage.side * 120 * unit, y + tall + 6 * unit),
        (half * 1.35, flat * 1.25),
        mix(wall, "#1d1730", 0.75),
        0.5,
    )
    body = (
        f"M{num(x - half)} {num(y)}v{num(tall)}a{num(half)} {num(flat)} 0 0 0"
        f" {num(2 * half)} 0v{num(-tall)}Z"
    )
    ends = ((0.0, 0.0), (1.0, 0.0)) if stage.side < 0 else ((1.0, 0.0), (0.0, 0.0))
    canvas.path(
        body,
        canvas.linear(
            [
                (0, mix(stone, dark, 0.25)),
                (0.22, mix(stone, "#ffffff", 0.3)),
                (0.6, mix(stone, dark, 0.3)),
                (1, mix(stone, dark, 0.75)),
            ],
            *ends,
        ),
    )
    canvas.path(
        ring(x, y, half, flat),
        canvas.linear(
            [
                (0, mix(stone, dark, 0.12)),
                (0.3, mix(stone, "#ffffff", 0.4)),
                (1, mix(stone, dark, 0.18)),
            ],
            *ends,
        ),
    )
    lip = f"M{num(x - half)} {num(y)}a{num(half)} {num(flat)} 0 0 0 {num(2 * half)} 0"
    canvas.line(lip, "#ffffff", 1.6 * unit, alpha=0.55)


SETTING = Setting(
    name="studio",
    words=(
        "studio",
        "product",
        "product shot",
        "product photo",
        "packshot",
        "still life",
        "minimal",
        "minimalist",
        "cosmetic",
        "cosmetics",
        "skincare",
        "podium",
        "backdrop",
        "background",
        "produktfoto",
        "hintergrund",
        "stillleben",
        "stilleven",
        "achtergrond",
        "商品",
        "スタジオ",
        "背景",
    ),
    near=50,
    surface=Surface.TABLE,
    horizon=0.66,
    paint=paint,
    sky=False,
    stand=0.37,
    scale=1.06,
    time=Time.DAY,
    parts=("background", "backdrop"),
)
