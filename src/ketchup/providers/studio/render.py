"""One picture, from a job to the bytes of a file. The same job gives the same bytes."""

from __future__ import annotations

import hashlib

from ketchup.providers.studio.compose import compose
from ketchup.providers.studio.model import Stage
from ketchup.providers.studio.prompt import parse
from ketchup.providers.studio.raster import rasterise


def draw(prompt: str, seed: int, size: tuple[int, int]) -> Stage:
    """Paint the prompt at a size in pixels of `1K`."""
    text = " ".join(prompt.split())
    key = hashlib.sha256(f"{seed}|{text}".encode(errors="replace")).hexdigest()
    return compose(parse(prompt), (float(size[0]), float(size[1])), key)


def render(prompt: str, seed: int, size: tuple[int, int], image_format: str = "png") -> bytes:
    return rasterise(draw(prompt, seed, size), size, image_format)
