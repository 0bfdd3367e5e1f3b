"""Finishing: what an engine delivered becomes what is stored, picture by picture.

The pictures were paid for. A child that dies, hangs or cannot be started is replaced, and the
picture tried once more; then it is stored in the engine's format, with IPTC's mark but unsigned,
and the operator reads so in the log, once until signing works again. Only what cannot be decoded at
all is refused: that is no picture, and nobody pays for it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Final

from ketchup import __version__, telemetry
from ketchup.confined.children import ChildLost
from ketchup.errors import Unavailable
from ketchup.provenance import Fingerprint, containers
from ketchup.provenance.finisher import Finished, Finisher, Origin
from ketchup.providers.base import GeneratedImage, ImageFormat

log = telemetry.logger(__name__)

_BY_MODEL: Final = "trainedAlgorithmicMedia"
_BY_RULES: Final = "algorithmicMedia"
_TRIES: Final = 2


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture as it will be stored. One without a fingerprint is not known again."""

    image: GeneratedImage
    fingerprint: Fingerprint | None


class Finishing:
    """Finishes what engines deliver. `by_rules` are the providers that are no AI.

    A finisher without a credential is asked only for pictures of another format than the one that
    was wished for, and nothing is remembered of them.
    """

    def __init__(self, finisher: Finisher, by_rules: Collection[str]) -> None:
        self._finisher = finisher
        self._by_rules = by_rules
        self._is_known = False

    async def finish_all(
        self, images: Sequence[GeneratedImage], wished: ImageFormat, provider: str, model: str
    ) -> list[Picture]:
        """Finish a task's pictures, in order. Raises NotAPicture."""
        source = _BY_RULES if provider in self._by_rules else _BY_MODEL
        origin = Origin(source, model, __version__)
        finish = self._sign if self._finisher.signs else self._bring_into_format
        # One after the other: a task of many pictures must not keep all the children to itself.
        return [await finish(image, wished, origin) for image in images]

    async def _sign(self, image: GeneratedImage, wished: ImageFormat, origin: Origin) -> Picture:
        finished = await self._try(image, wished, origin)
        if isinstance(finished, str):
            self._tell(finished)
            # No parser of pixels is needed for what is said without a signature.
            data = containers.marked(image.data, image.format, origin.source)
            return Picture(replace(image, data=data), None)
        self._tell(finished.problem)
        return Picture(finished.image, finished.fingerprint)

    async def _bring_into_format(
        self, image: GeneratedImage, wished: ImageFormat, origin: Origin
    ) -> Picture:
        if image.format is wished:
            return Picture(image, None)
        finished = await self._try(image, wished, origin)
        if isinstance(finished, str):
            log.error("a picture is stored in the engine's format", detail=finished)
            return Picture(image, None)
        return Picture(finished.image, None)

    async def _try(
        self, image: GeneratedImage, wished: ImageFormat, origin: Origin
    ) -> Finished | str:
        """Return the finished picture, or why no child could finish it."""
        detail = ""
        for _ in range(_TRIES):
            try:
                return await self._finisher.finish(image, wished, origin)
            except (ChildLost, Unavailable) as error:
                detail = str(error)
        return detail

    def _tell(self, problem: str) -> None:
        """Tell the operator of a problem once, until pictures are signed again."""
        if problem and not self._is_known:
            log.error(
                "PICTURES ARE STORED UNSIGNED: they are delivered with IPTC's mark alone",
                detail=problem,
            )
        if self._is_known and not problem:
            log.info("pictures are signed again")
        self._is_known = bool(problem)
