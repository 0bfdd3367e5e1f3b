"""Google's image models over `generateContent`, without an SDK.

The wire: one POST with the prompt and the references inside, and one picture in the answer among
thoughts and remarks. Several pictures are several requests at once, with seed, seed + 1, and so on.

Google has no idempotency key here: a request whose answer was lost is rendered and charged again
when the queue tries once more. The customer pays once.

A refusal comes with status 200: a blocked prompt has no candidates, a blocked picture a finish
reason and no parts. A bad key has status 400.
"""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from ketchup.providers.base import (
    AnswerLost,
    GeneratedImage,
    ImageRequest,
    ImageSize,
    Misconfigured,
    NotServed,
    Progress,
    ProviderError,
    Refused,
)
from ketchup.providers.upstream import (
    Answer,
    Bounds,
    Upstream,
    all_of,
    failure_of,
    picture_of,
    read_picture,
)
from ketchup.providers.waiting import unless

PROMPT_BLOCKED: Final = "The prompt was refused by the model's safety rules."
IMAGE_BLOCKED: Final = "The image was withheld by the model's safety rules."
NO_IMAGE: Final = "The model returned no image; another prompt may help."

GOOGLE: Final = "https://generativelanguage.googleapis.com"
# The public name of a model, and Google's names for it: the next is asked when one is gone.
GOOGLE_MODELS: Final[Mapping[str, Sequence[str]]] = {
    "google/gempix2": ("gemini-nano-banana-2.1", "gemini-3.1-flash-image"),
    "google/gemini-2.5-flash-image": ("gemini-2.5-flash-image", "gemini-3.1-flash-lite-image"),
}

_SEEDS: Final = 2**31
_NOT_FOUND: Final = 404
_OK: Final = 200
# Of FinishReason: the picture was judged. Every other one without a picture is an empty answer.
_JUDGED: Final = frozenset(
    {
        "SAFETY",
        "IMAGE_SAFETY",
        "PROHIBITED_CONTENT",
        "IMAGE_PROHIBITED_CONTENT",
        "BLOCKLIST",
        "SPII",
        "RECITATION",
        "IMAGE_RECITATION",
        "MODEL_ARMOR",
    }
)


@dataclass(frozen=True, slots=True)
class GeminiSettings:
    """Where Google's API is, or what speaks as it does, and under which names."""

    api_key: str = field(repr=False)
    base_url: str = GOOGLE
    api_version: str = "v1beta"
    models: Mapping[str, Sequence[str]] = field(default_factory=lambda: GOOGLE_MODELS)
    """Google's names by the public one, in order of preference. Others go up as they are."""
    proxy: str | None = None
    bounds: Bounds = field(default_factory=Bounds)


class _Struct(msgspec.Struct, rename="camel"):
    """What is read of an answer; everything else in it is skipped."""


class _Inline(_Struct):
    data: str = ""


class _Part(_Struct):
    inline_data: _Inline | None = None
    text: str = ""
    thought: bool = False


class _Content(_Struct):
    parts: list[_Part] | None = None


class _Candidate(_Struct):
    content: _Content | None = None
    finish_reason: str | None = None
    finish_message: str | None = None


class _Feedback(_Struct):
    block_reason: str | None = None
    block_reason_message: str | None = None


class _Answer(_Struct):
    candidates: list[_Candidate] | None = None
    prompt_feedback: _Feedback | None = None


class _Detail(msgspec.Struct):
    type: str = msgspec.field(name="@type", default="")
    reason: str | None = None
    pause: str | None = msgspec.field(name="retryDelay", default=None)


class _Status(msgspec.Struct):
    message: str = ""
    status: str = ""
    details: list[_Detail] = []


class _Failure(msgspec.Struct):
    error: _Status


