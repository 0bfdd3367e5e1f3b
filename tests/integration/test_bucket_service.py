"""The service with its images in a bucket: what clients see of it, and of its troubles."""

from __future__ import annotations

import asyncio
import base64
import os
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest

from ketchup import tasks
from ketchup.config import SettingsError
from ketchup.ids import WorkspaceId, name_bits
from ketchup.storage import IMAGES, REFERENCES, Bucket, BucketStorage
from tests.support.audit import nothing_held
from tests.support.bucket_server import door_before
from tests.support.pictures import png
from tests.support.process import COMMAND, DEADLINE_SECONDS
from tests.support.service import RunningService, running_service

SECRET = "a-secret-of-the-bucket"
PICTURE = "data:image/png;base64," + base64.b64encode(png(8, 8)).decode()


def named(bucket: Bucket, **more: object) -> Mapping[str, object]:
    return {
        "storage.url": f"s3://{bucket.name}/{bucket.prefix}",
        "storage.endpoint": bucket.endpoint,
        "storage.region": bucket.region,
        "storage.key_id": "id",
        "storage.secret": SECRET,
        **{f"storage.{name}": value for name, value in more.items()},
    }


@asynccontextmanager
async def presigning(tmp_path: Path, bucket: Bucket) -> AsyncIterator[RunningService]:
    settings = named(bucket, downloads="presigned")
    async with running_service(tmp_path / "data", settings=settings) as service:
        yield service


async def image_of(service: RunningService) -> str:
    task = await service.ended(await service.submit())
    address: str = task["result"][0]["image"]
    assert address.startswith(f"{service.base_url}/{IMAGES}/")
    return address


