"""A brick wall at the end of a pavement, in the light of a lamp: where signs hang."""

from __future__ import annotations

from ketchup.providers.studio.colour import deeper, mix
from ketchup.providers.studio.model import Setting, Stage, Surface, Wash
from ketchup.providers.studio.svg import num
from ketchup.providers.studio.wishes import Style

_ROWS = 26


def paint(stage: Stage) -> None:
    """Lay the courses, every brick in a shade of its own, then the pavement before them."""
    canvas, unit = stage.canvas, stage.unit
    brick = stage.tint("bricks", "#8a4a3c")
    mortar = stage.shade(mix(brick, "#d8c8b8", 0.42), 0, -0.4)
    base = stage.ground(0)
    stage.column = [(0, mortar), (stage.height, mortar)]
    _courses(stage, brick, base)
    canvas.rect((0, base - 16 * unit, stage.width, 20 * unit), stage.shade("#6d675f", 0, -0.1))
    canvas.rect(
        (0, base, stage.width, stage.height - base),
        canvas.vertical(
            [(0, stage.shade("#7d7870", 0, -0.5)), (1, stage.shade("#9a948a", 0, 0.2))],
            base,
            stage.height,
        ),
    )
    joints = "".join(
        f"M{num(stage.width / 2 + x * 130 * unit)} {num(base)}"
        f"L{num(stage.width / 2 + x * 250 * unit)} {num(stage.height)}"
        for x in range(-8, 9)
    )
    canvas.line(joints, stage.shade("#4c4742", 0, -0.4), 2.4 * unit, alpha=0.6)
    if stage.light.lamps and stage.style is not Style.NEON:
        _lamp(stage, base)
    else:
        lamp = (stage.width * (0.5 + stage.side * 0.22), base * 0.3)
        glow = Wash(lamp, (700 * unit, 620 * unit), "#ffe2b0", 0.22 * stage.light.glow)
        stage.before.append(glow)


def _lamp(stage: Stage, base: float) -> None:
    """Hang a lamp on the wall, whose light falls on the wall and the pavement."""
    canvas, unit = stage.canvas, stage.unit
    x, y = stage.width * (0.5 + stage.side * 0.03), base * 0.26
    iron = stage.shade("#2c2a30", 0, -0.2)
    canvas.line(
        f"M{num(x)} {num(y - 70 * unit)}Q{num(x)} {num(y - 96 * unit)} {num(x - 30 * unit)}"
        f" {num(y - 96 * unit)}",
        iron,
        6 * unit,
    )
    canvas.path(
        f"M{num(x - 62 * unit)} {num(y)}Q{num(x - 54 * unit)} {num(y - 66 * unit)} {num(x)}"
        f" {num(y - 70 * unit)}Q{num(x + 54 * unit)} {num(y - 66 * unit)} {num(x + 62 * unit)}"
        f" {num(y)}Z",
        iron,
    )
    canvas.ellipse((x, y), (46 * unit, 11 * unit), "#ffe9b8")
    for radii, share, alpha in (
        ((360, 520), 0.5, 0.5),
        ((170, 150), 0.1, 0.5),
        ((420, 90), 0, 0.4),
    ):
        down = y + (base * 1.12 - y if not share else 520 * share * unit)
        stage.before.append(Wash((x, down), (radii[0] * unit, radii[1] * unit), "#ffc97a", alpha))


def _courses(stage: Stage, brick: str, base: float) -> None:
    """Draw the bricks of each shade as one shape."""
    chance, unit = stage.stream("bricks"), stage.unit
    tall = base / _ROWS
    long, gap = tall * 2.7, 3.2 * unit
    shades = [
        stage.shade(tone, 0, facing)
        for tone, facing in (
            (brick, 0.0),
            (deeper(brick, 0.16), -0.1),
            (mix(brick, "#c88a5c", 0.25), 0.15),
            (deeper(brick, 0.3), -0.2),
            (mix(brick, "#5a4a52", 0.35), 0.0),
        )
    ]
    pieces: list[list[str]] = [[] for _ in shades]
    glints = []
    for row in range(_ROWS + 1):
        x = -long * (0.5 if row % 2 else 1.0) - chance.uniform(0, 0.06) * long
        y = base - (row + 1) * tall
        while x < stage.width:
            dip = chance.uniform(0, 1.6) * unit
            which = min(len(shades) - 1, int(chance.expovariate(0.8)))
            pieces[which].append(
                f"M{num(x + gap)} {num(y + gap + dip)}h{num(long - gap)}v{num(tall - gap - dip)}"
                f"h{num(gap - long)}Z"
            )
            glints.append(f"M{num(x + gap)} {num(y + gap + dip)}h{num(long - gap)}")
            x += long
    for shade, shapes in zip(shades, pieces, strict=True):
        stage.canvas.path("".join(shapes), shade)
    stage.canvas.line("".join(glints), stage.shade("#ffe0c4", 0, 0.4), 1.2 * unit, alpha=0.16)


SETTING = Setting(
    name="bricks",
    words=(
        "brick wall",
        "bricks",
        "brickwork",
        "alley",
        "backsteinmauer",
        "ziegelwand",
        "ziegelmauer",
        "mauer",
        "bakstenen muur",
        "muur",
        "steegje",
        "レンガ",
        "レンガの壁",
        "壁",
    ),
    near=46,
    surface=Surface.LAND,
    horizon=0.78,
    paint=paint,
    sky=False,
)
