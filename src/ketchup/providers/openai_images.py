"""OpenAI's image API, and the many servers that speak it: vLLM-Omni, SGLang, LocalAI and others.

Without references it is `images/generations` with JSON, with references `images/edits` with a form.
The pictures of a task are asked for by one request, unless `per_request` says that a server cannot.

The task's id goes along as `Idempotency-Key`. Whether a server keeps to it is the server's matter:
a request whose answer was lost may be rendered and charged again. The customer pays once.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import chain
from typing import Any, Final
from urllib.parse import urljoin

import msgspec

from ketchup.providers.base import (
    AnswerLost,
    GeneratedImage,
    ImageRequest,
    Misconfigured,
    NotServed,
    Progress,
    ProviderError,
    Refused,
    size_of,
)
from ketchup.providers.memory import share_of_this_task
from ketchup.providers.upstream import (
    Answer,
    Bounds,
    Upstream,
    all_of,
    checked,
    failure_of,
    picture_of,
    read_picture,
)
from ketchup.providers.waiting import unless

REFUSED: Final = "The request was refused by the model's safety rules."
NO_IMAGE: Final = "The model returned no image; another prompt may help."
NO_EDITS: Final = "This model takes no reference images."

OPENAI: Final = "https://api.openai.com/v1"

Fetch = Callable[[str], Awaitable[bytes]]
"""Reads the address of a picture, under the guard and within bounds. Raises AnswerLost."""

_OK: Final = 200
_MAKER: Final = "openai/"
_BLOCKED: Final = frozenset({"moderation_blocked", "content_policy_violation"})
# What OpenAI and vLLM say of a model that is not there, and of no path.
_NO_MODEL: Final = frozenset({"model_not_found", "NotFoundError"})
_OTHER_MODEL: Final = b"Model mismatch: "
_BAD_REQUEST: Final = 400
_NO_PATH: Final = frozenset({404, 405, 501})
_OUT_OF_MONEY: Final = frozenset({"insufficient_quota", "billing_hard_limit_reached"})


class Knows(StrEnum):
    """Fields that not every server takes: OpenAI refuses what it does not know."""

    SEED = "seed"
    OUTPUT_FORMAT = "output_format"


@dataclass(frozen=True, slots=True)
class OpenAISettings:
    """Where the API is, and what this server wants otherwise than others."""

    api_key: str = field(repr=False)
    base_url: str = OPENAI
    """With the version: `…/v1`."""
    models: Mapping[str, str] = field(default_factory=dict)
    """The server's name by the public one. Others go up as they are, but for an `openai/`."""
    knows: frozenset[Knows] = frozenset({Knows.OUTPUT_FORMAT})
    image_field: str = "image[]"
    sizes: Sequence[tuple[int, int]] = ()
    """The only sizes that it renders: the nearest in shape is taken. Empty is any."""
    per_request: int = 10
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Goes into every request, at the top level: `{"num_inference_steps": 8}`."""
    proxy: str | None = None
    bounds: Bounds = field(default_factory=Bounds)


class _Picture(msgspec.Struct):
    b64_json: str | None = None
    url: str | None = None


class _Answer(msgspec.Struct):
    data: list[_Picture] | None = None


class _Error(msgspec.Struct):
    message: str | None = None
    type: str | None = None
    # Some compatible servers repeat the status here.
    code: str | int | None = None


class _Failure(msgspec.Struct):
    error: _Error


class OpenAIImagesProvider:
    """See `Provider`. Safe for concurrent use."""

    def __init__(self, settings: OpenAISettings, *, fetch: Fetch) -> None:
        self._settings = settings
        self._fetch = fetch
        self._upstream = Upstream(
            settings.base_url,
            headers={"Authorization": f"Bearer {settings.api_key}"},
            key=settings.api_key,
            bounds=settings.bounds,
            proxy=settings.proxy,
        )

    async def generate(
        self, request: ImageRequest, *, progress: Progress, cancelled: asyncio.Event
    ) -> Sequence[GeneratedImage]:
        """See `Provider.generate`. Raises AnswerLost once `cancelled` is set."""
        firsts = range(0, request.count, self._settings.per_request)
        done = 0

        async def render(index: int) -> Sequence[GeneratedImage]:
            nonlocal done
            first = firsts[index]
            count = min(self._settings.per_request, request.count - first)
            images = await self._render(request, first, count)
            done += count
            progress(done / request.count)
            return images

        stopped = AnswerLost("The task was cancelled while it rendered.")
        found = await unless(cancelled, all_of(render, len(firsts)), stopped)
        return list(chain.from_iterable(found))

    async def close(self) -> None:
        """Close every connection."""
        await self._upstream.close()

    async def _render(
        self, request: ImageRequest, first: int, count: int
    ) -> Sequence[GeneratedImage]:
        fields = self._fields(request, first, count)
        key = {"Idempotency-Key": f"{request.task_id}-{first}"}
        if request.references:
            form, content_type = _form(fields, request, self._settings.image_field)
            answer = await self._upstream.post("/images/edits", form, content_type, key)
            if answer.status in _NO_PATH and not _misses_model(answer):
                raise NotServed(f"images/edits: {answer.told()}", reason=NO_EDITS)
        else:
            body = msgspec.json.encode(fields)
            path = "/images/generations"
            answer = await self._upstream.post(path, body, "application/json", key)
        return await self._pictures(answer, count)

    def _fields(self, request: ImageRequest, first: int, count: int) -> dict[str, Any]:
        settings = self._settings
        width, height = size_of(request, settings.sizes)
        fields: dict[str, Any] = {
            "model": settings.models.get(request.model, request.model.removeprefix(_MAKER)),
            "prompt": request.prompt.encode("utf-8", "replace").decode(),
            "n": count,
            "size": f"{width}x{height}",
        }
        if Knows.SEED in settings.knows:
            fields["seed"] = request.seed + first
        if Knows.OUTPUT_FORMAT in settings.knows:
            fields["output_format"] = request.output_format.value
        return {**fields, **settings.extra}

    async def _pictures(self, answer: Answer, count: int) -> Sequence[GeneratedImage]:
        if answer.status != _OK:
            raise _failure(answer)
        found = answer.read(_Answer).data or []
        if not found:
            raise Refused(NO_IMAGE, detail=f"no data; {answer.told()}")
        if len(found) != count:
            raise AnswerLost(f"{len(found)} pictures instead of {count}")
        return [await self._picture(picture) for picture in found]

    async def _picture(self, picture: _Picture) -> GeneratedImage:
        bounds = self._settings.bounds
        # Some servers leave the one of the two empty that they do not use.
        if picture.b64_json:
            return await read_picture(picture_of, picture.b64_json, bounds)
        if picture.url:
            return await read_picture(checked, await self._fetched(picture.url), bounds)
        raise AnswerLost("a picture without data and without an address")

    async def _fetched(self, url: str) -> bytes:
        most, share = self._settings.bounds.answer_bytes, share_of_this_task()
        # Whoever fetches has a deadline of its own, which begins when there is room.
        await share.take(most)
        data = await self._fetch(self._absolute(url))
        share.give(most - len(data))
        return data

    def _absolute(self, url: str) -> str:
        """Return where a picture is; SGLang says it without its own host."""
        try:
            return urljoin(self._settings.base_url, url)
        except ValueError as error:
            raise AnswerLost(f"a picture at no address: {error}") from error


def _form(fields: Mapping[str, Any], request: ImageRequest, name: str) -> tuple[bytes, str]:
    """Write a form (RFC 7578) and return it with its media type."""
    # Nobody can put into a prompt what nobody can guess.
    boundary = secrets.token_hex(16)
    out = bytearray()
    for key, value in fields.items():
        text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
        out += f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n'.encode()
        out += text.encode() + b"\r\n"
    for place, reference in enumerate(request.references):
        filename = f"{place}.{reference.format.suffix}"
        out += (
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; '
            f'filename="{filename}"\r\nContent-Type: {reference.format.mime_type}\r\n\r\n'
        ).encode()
        out += reference.data + b"\r\n"
    out += f"--{boundary}--\r\n".encode()
    return bytes(out), f"multipart/form-data; boundary={boundary}"


def _misses_model(answer: Answer) -> bool:
    failure = answer.error(_Failure)
    return failure is not None and bool({failure.error.code, failure.error.type} & _NO_MODEL)


def _failure(answer: Answer) -> ProviderError:
    # vLLM-Omni's sentence for it; there is no code, and nothing is wrong with the request.
    if answer.status == _BAD_REQUEST and _OTHER_MODEL in answer.body:
        return NotServed(answer.told())
    failure = answer.error(_Failure)
    if failure is None:
        return failure_of(answer, answer.told())
    error = failure.error
    message = f"{answer.status} {error.code or error.type}: {error.message}"
    if error.code in _BLOCKED:
        return Refused(REFUSED, detail=message)
    # These come as 429 and as 400, and no pause helps.
    if error.code in _OUT_OF_MONEY or error.type in _OUT_OF_MONEY:
        return Misconfigured(message)
    return failure_of(answer, message)
