"""Rehearsal: a pipeline without weights, for trying everything around one.

It draws a plain colour that follows from prompt and seed. What a real one does when it likes (run
out of memory, take its time, fail) it does when it is told to.
"""

from __future__ import annotations

import json
import os
import zlib
from pathlib import Path
from typing import Final

from PIL import Image

from ketchup.providers.local_diffusers.drawing import Full, Stepped, file_of
from ketchup.providers.local_diffusers.messages import Abilities, Call, Picture, Rehearsal, Sketch

FAILS: Final = "fail"
"""The prompt that the pipeline fails at."""
UNSAFE: Final = "unsafe"
"""The prompt whose picture is withheld."""


class RehearsedPipeline:
    """See `drawing.Pipeline`."""

    def __init__(self, rehearsal: Rehearsal) -> None:
        if rehearsal.is_missing:
            raise FileNotFoundError("there are no weights")
        self._rehearsal = rehearsal
        # By its number, for it stays open as long as the process lives.
        self._gate = os.open(rehearsal.turnstile, os.O_RDONLY) if rehearsal.turnstile else None
        self.abilities = Abilities(
            references=rehearsal.references,
            needs_reference=rehearsal.needs_reference,
            batches=True,
        )

    def draw(self, call: Call, stepped: Stepped) -> list[Picture]:
        """Note the call, go through its steps, and colour each picture."""
        with Path(self._rehearsal.notes).open("a", encoding="utf-8") as notes:
            notes.write(json.dumps([sketch.prompt for sketch in call.sketches]) + "\n")
        if len(call.sketches) > self._rehearsal.fits:
            raise Full(f"{len(call.sketches)} pictures, and room for {self._rehearsal.fits}")
        for step in range(self._rehearsal.steps):
            if self._gate is not None:
                os.read(self._gate, 1)
            stepped((step + 1) / self._rehearsal.steps)
        return [_picture(sketch, call) for sketch in call.sketches]


def _picture(sketch: Sketch, call: Call) -> Picture:
    if sketch.prompt == FAILS:
        raise ValueError("this prompt fails")
    colour = zlib.crc32(f"{sketch.seed} {sketch.prompt}".encode()).to_bytes(4, "big")
    image = Image.new("RGB", (call.width, call.height), tuple(colour[:3]))
    data = file_of(image, sketch.format)
    return Picture(data, call.width, call.height, is_flagged=sketch.prompt == UNSAFE)
