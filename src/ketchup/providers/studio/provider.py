"""The studio as a provider: shares one request's pictures out to the renderer's processes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ketchup.providers.base import GeneratedImage, ImageRequest, Progress, Unavailable, size_of
from ketchup.providers.studio.job import Job
from ketchup.providers.studio.pool import Pool
from ketchup.providers.waiting import together, unless


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
        return await unless(cancelled, together([render(job) for job in jobs]), stopped)

    async def close(self) -> None:
        """End every process."""
        await self._pool.close()

    def pids(self) -> list[int]:
        """Return the renderer's processes that run now."""
        return self._pool.pids()


def _job(request: ImageRequest, index: int) -> Job:
    width, height = size_of(request)
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
