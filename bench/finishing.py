"""python -m bench.finishing: what signing a picture costs, by format and size.

It is no part of `make bench`: the pipeline there measures the queue, with an engine whose pixel
takes no time and is not signed. The pictures are one of the gallery, enlarged. Each figure is the
best of some trips; the CPU is the child's own and the server's beside it, and how long a trip takes
depends on what else the machine does.
"""

from __future__ import annotations

import io
import tempfile
import time
from pathlib import Path
from typing import Final

from PIL import Image

from ketchup.clock import SystemClock
from ketchup.provenance.containers import Source
from ketchup.provenance.finisher import Finisher, Origin
from ketchup.provenance.signer import load_or_make
from ketchup.providers.base import GeneratedImage, ImageFormat
from ketchup.service import event_loop_runner

_PICTURE: Final = Path(__file__).parents[1] / "docs" / "gallery" / "neon-city.webp"
_SIDES: Final = (1024, 2048, 4096)
_TRIPS: Final = 7
_ORIGIN: Final = Origin(Source.RULES, "the bench", "0")


async def measure() -> None:
    """Print a table."""
    with tempfile.TemporaryDirectory() as folder:
        finisher = Finisher(
            load_or_make(Path(folder), SystemClock()), processes=1, jobs_per_process=9999
        )
    begun = time.perf_counter()
    await _trip(finisher, _encoded(ImageFormat.PNG, 8), ImageFormat.PNG)
    (child,) = finisher._children._idle  # noqa: SLF001 whose CPU it is that is measured
    print(f"a child starts in {time.perf_counter() - begun:.2f} s, {_cpu(child.pid):.2f} s of CPU")
    print("\n| pixels | given | stored | CPU of the child, ms | of the server, ms | trip, ms |")
    print("|---|---|---|---|---|---|")
    for side in _SIDES:
        for given in ImageFormat:
            picture = _encoded(given, side)
            for wished in ImageFormat:
                costs = [await _cost(finisher, child.pid, picture, wished) for _ in range(_TRIPS)]
                best = " | ".join(f"{min(kind) * 1000:.0f}" for kind in zip(*costs, strict=True))
                print(f"| {side} | {given} | {wished} | {best} |", flush=True)
    await finisher.close()


async def _cost(
    finisher: Finisher, child: int, picture: GeneratedImage, wished: ImageFormat
) -> tuple[float, float, float]:
    before = _cpu(child), time.process_time(), time.perf_counter()
    await _trip(finisher, picture, wished)
    after = _cpu(child), time.process_time(), time.perf_counter()
    theirs, ours, whole = (late - early for late, early in zip(after, before, strict=True))
    return theirs, ours, whole


async def _trip(finisher: Finisher, picture: GeneratedImage, wished: ImageFormat) -> None:
    finished = await finisher.finish(picture, wished, _ORIGIN)
    assert finished.is_signed, finished.problem


def _encoded(image_format: ImageFormat, side: int) -> GeneratedImage:
    out = io.BytesIO()
    image = Image.open(_PICTURE).convert("RGB").resize((side, side))
    image.save(out, image_format.name, quality=90, compress_level=2)
    return GeneratedImage(out.getvalue(), image_format, side, side)


def _cpu(pid: int) -> float:
    """Return the seconds that a process of one thread has run."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


if __name__ == "__main__":
    with event_loop_runner() as runner:
        runner.run(measure())
