"""Finishing: what an engine delivered becomes what is stored, picture by picture.

The pictures were paid for. A child that dies or hangs over one is replaced, and the picture tried
once more; then it is stored as it came, unsigned, and the operator reads so in the log. Only what
cannot be decoded at all is refused: that is no picture, and nobody pays for it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from ketchup import __version__, telemetry
from ketchup.confined.children import ChildLost
from ketchup.provenance import Fingerprint
from ketchup.provenance.finisher import Finisher, Origin
from ketchup.providers.base import GeneratedImage, ImageFormat

log = telemetry.logger(__name__)

_BY_MODEL: Final = "trainedAlgorithmicMedia"
_BY_RULES: Final = "algorithmicMedia"
_TRIES: Final = 2


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture as it will be stored. One without a fingerprint could not be worked on."""

    image: GeneratedImage
    fingerprint: Fingerprint | None


class Finishing:
    """Finishes what engines deliver. `by_rules` are the providers that are no AI."""

    def __init__(self, finisher: Finisher, by_rules: Collection[str]) -> None:
        self._finisher = finisher
        self._by_rules = by_rules

    async def finish_all(
        self, images: Sequence[GeneratedImage], wished: ImageFormat, channel: str, model: str
    ) -> list[Picture]:
        """Finish a task's pictures, in order. Raises NotAPicture or Unavailable."""
        source = _BY_RULES if channel in self._by_rules else _BY_MODEL
        origin = Origin(source, model, __version__)
        # One after the other: a task of many pictures must not keep all the children to itself.
        return [await self._finish(image, wished, origin) for image in images]

    async def _finish(self, image: GeneratedImage, wished: ImageFormat, origin: Origin) -> Picture:
        detail = ""
        for _ in range(_TRIES):
            try:
                finished = await self._finisher.finish(image, wished, origin)
            except ChildLost as error:
                detail = str(error)
            else:
                if not finished.is_signed:
                    log.error("a picture is stored unsigned", detail=finished.problem)
                return Picture(finished.image, finished.fingerprint)
        log.error("a picture is stored unsigned, as it came", model=origin.model, detail=detail)
        return Picture(image, None)
