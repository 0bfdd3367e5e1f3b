"""A whole service: what it stores is signed, logged, and known again when it was stripped."""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from PIL import Image

from ketchup.clock import Micros, SystemClock
from ketchup.confined.children import Children
from ketchup.db import Connection
from ketchup.ids import TaskId, WorkspaceId
from ketchup.provenance import Fingerprint, PerceptualHash
from ketchup.provenance.containers import Source
from ketchup.provenance.log import Logged, record
from ketchup.provenance.mark import Claim, Marker
from ketchup.provenance.perception import fingerprint
from ketchup.provenance.signer import load_or_make
from ketchup.provenance.verify import State, verify
from ketchup.providers.base import (
    GeneratedImage,
    ImageFormat,
    ImageRequest,
    Misconfigured,
    Progress,
)
from ketchup.providers.gemini import GeminiProvider, GeminiSettings
from ketchup.testing import FakeUpstream, Fault
from tests.support.customers import customer
from tests.support.engines import ScriptedProvider
from tests.support.pictures import encoded, noise, opened, photo
from tests.support.service import DEADLINE_SECONDS, RunningService, running_service

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


@pytest.mark.parametrize("output_format", FORMATS)
async def test_what_the_studio_draws_says_so_without_signatures(
    tmp_path: Path, output_format: str
) -> None:
    async with running_service(tmp_path) as service:
        _, data = await made(service, output_format=output_format)

    report = verify(data)
    assert (report.state, report.mark) == (State.NONE, "algorithmicMedia")
    assert opened(data).format == FORMATS[output_format]


async def test_what_a_model_made_is_stored_pixel_for_pixel_without_signatures_or_trailers(
    tmp_path: Path,
) -> None:
    drawn = encoded(photo(), "PNG") + b"<script>"
    async with running_service(tmp_path, providers={"gemini": ScriptedProvider(drawn)}) as service:
        _, data = await made(service)

    assert opened(data).tobytes() == photo().tobytes()
    assert b"<script>" not in data


async def test_what_stands_in_for_a_model_is_named_in_its_place(tmp_path: Path) -> None:
    other = "google/gemini-2.5-flash-image"
    broken, spare = ScriptedProvider(Misconfigured("no key")), ScriptedProvider()
    settings: dict[str, object] = {
        **SIGNED,
        "models": {"google/gempix2": {"price": "0.5", "fallback": other}, other: {"price": "0.4"}},
        "channels": {
            "broken": {"provider": "studio", "models": ["google/gempix2"]},
            "spare": {"provider": "studio", "models": [other]},
        },
    }
    engines = {"studio": spare, "channels.broken": broken, "channels.spare": spare}
    async with running_service(tmp_path, providers=engines, settings=settings) as service:
        _, data = await made(service)

    assert [request.model for request in spare.requests] == [other]
    assert verify(data).model == other


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


async def test_another_workspace_knows_a_picture_again_and_not_its_task(
    service: RunningService,
) -> None:
    task_id, data = await made(service)
    async with customer(service) as other:
        stripped = encoded(opened(data), "PNG")
        told = [await judged(other, one) for one in (data, stripped)]
        answer = await other.client.get("/v1/provenance", params={"task_id": task_id})

    assert [one["verdict"] for one in told] == ["ours", "recognised"]
    assert [one["task_id"] for one in told] == [None, None]
    assert task_id not in str(told)
    assert answer.json()["images"] == []


async def test_what_looks_alike_is_ones_own_before_it_is_anybody_elses(
    service: RunningService,
) -> None:
    unknown = encoded(noise(64, 48), "PNG")
    looks = fingerprint(unknown).phash

    def remember(conn: Connection) -> None:
        for owner, name in ((WorkspaceId("ws_other"), "theirs"), (service.workspace_id, "mine")):
            prints = Fingerprint(name, name, PerceptualHash(looks ^ (name == "mine")))
            task_id, mine = TaskId(f"ta_{name}"), WorkspaceId(owner)
            record(conn, [Logged(name, task_id, mine, prints, Micros(0))])

    await service.runtime.database.write(remember)
    told = await judged(service, unknown)

    assert (told["matched_by"], told["task_id"]) == ("likeness", "ta_mine")
    assert told["differing_bits"] == 1


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


async def test_a_form_with_the_picture_is_judged_like_the_picture(service: RunningService) -> None:
    _, data = await made(service)

    answer = await service.client.post(
        "/v1/provenance/verify", data={"note": "from the site"}, files={"file": ("boat.png", data)}
    )
    without = await service.client.post("/v1/provenance/verify", files={"other": data})

    assert (answer.status_code, answer.json()["verdict"]) == (200, "ours"), answer.text
    assert without.status_code == 400
    assert "`file`" in without.json()["detail"]


async def test_who_verifies_too_often_is_told_when_to_come_back(tmp_path: Path) -> None:
    settings = {**SIGNED, "provenance.verifies_per_minute": 2}
    async with running_service(tmp_path, settings=settings) as service, customer(service) as other:
        codes = [
            (await service.client.post("/v1/provenance/verify", content=b"x")).status_code
            for _ in range(2)
        ]
        refused = await service.client.post("/v1/provenance/verify", content=b"x")
        others = await other.client.post("/v1/provenance/verify", content=b"x")

    assert codes == [200, 200]
    assert refused.status_code == 429
    assert int(refused.headers["Retry-After"]) >= 1
    assert others.status_code == 200


