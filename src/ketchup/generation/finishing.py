"""Finishing: what an engine delivered becomes what is stored, picture by picture.

What an engine across the network delivers is a stranger's file: a confined child decodes it to its
last row and draws it anew, whether pictures are signed or not. What cannot be decoded is no
picture, and nobody pays for it; nor is one that ends two children, one after the other, or takes
all the time that one has.

All others were paid for. When no child can be started, after a second try the picture is stored in
the engine's format, reduced to the parts that draw it, with IPTC's mark but unsigned, and the
operator reads so in the log, once until it works again. Where nothing is signed anyway, only what
is drawn by rules has the mark, and the log says so of each picture that is stored in its engine's
format.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Final

from ketchup import __version__, telemetry
from ketchup.confined.children import ChildLost, ChildSpent
from ketchup.errors import Unavailable
from ketchup.provenance import Fingerprint, bare, containers
from ketchup.provenance.containers import Source
from ketchup.provenance.finisher import Finished, Finisher, NotAPicture, Origin
from ketchup.providers.base import GeneratedImage, ImageFormat

log = telemetry.logger(__name__)

_TRIES: Final = 2


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture as it will be stored. One without a fingerprint is not known again."""

    image: GeneratedImage
    fingerprint: Fingerprint | None


class Finishing:
    """Finishes what engines deliver. `by_rules` are the providers that are no AI.

    With a finisher without a credential nothing is remembered of them.
    """

    def __init__(self, finisher: Finisher, by_rules: Collection[str]) -> None:
        self._finisher = finisher
        self._by_rules = by_rules
        self._is_known = False

    async def finish_all(
        self, images: Sequence[GeneratedImage], wished: ImageFormat, provider: str, model: str
    ) -> list[Picture]:
        """Finish a task's pictures, in order. Raises NotAPicture."""
        source = Source.RULES if provider in self._by_rules else Source.MODEL
        origin = Origin(source, model, __version__)
        finish = self._sign if self._finisher.signs else self._check
        # One after the other: a task of many pictures must not keep all the children to itself.
        return [await finish(image, wished, origin) for image in images]

    async def _sign(self, image: GeneratedImage, wished: ImageFormat, origin: Origin) -> Picture:
        finished = await self._try(image, wished, origin)
        if isinstance(finished, str):
            self._tell(finished)
            # No parser of pixels is needed for what is said without a signature. A stranger's file
            # can be one of a million parts.
            return Picture(await asyncio.to_thread(_bare, image, origin), None)
        self._tell(finished.problem)
        return Picture(finished.image, finished.fingerprint)

    async def _check(self, image: GeneratedImage, wished: ImageFormat, origin: Origin) -> Picture:
        """Have a picture decoded and brought into its format. What is no AI's work still says so.

        What is drawn by rules comes from a process of ours, so it is whole.
        """
        by_rules = origin.source is Source.RULES
        if not by_rules or image.format is not wished:
            finished = await self._try(image, wished, origin)
            if isinstance(finished, str):
                log.error("a picture is stored in its engine's format", detail=finished)
                image = await asyncio.to_thread(_stripped, image, origin)
            else:
                image = finished.image
        return Picture(_marked(image, origin) if by_rules else image, None)

    async def _try(
        self, image: GeneratedImage, wished: ImageFormat, origin: Origin
    ) -> Finished | str:
        """Return the finished picture, or why no child could finish it. Raises NotAPicture."""
        problems: list[Exception] = []
        for _ in range(_TRIES):
            try:
                return await self._finisher.finish(image, wished, origin)
            except ChildSpent as error:
                raise NotAPicture(f"whoever decodes it {error}") from error
            except (ChildLost, Unavailable) as error:
                problems.append(error)
        if all(isinstance(problem, ChildLost) for problem in problems):
            raise NotAPicture(f"whoever decodes it ends: {problems[-1]}")
        return str(problems[-1])

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


def _stripped(image: GeneratedImage, origin: Origin) -> GeneratedImage:
    """Leave nothing of a stranger's file but the parts that draw it. Raises NotAPicture."""
    if origin.source is Source.RULES:
        return image
    try:
        return replace(image, data=bare.stripped(image.data, image.format))
    except ValueError as error:
        raise NotAPicture(str(error)) from error


def _bare(image: GeneratedImage, origin: Origin) -> GeneratedImage:
    return _marked(_stripped(image, origin), origin)


def _marked(image: GeneratedImage, origin: Origin) -> GeneratedImage:
    return replace(image, data=containers.marked(image.data, image.format, origin.source))
