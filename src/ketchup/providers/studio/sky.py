"""The sky: its gradient, the sun or moon, stars and clouds."""

from __future__ import annotations

from ketchup.providers.studio.colour import lighter, mix
from ketchup.providers.studio.model import Stage, Wash
from ketchup.providers.studio.svg import circles, lens, ring, star
from ketchup.providers.studio.terrain import cloud

_LOW = 0.35
"""The sun's altitude under which clouds lie in long wisps."""
_OVERCAST = 0.9
"""How much cloud makes the sky dark."""
_NEON_DARK = 0.55
"""The darkness from which a sun that still shines can only be a painted one."""


def paint_sky(stage: Stage) -> None:
    """Paint everything above the horizon that is not land."""
    paint_column(stage)
    if stage.light.stars:
        paint_stars(stage, stage.horizon, round(170 * stage.width / stage.height))
    paint_sun(stage)
    paint_clouds(stage)


def paint_column(stage: Stage) -> None:
    """Lay the sky's colours from the top down to the horizon, and go on in the haze below it."""
    sky = stage.light.sky
    tint = stage.tints.get("sky")
    if tint:
        sky = tuple(mix(colour, stage.shade(tint), 0.62) for colour in sky)
    last = len(sky) - 1
    stage.column = [(stage.horizon * (i / last) ** 0.92, colour) for i, colour in enumerate(sky)]
    stage.column += [(stage.horizon + 1, sky[-1]), (stage.height, stage.light.haze)]


def paint_stars(stage: Stage, bottom: float, count: int) -> None:
    """Scatter stars, denser towards the top, with a few that sparkle."""
    chance, unit = stage.stream("stars"), stage.unit
    for colour, share in (("#ffffff", 0.55), ("#cfe0ff", 0.3), ("#ffe6c2", 0.15)):
        for size, alpha in ((0.9, 0.55), (1.5, 0.85)):
            dots = [
                (
                    chance.random() * stage.width,
                    chance.random() ** 1.25 * bottom * 0.96,
                    unit * size * chance.uniform(0.6, 1.3),
                )
                for _ in range(round(count * share / 2))
            ]
            stage.canvas.path(circles(dots), colour, alpha=alpha)
    sparkles = [
        star(
            chance.random() * stage.width,
            chance.random() * bottom * 0.7,
            unit * chance.uniform(6, 11),
            waist=0.09,
        )
        for _ in range(max(3, count // 34))
    ]
    stage.canvas.path("".join(sparkles), "#ffffff", alpha=0.9)


def paint_sun(stage: Stage) -> None:
    """Paint the glow, then the disc of the sun or moon."""
    light, unit = stage.light, stage.unit
    wide = 1.5 if stage.sun[1] > stage.horizon * 0.6 else 1.0
    for radius, alpha in ((980.0, 0.5), (460.0, 0.55), (190.0, 0.5)):
        radii = (radius * unit * wide, radius * unit)
        stage.behind.append(Wash(stage.sun, radii, light.sun, alpha * light.glow))
    if not light.disc:
        return
    radius = light.disc * unit
    if light.moon:
        _moon(stage, radius)
    elif light.darkness > _NEON_DARK:
        _neon_sun(stage, radius)
    else:
        stage.canvas.circle(stage.sun, radius, lighter(light.sun, 0.35))


def _moon(stage: Stage, radius: float) -> None:
    x, y = stage.sun
    body = [(0, "#ffffff"), (0.6, "#f3f1e6"), (1, "#d9dceb")]
    stage.canvas.circle(stage.sun, radius, stage.canvas.radial(body, (0.42, 0.4), 0.6))
    seas = (
        (-0.3, -0.25, 0.26),
        (0.28, -0.05, 0.2),
        (-0.08, 0.36, 0.17),
        (0.42, 0.36, 0.1),
        (-0.52, 0.22, 0.1),
    )
    spots = "".join(
        ring(x + a * radius, y + b * radius, c * radius, c * radius * 0.85) for a, b, c in seas
    )
    stage.canvas.path(spots, "#b7bdd2", alpha=0.5)


def _neon_sun(stage: Stage, radius: float) -> None:
    x, y = stage.sun
    fill = stage.canvas.linear([(0, "#ffe25a"), (0.5, "#ff7a6b"), (1, "#ff2d8f")])
    bands, top = [], y - radius
    for share, height in ((0.0, 0.58), (0.62, 0.1), (0.77, 0.08), (0.9, 0.06)):
        bands.append(
            f"M{x - radius:.1f} {top + share * 2 * radius:.1f}h{2 * radius:.1f}"
            f"v{height * 2 * radius:.1f}h{-2 * radius:.1f}Z"
        )
    with stage.canvas.clipped("".join(bands)):
        stage.canvas.circle(stage.sun, radius, fill)


def paint_clouds(stage: Stage) -> None:
    """Paint heaped clouds by day and long wisps when the sun is low."""
    chance, unit, light = stage.stream("clouds"), stage.unit, stage.light
    low = light.altitude < _LOW
    count = round((2 + 7 * light.clouds) * min(1.6, stage.width / stage.height) ** 0.7)
    bright = mix(light.sky[-1], lighter(light.sun, 0.3), 0.55)
    shadow = mix(light.sky[1], light.sky[-1], 0.45)
    if light.clouds > _OVERCAST:
        bright, shadow = mix(light.sky[-1], light.sky[0], 0.25), mix(light.sky[0], "#10141c", 0.25)
    for i in range(count):
        depth = (i + chance.random()) / count
        y = stage.horizon * (0.1 + 0.62 * depth)
        x = chance.uniform(-0.1, 1.1) * stage.width
        wide = unit * chance.uniform(240, 460) * (1.25 - 0.7 * depth)
        if low and light.clouds < _OVERCAST:
            _wisp(stage, (x, y), wide, (bright, shadow))
        else:
            _heap(stage, (x, y), wide, (bright, shadow))


def _heap(stage: Stage, centre: tuple[float, float], wide: float, colours: tuple[str, str]) -> None:
    chance = stage.stream(f"cloud {centre[0]:.2f}")
    bright, shadow = colours
    discs = cloud(chance, centre, wide)
    top = min(y - r for _, y, r in discs)
    base = centre[1] + wide * 0.05
    fill = stage.canvas.vertical(
        [(0, bright, 0.95), (0.5, mix(bright, shadow, 0.4), 0.7), (1, shadow, 0.0)], top, base
    )
    stage.canvas.path(circles(discs), fill)


def _wisp(stage: Stage, centre: tuple[float, float], wide: float, colours: tuple[str, str]) -> None:
    chance = stage.stream(f"wisp {centre[0]:.2f}")
    bright, shadow = colours
    for colour, alpha, drop in ((shadow, 0.42, 0.018), (bright, 0.6, 0.0)):
        shapes = []
        for _ in range(chance.randint(3, 5)):
            x = centre[0] + chance.uniform(-0.6, 0.6) * wide
            y = centre[1] + chance.uniform(-0.07, 0.07) * wide + drop * wide
            shapes.append(
                lens(x, y, wide * chance.uniform(0.35, 0.95), wide * chance.uniform(0.02, 0.05))
            )
        stage.canvas.path("".join(shapes), colour, alpha=alpha)
