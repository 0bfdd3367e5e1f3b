"""CONTRACT §2: `POST /api/image/gen`."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from pathlib import Path

import httpx2
import pytest
from sqlalchemy import text

from ketchup.providers.base import ImageSize
from tests.support.customers import customer
from tests.support.engines import PromptedProvider
from tests.support.exchange import Connection, exchange, head, post
from tests.support.gate import held_writer
from tests.support.pictures import png
from tests.support.service import RunningService, client_of, running_service

pytestmark = pytest.mark.asyncio(loop_scope="module")

GEN = "/api/image/gen"
GOOD = {"model": "google/gempix2", "prompt": "a red boat"}
TASK_ID = r"ta[0-9a-f]{6}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
CREATED = re.compile(rb'\{"code":0,"message":"ok","data":\{"task_id":"(%b)"\}\}' % TASK_ID.encode())
PICTURE = "data:image/png;base64," + base64.b64encode(png(8, 8)).decode()
REPLAYED = "idempotency-replayed"
MEBIBYTE = 1024 * 1024
RATIOS = ["1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9"]
RATIO_SENTENCE = (
    "aspect_ratio must be one of auto, 1:1, 2:3, 3:2, 3:4, 4:3, 4:5, 5:4, 9:16, 16:9, 21:9"
)


def failure(detail: str) -> bytes:
    return b'{"code":1,"message":"failed","detail":"%b"}' % detail.encode()


async def send(service: RunningService, **fields: object) -> httpx2.Response:
    return await service.client.post(GEN, json={**GOOD, **fields})


# -- success ---------------------------------------------------------------------------------------


async def test_the_answer_to_a_task_is_these_bytes(alice: RunningService) -> None:
    answer = await send(alice)
    assert answer.status_code == 200
    assert CREATED.fullmatch(answer.content)
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    assert len(answer.json()["data"]["task_id"]) == 36
    assert REPLAYED not in answer.headers


async def test_a_task_is_durable_and_its_price_held_when_the_answer_is_sent(
    service: RunningService, engine: PromptedProvider
) -> None:
    async with customer(service, credit="2") as owner:
        release = asyncio.Event()
        engine.script("held while rendering", release)
        task_id = await owner.submit(prompt="held while rendering", n=3)
        # A connection of its own sees only what is committed.
        rows = await owner.runtime.database.read(
            lambda conn: conn.execute(
                text(
                    "SELECT t.price, h.amount FROM task t JOIN hold h ON h.task_id = t.id WHERE t.id = :id"
                ),
                {"id": task_id},
            ).all()
        )
        assert [tuple(row) for row in rows] == [(1_500_000, 1_500_000)]
        assert (await owner.client.get("/api/user")).json()["data"]["credit"] == "0.50000000"
        release.set()
        await owner.ended(task_id)


async def test_a_task_can_be_queried_the_moment_it_is_answered(alice: RunningService) -> None:
    for _ in range(20):
        task_id = await alice.submit()
        assert (await alice.query(task_id))["task_id"] == task_id


# -- every row of the table of fields --------------------------------------------------------------


async def test_model_is_required_and_an_id_or_an_alias(alice: RunningService) -> None:
    for missing in ({"prompt": "x"}, {"prompt": "x", "model": None}, {"prompt": "x", "model": ""}):
        answer = await alice.client.post(GEN, json=missing)
        assert (answer.status_code, answer.content) == (400, failure("model is required"))
    for unknown in ("gempix2", "google/GEMPIX2", "google/gempix2 ", "openai/gpt-image-2"):
        answer = await send(alice, model=unknown)
        assert (answer.status_code, answer.content) == (400, failure("model is not supported"))


async def test_prompt_is_required(alice: RunningService) -> None:
    blank = (" ", "\t\n\r ", "\u3000\u00a0\u2003")
    bodies: list[dict[str, object]] = [{}, {"prompt": None}, {"prompt": ""}]
    bodies += [{"prompt": space} for space in blank]
    for body in bodies:
        answer = await alice.client.post(GEN, json={"model": "google/gempix2", **body})
        assert (answer.status_code, answer.content) == (400, failure("prompt is required"))


async def test_a_wholly_empty_object_misses_its_prompt_first(alice: RunningService) -> None:
    answer = await alice.client.post(GEN, json={})
    assert (answer.status_code, answer.content) == (400, failure("prompt is required"))


async def test_white_space_is_a_prompt_when_there_are_images(alice: RunningService) -> None:
    assert (await send(alice, prompt=" ", images=[PICTURE])).status_code == 200
    assert (await send(alice, prompt=" ", images=[])).content == failure("prompt is required")
    assert (await send(alice, prompt="", images=[PICTURE])).content == failure("prompt is required")


async def test_a_prompt_has_at_most_20000_characters(alice: RunningService) -> None:
    assert (await send(alice, prompt="\U0001f345" * 20_000)).status_code == 200
    answer = await send(alice, prompt="a" * 20_001)
    assert answer.content == failure("prompt must have at most 20000 characters")


async def test_four_images_are_taken_and_five_refused(alice: RunningService) -> None:
    assert (await send(alice, images=[PICTURE] * 4)).status_code == 200
    for many in (5, 100):
        answer = await send(alice, images=[PICTURE] * many)
        assert (answer.status_code, answer.content) == (
            400,
            failure("images supports at most 4 items"),
        )


@pytest.mark.parametrize(
    "images", ["https://h/a.png", {"0": "https://h/a.png"}, 1, True, [1], [None], [["x"]], [{}]]
)
async def test_images_are_a_list_of_strings(alice: RunningService, images: object) -> None:
    answer = await send(alice, images=images)
    assert (answer.status_code, answer.content) == (400, failure("images must be a list of URLs"))


async def test_an_image_is_an_address_or_a_data_uri(alice: RunningService) -> None:
    for good in ("http://h/a.png", "https://h/a", PICTURE, PICTURE.replace("data:", "DATA:")):
        assert (await send(alice, images=[good])).status_code == 200, good
    sentence = "images[1] must be an http or https URL or a base64 data URI"
    for bad in ("", "a.png", "ftp://h/a.png", "file:///etc/passwd", "//h/a.png", "http://"):
        assert (await send(alice, images=[PICTURE, bad])).content == failure(sentence)
    sentence = "images[0] must be a base64 data URI of a PNG, JPEG or WebP image"
    for bad in ("data:", "data:text/html;base64,AAAA", "data:image/gif;base64,R0lG"):
        assert (await send(alice, images=[bad])).content == failure(sentence)


async def test_the_images_reach_the_engine_in_their_order(
    alice: RunningService, engine: PromptedProvider
) -> None:
    seen = engine.script("two references")
    wide, tall = (
        "data:image/png;base64," + base64.b64encode(png(*size)).decode()
        for size in ((8, 4), (4, 8))
    )
    await alice.ended(await alice.submit(prompt="two references", images=[wide, tall]))
    sizes = [(image.width, image.height) for image in seen.requests[0].references]
    assert sizes == [(8, 4), (4, 8)]


@pytest.mark.parametrize(
    "url", ["", "hook", "ftp://h/", "javascript:alert(1)", "http://", "https://u:p@h/", 7, [], {}]
)
async def test_a_callback_url_is_an_http_url(alice: RunningService, url: object) -> None:
    answer = await send(alice, callback_url=url)
    sentence = "callback_url must be an http or https URL"
    assert (answer.status_code, answer.content) == (400, failure(sentence))


@pytest.mark.parametrize("ratio", ["auto", *RATIOS])
async def test_every_aspect_ratio_reaches_the_engine(
    alice: RunningService, engine: PromptedProvider, ratio: str
) -> None:
    seen = engine.script(f"ratio {ratio}")
    task = await alice.ended(await alice.submit(prompt=f"ratio {ratio}", aspect_ratio=ratio))
    assert task["status"] == "success"
    assert seen.requests[0].aspect_ratio == (None if ratio == "auto" else ratio)


async def test_another_aspect_ratio_is_refused(alice: RunningService) -> None:
    for ratio in ("", "1:2", "16/9", "16 : 9", 1, ["1:1"]):
        assert (await send(alice, aspect_ratio=ratio)).content == failure(RATIO_SENTENCE)


@pytest.mark.parametrize("size", ["1K", "1k", "2K", "2k", "4K", "4k"])
async def test_an_image_size_is_taken_in_any_case(
    alice: RunningService, engine: PromptedProvider, size: str
) -> None:
    seen = engine.script(f"size {size}")
    await alice.ended(await alice.submit(prompt=f"size {size}", image_size=size))
    assert seen.requests[0].image_size == ImageSize(size.upper())


async def test_another_image_size_is_refused(alice: RunningService) -> None:
    sizes: list[object] = ["", "512", "8K", "1024x1024", 1, []]
    for size in sizes:
        answer = await send(alice, image_size=size)
        assert answer.content == failure("image_size must be one of 1K, 2K, 4K")


@pytest.mark.parametrize(("n", "images"), [(None, 1), (1, 1), (8, 8)])
async def test_n_images_cost_n_times_the_price(
    service: RunningService, n: int | None, images: int
) -> None:
    async with customer(service, credit="4") as owner:
        task = await owner.ended(await owner.submit(n=n))
        assert len(task["result"]) == images
        assert task["consumed"] == f"{images / 2:.8f}"
        left = (await owner.client.get("/api/user")).json()["data"]["credit"]
        assert left == f"{4 - images / 2:.8f}"


async def test_n_is_an_integer_from_1_to_8(alice: RunningService) -> None:
    for n in (0, 9, -1, 1.5, "2", True, [1], 10**30):
        answer = await send(alice, n=n)
        assert (answer.status_code, answer.content) == (
            400,
            failure("n must be an integer from 1 to 8"),
        )


@pytest.mark.parametrize("seed", [0, 7, 2**32 - 1])
async def test_a_seed_reaches_the_engine(
    alice: RunningService, engine: PromptedProvider, seed: int
) -> None:
    seen = engine.script(f"seed {seed}")
    await alice.ended(await alice.submit(prompt=f"seed {seed}", seed=seed))
    assert seen.requests[0].seed == seed


async def test_a_seed_is_an_integer_of_32_bits(alice: RunningService) -> None:
    seeds: list[object] = [-1, 2**32, 0.5, "7", True, {}]
    for seed in seeds:
        answer = await send(alice, seed=seed)
        assert answer.content == failure("seed must be an integer from 0 to 4294967295")


@pytest.mark.parametrize(
    ("output_format", "suffix", "media_type"),
    [
        (None, "png", "image/png"),
        ("png", "png", "image/png"),
        ("jpeg", "jpg", "image/jpeg"),
        ("webp", "webp", "image/webp"),
    ],
)
async def test_the_image_has_the_output_format(
    alice: RunningService, output_format: str | None, suffix: str, media_type: str
) -> None:
    task = await alice.ended(await alice.submit(output_format=output_format))
    image = task["result"][0]["image"]
    assert image.endswith(f".{suffix}")
    assert (await alice.client.get(image)).headers["content-type"] == media_type


async def test_another_output_format_is_refused(alice: RunningService) -> None:
    for output_format in ("", "jpg", "gif", "image/png", 1):
        answer = await send(alice, output_format=output_format)
        assert answer.content == failure("output_format must be one of png, jpeg, webp")


async def test_null_is_the_same_as_a_field_left_out(alice: RunningService) -> None:
    names = ("images", "callback_url", "aspect_ratio", "image_size", "n", "seed", "output_format")
    task = await alice.ended(await alice.submit(**dict.fromkeys(names)))
    assert (task["status"], task["consumed"]) == ("success", "0.50000000")


# -- the order of the checks -----------------------------------------------------------------------


async def test_each_check_comes_before_the_next(service: RunningService) -> None:
    """Violate two neighbours at a time: the earlier one answers."""
    many = f"Content-Length: {40 * MEBIBYTE + 1}"
    over = await exchange(service.base_url, head("no key", many))
    assert (over.status, over.body) == (413, failure("request body is too large"))
    unknown = await exchange(service.base_url, post("no key", b"not JSON"))
    assert (unknown.status, unknown.body) == (401, b'{"code":1,"message":"Invalid API key"}')

    async with customer(service, credit="0") as owner:
        for body, detail in (
            (b"not JSON", "request body is not valid JSON"),
            (b'{"prompt":""}', "prompt is required"),
            (b'{"prompt":"","model":"x"}', "prompt is required"),
            (b'{"prompt":"x","model":"x","images":1}', "model is not supported"),
            (_good(images=1, callback_url=1), "images must be a list of URLs"),
            (_good(images=["x"], callback_url=1), "images[0] must be an http or https URL or a base64 data URI"),
            (_good(callback_url=1, aspect_ratio=1), "callback_url must be an http or https URL"),
            (_good(aspect_ratio=1, image_size=1), RATIO_SENTENCE),
            (_good(image_size=1, n=0), "image_size must be one of 1K, 2K, 4K"),
            (_good(n=0, seed=-1), "n must be an integer from 1 to 8"),
            (_good(seed=-1, output_format=1), "seed must be an integer from 0 to 4294967295"),
            (_good(output_format=1), "output_format must be one of png, jpeg, webp"),
        ):  # fmt: skip
            answer = await owner.client.post(GEN, content=body)
            assert (answer.status_code, answer.content) == (400, failure(detail))
        answer = await owner.client.post(GEN, content=_good())
        assert (answer.status_code, answer.content) == (402, failure("insufficient credits"))


def _good(**fields: object) -> bytes:
    return json.dumps({**GOOD, **fields}).encode()


async def test_the_scope_is_judged_with_the_key_and_the_model_in_its_place(
    service: RunningService,
) -> None:
    async with customer(service, scopes=["task:read"]) as limited:
        answer = await limited.client.post(GEN, content=b"not JSON")
        detail = "the API key lacks the scope image:create"
        assert (answer.status_code, answer.content) == (403, failure(detail))
    async with customer(service, models=["google/gemini-2.5-flash-image"]) as limited:
        answer = await send(limited, prompt="")
        assert answer.content == failure("prompt is required")
        detail = "the API key is not allowed to use this model"
        for model in ("google/gempix2", "google/nano-banana-2"):
            answer = await send(limited, model=model, images=1)
            assert (answer.status_code, answer.content) == (403, failure(detail))
        assert (await send(limited, model="google/nano-banana")).status_code == 200


# -- every row of the table of answers -------------------------------------------------------------


async def test_402_when_the_credits_do_not_cover_the_price(service: RunningService) -> None:
    async with customer(service, credit="0.999999") as owner:
        answer = await send(owner, n=2)
        assert (answer.status_code, answer.content) == (402, failure("insufficient credits"))
        assert (await owner.client.get("/api/user")).json()["data"]["credit"] == "0.99999900"
        assert (await send(owner)).status_code == 200
        assert (await send(owner)).status_code == 402


async def test_413_when_a_body_without_data_uris_is_over_a_mebibyte(alice: RunningService) -> None:
    body = json.dumps({**GOOD, "padding": ""}).encode()
    fits = json.dumps({**GOOD, "padding": "x" * (MEBIBYTE - len(body))}).encode()
    assert len(fits) == MEBIBYTE
    assert (await alice.client.post(GEN, content=fits)).status_code == 200
    answer = await alice.client.post(GEN, content=fits + b" ")
    assert (answer.status_code, answer.content) == (413, failure("request body is too large"))


async def test_a_body_with_data_uris_may_be_larger(alice: RunningService) -> None:
    large = "data:image/png;base64," + base64.b64encode(png(8, 8) + bytes(2 * MEBIBYTE)).decode()
    assert (await send(alice, images=[large])).status_code == 200


async def test_413_before_a_body_that_is_too_large_has_come(alice: RunningService) -> None:
    connection = await Connection.to(alice.base_url)
    await connection.send(head(alice.key, f"Content-Length: {40 * MEBIBYTE + 1}"))
    answer = await connection.response()
    assert (answer.status, answer.body) == (413, failure("request body is too large"))
    await connection.close()


# 500: see test_conventions.py. Nothing that a client can send leads to one.


# -- idempotency -----------------------------------------------------------------------------------


async def test_the_same_key_and_body_answer_with_the_same_task(alice: RunningService) -> None:
    key = {"Idempotency-Key": "order-1"}
    first = await alice.client.post(GEN, json=GOOD, headers=key)
    again = await alice.client.post(GEN, json=GOOD, headers=key)
    assert (again.status_code, again.content) == (200, first.content)
    assert REPLAYED not in first.headers
    assert again.headers[REPLAYED] == "true"
    assert again.headers["x-request-id"] != first.headers["x-request-id"]
    assert await count(alice, "task") == 1


async def test_many_at_once_with_one_key_are_one_task(alice: RunningService) -> None:
    key = {"Idempotency-Key": "order-2"}
    answers = await asyncio.gather(
        *[alice.client.post(GEN, json=GOOD, headers=key) for _ in range(20)]
    )
    assert len({answer.content for answer in answers}) == 1
    assert sum(REPLAYED in answer.headers for answer in answers) == 19
    assert await count(alice, "task") == 1


async def test_the_same_key_with_another_body_is_a_conflict(alice: RunningService) -> None:
    key = {"Idempotency-Key": "order-3"}
    await alice.client.post(GEN, json=GOOD, headers=key)
    answer = await alice.client.post(GEN, json={**GOOD, "n": 2}, headers=key)
    detail = "idempotency key was used with another request"
    assert (answer.status_code, answer.content) == (409, failure(detail))


async def test_idempotency_keys_are_the_workspaces_own(
    alice: RunningService, bob: RunningService
) -> None:
    key = {"Idempotency-Key": "order-4"}
    first = await alice.client.post(GEN, json=GOOD, headers=key)
    other = await bob.client.post(GEN, json={**GOOD, "n": 2}, headers=key)
    assert other.status_code == 200
    assert other.content != first.content


async def test_a_refused_request_leaves_its_idempotency_key_free(service: RunningService) -> None:
    async with customer(service, credit="0.5") as owner:
        key = {"Idempotency-Key": "order-5"}
        refused = await owner.client.post(GEN, json={**GOOD, "n": 2}, headers=key)
        assert refused.status_code == 402
        accepted = await owner.client.post(GEN, json=GOOD, headers=key)
        assert accepted.status_code == 200
        # A replay needs neither credits nor a turn.
        assert (await owner.client.post(GEN, json=GOOD, headers=key)).content == accepted.content


@pytest.mark.parametrize("key", ["", "a b", "k" * 256])
async def test_an_idempotency_key_is_1_to_255_visible_characters(
    alice: RunningService, key: str
) -> None:
    answer = await alice.client.post(GEN, json=GOOD, headers={"Idempotency-Key": key})
    detail = "Idempotency-Key must be 1 to 255 visible ASCII characters"
    assert (answer.status_code, answer.content) == (400, failure(detail))
    longest = {"Idempotency-Key": "k" * 255}
    assert (await alice.client.post(GEN, json=GOOD, headers=longest)).status_code == 200


async def count(service: RunningService, table: str) -> int:
    """Count the workspace's rows."""
    found: int = await service.runtime.database.read(
        lambda conn: conn.execute(
            text(f"SELECT count(*) FROM {table} WHERE workspace_id = :id"),  # noqa: S608 our own names
            {"id": service.workspace_id},
        ).scalar_one()
    )
    return found


