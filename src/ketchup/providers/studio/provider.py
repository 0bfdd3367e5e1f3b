"""The studio as a provider: shares one request's pictures out to the renderer's processes."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from ketchup.providers.base import (
    AspectRatio,
    GeneratedImage,
    ImageRequest,
    Progress,
    Unavailable,
    dimensions,
    nearest_ratio,
)
from ketchup.providers.studio.job import Job
from ketchup.providers.studio.pool import Pool
from ketchup.providers.waiting import unless

T = TypeVar("T")


class StudioProvider:
    """Renders with `processes` processes, which start with the first request.

    Image i of a request is drawn from `seed + i`. `deadline` is in seconds, for one picture.
    """

    def __init__(self, *, processes: int, deadline: float = 120.0) -> None:
        self._pool = Pool(processes, deadline=deadline)

    async def generate(
        self, request: ImageRequest, *, progress: Progress, cancelled: asyncio.Event
    ) -> Sequence[GeneratedImage]:
        """See `Provider.generate`. Raises Unavailable once `cancelled` is set."""
        jobs = [_job(request, index) for index in range(request.count)]
        done = 0

        async def render(job: Job) -> GeneratedImage:
            nonlocal done
            data = await self._pool.render(job)
            done += 1
            progress(done / len(jobs))
            return GeneratedImage(data, request.output_format, job.width, job.height)

        stopped = Unavailable("The task was cancelled while it rendered.")
        return await unless(cancelled, _together([render(job) for job in jobs]), stopped)

    async def close(self) -> None:
        """End every process."""
        await self._pool.close()

    def pids(self) -> list[int]:
        """Return the renderer's processes that run now."""
        return self._pool.pids()


def _job(request: ImageRequest, index: int) -> Job:
    width, height = dimensions(_ratio(request), request.image_size)
    return Job(
        # A lone surrogate has no UTF-8 form, and so could not cross to the other process.
        prompt=request.prompt.encode("utf-8", "replace").decode(),
        seed=request.seed + index,
        width=width,
        height=height,
        scale=request.image_size.scale,
        format=request.output_format.value,
        references=tuple(reference.data for reference in request.references),
        is_test=request.is_test,
    )


def _ratio(request: ImageRequest) -> AspectRatio:
    if request.aspect_ratio is not None:
        return request.aspect_ratio
    if request.references:
        return nearest_ratio(request.references[0].width, request.references[0].height)
    return AspectRatio.SQUARE


async def _together(works: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Run all at once; the first failure cancels the others, and none is left behind."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            # A second cancel would interrupt the ending of its process.
            if not task.cancelling():
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
