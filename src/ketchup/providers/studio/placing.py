"""Paints placed subjects: each with its shadow, its mirror image or the light it throws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ketchup.providers.studio.arrange import Placed
from ketchup.providers.studio.colour import Colour, deeper, mix, turn
from ketchup.providers.studio.model import Pen, Place, Setting, Stage, Surface, Wash
from ketchup.providers.studio.svg import Point, lens, num
from ketchup.providers.studio.terrain import blades, height_at, hill_under, swell

_DRY = {Place.LAND, Place.TABLE}
_AIRY = {Surface.VOID, Surface.DEEP}
_LAMPLIGHT = "#ffb65c"


def paint_placed(stage: Stage, placed: Sequence[Placed], nearest: Setting) -> None:
    """Paint every subject from back to front."""
    if nearest.surface is Surface.WATER:
        placed = _brought_ashore(stage, placed)
    for item in sorted(placed, key=lambda p: (p.subject.place is not Place.SKY, p.foot[1])):
        _paint(stage, item, nearest.surface)


def _brought_ashore(stage: Stage, placed: Sequence[Placed]) -> Sequence[Placed]:
    """Move what cannot swim onto a bank in the foreground, if there is any such thing."""
    if not any(item.subject.place in _DRY for item in placed):
        return placed
    line, down = raise_shore(stage), 0.07 * stage.height
    return [
        replace(item, foot=(item.foot[0], height_at(line, item.foot[0]) + down))
        if item.subject.place in _DRY
        else item
        for item in placed
    ]


def _paint(stage: Stage, item: Placed, surface: Surface) -> None:
    canvas, scale = stage.canvas, item.height / 100
    pen, (x, y) = _pen(stage, item), item.foot
    grounded = item.subject.place is not Place.SKY and surface not in _AIRY
    if grounded and surface is Surface.WATER and item.subject.place is Place.WATER:
        _afloat(stage, item, pen)
        return
    if grounded and surface is Surface.WATER and item.subject.place is Place.DEEP:
        _surfacing(stage, item, pen)
        return
    if grounded:
        _shadow(stage, item)
    if item.subject.lamp and stage.light.lamps:
        reach = item.subject.lamp * item.height
        glow = Wash((x, y - item.height * 0.12), (reach, reach * 0.6), _LAMPLIGHT, 0.42)
        stage.before.append(glow)
    # In a group every other one is turned round: nothing stands in file.
    way = -1 if item.index % 2 else 1
    with canvas.moved(x, y, scale=(way * scale, scale)):
        item.subject.draw(pen)


def _surfacing(stage: Stage, item: Placed, pen: Pen) -> None:
    """Paint the upper half of what lives under water, where it breaks the surface."""
    canvas, scale, (x, y) = stage.canvas, item.height / 100, item.foot
    half = item.height * item.subject.breadth * 0.6
    above = f"M0 0H{num(stage.width)}V{num(y)}H0Z"
    with canvas.clipped(above), canvas.moved(x, y + item.height * 0.42, scale=(scale, scale)):
        item.subject.draw(pen)
    chance = stage.stream(f"splash {item.index}")
    foam = [
        lens(
            x + chance.uniform(-1, 1) * half,
            y + chance.uniform(-2, 12) * stage.unit,
            half * chance.uniform(0.2, 0.6),
            stage.unit * chance.uniform(3, 7),
        )
        for _ in range(12)
    ]
    canvas.path("".join(foam), stage.shade("#ffffff", 0.1, 0.5), alpha=0.7)


def _afloat(stage: Stage, item: Placed, pen: Pen) -> None:
    """Paint it once upright and once mirrored, and let the water run over the mirror image."""
    canvas, scale, unit = stage.canvas, item.height / 100, stage.unit
    x, y = item.foot
    own = stage.shade(stage.tint("sea", "#1f7f9c"))
    half = item.height * item.subject.breadth * 0.62
    canvas.soft((x, y + 4 * unit), (half * 1.1, 14 * unit), "#06101f", 0.4)
    # The mirror image is drawn in a light that sinks every colour into the water.
    sunk = replace(stage.light, haze=own, lamps=False)
    mirror = replace(pen, stage=replace(stage, light=sunk), depth=0.62)
    with canvas.moved(x, y + 2 * unit, scale=(scale, -scale * 0.66)):
        item.subject.draw(mirror)
    chance = stage.stream(f"mirror {item.index}")
    bands = []
    for i in range(30):
        t = i / 30
        centre = (x + chance.uniform(-0.7, 0.7) * half, y + (0.04 + 0.66 * t) * item.height)
        bands.append(lens(*centre, half * chance.uniform(0.5, 1.0), unit * (1.4 + 7 * t)))
    canvas.path("".join(bands), own, alpha=0.6)
    with canvas.moved(x, y, scale=(scale, scale)):
        item.subject.draw(pen)
    foam = [
        lens(
            x + chance.uniform(-0.5, 0.5) * half,
            y + chance.uniform(0, 9) * unit,
            half * chance.uniform(0.3, 0.6),
            2.2 * unit,
        )
        for _ in range(6)
    ]
    canvas.path("".join(foam), stage.shade("#ffffff", 0.1, 0.5), alpha=0.55)


def _shadow(stage: Stage, item: Placed) -> None:
    """Lay a shadow that falls away from the light and is darkest where the thing touches."""
    canvas, light = stage.canvas, stage.light
    x, y = item.foot
    half = item.height * item.subject.breadth / 2
    stretch = 0.5 + 1.2 * (1 - light.altitude)
    dark = stage.shade("#14101f", 0, -1)
    canvas.soft(
        (x - stage.side * half * stretch * 0.8, y + half * 0.05),
        (half * (1.0 + stretch * 0.75), half * 0.26),
        dark,
        0.42 * (0.4 + 0.6 * light.glow),
    )
    canvas.soft((x, y), (half * 1.05, half * 0.13 + 2 * stage.unit), dark, 0.7)


def _pen(stage: Stage, item: Placed) -> Pen:
    mention, subject = item.mention, item.subject
    return Pen(
        stage.canvas,
        stage,
        mention.colours or (_variation(item),),
        dict(mention.parts),
        stage.stream(f"{subject.name} {item.index}"),
        depth=min(0.06 * item.index, 0.4) if subject.place is Place.SKY else 0.0,
        stated=bool(mention.colours),
    )


def _variation(item: Placed) -> Colour:
    """Return a colour for one of several: another hue for made things, another shade for others."""
    colour, index = item.subject.colour, item.index
    if item.subject.varied:
        return turn(colour, (0, 150, 40, 205, -60, 95, 260, 20, 180)[index % 9])
    return mix(colour, ("#000000", "#ffffff", "#a8713c")[index % 3], 0.2 if index else 0.0)


def raise_shore(stage: Stage) -> list[Point]:
    """Raise a grassy bank from the lower edge, for those who cannot stand on water."""
    chance, unit, growth = stage.stream("shore"), stage.unit, stage.growth
    line = [
        (x, stage.ground(0.62) + unit * (stage.side * 170 * (x / stage.width - 0.5) - 14 * y))
        for x, y in swell(chance, stage.width, waves=1.4)
    ]
    under = [(x, y + 9 * unit) for x, y in line]
    rock = stage.canvas.vertical(
        [(0, stage.shade("#a08c76", 0.05, 0.3)), (1, stage.shade("#4a3d3c", 0, -0.5))],
        stage.ground(0.5),
        stage.height,
    )
    foam = [(x, y - 7 * unit) for x, y in line]
    stage.canvas.path(hill_under(foam, stage.height), stage.shade("#ffffff", 0.05, 0.4), alpha=0.6)
    stage.canvas.path(hill_under(line, stage.height), rock)
    grass = stage.canvas.vertical(
        [
            (0, stage.shade(growth.grass, 0.03, 0.6)),
            (1, stage.shade(deeper(growth.grass, 0.4), 0, -0.3)),
        ],
        stage.ground(0.55),
        stage.height,
    )
    stage.canvas.path(hill_under(under, stage.height), grass)
    for low, colour, facing in (
        (0.72, growth.conifer, -0.2),
        (0.74, growth.grass, 0.9),
        (0.9, growth.conifer, -0.5),
    ):
        area = (0, stage.ground(low), stage.width, stage.height - stage.ground(low))
        stage.canvas.path(blades(chance, area, 200, 54 * unit), stage.shade(colour, 0, facing))
    return line
