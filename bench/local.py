"""Local weights: images a second when pictures share a call of the pipeline, and when they do not.

The pipeline is tiny and nobody trained it, and it runs on the CPU. What is compared is the same
engine with `batch` at 1 and at more, asked for the same pictures at once; both have loaded it
before, and take turns.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from statistics import median
from typing import Final

from bench.report import Part
from ketchup.providers.base import AspectRatio, ImageFormat, ImageRequest, ImageSize
from ketchup.providers.local_diffusers import LocalDiffusersProvider, LocalSettings, Weights
from tests.support.tiny_pipeline import tiny_pipeline

BATCHES: Final = (1, 4)
_STEPS: Final = 8
_SIDE: Final = 64


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    rounds: int
    pictures: int


@dataclass(frozen=True, slots=True)
class Rate:
    """Images a second with one `batch`, round by round."""

    batch: int
    rounds: list[float]

    @property
    def median(self) -> float:
        return median(self.rounds)


def measure(plan: Plan) -> list[Rate] | None:
    """Return the rates; None where torch is not installed."""
    if find_spec("torch") is None or find_spec("diffusers") is None:
        return None
    return asyncio.run(_measure(plan))


def part(rates: Sequence[Rate] | None) -> Part:
    """Return the rates as a part of the report."""
    if rates is None:
        return Part(
            name="local",
            table=[],
            notes=["Left out: local weights, for torch is not installed (`make test-local`)."],
        )
    return Part(name="local", table=list(_table(rates)), figures={"rates": rates})


async def _measure(plan: Plan) -> list[Rate]:
    engines = {batch: _engine(batch) for batch in BATCHES}
    rates = [Rate(batch, []) for batch in BATCHES]
    try:
        for engine in engines.values():
            await _draw(engine, max(BATCHES))
        for _ in range(plan.rounds):
            for rate in rates:
                began = time.perf_counter()
                await _draw(engines[rate.batch], plan.pictures)
                rate.rounds.append(plan.pictures / (time.perf_counter() - began))
    finally:
        for engine in engines.values():
            await engine.close()
    return rates


def _engine(batch: int) -> LocalDiffusersProvider:
    weights = Weights(str(tiny_pipeline()), is_folder=True, device="cpu", steps=_STEPS)
    return LocalDiffusersProvider(LocalSettings(weights, sizes=[(_SIDE, _SIDE)], batch=batch))


async def _draw(engine: LocalDiffusersProvider, pictures: int) -> None:
    """Ask for that many pictures at once, each a task of its own."""
    async with asyncio.TaskGroup() as group:
        for seed in range(pictures):
            request = ImageRequest(
                f"ta{seed}", "tiny", f"picture {seed}", (), AspectRatio.SQUARE, ImageSize.K1,
                1, seed, ImageFormat.PNG,
            )  # fmt: skip
            group.create_task(_drawn(engine, request))


async def _drawn(engine: LocalDiffusersProvider, request: ImageRequest) -> None:
    images = await engine.generate(request, progress=lambda _share: None, cancelled=asyncio.Event())
    if len(images) != 1:
        raise RuntimeError(f"{len(images)} pictures instead of 1")


def _table(rates: Sequence[Rate]) -> Iterator[str]:
    yield "| local weights (tiny, CPU) | images/s median (best) | times as fast as one by one |"
    yield "|---|---|---|"
    alone = rates[0]
    for rate in rates:
        ratios = [mine / one for mine, one in zip(rate.rounds, alone.rounds, strict=True)]
        yield (
            f"| `batch = {rate.batch}` | {rate.median:.2f} ({max(rate.rounds):.2f}) "
            f"| {median(ratios):.2f} |"
        )