async def test_two_pictures_of_a_workspace_are_verified_at_once_and_no_more(
    service: RunningService,
) -> None:
    address = urlsplit(service.base_url)
    head = (
        f"POST /v1/provenance/verify HTTP/1.1\r\nHost: {address.netloc}\r\n"
        f"Authorization: {service.client.headers['Authorization']}\r\nContent-Length: 2\r\n\r\n"
    )

    async def half_sent() -> tuple[asyncio.Task[bytes], asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        writer.write(head.encode() + b"x")
        return asyncio.create_task(reader.readline()), writer

    async with customer(service) as other, asyncio.timeout(DEADLINE_SECONDS):
        sent = dict([await half_sent() for _ in range(3)])
        refused, held = await asyncio.wait(sent, return_when=asyncio.FIRST_COMPLETED)
        others = await other.client.post("/v1/provenance/verify", content=b"x")
        for answer in held:
            sent[answer].write(b"x")

        assert [await answer for answer in refused] == [b"HTTP/1.1 429 Too Many Requests\r\n"]
        assert [await answer for answer in held] == [b"HTTP/1.1 200 OK\r\n"] * 2
        assert others.status_code == 200
        for writer in sent.values():
            writer.close()
            await writer.wait_closed()


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("output_format", FORMATS)
async def test_half_a_picture_of_an_engine_fails_the_task_and_costs_nothing(
    tmp_path: Path, output_format: str, *, enabled: bool
) -> None:
    whole = encoded(noise(64, 64), FORMATS[output_format])
    engines = {"gemini": ScriptedProvider(whole[: len(whole) // 2])}
    settings = {"provenance.enabled": enabled}
    async with running_service(tmp_path, providers=engines, settings=settings) as service:
        ended = await service.ended(await service.submit(output_format=output_format))
        left = (await service.client.get("/api/user")).json()["data"]["credit"]

    assert (ended["status"], ended["result"]) == ("failed", None)
    assert (ended["consumed"], left) == ("0.00000000", "100.00000000")


async def test_half_a_picture_of_an_upstream_costs_nothing_and_all_credits_are_there(
    tmp_path: Path,
) -> None:
    async with FakeUpstream() as upstream:
        upstream.script(Fault.HALF_BASE64)
        gemini = GeminiProvider(GeminiSettings("a-key", base_url=upstream.url))
        async with running_service(
            tmp_path, providers={"gemini": gemini}, settings=SIGNED
        ) as service:
            ended = await service.ended(await service.submit(output_format="jpeg"))
            left = (await service.client.get("/api/user")).json()["data"]["credit"]

    assert (ended["status"], ended["result"]) == ("failed", None)
    assert (ended["consumed"], left) == ("0.00000000", "100.00000000")


@pytest.mark.parametrize("enabled", [True, False])
async def test_the_wished_format_is_kept_whatever_the_engine_gave(
    tmp_path: Path, *, enabled: bool
) -> None:
    engines = {"studio": _Stubborn()}
    settings = {"provenance.enabled": enabled}
    async with running_service(tmp_path, providers=engines, settings=settings) as service:
        ended = await service.ended(await service.submit(output_format="webp"))
        answer = await service.client.get(_address(ended))

    assert _address(ended).endswith(".webp")
    assert answer.headers["content-type"] == "image/webp"
    assert opened(answer.content).format == "WEBP"
    assert verify(answer.content).state is (State.VALID if enabled else State.NONE)


class _Stubborn:
    """An engine that makes PNG, whatever is wished for."""

    async def generate(
        self, request: ImageRequest, *, progress: Progress, cancelled: asyncio.Event
    ) -> Sequence[GeneratedImage]:
        wished = replace(request, output_format=ImageFormat.PNG)
        return await ScriptedProvider().generate(wished, progress=progress, cancelled=cancelled)

    async def close(self) -> None:
        pass


@pytest.mark.parametrize("output_format", FORMATS)
async def test_without_signatures_a_paid_picture_is_delivered_marked_and_the_operator_told_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], output_format: str
) -> None:
    async with running_service(tmp_path, settings=SIGNED) as service:
        # As on a machine where no such process can be started any more.
        await service.runtime.finisher._children.close()
        service.runtime.finisher._children = Children(
            Path("/nowhere"), processes=1, jobs_per_process=1, memory_bytes=1, cpu_seconds=1
        )
        pictures = [(await made(service, output_format=output_format))[1] for _ in range(2)]
        left = (await service.client.get("/api/user")).json()["data"]["credit"]

    for data in pictures:
        report = verify(data)
        assert (report.state, report.mark) == (State.NONE, "algorithmicMedia")
        assert opened(data).format == FORMATS[output_format]
    assert left == "99.00000000"
    assert capsys.readouterr().out.count("PICTURES ARE STORED UNSIGNED") == 1


@pytest.mark.parametrize("enabled", [True, False])
async def test_a_picture_that_ends_every_child_fails_the_task_and_costs_nothing(
    tmp_path: Path, *, enabled: bool
) -> None:
    script = tmp_path / "dies.py"
    script.write_text("import sys\nprint(end='+', flush=True)\nsys.stdin.buffer.read(1)\n")
    settings = {"provenance.enabled": enabled}
    engines = {"gemini": ScriptedProvider()}
    async with running_service(tmp_path / "data", providers=engines, settings=settings) as service:
        await service.runtime.finisher._children.close()
        service.runtime.finisher._children = Children(
            script, processes=1, jobs_per_process=9, memory_bytes=1, cpu_seconds=1
        )
        ended = await service.ended(await service.submit())
        left = (await service.client.get("/api/user")).json()["data"]["credit"]

    assert (ended["status"], ended["result"]) == ("failed", None)
    assert left == "100.00000000"
