"""The decoder: strangers' bytes in, a harmless image out, by way of a child process.

How children are kept is `ketchup.confined`'s matter. What one answers is checked here as if it had
been taken over.

What a child does is written in `sandbox`. That script is never imported here, so that no image
parser is in the server's memory; the words that both sides use are therefore written down twice.
"""

from __future__ import annotations

import struct
from functools import partial
from pathlib import Path
from typing import Final

from ketchup.confined.children import Child, ChildLost, Children
from ketchup.providers.base import ImageFormat, ReferenceImage
from ketchup.references.errors import Problem, ReferenceFailed

MEMORY_BYTES: Final = 384 * 1024 * 1024
CPU_SECONDS: Final = 10

_SANDBOX: Final = Path(__file__).with_name("sandbox.py")
_REQUEST: Final = struct.Struct(">cI")
_ANSWER: Final = struct.Struct(">cIII")
_CODES: Final = {ImageFormat.PNG: b"P", ImageFormat.JPEG: b"J", ImageFormat.WEBP: b"W"}
_FORMATS: Final = {b"P": ImageFormat.PNG, b"J": ImageFormat.JPEG}
_REFUSALS: Final = {
    b"L": Problem.TOO_LARGE,
    b"A": Problem.ANIMATED,
    b"U": Problem.NOT_DECODED,
}
_MAX_SIDE: Final = 2048
_MAX_BYTES: Final = 7_000_000


class Decoder:
    """Decodes images in at most `processes` children. Safe for concurrent use."""

    def __init__(
        self,
        *,
        processes: int = 2,
        jobs_per_process: int = 100,
        seconds: float = 10.0,
        memory_bytes: int = MEMORY_BYTES,
    ) -> None:
        self._children = Children(
            _SANDBOX,
            processes=processes,
            jobs_per_process=jobs_per_process,
            memory_bytes=memory_bytes,
            cpu_seconds=CPU_SECONDS,
        )
        self._seconds = seconds

    async def decode(self, data: bytes, image_format: ImageFormat) -> ReferenceImage:
        """Redraw an image of that format: upright, at most 2048 pixels wide or high, under 7 MB.

        Raises ReferenceFailed, or Unavailable when no child can be started.
        """
        try:
            return await self._children.run(
                partial(_exchange, data=data, image_format=image_format),
                seconds=self._seconds,
                answers=(ReferenceFailed,),
            )
        except ChildLost as error:
            raise ReferenceFailed(Problem.NOT_DECODED, f"the decoder {error}") from error

    async def close(self) -> None:
        """End the idle children. May be called twice; a job under way ends its child itself."""
        await self._children.close()


async def _exchange(child: Child, data: bytes, image_format: ImageFormat) -> ReferenceImage:
    await child.send(_REQUEST.pack(_CODES[image_format], len(data)), data)
    verdict, width, height, length = _ANSWER.unpack(await child.receive(_ANSWER.size))
    if verdict in _REFUSALS:
        raise ReferenceFailed(_REFUSALS[verdict], "by the decoder")
    sides = 1 <= min(width, height) <= max(width, height) <= _MAX_SIDE
    if verdict not in _FORMATS or not sides or length > _MAX_BYTES:
        raise EOFError("the child answers nonsense")
    return ReferenceImage(
        data=await child.receive(length),
        format=_FORMATS[verdict],
        width=width,
        height=height,
    )
