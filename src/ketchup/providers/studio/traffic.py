"""Cars on a street that runs to the horizon, with their lights on the road."""

from __future__ import annotations

from ketchup.providers.studio.colour import Colour, mix
from ketchup.providers.studio.model import Stage, Wash
from ketchup.providers.studio.svg import num, polyline


def paint_traffic(stage: Stage) -> None:
    """Let two cars come towards the viewer and one drive away, with their lights on the road."""
    unit, middle = stage.unit, stage.width / 2
    for t, lane, colour in (
        (0.1, -0.4, "#d9b23f"),
        (0.2, 0.42, "#c5443c"),
        (0.46, -0.46, "#4d7fb8"),
    ):
        y = stage.horizon + 10 * unit + (stage.height - stage.horizon) * t
        half = unit * (9 + 78 * t)
        x = middle + lane * (26 * unit + stage.width * 0.6 * t)
        _car(stage, (x, y, half), colour, 0.3 * (1 - t) ** 2)


def _car(stage: Stage, spot: tuple[float, float, float], colour: Colour, depth: float) -> None:
    x, y, half = spot
    canvas, oncoming = stage.canvas, x < stage.width / 2
    canvas.ellipse((x, y), (half * 1.25, half * 0.2), "#07060f", alpha=0.55)
    body = (
        f"M{num(x - half)} {num(y)}V{num(y - half * 0.62)}Q{num(x - half * 0.95)}"
        f" {num(y - half * 0.8)} {num(x - half * 0.74)} {num(y - half * 0.84)}"
        f"L{num(x - half * 0.54)} {num(y - half * 1.32)}Q{num(x)} {num(y - half * 1.44)}"
        f" {num(x + half * 0.54)} {num(y - half * 1.32)}L{num(x + half * 0.74)}"
        f" {num(y - half * 0.84)}Q{num(x + half * 0.95)} {num(y - half * 0.8)}"
        f" {num(x + half)} {num(y - half * 0.62)}V{num(y)}Z"
    )
    canvas.path(
        body,
        canvas.linear(
            [
                (0, stage.shade(mix(colour, "#ffffff", 0.35), depth, 0.4)),
                (0.5, stage.shade(colour, depth)),
                (1, stage.shade(mix(colour, "#10101c", 0.5), depth, -0.5)),
            ]
        ),
    )
    glass = polyline(
        [
            (x - half * 0.6, y - half * 0.86),
            (x - half * 0.46, y - half * 1.24),
            (x + half * 0.46, y - half * 1.24),
            (x + half * 0.6, y - half * 0.86),
        ]
    )
    canvas.path(glass, mix(stage.light.sky[0], stage.light.sky[-1], 0.35))
    lamp = "#fff4cf" if oncoming else "#ff4b3e"
    for way in (-1, 1):
        canvas.rect(
            (x + way * half * 0.78 - half * 0.14, y + half * 0.02, half * 0.28, half * 0.12),
            "#0d0c14",
        )
        canvas.ellipse((x + way * half * 0.68, y - half * 0.52), (half * 0.17, half * 0.12), lamp)
        if stage.light.lamps:
            spread = (half * 1.1, half * 0.8)
            stage.before.append(Wash((x + way * half * 0.68, y - half * 0.5), spread, lamp, 0.65))
            streak = [
                (x + way * half * 0.6, y),
                (x + way * half * 0.76, y),
                (x + way * half * 0.95, y + half * 1.6),
                (x + way * half * 0.4, y + half * 1.6),
            ]
            canvas.path(polyline(streak), canvas.linear([(0, lamp, 0.5), (1, lamp, 0)]))
    canvas.rect(
        (x - half * 0.3, y - half * 0.34, half * 0.6, half * 0.16), stage.shade("#20222c", depth)
    )