# -- other settings, another service ---------------------------------------------------------------


async def test_the_settings_of_a_strict_service(tmp_path: Path, database_url: str | None) -> None:
    """400 instead of 402, and a rate limit, which is judged before the credits."""
    settings = {
        "contract.insufficient_credits_status": 400,
        "plans.free.submits_per_minute": 1,
        "plans.free.submit_burst": 2,
        "models.google/gempix2.max_reference_images": 5,
    }
    async with running_service(tmp_path, database=database_url, settings=settings) as service:
        async with customer(service, credit="1", plan="free") as owner:
            refused = await send(owner, n=3)
            expected = (400, failure("insufficient credits"))
            assert (refused.status_code, refused.content) == expected
            for _ in range(2):
                assert (await send(owner)).status_code == 200
            # Too soon and too poor: the rate answers.
            refused = await send(owner)
            assert (refused.status_code, refused.content) == (429, failure("rate limit exceeded"))
            assert 1 <= int(refused.headers["retry-after"]) <= 60
            # A wrong field comes before both.
            assert (await send(owner, n=9)).content == failure("n must be an integer from 1 to 8")
        async with customer(service) as rich:
            assert (await send(rich, images=[PICTURE] * 5)).status_code == 200
            answer = await send(rich, images=[PICTURE] * 6)
            assert answer.content == failure("images supports at most 5 items")


