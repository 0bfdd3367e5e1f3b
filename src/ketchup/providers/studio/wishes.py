"""How a picture is to be made rather than what is on it: the style, and edits of a photograph."""

from __future__ import annotations

from enum import StrEnum


class Style(StrEnum):
    """What the picture looks made of."""

    PLAIN = "plain"
    WATERCOLOUR = "watercolour"
    NEON = "neon"
    PAPER = "paper"
    LINE = "line"


class Edit(StrEnum):
    """What is done to a photograph that fills the picture; see `retouch`."""

    WARMER = "warmer"
    COOLER = "cooler"
    BRIGHTER = "brighter"
    DARKER = "darker"
    GREY = "grey"
    SEPIA = "sepia"
    FRAME = "frame"
    ADD = "add"
    RECOLOUR = "recolour"
