"""`ketchup fake-upstream`: rehearse with an engine that fails on purpose."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ketchup.testing import FakeUpstream


def fake_upstream(
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.")] = 8971,
    faults: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="The share of requests that meet a fault.")
    ] = 0.0,
    seed: Annotated[int, typer.Option(help="Decides which requests do.")] = 0,
    seconds: Annotated[float, typer.Option(min=0.0, help="How long a picture takes.")] = 0.0,
    script: Annotated[
        str, typer.Option(help="What becomes of the first requests, such as 429,slow,huge,ok.")
    ] = "",
) -> None:
    """Pretend to be Google's and OpenAI's image engines, on loopback and without a charge."""
    import asyncio

    from ketchup.testing import FakeUpstream, script_of

    try:
        steps = script_of(script)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--script") from error
    fake = FakeUpstream(port=port, chance=faults, seed=seed, seconds=seconds)
    fake.script(*steps)
    with suppress(KeyboardInterrupt):
        asyncio.run(_serve(fake))


async def _serve(fake: FakeUpstream) -> None:
    import asyncio

    async with fake as upstream:
        print(f"listening at {upstream.url}", flush=True)
        print(f"GOOGLE_GEMINI_BASE_URL={upstream.url} GEMINI_API_KEY=any", flush=True)
        print(f"OPENAI_BASE_URL={upstream.url}/v1 OPENAI_API_KEY=any", flush=True)
        await asyncio.Event().wait()
