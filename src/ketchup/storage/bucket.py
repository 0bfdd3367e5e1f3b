"""Blobs in a bucket: on S3, or on a server that speaks like it.

Any number of machines may use the same bucket, and what else lies in it is left alone when a prefix
is given. An upload is one request, so a reader sees a whole blob or none, and what `put` returned
from is as durable as the bucket is. Nothing here makes a bucket, or says for how long it keeps what
was deleted: versions and life cycles are its owner's.

A server that is away, or takes a connection and says nothing, is given up after some seconds.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final
from urllib.parse import urlsplit

import obstore
from obstore.store import S3Store
from typing_extensions import override

from ketchup.errors import Unavailable
from ketchup.storage.blobs import Blobs, trouble
from ketchup.storage.keys import BlobNotFound, media_type, require_ours

_CONNECT_SECONDS: Final = 3
_RETRY_SECONDS: Final = 4
_RETRIES: Final = 2
_PATIENCE_SECONDS: Final = 8.0
# An upload may take longer than an answer, by what there is to carry.
_SLOWEST_BYTES_PER_SECOND: Final = 256 * 1024
# The library's own limit counts a whole download, at the pace of whoever reads it from us.
_DOWNLOAD_SECONDS: Final = 6 * 3600
_AT_ONCE: Final = 1000
_CODE: Final = re.compile(r"<Code>(\w{1,64})</Code>", re.ASCII)
_STATUS: Final = re.compile(r"status code: (\d{3} [A-Za-z ]{1,40})", re.ASCII)
_PROBE: Final = b"Ketchup writes this when it starts, and removes it."


class BucketUnusable(Unavailable):
    """The bucket cannot serve as a storage; `str(error)` is one sentence for the operator."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """Where a bucket is and who we are there.

    What is None is taken from the usual AWS variables, or from the role of the machine.
    """

    name: str
    prefix: str = ""
    endpoint: str | None = None
    region: str | None = None
    key_id: str | None = None
    secret: str | None = field(default=None, repr=False)
    is_in_host: bool = False
    """Whether the bucket's name is part of the host, and not of the path."""

    def open(self) -> S3Store:
        """Return the library's view of it. Nothing is asked yet."""
        named = {
            # The one of the two that no variable overrules.
            "aws_endpoint_url_s3": self._address(),
            "region": self.region,
            "access_key_id": self.key_id,
            "secret_access_key": self.secret,
        }
        return S3Store(
            self.name,
            prefix=self.prefix or None,
            config={name: value for name, value in named.items() if value is not None},  # type: ignore[arg-type]  # built by name
            virtual_hosted_style_request=self.is_in_host,
            client_options={
                "allow_http": (self.endpoint or "").startswith("http://"),
                "connect_timeout": timedelta(seconds=_CONNECT_SECONDS),
                "timeout": timedelta(seconds=_DOWNLOAD_SECONDS),
            },
            retry_config={
                "max_retries": _RETRIES,
                "retry_timeout": timedelta(seconds=_RETRY_SECONDS),
            },
        )

    def _address(self) -> str | None:
        if self.endpoint is None or not self.is_in_host:
            return self.endpoint
        parts = urlsplit(self.endpoint)
        return parts._replace(netloc=f"{self.name}.{parts.netloc}").geturl()


class BucketStorage(Blobs):
    """Blobs in a bucket. `presigned` says whether `link` gives addresses of the bucket itself.

    `patience` is for how many seconds the server may say nothing.
    """

    def __init__(
        self, bucket: Bucket, *, presigned: bool = False, patience: float = _PATIENCE_SECONDS
    ) -> None:
        self._s3 = bucket.open()
        super().__init__(self._s3, patience=patience)
        self._bucket = bucket
        self._seconds = patience
        self._presigned = presigned

    async def require_usable(self, key: str) -> None:
        """Write a blob under an unused key, find and read it, remove it. Raises BucketUnusable."""
        folder = key.rpartition("/")[0]
        for act, attempt in (
            ("written to", lambda: self.put(key, _PROBE)),
            ("read", lambda: self.get(key)),
            ("listed", lambda: self.keys(folder)),
            ("deleted from", lambda: self.delete(key)),
        ):
            try:
                await attempt()
            except (Unavailable, BlobNotFound) as error:
                where = f" at {self._bucket.endpoint}" if self._bucket.endpoint else ""
                raise BucketUnusable(
                    f"the bucket {self._bucket.name}{where} cannot be {act}: {_reason(error)}"
                ) from error

    @override
    async def put(self, key: str, data: bytes) -> None:
        require_ours(key)
        with trouble():
            async with asyncio.timeout(self._seconds + len(data) / _SLOWEST_BYTES_PER_SECOND):
                await self._s3.put_async(
                    key,
                    data,
                    attributes={"Content-Type": media_type(key)},
                    # In parts, a crash would leave some behind that nobody sees and somebody pays.
                    use_multipart=False,
                )

    @override
    async def size(self, key: str) -> int:
        try:
            return await super().size(key)
        except BlobNotFound:
            # The answer had no body, so it may be the bucket that is not there: this one says so.
            await self.get(key)
            raise

    @override
    async def link(self, key: str, seconds: int) -> str | None:
        require_ours(key)
        if not self._presigned:
            return None
        with trouble():
            # Credentials may have to be fetched first.
            async with asyncio.timeout(self._seconds):
                return await obstore.sign_async(self._s3, "GET", key, timedelta(seconds=seconds))

    @override
    async def _delete(self, keys: Sequence[str]) -> None:
        for start in range(0, len(keys), _AT_ONCE):
            with trouble():
                async with asyncio.timeout(self._seconds):
                    await self._s3.delete_async(keys[start : start + _AT_ONCE])


def _reason(error: Exception) -> str:
    """Say in a few words what the server said, or that it said nothing."""
    said = str(error.__cause__)
    if isinstance(error, BlobNotFound):
        return "what was written is not there"
    code, status = _CODE.search(said), _STATUS.search(said)
    if code is not None:
        return f"it answers {code[1]}"
    return f"it answers {status[1].strip()}" if status is not None else "it does not answer"