class GeminiProvider:
    """See `Provider`. Safe for concurrent use."""

    def __init__(self, settings: GeminiSettings) -> None:
        self._settings = settings
        self._upstream = Upstream(
            settings.base_url,
            headers={"x-goog-api-key": settings.api_key},
            key=settings.api_key,
            bounds=settings.bounds,
            proxy=settings.proxy,
        )

    async def generate(
        self, request: ImageRequest, *, progress: Progress, cancelled: asyncio.Event
    ) -> Sequence[GeneratedImage]:
        """See `Provider.generate`. Raises AnswerLost once `cancelled` is set."""
        done = 0

        async def render(index: int) -> GeneratedImage:
            nonlocal done
            image = await self._render(_body(request, request.seed + index), request.model)
            done += 1
            progress(done / request.count)
            return image

        stopped = AnswerLost("The task was cancelled while it rendered.")
        return await unless(cancelled, all_of(render, request.count), stopped)

    async def close(self) -> None:
        """Close every connection."""
        await self._upstream.close()

    async def _render(self, body: bytes, model: str) -> GeneratedImage:
        names = self._settings.models.get(model, (model,))
        for name in names:
            path = f"/{self._settings.api_version}/models/{name}:generateContent"
            answer = await self._upstream.post(path, body, "application/json")
            if answer.status != _NOT_FOUND:
                return await self._picture(answer)
        raise NotServed(f"{model}: the upstream has none of {', '.join(names)}")

    async def _picture(self, answer: Answer) -> GeneratedImage:
        if answer.status != _OK:
            raise _failure(answer)
        found = answer.read(_Answer)
        parts = [part for candidate in found.candidates or () for part in _parts(candidate)]
        # Drafts come before the picture that the model decided on.
        drawn = [p.inline_data.data for p in parts if p.inline_data and not p.thought]
        if not drawn:
            raise _refusal(found, " ".join(part.text for part in parts))
        return await read_picture(picture_of, drawn[-1], self._settings.bounds)


def _body(request: ImageRequest, seed: int) -> bytes:
    parts: list[dict[str, Any]] = [{"text": request.prompt.encode("utf-8", "replace").decode()}]
    for reference in request.references:
        data = base64.b64encode(reference.data).decode()
        parts.append({"inlineData": {"mimeType": reference.format.mime_type, "data": data}})
    config: dict[str, Any] = {"responseModalities": ["IMAGE"], "seed": seed % _SEEDS}
    if shape := _shape(request):
        config["imageConfig"] = shape
    contents = [{"role": "user", "parts": parts}]
    return msgspec.json.encode({"contents": contents, "generationConfig": config})


def _shape(request: ImageRequest) -> dict[str, str]:
    """Say the shape where it is not Google's own choice: some models know no sizes at all."""
    shape = {}
    if request.aspect_ratio is not None:
        shape["aspectRatio"] = request.aspect_ratio.value
    if request.image_size is not ImageSize.K1:
        shape["imageSize"] = request.image_size.value
    return shape


def _parts(candidate: _Candidate) -> Sequence[_Part]:
    return (candidate.content and candidate.content.parts) or ()


def _refusal(found: _Answer, text: str) -> Refused:
    feedback = found.prompt_feedback
    if feedback and feedback.block_reason:
        detail = f"{feedback.block_reason}: {feedback.block_reason_message or 'no message'}"
        return Refused(PROMPT_BLOCKED, detail=f"prompt blocked, {detail}")
    last = found.candidates[-1] if found.candidates else _Candidate()
    reason = last.finish_reason or "no finish reason"
    told = f"{reason}: {last.finish_message or text[:300] or 'no message'}"
    return Refused(IMAGE_BLOCKED if reason in _JUDGED else NO_IMAGE, detail=told)


def _failure(answer: Answer) -> ProviderError:
    failure = answer.error(_Failure)
    if failure is None:
        return failure_of(answer, answer.told())
    error = failure.error
    message = f"{answer.status} {error.status}: {error.message}"
    if error.status == "FAILED_PRECONDITION" or any(
        detail.reason == "API_KEY_INVALID" for detail in error.details
    ):
        return Misconfigured(message)
    pauses = [_seconds(d.pause) for d in error.details if d.type.endswith("RetryInfo") and d.pause]
    return failure_of(answer, message, next(iter(pauses), None))


def _seconds(duration: str) -> float | None:
    """Read a google.protobuf.Duration in JSON, such as `1.5s`."""
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)s", duration, re.ASCII)
    return float(found[1]) if found else None
