"""OpenAI's dialect: `POST /v1/images/generations` and `POST /v1/images/edits`."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from ketchup.testing.asked import Asked
from ketchup.testing.faults import Fault, Limited
from ketchup.testing.http import Answer, Part, Request, json_answer, read_form

GENERATIONS: Final = "/v1/images/generations"
EDITS: Final = "/v1/images/edits"
_SIZE: Final = re.compile(r"([0-9]{2,5})x([0-9]{2,5})")
_SMALLER: Final = 8
_GPT_IMAGE: Final = "gpt-image-"
_GPT_IMAGE_FIELDS: Final = frozenset(
    {
        *("model", "prompt", "n", "size", "quality", "background", "moderation", "user"),
        *("output_format", "output_compression", "input_fidelity", "stream", "partial_images"),
    }
)
_LONGEST_EDGE: Final = 3840
_LEAST_PIXELS: Final = 655_360
_MOST_PIXELS: Final = 8_294_400
_BLOCKED: Final = (
    400,
    "image_generation_user_error",
    "moderation_blocked",
    "Your request was rejected by the safety system.",
)
_ERRORS: Final[Mapping[Fault, tuple[int, str, str | None, str]]] = {
    Fault.PROMPT_BLOCKED: _BLOCKED,
    Fault.IMAGE_UNSAFE: _BLOCKED,
    Fault.BAD_KEY: (401, "invalid_request_error", "invalid_api_key", "Incorrect API key."),
    Fault.MODEL_GONE: (404, "invalid_request_error", "model_not_found", "No such model."),
    Fault.BROKEN: (500, "server_error", None, "The server had an error."),
    Fault.OVERLOADED: (503, "server_error", None, "The engine is overloaded."),
}


class OpenAI:
    """See `Dialect`. `image_fields` are the names that an edit's pictures may have.

    `paths` are those that it knows: some compatible servers have no edits.

    With `as_urls` it answers with addresses below itself instead of base64, as some compatible
    servers do.
    """

    def __init__(
        self,
        *,
        image_fields: Sequence[str] = ("image[]", "image"),
        paths: Sequence[str] = (GENERATIONS, EDITS),
    ) -> None:
        self._image_fields = image_fields
        self._paths = paths
        self.as_urls: str | None = None
        """Where the pictures can be fetched; None for base64."""
        self._files: dict[str, Answer] = {}

    def understands(self, request: Request) -> bool:
        """Whether the path is one of those that it knows."""
        return request.method == "POST" and request.path in self._paths

    def read(self, request: Request) -> Asked:
        """Read JSON, or the form of an edit."""
        pictures: list[Part] = []
        fields: dict[str, Any]
        if request.path == EDITS:
            parts = read_form(request)
            pictures = [part for part in parts if part.filename is not None]
            if not pictures or any(part.name not in self._image_fields for part in pictures):
                raise ValueError("an edit without an image")
            fields = {part.name: part.data.decode() for part in parts if part.filename is None}
        else:
            fields = json.loads(request.body)
        size = _SIZE.fullmatch(str(fields.get("size", "1024x1024")))
        if size is None:
            raise ValueError("not a size")
        if fields["model"].startswith(_GPT_IMAGE):
            _check_gpt_image(fields, int(size[1]), int(size[2]))
        return Asked(
            dialect="openai",
            model=fields["model"],
            prompt=fields["prompt"],
            references=[part.data for part in pictures],
            count=int(fields.get("n", 1)),
            size=(int(size[1]) // _SMALLER, int(size[2]) // _SMALLER),
            format=fields.get("output_format", "png"),
            seed=int(fields.get("seed", 0)),
            key=request.headers.get("authorization", "").removeprefix("Bearer "),
            fields=fields,
            request=request,
        )

    def pictures(self, asked: Asked, encoded: Sequence[str]) -> Answer:
        """Answer with `b64_json`, or with addresses."""
        data: list[Mapping[str, str]] = [{"b64_json": text} for text in encoded]
        if self.as_urls is not None:
            data = [{"url": self._kept(text, asked.format, self.as_urls)} for text in encoded]
        return json_answer(200, {"created": 1, "data": data, "usage": {"total_tokens": 100}})

    def file(self, request: Request) -> Answer | None:
        """Answer with a picture that was given by its address."""
        return self._files.get(request.path)

    def _kept(self, text: str, kind: str, below: str) -> str:
        address = f"{below}/{len(self._files)}.{kind}"
        self._files[urlsplit(address).path] = Answer(200, base64.b64decode(text), f"image/{kind}")
        return address

    def failure(self, fault: Fault, asked: Asked) -> Answer | None:  # noqa: ARG002 see Dialect
        """Answer as the engine words it."""
        if fault in {Fault.EMPTY, Fault.TEXT_ONLY}:
            return json_answer(200, {"created": 1, "data": []})
        if fault is Fault.GATEWAY_TIMEOUT:
            return Answer(504, b"<html>Gateway Timeout</html>", "text/html")
        error = _ERRORS.get(fault)
        return None if error is None else _error(*error)

    def limited(self, limit: Limited) -> Answer:
        """429; there is a header for the pause, and nothing else."""
        headers = {} if limit.header is None else {"retry_after": limit.header}
        return _error(429, "requests", "rate_limit_exceeded", "Rate limit reached.", headers)

    def malformed(self, why: str) -> Answer:
        """400 invalid_request_error."""
        return _error(400, "invalid_request_error", None, why)


def _check_gpt_image(fields: Mapping[str, Any], width: int, height: int) -> None:
    """Raise ValueError for what OpenAI refuses for its own models, and compatible servers take."""
    if unknown := fields.keys() - _GPT_IMAGE_FIELDS:
        raise ValueError(f"Unknown parameter: '{min(unknown)}'.")
    if width % 16 or height % 16 or max(width, height) > 3 * min(width, height):
        raise ValueError("Width and height must be divisible by 16, at most 3:1.")
    if max(width, height) > _LONGEST_EDGE:
        raise ValueError("The longest edge must be less than or equal to 3840.")
    if not _LEAST_PIXELS <= width * height <= _MOST_PIXELS:
        raise ValueError("Requested resolution exceeds the current pixel budget.")


def _error(
    status: int,
    kind: str,
    code: str | None,
    message: str,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    error = {"message": message, "type": kind, "param": None, "code": code}
    return json_answer(status, {"error": error}, **(headers or {}))
