"""The parsers that strangers' bytes come to first, each as a function that fuzzers call.

A target takes any bytes and returns, or raises what is a find: any error but the parser's own, or
an answer that cannot be right.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import httpx2

from ketchup import signing
from ketchup.api.forms import FORM, file_of
from ketchup.clock import FrozenClock
from ketchup.config.schema import Settings
from ketchup.egress import BadUrl, Egress
from ketchup.egress.urls import join, parse_url
from ketchup.errors import Forbidden, InvalidRequest
from ketchup.ids import KeyId, RequestId, WorkspaceId
from ketchup.providers import gemini, openai_images
from ketchup.providers.base import AnswerLost, ProviderError
from ketchup.providers.catalog import catalog_from
from ketchup.providers.headers import NotAnImage, read_header
from ketchup.providers.upstream import Answer, failure_of
from ketchup.references import DataReference, parse
from ketchup.storage import parse_image_key
from ketchup.wire.endpoints import _task_id
from ketchup.wire.files import _RequestHeaders, _Unsatisfiable
from ketchup.wire.requests import RequestHead, parse_idempotency_key, parse_request
from ketchup.workspaces import Caller, Environment
from ketchup.workspaces.authenticator import _secret_of
from ketchup.workspaces.keys import is_well_formed

Target = Callable[[bytes], None]

_CALLER: Final = Caller(
    WorkspaceId("ws_1"), KeyId("key_1"), Environment.LIVE, None, None, None, "free"
)
_CATALOG: Final = catalog_from(Settings().models)
_BASE: Final = parse_url("https://first.test/a/b?c")
_SIZE: Final = 1000
_SECRET: Final = signing.secret_from_bytes(b"s" * 32)


def url(data: bytes) -> None:
    """A reference's or a callback's address, and where a redirect leads."""
    text = data.decode("utf-8", "surrogatepass" if data.isascii() else "replace")
    for read in (parse_url, lambda location: join(_BASE, location)):
        with suppress(BadUrl):
            found = read(text)
            assert found.scheme in {"http", "https"}
            assert 0 < found.port < 65536
            assert (found.host + found.path).isascii()
            assert not set(found.host + found.path) & set("\r\n \t\\")
            # Whoever reads it again sees the same destination.
            assert parse_url(found.origin + found.path).origin == found.origin


def key(data: bytes) -> None:
    """The header `Authorization`."""
    secret = _secret_of(data)
    assert secret is None or (is_well_formed(secret) and len(secret) == 46)


def file_headers(data: bytes) -> None:
    """`Range`, `If-Range` and `If-None-Match` of a download."""
    first, _, second = data.partition(b"\n")
    names = (b"range", b"if-range", b"if-none-match")
    read = _RequestHeaders({"headers": [(name, one) for name in names for one in (first, second)]})
    read.has('"etag"')
    read = _RequestHeaders({"headers": [(b"range", first)]})
    wanted = read.range_of(_SIZE, '"etag"')
    if wanted is not None and not isinstance(wanted, _Unsatisfiable):
        start, stop = wanted
        assert 0 <= start < stop <= _SIZE


def pauses(data: bytes) -> None:
    """`Retry-After` of a receiver and of an engine."""
    text = data.decode("latin-1")
    # Only the clock of a client is asked.
    waiting = Egress._retry_after(_WITH_A_CLOCK, text)
    assert waiting is None or waiting >= 0
    first, _, second = data.partition(b"\n")
    answer = Answer(429, httpx2.Headers([(b"retry-after", first), (b"date", second)]), b"")
    pause = getattr(failure_of(answer, ""), "retry_after", None)
    assert pause is None or pause >= 0


class _Clocked(Egress):
    def __init__(self) -> None:
        self._clock = FrozenClock()


_WITH_A_CLOCK: Final = _Clocked()


def data_uri(data: bytes) -> None:
    """An item of `images`."""
    with suppress(InvalidRequest):
        found = parse(data.decode("utf-8", "replace"), index=0)
        if isinstance(found, DataReference):
            with suppress(NotAnImage):
                read_header(found.data)


def idempotency(data: bytes) -> None:
    """The header `Idempotency-Key`, which may come several times."""
    with suppress(InvalidRequest):
        found = parse_idempotency_key(data.split(b"\n"))
        assert found is not None
        assert 1 <= len(found) <= 255
        assert found.isprintable()


def webhook(data: bytes) -> None:
    """The headers of a callback, as a receiver in Python checks them."""
    names = ("webhook-id", "webhook-timestamp", "webhook-signature")
    parts = data.split(b"\n", 3)
    received = dict(zip(names, (one.decode("latin-1") for one in parts), strict=False))
    with suppress(signing.SignatureInvalid):
        signing.verify(_SECRET, received, parts[-1], now=1_800_000_000)
        raise AssertionError("a signature was made up")


def body(data: bytes) -> None:
    """The body of a new task."""
    with suppress(InvalidRequest, Forbidden):
        found = parse_request(data, _CATALOG, RequestHead(_CALLER, RequestId("req_1"), []))
        found.prompt.encode()
        assert "\0" not in found.prompt


def query(data: bytes) -> None:
    """The query that names a task, and the path that names an image."""
    with suppress(InvalidRequest):
        found = _task_id(data)
        assert found is None or found.isprintable()
    parse_image_key(data.decode("latin-1"))


def form(data: bytes) -> None:
    """A form with a picture: its Content-Type in the first line."""
    said, _, sent = data.partition(b"\n")
    for head in (said.decode("latin-1"), f"{FORM}; boundary={said.decode('latin-1')}"):
        with suppress(InvalidRequest):
            file_of(head, sent)


def answers(data: bytes) -> None:
    """What an engine answers: its status in the first byte."""
    answer = Answer(200 + (data[0] if data else 0) * 2, httpx2.Headers(), data[1:])
    for shape in (gemini._Answer, openai_images._Answer):
        with suppress(AnswerLost):
            answer.read(shape)
    for told in (gemini._failure, openai_images._failure):
        assert isinstance(told(answer), ProviderError)


def cursors(data: bytes) -> None:
    """The parameters of the customers' lists."""
    from ketchup.api.shapes import (  # noqa: PLC0415 pydantic takes a second, and only this needs it
        DeliveryFilter,
        TaskFilter,
        UsageFilter,
    )

    try:
        asked = json.loads(data)
    except (ValueError, RecursionError):
        asked = {"before": data.decode("latin-1"), "from": data.decode("latin-1")}
    for shape in (TaskFilter, DeliveryFilter, UsageFilter):
        # pydantic's own error is a ValueError.
        with suppress(ValueError):
            shape.model_validate(asked)


TARGETS: Final[dict[str, Target]] = {
    one.__name__: one
    for one in (
        url, key, file_headers, pauses, data_uri, idempotency, webhook, body, query, form, answers,
        cursors,
    )
}  # fmt: skip