async def test_a_workspace_has_as_many_tasks_in_the_queue_as_its_plan_allows(
    tmp_path: Path, database_url: str | None
) -> None:
    settings = {"concurrency": 0, "plans.free.depth": 20, "plans.free.submits_per_minute": 0}
    async with (
        running_service(tmp_path, database=database_url, settings=settings) as service,
        customer(service, plan="free") as owner,
        customer(service) as other,
    ):
        answers = await asyncio.gather(*(send(owner) for _ in range(50)))

        accepted = [answer for answer in answers if answer.status_code == 200]
        refused = [answer for answer in answers if answer.status_code != 200]
        assert (len(accepted), len(refused)) == (20, 30)
        sentence = failure("20 tasks are in the queue, as many as the plan allows")
        assert {(answer.status_code, answer.content) for answer in refused} == {(429, sentence)}
        assert {answer.headers["retry-after"] for answer in refused} == {"5"}
        assert await count(owner, "task") == await count(owner, "hold") == 20
        # It is full for one workspace alone.
        assert (await send(other)).status_code == 200


async def test_503_when_the_queue_is_full_and_nothing_is_lost(
    tmp_path: Path, database_url: str | None
) -> None:
    settings = {"limits.queue_capacity": 1, "concurrency": 0}
    async with running_service(tmp_path, database=database_url, settings=settings) as service:
        async with held_writer(service.runtime.database, "submit"):
            both = {asyncio.ensure_future(send(service, images=[PICTURE])) for _ in range(2)}
            (refused,), (waiting,) = await asyncio.wait(
                both, return_when=asyncio.FIRST_COMPLETED, timeout=20
            )
            assert refused.result().status_code == 503
            assert refused.result().content == failure("the service is busy; try again shortly")
            assert refused.result().headers["retry-after"] == "1"
        assert (await waiting).status_code == 200
        assert await count(service, "task") == await count(service, "hold") == 1
        assert len(await service.runtime.storage.keys("references")) == 1


async def test_503_when_the_store_is_unavailable(tmp_path: Path, database_url: str | None) -> None:
    async with running_service(
        tmp_path, database=database_url, settings={"concurrency": 0}
    ) as service:
        async with client_of(service.base_url, service.key) as client:
            assert (await client.get("/api/user")).status_code == 200
            await service.runtime.database.close()
            for answer in (
                await client.post(GEN, json={**GOOD, "images": [PICTURE]}),
                await client.get("/api/user"),
                await client.get("/api/task/query?task_id=ta1"),
            ):
                detail = "the store is unavailable; try again shortly"
                assert (answer.status_code, answer.content) == (503, failure(detail))
                assert answer.headers["retry-after"] == "1"
        assert await service.runtime.storage.keys("references") == []
