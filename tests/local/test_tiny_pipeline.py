"""The engine for local weights with weights: a tiny pipeline, really loaded and really called.

`make test-local` installs what this needs. It runs on the CPU: no GPU was ever seen by these tests.
"""

from __future__ import annotations

import asyncio
import dataclasses
import shutil
import sys
import textwrap
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from ketchup.clock import SystemClock
from ketchup.config import load
from ketchup.egress import Egress
from ketchup.engines import build_engines
from ketchup.providers.base import (
    AspectRatio,
    GeneratedImage,
    ImageFormat,
    ImageRequest,
    ImageSize,
    Misconfigured,
    ReferenceImage,
    Unavailable,
)
from ketchup.providers.local_diffusers import LocalDiffusersProvider, LocalSettings, Weights
from tests.support.pictures import encoded, opened, photo
from tests.support.tiny_pipeline import needs_torch, tiny_pipeline

pytestmark = [
    needs_torch,
    pytest.mark.timeout(300),
    # One loop for all, for loading takes seconds and a pipeline serves many.
    pytest.mark.asyncio(loop_scope="module"),
]

DEADLINE = 240.0
LONG = 20.0
REQUEST = ImageRequest(
    "ta1", "m", "a cat", (), AspectRatio.R3_2, ImageSize.K1, 1, 7, ImageFormat.PNG
)
REFERENCES = tuple(
    ReferenceImage(encoded(photo(), name), ImageFormat(name.lower()), 120, 80)
    for name in ("PNG", "JPEG")
)


def build(
    *,
    batch: int = 1,
    **weights: Any,  # noqa: ANN401 a field each
) -> LocalDiffusersProvider:
    chosen = Weights(**{"source": str(tiny_pipeline()), "is_folder": True, "steps": 4, **weights})
    sizes = [(96, 64), (64, 64)]
    return LocalDiffusersProvider(LocalSettings(chosen, sizes=sizes, batch=batch, batch_wait=LONG))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def provider() -> AsyncIterator[LocalDiffusersProvider]:
    built = build()
    yield built
    await built.close()


async def rendered(
    provider: LocalDiffusersProvider,
    request: ImageRequest = REQUEST,
    *,
    told: Callable[[float], None] = lambda _share: None,
    cancelled: asyncio.Event | None = None,
) -> list[GeneratedImage]:
    async with asyncio.timeout(DEADLINE):
        return list(
            await provider.generate(request, progress=told, cancelled=cancelled or asyncio.Event())
        )


async def test_a_folder_is_loaded_and_draws_step_by_step(provider: LocalDiffusersProvider) -> None:
    told: list[float] = []
    (image,) = await rendered(provider, told=told.append)

    assert opened(image.data).size == (image.width, image.height) == (96, 64)
    assert told == [0.25, 0.5, 0.75, 1.0]


async def test_a_seed_draws_the_same_alone_and_in_a_batch(provider: LocalDiffusersProvider) -> None:
    alone = await rendered(provider, dataclasses.replace(REQUEST, seed=8))
    batched = build(batch=3)
    three = await rendered(batched, dataclasses.replace(REQUEST, count=3))
    await batched.close()

    assert len({image.data for image in three}) == 3
    # On this CPU they are equal. Devices may differ in the last bit of a colour.
    pairs = zip(opened(three[1].data).tobytes(), opened(alone[0].data).tobytes(), strict=True)
    assert max(abs(one - other) for one, other in pairs) <= 1


@pytest.mark.parametrize("count", [1, 2], ids=["one-reference", "two-references"])
async def test_references_change_the_picture(provider: LocalDiffusersProvider, count: int) -> None:
    plain = await rendered(provider)
    edited = await rendered(provider, dataclasses.replace(REQUEST, references=REFERENCES[:count]))

    assert edited[0].data != plain[0].data
    assert opened(edited[0].data).size == (96, 64)


async def test_it_stops_between_steps_and_goes_on_with_the_next(
    provider: LocalDiffusersProvider,
) -> None:
    slow = build(steps=100_000)
    cancelled = asyncio.Event()
    with pytest.raises(Unavailable, match="cancelled"):
        await rendered(slow, told=lambda _share: cancelled.set(), cancelled=cancelled)
    pid = slow.pid
    # The process is the same, and so it has stopped: the next begins only then.
    cancelled.clear()
    with pytest.raises(Unavailable, match="cancelled"):
        await rendered(slow, told=lambda _share: cancelled.set(), cancelled=cancelled)

    assert slow.pid == pid
    await slow.close()
    assert len(await rendered(provider)) == 1


async def test_16_bits_and_offloading_draw_too() -> None:
    # There is nowhere to load off from, but the hooks that do it are all there.
    provider = build(dtype="bfloat16", device="cpu", offload="model")

    assert len(await rendered(provider)) == 1
    await provider.close()


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs the g++ command")
async def test_a_compiled_pipeline_draws_the_same(provider: LocalDiffusersProvider) -> None:
    compiled = build(compile=True)
    one, other = await rendered(compiled), await rendered(provider)
    await compiled.close()

    pairs = zip(opened(one[0].data).tobytes(), opened(other[0].data).tobytes(), strict=True)
    assert max(abs(mine - yours) for mine, yours in pairs) <= 3


@pytest.mark.parametrize(
    ("weights", "told"),
    [
        ({"source": "/nowhere"}, "nowhere"),
        ({"device": "cuda:7"}, "CUDA"),
    ],
    ids=["no-folder", "no-device"],
)
async def test_what_cannot_be_loaded_is_an_operators_matter(
    weights: dict[str, Any], told: str
) -> None:
    provider = build(**weights)
    with pytest.raises(Misconfigured, match=told):
        await rendered(provider)
    await provider.close()


async def test_full_memory_is_recognized_by_what_torch_really_raises() -> None:
    # In a process of its own: torch is loaded by the pipeline's process alone.
    program = textwrap.dedent(
        """
        import torch
        from ketchup.providers.local_diffusers.pipeline import is_full
        try:
            torch.empty(2**50)
        except RuntimeError as error:
            assert is_full(error)
        assert not is_full(RuntimeError("shapes do not match"))
        assert is_full(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB."))
        """
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program)
    assert await asyncio.wait_for(process.wait(), DEADLINE) == 0


async def test_a_channel_of_the_settings_reaches_the_pipeline(tmp_path: Path) -> None:
    (tmp_path / "ketchup.toml").write_text(
        textwrap.dedent(
            f"""
            [channels.gpu]
            provider = "diffusers"
            path = "{tiny_pipeline()}"
            models = ["google/gempix2"]
            sizes = ["32x48"]
            steps = 3
            device = "cpu"
            """
        )
    )
    settings = load({}, folder=tmp_path).settings
    engines = build_engines(settings, Egress(SystemClock()), processes=1)
    provider = engines["channels.gpu"]
    assert isinstance(provider, LocalDiffusersProvider)
    told: list[float] = []
    (image,) = await rendered(provider, told=told.append)
    for engine in engines.values():
        await engine.close()

    assert opened(image.data).size == (32, 48)
    assert told == pytest.approx([1 / 3, 2 / 3, 1.0])
