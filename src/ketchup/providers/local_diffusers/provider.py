"""Local weights as a provider: a request is `count` pictures, each from a seed of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ketchup.providers.base import GeneratedImage, ImageRequest, Progress, Unavailable, size_of
from ketchup.providers.local_diffusers.batches import Batches, LocalSettings, Wanted
from ketchup.providers.local_diffusers.messages import Sketch
from ketchup.providers.waiting import together, unless


class LocalDiffusersProvider:
    """See `Provider`. Image i of a request is drawn from `seed + i`.

    Its process starts with the first request, and loading the weights may take minutes then.
    """

    def __init__(self, settings: LocalSettings) -> None:
        self._settings = settings
        self._batches = Batches(settings)

    async def generate(
        self, request: ImageRequest, *, progress: Progress, cancelled: asyncio.Event
    ) -> Sequence[GeneratedImage]:
        """See `Provider.generate`. Raises Unavailable once `cancelled` is set."""
        done = [0.0] * request.count

        def tell(place: int, share: float) -> None:
            # A call that is tried again starts anew, and what was told is not taken back.
            if share > done[place]:
                done[place] = share
                progress(sum(done) / len(done))

        async def render(place: int) -> GeneratedImage:
            wanted = self._wanted(request, place, lambda share: tell(place, share))
            picture = await self._batches.draw(wanted)
            tell(place, 1.0)
            return GeneratedImage(
                picture.data, request.output_format, picture.width, picture.height
            )

        stopped = Unavailable("The task was cancelled while it rendered.")
        pictures = [render(place) for place in range(request.count)]
        return await unless(cancelled, together(pictures), stopped)

    async def close(self) -> None:
        """End the process."""
        await self._batches.close()

    @property
    def pid(self) -> int | None:
        """The pipeline's process, while there is one."""
        return self._batches.pid

    def _wanted(self, request: ImageRequest, place: int, told: Progress) -> Wanted:
        return Wanted(
            sketch=Sketch(
                # A lone surrogate has no UTF-8 form, and so could not cross to the other process.
                prompt=request.prompt.encode("utf-8", "replace").decode(),
                seed=request.seed + place,
                format=request.output_format.value,
            ),
            size=size_of(request, self._settings.sizes),
            references=tuple(reference.data for reference in request.references),
            told=told,
            since=asyncio.get_running_loop().time(),
        )
