"""What falls through the air, and what hangs in it, in front of everything."""

from __future__ import annotations

import random

from ketchup.providers.studio.colour import lighter, mix
from ketchup.providers.studio.light import Season, Weather
from ketchup.providers.studio.model import Stage, Wash
from ketchup.providers.studio.svg import circles, num, polyline

_FORKS = 0.3


def paint_weather(stage: Stage) -> None:
    """Paint rain, snow, mist, wind or drifting petals over the finished scene."""
    chance = stage.stream("weather")
    match stage.weather:
        case Weather.RAIN | Weather.STORM:
            _rain(stage, chance)
        case Weather.SNOW:
            _snow(stage, chance)
        case Weather.FOG:
            _fog(stage, chance)
        case Weather.WIND:
            _wind(stage, chance)
        case Weather.CLEAR | Weather.CLOUDY:
            pass
    if stage.season in {Season.SPRING, Season.AUTUMN} and stage.weather is Weather.WIND:
        _petals(stage, chance)


def paint_lightning(stage: Stage) -> None:
    """Strike a forked bolt from the clouds, behind the land."""
    chance, unit = stage.stream("lightning"), stage.unit
    x = stage.width * (0.5 + stage.side * 0.24)
    bolt, branches = [(x, -5.0)], []
    while bolt[-1][1] < stage.horizon * 0.96:
        px, py = bolt[-1]
        bolt.append((px + chance.uniform(-44, 44) * unit, py + chance.uniform(28, 62) * unit))
        if chance.random() < _FORKS:
            branches.append(_branch(chance, bolt[-1], unit))
    flash = mix(stage.light.sun, "#cfd8ff", 0.5)
    stage.behind.append(Wash((x, stage.horizon * 0.4), (520 * unit, 480 * unit), flash, 0.5))
    data = polyline(bolt, closed=False)
    stage.canvas.line(data, "#dfe6ff", 11 * unit, alpha=0.25)
    stage.canvas.line("".join(branches), "#eef1ff", 2 * unit, alpha=0.85)
    stage.canvas.line(data, "#ffffff", 3.6 * unit)


def _branch(chance: random.Random, start: tuple[float, float], unit: float) -> str:
    points, way = [start], chance.choice((-1, 1))
    for _ in range(chance.randint(2, 5)):
        x, y = points[-1]
        points.append((x + way * chance.uniform(14, 46) * unit, y + chance.uniform(12, 40) * unit))
    return polyline(points, closed=False)


def _rain(stage: Stage, chance: random.Random) -> None:
    """Slant the rain away from the light; near drops are longer and stronger."""
    unit = stage.unit
    colour = mix(lighter(stage.light.sky[-1], 0.5), "#ffffff", 0.3)
    lean = -stage.side * (0.16 if stage.weather is Weather.RAIN else 0.34)
    for drops_wanted, length, width, alpha in (
        (260, 26, 1.1, 0.32),
        (120, 52, 1.7, 0.36),
        (34, 96, 2.4, 0.3),
    ):
        count = round(drops_wanted * stage.width / stage.height)
        drops = []
        for _ in range(count):
            x, y = chance.uniform(-0.1, 1.1) * stage.width, chance.uniform(-0.1, 1) * stage.height
            size = unit * length * chance.uniform(0.6, 1.3)
            drops.append(f"M{num(x)} {num(y)}l{num(lean * size)} {num(size)}")
        stage.canvas.line("".join(drops), colour, width * unit, alpha=alpha)
    _splashes(stage, chance, colour)


def _splashes(stage: Stage, chance: random.Random, colour: str) -> None:
    unit = stage.unit
    rings = []
    for _ in range(46):
        share = chance.uniform(0.25, 1)
        x, y, size = chance.random() * stage.width, stage.ground(share), unit * (3 + 15 * share)
        rings.append(
            f"M{num(x - size)} {num(y)}a{num(size)} {num(size * 0.28)} 0 0 0 {num(2 * size)} 0"
        )
    stage.canvas.line("".join(rings), colour, 1.4 * unit, alpha=0.4)


def _snow(stage: Stage, chance: random.Random) -> None:
    unit = stage.unit
    for count, size, alpha in ((330, 2.2, 0.7), (150, 4.2, 0.85), (36, 8.5, 0.6), (9, 17, 0.28)):
        flakes = [
            (
                chance.random() * stage.width,
                chance.random() * stage.height,
                unit * size * chance.uniform(0.5, 1.2),
            )
            for _ in range(round(count * stage.width / stage.height))
        ]
        stage.canvas.path(circles(flakes), "#ffffff", alpha=alpha)


def _fog(stage: Stage, chance: random.Random) -> None:
    """Hang banks of mist over the ground, thickest at the horizon."""
    unit, haze = stage.unit, lighter(stage.light.haze, 0.2)
    for share, alpha in ((-0.12, 0.3), (0.0, 0.5), (0.14, 0.38), (0.34, 0.22), (0.6, 0.15)):
        for way in (-0.34, 0.34):
            x = stage.width * (0.5 + way + chance.uniform(-0.2, 0.2))
            radii = (stage.width * chance.uniform(0.6, 0.95), unit * chance.uniform(190, 300))
            stage.before.append(Wash((x, stage.ground(share)), radii, haze, alpha))


def _wind(stage: Stage, chance: random.Random) -> None:
    unit = stage.unit
    gusts = []
    for _ in range(5):
        x, y = chance.uniform(-0.1, 0.8) * stage.width, stage.height * chance.uniform(0.12, 0.75)
        reach = unit * chance.uniform(180, 340)
        gusts.append(
            f"M{num(x)} {num(y)}c{num(reach * 0.4)} {num(-26 * unit)}"
            f" {num(reach * 0.6)} {num(26 * unit)} {num(reach)} 0c{num(34 * unit)}"
            f" {num(-14 * unit)} {num(30 * unit)} {num(-46 * unit)} {num(2 * unit)}"
            f" {num(-38 * unit)}"
        )
    stage.canvas.line("".join(gusts), "#ffffff", 2.2 * unit, alpha=0.36)


def _petals(stage: Stage, chance: random.Random) -> None:
    unit = stage.unit
    colours = ("#ffd3e0", "#f7a8c0") if stage.season is Season.SPRING else stage.growth.leaves[:2]
    for colour in colours:
        leaves = []
        for _ in range(40):
            x, y, size = (
                chance.random() * stage.width,
                chance.random() * stage.height,
                unit * chance.uniform(4, 11),
            )
            dx, dy = chance.uniform(-1, 1) * size, chance.uniform(-1, 1) * size
            leaves.append(
                f"M{num(x)} {num(y)}q{num(dx)} {num(-size)} {num(size * 1.6)}"
                f" {num(dy)}q{num(-dx)} {num(size)} {num(-size * 1.6)} {num(-dy)}Z"
            )
        stage.canvas.path("".join(leaves), stage.shade(colour, 0, 0.5))
