"""CONTRACT §7: the models, their aliases and prices."""

from __future__ import annotations

from pathlib import Path

import pytest

from ketchup.config import Settings
from tests.support.engines import PromptedProvider, ScriptedProvider
from tests.support.service import RunningService, running_service

pytestmark = pytest.mark.asyncio(loop_scope="module")

MODELS = [
    (
        "google/gempix2",
        "Nano Banana image generation model",
        ["google/nano-banana-2", "google/gemini-3.1-flash-image-preview"],
        "0.50000000",
    ),
    (
        "google/gemini-2.5-flash-image",
        "Gemini 2.5 Flash image model",
        ["google/nano-banana"],
        "0.25000000",
    ),
]
NAMES = [(name, model, price) for model, _, aliases, price in MODELS for name in (model, *aliases)]


async def test_the_catalogue_is_the_contracts() -> None:
    models = Settings().models
    assert [(name, m.title, list(m.aliases)) for name, m in models.items()] == [
        (name, title, aliases) for name, title, aliases, _ in MODELS
    ]


@pytest.mark.parametrize(("name", "model", "price"), NAMES)
async def test_every_name_of_a_model_costs_its_price_and_renders_it(
    alice: RunningService, engine: PromptedProvider, name: str, model: str, price: str
) -> None:
    seen = engine.script(f"by the name {name}")
    task = await alice.ended(await alice.submit(model=name, prompt=f"by the name {name}"))
    assert (task["status"], task["consumed"]) == ("success", price)
    assert [request.model for request in seen.requests] == [model]


async def test_a_model_is_made_by_settings_alone(tmp_path: Path) -> None:
    """Which engine, price, limits, ratios and sizes: none of it is code."""
    mine = "models.house/painter"
    settings = {
        f"{mine}.title": "House painter",
        f"{mine}.price": "1.25",
        f"{mine}.aliases": ["house/p"],
        f"{mine}.max_reference_images": 1,
        f"{mine}.aspect_ratios": ["1:1", "16:9"],
        f"{mine}.image_sizes": ["1K"],
        f"{mine}.max_n": 2,
        f"{mine}.provider": "brush",
    }
    brush = ScriptedProvider()
    providers = {"studio": ScriptedProvider(), "brush": brush}
    async with running_service(tmp_path, settings=settings, providers=providers) as service:
        task = await service.ended(await service.submit(model="house/p", n=2, image_size="1k"))
        assert task["consumed"] == "2.50000000"
        assert len(brush.requests) == 1
        for fields, detail in (
            ({"images": ["https://h/a"] * 2}, "images supports at most 1 items"),
            ({"aspect_ratio": "4:3"}, "aspect_ratio must be one of auto, 1:1, 16:9"),
            ({"image_size": "2K"}, "image_size must be one of 1K"),
            ({"n": 3}, "n must be an integer from 1 to 2"),
        ):
            body = {"model": "house/painter", "prompt": "x", **fields}
            answer = await service.client.post("/api/image/gen", json=body)
            assert (answer.status_code, answer.json()["detail"]) == (400, detail)
