"""Engines for tests: real providers with a script instead of a renderer."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Sequence

from PIL import Image

from ketchup.providers.base import (
    GeneratedImage,
    ImageRequest,
    Progress,
    dimensions,
    nearest_ratio,
)


class ScriptedProvider:
    """Answers each request from a script, then with plain images.

    An entry is an exception to raise, an Event to wait for, a number of images to return, or bytes
    to return as if they were one. It keeps the requests that it was given.
    """

    def __init__(self, *script: Exception | asyncio.Event | int | bytes) -> None:
        self.requests: list[ImageRequest] = []
        self.started = asyncio.Event()
        self._script = list(script)

    async def generate(
        self,
        request: ImageRequest,
        *,
        progress: Progress,
        cancelled: asyncio.Event,  # noqa: ARG002 the protocol has it; a script ends by itself
    ) -> Sequence[GeneratedImage]:
        self.requests.append(request)
        self.started.set()
        step = self._script.pop(0) if self._script else request.count
        if isinstance(step, Exception):
            raise step
        if isinstance(step, asyncio.Event):
            await step.wait()
            step = request.count
        progress(1.0)
        if isinstance(step, bytes):
            return [GeneratedImage(step, request.output_format, 8, 8)]
        return [plain_image(request, request.seed + place) for place in range(step)]

    async def close(self) -> None:
        pass


class PromptedProvider:
    """An engine that many tests share: each scripts what becomes of its own prompts."""

    def __init__(self) -> None:
        self._plain = ScriptedProvider()
        self._scripts: dict[str, ScriptedProvider] = {}

    def script(
        self, prompt: str, *steps: Exception | asyncio.Event | int | bytes
    ) -> ScriptedProvider:
        """Decide what happens to a prompt, and return who will have seen its requests."""
        self._scripts[prompt] = ScriptedProvider(*steps)
        return self._scripts[prompt]

    async def generate(
        self, request: ImageRequest, *, progress: Progress, cancelled: asyncio.Event
    ) -> Sequence[GeneratedImage]:
        engine = self._scripts.get(request.prompt, self._plain)
        return await engine.generate(request, progress=progress, cancelled=cancelled)

    async def close(self) -> None:
        pass


def plain_image(request: ImageRequest, seed: int) -> GeneratedImage:
    """Return a real image of the right shape, an eighth of the size, in one colour."""
    first = request.references[0] if request.references else None
    ratio = request.aspect_ratio or nearest_ratio(
        *((first.width, first.height) if first else (1, 1))
    )
    width, height = (side // 8 for side in dimensions(ratio, request.image_size))
    out = io.BytesIO()
    colour = (seed * 37 % 256, seed * 91 % 256, seed * 151 % 256)
    Image.new("RGB", (width, height), colour).save(out, request.output_format.value)
    return GeneratedImage(out.getvalue(), request.output_format, width, height)
