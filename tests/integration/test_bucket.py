"""What a bucket does besides what every storage does, and what comes of it in trouble."""

from __future__ import annotations

import asyncio
import dataclasses
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing

import httpx2
import pytest
import pytest_asyncio

from ketchup.clock import Micros
from ketchup.errors import Unavailable
from ketchup.ids import name_bits
from ketchup.providers.base import ImageFormat
from ketchup.storage import (
    REFERENCES,
    BlobNotFound,
    Bucket,
    BucketStorage,
    BucketUnusable,
    image_folder,
    image_key,
    reference_key,
)
from tests.support.bucket_server import Door, bucket_server, door_before, make_bucket

NOW = Micros(1_757_499_740_010_000)  # 2025-09-10T10:22:20Z


@pytest_asyncio.fixture
async def door(s3: str) -> AsyncIterator[Door]:
    async with door_before(s3) as opened:
        yield opened


@pytest.fixture
def behind(door: Door, bucket: Bucket) -> BucketStorage:
    """Return the bucket as it is reached by the door."""
    return BucketStorage(dataclasses.replace(bucket, endpoint=door.address), patience=3.0)


def key_at(at: Micros) -> str:
    return image_key(1, at, ImageFormat.PNG, name_bits())


def probe() -> str:
    return reference_key(NOW, name_bits())


def everything(storage: BucketStorage, key: str) -> list[Callable[[], Awaitable[object]]]:
    return [
        lambda: storage.put(key, b"x"),
        lambda: storage.get(key),
        lambda: storage.size(key),
        lambda: anext(storage.stream(key, 0, 1)),
        lambda: storage.delete(key),
        lambda: storage.keys(image_folder(1)),
        lambda: storage.sweep(image_folder(1), NOW),
    ]


async def unavailable_everywhere(storage: BucketStorage, key: str) -> None:
    for attempt in everything(storage, key):
        async with asyncio.timeout(10):
            with pytest.raises(Unavailable):
                await attempt()


async def test_a_usable_bucket_is_left_as_it_was(bucket: Bucket) -> None:
    storage = BucketStorage(bucket)
    await storage.require_usable(probe())
    assert await storage.keys(REFERENCES) == []


async def test_what_lies_beside_the_prefix_is_left_alone(bucket: Bucket) -> None:
    ours = BucketStorage(bucket)
    others = BucketStorage(dataclasses.replace(bucket, prefix=""))
    key = key_at(NOW)
    await others.put(key, b"theirs")
    with pytest.raises(BlobNotFound):
        await ours.get(key)
    assert await ours.keys(image_folder(1)) == []
    assert await ours.sweep(image_folder(1), Micros(NOW + 1)) == 0
    assert await others.get(key) == b"theirs"


async def test_a_presigned_address_gives_the_image_and_its_kind(bucket: Bucket) -> None:
    storage = BucketStorage(bucket, presigned=True)
    key, data = key_at(NOW), os.urandom(50_000)
    await storage.put(key, data)
    address = await storage.link(key, 600)
    assert address is not None
    assert "X-Amz-Expires=600" in address
    async with httpx2.AsyncClient(trust_env=False) as client:
        whole = await client.get(address)
        part = await client.get(address, headers={"range": "bytes=10-19"})
    assert (whole.status_code, whole.content) == (200, data)
    assert whole.headers["content-type"] == "image/png"
    assert (part.status_code, part.content) == (206, data[10:20])


async def test_a_bucket_that_is_proxied_gives_no_address(bucket: Bucket) -> None:
    assert await BucketStorage(bucket).link(key_at(NOW), 600) is None


async def test_a_bucket_by_host_is_asked_at_its_own_name() -> None:
    bucket = Bucket("images", endpoint="http://s3.example.com:9000", is_in_host=True)
    owned = dataclasses.replace(bucket, region="eu-west-1", key_id="id", secret="secret")
    address = await BucketStorage(owned, presigned=True).link(key_at(NOW), 60)
    assert address is not None
    assert address.startswith("http://images.s3.example.com:9000/fileSystem/response_images/1/")


