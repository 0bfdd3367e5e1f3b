"""Snow-capped ranges behind misty valleys, and fir-lined slopes in front."""

from __future__ import annotations

import random
from itertools import pairwise

from ketchup.providers.studio.colour import mix
from ketchup.providers.studio.model import Setting, Stage, Surface
from ketchup.providers.studio.svg import Point, polyline
from ketchup.providers.studio.terrain import (
    blades,
    conifer,
    ground_under,
    height_at,
    hill_under,
    ridge,
    swell,
)

_ROCK = "#566a85"


def backdrop(stage: Stage) -> None:
    """Paint the ranges, reaching down behind the slopes."""
    ranges(stage, stage.horizon + 170 * stage.unit)


def ranges(stage: Stage, foot: float) -> None:
    """Paint the ranges, the farthest first, down to a height of the picture."""
    chance, unit = stage.stream("mountains"), stage.unit
    far = [
        (x, stage.horizon - unit * (95 + 70 * y)) for x, y in ridge(chance, stage.width, steps=7)
    ]
    _layer(stage, far, foot)
    for depth, tall, broad, count in ((0.56, 350, 430, 4), (0.32, 245, 400, 5)):
        _range(stage, chance, (depth, tall * unit, broad * unit, count), foot)


def paint(stage: Stage) -> None:
    """Paint the valley's wooded slopes, each nearer, darker and clearer."""
    chance, unit = stage.stream("slopes"), stage.unit
    growth = stage.growth
    for step in range(3):
        depth = 0.5 - 0.24 * step
        drop = stage.ground(0.1 + 0.27 * step)
        lean = (1 if step % 2 else -1) * stage.side
        line = [
            (x, drop - unit * (34 * y + lean * 90 * (x / stage.width - 0.5)))
            for x, y in swell(chance, stage.width, waves=1.1)
        ]
        wood = mix(growth.conifer, growth.grass, 0.25 if not growth.snow else 0.75)
        top = stage.shade(wood, depth)
        fill = stage.canvas.vertical(
            [(0, top), (1, mix(top, stage.light.haze, 0.5 - 0.2 * step))],
            drop - 60 * unit,
            drop + 200 * unit,
        )
        _trees(stage, chance, line, depth)
        stage.canvas.path(hill_under(line, stage.height), fill)
    _meadow(stage, chance)


def front(stage: Stage) -> None:
    """Frame the view with dark firs at the lower corners."""
    chance, unit = stage.stream("frame"), stage.unit
    colour = stage.shade(mix(stage.growth.conifer, "#0d1a24", 0.5), 0)
    rim = stage.shade(
        mix(stage.growth.conifer, "#ffffff", 0.7 if stage.growth.snow else 0.1), 0, 0.5
    )
    trees, lit = [], []
    for share in (-0.02, 0.045, 0.1, 0.93, 0.99, 1.04):
        tall = unit * chance.uniform(250, 470) * (1.1 if share < 0.03 or share > 0.96 else 0.62)
        foot = (share * stage.width, stage.height + unit * chance.uniform(10, 60))
        state = chance.getstate()
        trees.append(conifer(chance, foot, tall))
        chance.setstate(state)
        lit.append(conifer(chance, foot, tall, half=stage.side))
    stage.canvas.path("".join(trees), colour)
    stage.canvas.path("".join(lit), rim, alpha=0.55)


def _layer(stage: Stage, line: list[Point], foot: float) -> None:
    colour = stage.shade(stage.tint("mountains", _ROCK), 0.86)
    fill = stage.canvas.vertical(
        [(0, colour), (1, stage.light.haze)],
        min(y for _, y in line),
        stage.horizon + 30 * stage.unit,
    )
    stage.canvas.path(ground_under(line, foot), fill)


def _range(
    stage: Stage, chance: random.Random, shape: tuple[float, float, float, int], foot: float
) -> None:
    rock = stage.tint("mountains", _ROCK)
    base = min(foot, stage.horizon + 70 * stage.unit)
    depth, tall, broad, count = shape
    count = max(3, round(count * stage.width / stage.height * 0.75 + count * 0.25))
    order = list(range(count))
    chance.shuffle(order)
    summit = order[0]
    peaks = []
    for i in range(count):
        size = tall * (1.15 if i == summit else chance.uniform(0.5, 0.85))
        x = stage.width * ((i + 0.5) / count + chance.uniform(-0.5, 0.5) / count)
        peaks.append((size, x, broad * chance.uniform(0.9, 1.3) * (size / tall) ** 0.5))
    for size, x, width in sorted(peaks, reverse=True):
        peak(
            stage,
            chance,
            ((x, stage.horizon - size), width, base),
            (rock, depth),
        )


def peak(
    stage: Stage,
    chance: random.Random,
    shape: tuple[Point, float, float],
    surface: tuple[str, float],
) -> None:
    """Paint one mountain (apex, width, base) of a rock at a depth: a lit and a shaded face."""
    (apex, width, base), (rock, depth) = shape, surface
    side, light = stage.side, stage.light
    lit = _edge(chance, apex, (apex[0] + side * width * chance.uniform(0.42, 0.55), base), 0.05)
    dark = _edge(chance, apex, (apex[0] - side * width * chance.uniform(0.42, 0.55), base), 0.05)
    spine = _edge(chance, apex, (apex[0] + side * width * chance.uniform(-0.16, 0.1), base), 0.13)
    for face, facing in ((lit, 0.9), (dark, -0.9)):
        colour = stage.shade(rock, depth, facing)
        fill = stage.canvas.vertical(
            [(0, colour), (0.45, mix(colour, light.haze, 0.12)), (1, light.haze)], apex[1], base
        )
        stage.canvas.path(polyline([*face, *reversed(spine)]), fill)
    snow = 0.72 if stage.growth.snow else chance.uniform(0.3, 0.44)
    for face, facing in ((lit, 1.0), (dark, -0.75)):
        cap = _cap(chance, face, spine, apex[1] + (base - apex[1]) * snow)
        stage.canvas.path(cap, stage.shade("#f7fbff", depth * 0.75, facing))
    _gullies(stage, chance, (spine, lit), (rock, depth, apex[1] + (base - apex[1]) * snow))


