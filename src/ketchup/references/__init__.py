"""References: the images that a caller puts into `images`, from text to harmless pixels.

`parse` reads one item while the request is being answered: it refuses what is malformed, without
touching the network. `load` runs in a worker: it fetches an URL through `egress` and has the bytes
decoded in a sandbox. What fails there fails the task, with one fixed sentence per kind.

Until it is known that an address holds a picture there is one sentence for all that can go wrong,
and one time at which it is told: a port that is open, closed, filtered or denied looks like any
other. Only a server that lets us wait for longer is told later.

Invariant: no byte of the input reaches a provider. Every ReferenceImage was drawn anew from pixels,
at most 2048 pixels wide or high, without metadata.

It keeps nothing: where blobs are stored between the two steps is the use case's matter.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
from dataclasses import dataclass
from typing import Final, TypeAlias

from ketchup.egress import BadUrl, Crowded, Egress, EgressError, check_url
from ketchup.errors import InvalidRequest, Unavailable
from ketchup.providers.base import ReferenceImage, sniff
from ketchup.references.decoder import Decoder
from ketchup.references.errors import Problem, ReferenceFailed

__all__ = [
    "DataReference",
    "Decoder",
    "Problem",
    "Reference",
    "ReferenceFailed",
    "References",
    "UrlReference",
    "parse",
    "sniff",
]

MAX_BYTES: Final = 20 * 1024 * 1024
FETCH_SECONDS: Final = 20.0
FAILURES_LAST: Final = 6.0

# `image/jpg` is not registered, but clients write it.
_DATA_URI = re.compile(r"data:image/(?:png|jpe?g|webp);base64,", re.ASCII | re.IGNORECASE)
_DATA_SCHEME: Final = "data:"
# Object stores often know no better than the last two.
_ACCEPT: Final = ("image/", "application/octet-stream", "binary/octet-stream")
# Characters, of which four are three bytes.
_PIECE: Final = 256 * 1024
_MAX_BASE64: Final = -(-MAX_BYTES // 3) * 4


@dataclass(frozen=True, slots=True)
class UrlReference:
    """An image that the worker has to fetch."""

    url: str


@dataclass(frozen=True, slots=True)
class DataReference:
    """An image that came with the request: untrusted bytes of a believable beginning."""

    data: bytes


Reference: TypeAlias = UrlReference | DataReference


def parse(text: str, *, index: int) -> Reference:
    """Read `images[index]`: an http(s) URL, or a base64 data URI of at most 20 MiB of image.

    Raises InvalidRequest with a sentence that names the item.
    """
    if text[: len(_DATA_SCHEME)].lower() == _DATA_SCHEME:
        return DataReference(_decoded(text, f"images[{index}]"))
    try:
        check_url(text)
    except BadUrl as error:
        raise InvalidRequest(
            f"images[{index}] must be an http or https URL or a base64 data URI"
        ) from error
    return UrlReference(text)


class References:
    """Turns a parsed reference into an image that providers may see."""

    def __init__(
        self, egress: Egress, decoder: Decoder, *, failures_last: float = FAILURES_LAST
    ) -> None:
        """`failures_last` is how many seconds a fetch that fails takes at least."""
        self._egress = egress
        self._decoder = decoder
        self._failures_last = failures_last

    async def load(self, reference: Reference, workspace: str = "") -> ReferenceImage:
        """Fetch if it must be fetched, and decode. No transaction may be open meanwhile.

        The workspace is whose turn to fetch it takes.

        Raises ReferenceFailed when the task cannot go on, Unavailable when it can be tried again.
        """
        data = await self._bytes(reference, workspace)
        image_format = sniff(data)
        if image_format is None:
            raise ReferenceFailed(Problem.NOT_DECODED, "it is not a PNG, JPEG or WebP image")
        if len(data) > MAX_BYTES:
            raise ReferenceFailed(Problem.TOO_LARGE)
        return await self._decoder.decode(data, image_format)

    async def _bytes(self, reference: Reference, workspace: str) -> bytes:
        match reference:
            case UrlReference(url):
                return await self._fetch(url, workspace)
            case DataReference(data):
                return data

    async def _fetch(self, url: str, workspace: str) -> bytes:
        told = asyncio.get_running_loop().time() + self._failures_last
        try:
            fetched = await self._egress.get(
                url,
                max_bytes=MAX_BYTES,
                deadline_seconds=FETCH_SECONDS,
                accept=_ACCEPT,
                workspace=workspace,
            )
            if sniff(fetched.data) is not None:
                return fetched.data
            failed = ReferenceFailed(Problem.NOT_FETCHED, "it is not a PNG, JPEG or WebP image")
        except Crowded as error:
            raise Unavailable(f"a reference was not fetched: {error.detail}") from error
        except EgressError as error:
            failed = ReferenceFailed(Problem.NOT_FETCHED, f"{type(error).__name__}: {error.detail}")
        await asyncio.sleep(told - asyncio.get_running_loop().time())
        raise failed


def _decoded(uri: str, item: str) -> bytes:
    match = _DATA_URI.match(uri)
    if match is None:
        raise InvalidRequest(f"{item} must be a base64 data URI of a PNG, JPEG or WebP image")
    # By length, before anything is decoded.
    if len(uri) - match.end() > _MAX_BASE64:
        raise InvalidRequest(f"{item} must not be larger than 20 MiB")
    try:
        data = _from_base64(uri, match.end())
    except (binascii.Error, ValueError) as error:
        raise InvalidRequest(f"{item} is not a valid base64 image") from error
    if sniff(data) is None:
        raise InvalidRequest(f"{item} is not a PNG, JPEG or WebP image")
    return data


def _from_base64(text: str, start: int) -> bytes:
    """Decode in pieces: between two of them, other threads of the process have a turn."""
    data = bytearray()
    for at in range(start, len(text), _PIECE):
        piece = text[at : at + _PIECE]
        data += base64.b64decode(piece, validate=True)
        if piece.endswith("=") and at + _PIECE < len(text):
            raise binascii.Error("padding in the middle")
    return bytes(data)