async def test_the_endpoint_that_is_named_is_asked_whatever_the_variables_say(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_REGION", "eu-west-3")
    await BucketStorage(bucket).require_usable(probe())


async def test_a_missing_bucket_is_said_at_the_start_and_loses_nothing(bucket: Bucket) -> None:
    missing = BucketStorage(dataclasses.replace(bucket, name="not-there"))
    with pytest.raises(BucketUnusable, match=r"cannot be written to: it answers NoSuchBucket$"):
        await missing.require_usable(probe())
    # Not found would tell a caller that the image is gone for good.
    await unavailable_everywhere(missing, key_at(NOW))


async def test_wrong_credentials_are_said_at_the_start() -> None:
    with bucket_server(allowing=1) as server:
        storage = BucketStorage(make_bucket(server, "images"))
        with pytest.raises(BucketUnusable, match=r"it answers InvalidAccessKeyId$"):
            await storage.require_usable(probe())
        await unavailable_everywhere(storage, key_at(NOW))


async def test_an_endpoint_that_is_down_is_unavailable_within_seconds(
    behind: BucketStorage, door: Door
) -> None:
    key = key_at(NOW)
    await behind.put(key, b"image")
    door.is_shut = True
    with pytest.raises(BucketUnusable, match=r"it does not answer$"):
        await behind.require_usable(probe())
    await unavailable_everywhere(behind, key)
    door.is_shut = False
    assert await behind.get(key) == b"image"


async def test_an_endpoint_that_keeps_silent_is_unavailable_within_seconds(
    door: Door, bucket: Bucket
) -> None:
    reached = dataclasses.replace(bucket, endpoint=door.address)
    storage = BucketStorage(reached, patience=0.3)
    door.is_silent = True
    await unavailable_everywhere(storage, key_at(NOW))


async def test_a_server_that_falls_silent_in_a_download_is_unavailable(
    door: Door, bucket: Bucket
) -> None:
    reached = dataclasses.replace(bucket, endpoint=door.address)
    storage = BucketStorage(reached, patience=1.0)
    key, data = key_at(NOW), os.urandom(3_000_000)
    await storage.put(key, data)
    door.silent_after = 1_000_000
    async with asyncio.timeout(10), aclosing(storage.stream(key, 0, len(data))) as chunks:
        assert data.startswith(await anext(chunks))
        with pytest.raises(Unavailable):
            async for _ in chunks:
                pass
    async with asyncio.timeout(10):
        with pytest.raises(Unavailable):
            await storage.get(key)
    door.silent_after = None
    assert await storage.get(key) == data


@pytest.mark.parametrize(
    ("status", "code"), [(403, b"AccessDenied"), (507, b"InsufficientStorage"), (503, b"SlowDown")]
)
async def test_a_bucket_that_refuses_writes_is_unavailable_and_keeps_what_it_has(
    behind: BucketStorage, door: Door, status: int, code: bytes
) -> None:
    kept, refused = key_at(NOW), key_at(NOW)
    await behind.put(kept, b"image")
    door.refusal = (status, code)
    with pytest.raises(BucketUnusable, match=f"it answers {code.decode()}$"):
        await behind.require_usable(probe())
    with pytest.raises(Unavailable):
        await behind.put(refused, b"x")
    assert await behind.keys(image_folder(1)) == [kept]
    assert await behind.get(kept) == b"image"
    door.refusal = None
    await behind.put(refused, b"x")
    assert await behind.get(refused) == b"x"


async def test_no_secret_is_shown(bucket: Bucket) -> None:
    assert "secret" not in repr(dataclasses.replace(bucket, secret="a secret")).replace(
        "secret=", ""
    )
    missing = BucketStorage(dataclasses.replace(bucket, name="not-there", secret="hush-hush"))
    with pytest.raises(Unavailable) as caught:
        await missing.put(key_at(NOW), b"x")
    assert "hush-hush" not in f"{caught.value} {caught.value.__cause__}"
    assert "\n" not in str(caught.value.__cause__)