def _edge(chance: random.Random, start: Point, end: Point, rough: float) -> list[Point]:
    points, swing = [start, end], (end[1] - start[1]) * rough
    for _ in range(4):
        split: list[Point] = []
        for a, b in pairwise(points):
            split += [a, ((a[0] + b[0]) / 2 + chance.uniform(-swing, swing), (a[1] + b[1]) / 2)]
        points, swing = [*split, end], swing * 0.6
    return points


def _cap(chance: random.Random, face: list[Point], spine: list[Point], line: float) -> str:
    """Return the snow between a face's edge and the spine, with a ragged lower rim."""
    outer = [point for point in face if point[1] < line]
    inner = [point for point in spine if point[1] < line * 1.0 + 1]
    if len(outer) < 2 or len(inner) < 2:
        return ""
    (x1, y1), (x2, y2) = outer[-1], inner[-1]
    tall = max(1.0, line - face[0][1])
    teeth = []
    for i in range(1, 8):
        t = i / 8
        bite = tall * (chance.uniform(0.02, 0.3) if i % 2 else -chance.uniform(0.05, 0.3))
        teeth.append((x1 + (x2 - x1) * t, y1 + (y2 - y1) * t + bite))
    return polyline([*outer, *teeth, *reversed(inner)])


def _gullies(
    stage: Stage,
    chance: random.Random,
    edges: tuple[list[Point], list[Point]],
    surface: tuple[str, float, float],
) -> None:
    """Cut shaded clefts into the lit face, so that it reads as rock."""
    (spine, lit), (rock, depth, snow) = edges, surface
    shards = []
    for i in range(3, len(spine) - 4, 2):
        x, y = spine[i]
        edge_x = lit[i][0]
        start = x + (edge_x - x) * chance.uniform(0.15, 0.7)
        drop = (spine[-1][1] - y) * chance.uniform(0.12, 0.3)
        wide = abs(edge_x - x) * chance.uniform(0.05, 0.16)
        shards.append(
            polyline(
                [
                    (start, y),
                    (start + stage.side * wide * 1.6, y + drop),
                    (start - stage.side * wide * 0.2, y + drop * 0.7),
                ]
            )
        )
    above = stage.shade("#c6d3e4", depth * 0.8, -0.4)
    below = stage.shade(rock, depth, -0.6)
    for i, shard in enumerate(shards):
        stage.canvas.path(shard, above if spine[3 + 2 * i][1] < snow else below, alpha=0.5)


def _trees(stage: Stage, chance: random.Random, line: list[Point], depth: float) -> None:
    unit = stage.unit
    tall = unit * (120 - 150 * depth)
    body, lit = [], []
    count = round(stage.width / (tall * 0.3))
    for _ in range(count):
        x = chance.random() * stage.width
        foot = (x, height_at(line, x) + tall * chance.uniform(0.02, 0.2))
        size = tall * chance.uniform(0.5, 1.15)
        state = chance.getstate()
        body.append(conifer(chance, foot, size))
        chance.setstate(state)
        lit.append(conifer(chance, foot, size, half=stage.side))
    colour = stage.growth.conifer
    stage.canvas.path("".join(body), stage.shade(mix(colour, "#12222e", 0.25), depth, -0.3))
    bright = mix(colour, "#f4f9ff", 0.75) if stage.growth.snow else mix(colour, "#a9c26a", 0.22)
    stage.canvas.path("".join(lit), stage.shade(bright, depth, 0.5), alpha=0.8)


def _meadow(stage: Stage, chance: random.Random) -> None:
    """Lay a near meadow with grass, so that the foreground is never bare."""
    unit, growth = stage.unit, stage.growth
    line = [
        (x, stage.ground(0.74) - unit * 26 * y) for x, y in swell(chance, stage.width, waves=0.9)
    ]
    near = stage.shade(growth.grass, 0.02, 0.3)
    far = stage.shade(mix(growth.grass, growth.conifer, 0.5), 0.0, -0.5)
    stage.canvas.path(
        hill_under(line, stage.height),
        stage.canvas.vertical([(0, near), (1, far)], stage.ground(0.7), stage.height),
    )
    area = (0, stage.ground(0.78), stage.width, stage.height - stage.ground(0.78))
    count = round((70 if growth.snow else 420) * stage.width / stage.height)
    for colour, facing in ((mix(growth.grass, growth.conifer, 0.4), -0.4), (growth.grass, 0.8)):
        stage.canvas.path(blades(chance, area, count, unit * 46), stage.shade(colour, 0, facing))


SETTING = Setting(
    name="mountains",
    words=(
        "mountain",
        "mountains",
        "alps",
        "alpine",
        "peak",
        "peaks",
        "summit",
        "ridge",
        "valley",
        "fjord",
        "cliffs",
        "landscape",
        "hiking",
        "berg",
        "berge",
        "bergen",
        "gebirge",
        "tal",
        "alpen",
        "landschaft",
        "landschap",
        "vallei",
        "山",
        "山々",
        "風景",
    ),
    near=10,
    surface=Surface.LAND,
    horizon=0.52,
    paint=paint,
    backdrop=backdrop,
    front=front,
)
