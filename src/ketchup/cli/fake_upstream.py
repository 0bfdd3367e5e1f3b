"""`ketchup fake-upstream`: rehearse with an engine that fails on purpose."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated

import typer


def fake_upstream(
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.")] = 8971,
    faults: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="The share of requests that meet a fault.")
    ] = 0.0,
    seed: Annotated[int, typer.Option(help="Decides which requests do.")] = 0,
    seconds: Annotated[float, typer.Option(min=0.0, help="How long a picture takes.")] = 0.0,
) -> None:
    """Pretend to be Google's and OpenAI's image engines, on loopback and without a charge."""
    import asyncio

    with suppress(KeyboardInterrupt):
        asyncio.run(_serve(port, faults, seed, seconds))


async def _serve(port: int, faults: float, seed: int, seconds: float) -> None:
    import asyncio

    from ketchup.testing import FakeUpstream

    async with FakeUpstream(port=port, chance=faults, seed=seed, seconds=seconds) as upstream:
        print(f"listening at {upstream.url}", flush=True)
        print(f"GOOGLE_GEMINI_BASE_URL={upstream.url} GEMINI_API_KEY=any", flush=True)
        print(f"OPENAI_BASE_URL={upstream.url}/v1 OPENAI_API_KEY=any", flush=True)
        await asyncio.Event().wait()