async def fetched(url: str, method: str = "GET", **headers: str) -> httpx2.Response:
    """Fetch as anybody, and follow nothing."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    async with httpx2.AsyncClient(trust_env=False) as client:
        return await client.request(method, url, headers=fields)


async def test_images_lie_in_the_bucket_and_are_streamed_from_it(
    tmp_path: Path, bucket: Bucket
) -> None:
    async with running_service(tmp_path / "data", settings=named(bucket)) as service:
        url = await image_of(service)
        whole, part = await fetched(url), await fetched(url, range="bytes=10-19")
        unknown = await fetched(url.replace(url[-10:-4], "ffffff"))
    assert (whole.status_code, whole.headers["content-type"]) == (200, "image/png")
    assert (part.status_code, part.content) == (206, whole.content[10:20])
    assert unknown.status_code == 404
    key = url[url.index(IMAGES) :]
    assert await BucketStorage(bucket).get(key) == whole.content
    assert list((tmp_path / "data" / "blobs").rglob("*")) == []


async def test_a_presigned_download_is_sent_on_to_the_bucket(
    tmp_path: Path, bucket: Bucket
) -> None:
    async with presigning(tmp_path, bucket) as service:
        url = await image_of(service)
        moved, head = await fetched(url), await fetched(url, "HEAD")
        known = await fetched(url, if_none_match=head.headers["etag"])
        unknown = await fetched(url.replace(url[-10:-4], "ffffff"))
    assert (moved.status_code, moved.content) == (302, b"")
    assert moved.headers["cache-control"] == "no-store"
    assert moved.headers["access-control-allow-origin"] == "*"
    assert "X-Amz-Expires=600" in moved.headers["location"]
    image = await fetched(moved.headers["location"])
    part = await fetched(moved.headers["location"], range="bytes=10-19")
    assert (image.status_code, image.headers["content-type"]) == (200, "image/png")
    assert (part.status_code, part.content) == (206, image.content[10:20])
    # An address that is signed for GET cannot be asked by HEAD.
    assert (head.status_code, int(head.headers["content-length"])) == (200, len(image.content))
    assert (known.status_code, unknown.status_code) == (304, 404)


# The library itself offers three times what a server could not take, and once what it forbids.
@pytest.mark.parametrize(
    ("refusal", "count"), [((507, b"InsufficientStorage"), 4), ((403, b"AccessDenied"), 2)]
)
async def test_a_picture_that_the_bucket_does_not_take_waits_and_is_paid_once(
    tmp_path: Path, bucket: Bucket, refusal: tuple[int, bytes], count: int
) -> None:
    async with door_before(bucket.endpoint or "") as door:
        settings = {**named(bucket), "storage.endpoint": door.address, "worker.max_tries": 1}
        async with running_service(tmp_path / "data", settings=settings) as service:
            before = await credit(service)
            door.refusal = refusal
            task_id = await service.submit()
            async with asyncio.timeout(10):
                for _ in range(count):
                    await door.refused.get()
            assert (await service.query(task_id))["status"] == "in_progress"
            assert not await BucketStorage(bucket).keys(IMAGES)

            door.refusal = None
            task = await service.ended(task_id)
            assert task["status"] == "success"
            assert (await fetched(task["result"][0]["image"])).status_code == 200
            assert await credit(service) == before - 0.5
            await nothing_held(service.admin, 10)
    assert len(await BucketStorage(bucket).keys(IMAGES)) == 1


async def test_a_reference_that_the_bucket_does_not_take_is_not_accepted(
    tmp_path: Path, bucket: Bucket
) -> None:
    async with door_before(bucket.endpoint or "") as door:
        settings = {**named(bucket), "storage.endpoint": door.address}
        async with running_service(tmp_path / "data", settings=settings) as service:
            body = {"model": "google/gempix2", "prompt": "a boat", "images": [PICTURE]}
            before = await credit(service)
            door.refusal = (403, b"AccessDenied")
            refused = await service.client.post("/api/image/gen", json=body)
            assert refused.status_code == 503
            assert await credit(service) == before
            door.refusal = None
            await service.ended(
                (await service.client.post("/api/image/gen", json=body)).json()["data"]["task_id"]
            )
    assert await BucketStorage(bucket).keys(REFERENCES) == []


async def test_a_download_while_the_bucket_is_away_is_unavailable_and_not_unknown(
    tmp_path: Path, bucket: Bucket
) -> None:
    async with door_before(bucket.endpoint or "") as door:
        settings = {**named(bucket), "storage.endpoint": door.address}
        async with running_service(tmp_path / "data", settings=settings) as service:
            url = await image_of(service)
            door.is_shut = True
            away = await fetched(url)
            door.is_shut = False
            back = await fetched(url)
    assert (away.status_code, back.status_code) == (503, 200)
    assert away.headers["retry-after"]


async def credit(service: RunningService) -> float:
    return float((await service.client.get("/api/user")).json()["data"]["credit"])


@pytest.mark.parametrize("place", ["disk", "bucket"])
async def test_removing_a_tasks_images_removes_their_bytes_and_no_others(
    tmp_path: Path, bucket: Bucket, place: str
) -> None:
    settings = named(bucket) if place == "bucket" else {}
    async with running_service(tmp_path / "data", settings=settings) as service:
        runtime, workspace = service.runtime, WorkspaceId(service.workspace_id)
        kept = await image_of(service)
        task_id = await service.submit(n=3)
        shown = [one["image"] for one in (await service.ended(task_id))["result"]]
        (task,) = await runtime.database.read(
            lambda conn: tasks.get_many(conn, [(workspace, task_id)])
        )
        assert task is not None
        assert task.images is not None
        await runtime.results.remove(task.images)
        await runtime.results.remove(task.images)
        assert [(await fetched(url)).status_code for url in shown] == [404] * 3
        assert (await fetched(kept)).status_code == 200
        assert len(await runtime.storage.keys(IMAGES)) == 1


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"storage.key_id": "id"}, "storage.key_id and storage.secret: one needs the other"),
        ({"storage.downloads": "presigned"}, "presigned needs a bucket"),
        ({"storage.url": "https://images"}, "s3://images/ketchup"),
        ({"storage.url": "s3://images/../else"}, "s3://images/ketchup"),
    ],
)
async def test_settings_that_make_no_storage_are_refused(
    tmp_path: Path, settings: Mapping[str, object], sentence: str
) -> None:
    with pytest.raises(SettingsError, match=sentence):
        async with running_service(tmp_path / "data", settings=settings):
            pass


def test_a_start_on_a_bucket_that_is_not_there_is_one_clear_sentence(
    tmp_path: Path, s3: str
) -> None:
    name = f"missing-{name_bits()}"
    done = subprocess.run(
        [*COMMAND, "--port", "0", "--data", str(tmp_path / "data")],
        cwd=tmp_path,
        env={
            **os.environ,
            "KETCHUP_STORAGE_URL": f"s3://{name}",
            "KETCHUP_STORAGE_ENDPOINT": s3,
            # The usual variables, in the place of settings.
            "AWS_ACCESS_KEY_ID": "id",
            "AWS_SECRET_ACCESS_KEY": SECRET,
        },
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert done.returncode == 3, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    said = f"the bucket {name} at {s3} cannot be written to: it answers NoSuchBucket"
    assert last == f"ketchup: {said}"
    assert SECRET not in done.stderr
    assert "Traceback" not in done.stderr
