"""A whole service: what it stores is signed, logged, and known again when it was stripped."""

from __future__ import annotations

import hashlib
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from PIL import Image

from ketchup.clock import SystemClock
from ketchup.provenance.mark import Claim, Marker, Source
from ketchup.provenance.signer import load_or_make
from ketchup.provenance.verify import State, verify
from ketchup.providers.base import ImageFormat
from tests.support.engines import ScriptedProvider
from tests.support.pictures import encoded, noise, opened, photo
from tests.support.service import RunningService, running_service

SIGNED = {"provenance.enabled": True}
GALLERY = Path(__file__).parents[2] / "docs" / "gallery"
FORMATS = {"png": "PNG", "jpeg": "JPEG", "webp": "WEBP"}


@pytest_asyncio.fixture
async def service(tmp_path: Path) -> AsyncIterator[RunningService]:
    async with running_service(tmp_path, settings=SIGNED) as running:
        yield running


async def made(service: RunningService, **fields: Any) -> tuple[str, bytes]:  # noqa: ANN401 a test may send anything
    task_id = await service.submit(**fields)
    ended = await service.ended(task_id)
    return task_id, (await service.client.get(_address(ended))).content


def _address(ended: dict[str, Any]) -> str:
    return str(ended["result"][0]["image"])


async def judged(service: RunningService, data: bytes) -> dict[str, Any]:
    answer = await service.client.post("/v1/provenance/verify", content=data)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


@pytest.mark.parametrize("output_format", FORMATS)
async def test_what_is_stored_is_signed_in_the_format_that_was_wished_for(
    service: RunningService, output_format: str
) -> None:
    _, data = await made(service, output_format=output_format)

    report = verify(data)
    assert (report.state, report.model) == (State.VALID, "google/gempix2")
    assert opened(data).format == FORMATS[output_format]


async def test_what_the_studio_draws_in_a_channel_of_its_own_is_said_to_be_drawn_by_rules(
    tmp_path: Path,
) -> None:
    studio = ScriptedProvider()
    channels = {"drawn": {"provider": "studio", "models": ["google/gempix2"]}}
    async with running_service(
        tmp_path,
        providers={"studio": studio, "channels.drawn": studio},
        settings={**SIGNED, "channels": channels},
    ) as service:
        _, data = await made(service)

    assert verify(data).source == "algorithmicMedia"


async def test_a_stripped_picture_is_recognised_by_its_pixels_and_by_its_looks(
    tmp_path: Path,
) -> None:
    # A plain one looks like nothing: its hash is what the last bit of a colour makes of it.
    drawn = encoded(Image.open(GALLERY / "sailboat.webp").convert("RGB"), "PNG")
    engines = {"studio": ScriptedProvider(drawn)}
    async with running_service(tmp_path, providers=engines, settings=SIGNED) as service:
        task_id, data = await made(service)
        image = Image.open(io.BytesIO(data)).convert("RGB")

        whole = await judged(service, data)
        stripped = await judged(service, encoded(image, "PNG"))
        again = await judged(service, encoded(image, "JPEG", quality=60))

    assert (whole["verdict"], whole["matched_by"], whole["task_id"]) == ("ours", "file", task_id)
    assert (stripped["verdict"], stripped["matched_by"]) == ("recognised", "pixels")
    assert (again["verdict"], again["matched_by"]) == ("recognised", "likeness")
    assert stripped["task_id"] == again["task_id"] == task_id


async def test_what_is_foreign_changed_or_unknown_is_told_apart(
    service: RunningService, tmp_path: Path
) -> None:
    _, data = await made(service)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    stranger = Marker(load_or_make(elsewhere, SystemClock(), "Ketchup"))
    claim = Claim(Source.MODEL, "google/gempix2", "0.1.0")
    foreign = stranger.sign(encoded(photo(), "PNG"), ImageFormat.PNG, claim)
    changed = bytearray(foreign)
    changed[-20] ^= 1

    assert (await judged(service, foreign))["verdict"] == "somebody_elses"
    assert (await judged(service, bytes(changed)))["verdict"] == "changed"
    assert (await judged(service, encoded(noise(64, 64), "PNG")))["verdict"] == "unknown"
    assert (await judged(service, b"no picture"))["verdict"] == "unknown"
    assert data != foreign


async def test_a_tasks_pictures_are_listed_for_its_workspace(service: RunningService) -> None:
    task_id, data = await made(service)

    mine = await service.client.get("/v1/provenance", params={"task_id": task_id})
    none = await service.client.get("/v1/provenance", params={"task_id": "task_unknown"})

    (only,) = mine.json()["images"]
    assert only["sha256"] == hashlib.sha256(data).hexdigest()
    assert none.json()["images"] == []


async def test_without_a_key_nothing_is_said(service: RunningService) -> None:
    headers = {"Authorization": "Bearer nobody"}
    answer = await service.client.post("/v1/provenance/verify", content=b"x", headers=headers)

    assert answer.status_code == 401


async def test_half_a_picture_fails_the_task_and_costs_nothing(tmp_path: Path) -> None:
    half = encoded(noise(64, 64), "PNG")[:6000]
    engines = {"studio": ScriptedProvider(half)}
    async with running_service(tmp_path, providers=engines, settings=SIGNED) as service:
        ended = await service.ended(await service.submit())

    assert ended["status"] == "failed"
