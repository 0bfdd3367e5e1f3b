"""Nothing but one even tone: for things that shall be cut out and used elsewhere."""

from __future__ import annotations

from typing import Final

from ketchup.providers.studio.light import Time
from ketchup.providers.studio.model import Setting, Stage, Surface

_PAPER: Final = "#f7f7f5"


def paint(stage: Stage) -> None:
    """Fill the picture evenly, up to its edges: a border that varies cannot be cut away."""
    paper = stage.tints.get("plain", _PAPER)
    stage.column = [(0, paper), (stage.height, paper)]
    stage.bloom = stage.vignette = 0.0


SETTING = Setting(
    name="plain",
    words=(
        "plain background",
        "plain backdrop",
        "plain white background",
        "white background",
        "pure white background",
        "solid background",
        "blank background",
        "seamless background",
        "isolated",
        "isolated on white",
        "cutout",
        "cut out",
        "freigestellt",
        "weißer hintergrund",
        "weißem hintergrund",
        "witte achtergrond",
        "白背景",
        "白い背景",
    ),
    near=60,
    surface=Surface.TABLE,
    horizon=0.66,
    paint=paint,
    sky=False,
    stand=0.37,
    scale=1.06,
    time=Time.DAY,
)
