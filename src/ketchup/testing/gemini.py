"""Google's dialect: `POST /{v1|v1beta}/models/{model}:generateContent`."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ketchup.testing.asked import Asked
from ketchup.testing.faults import Fault, Limited
from ketchup.testing.http import Answer, Request, json_answer

_PATH: Final = re.compile(r"/(?:v1|v1beta)/models/([^/:]+):generateContent")
_SIZES: Final = {"1:1": (128, 128), "16:9": (172, 96), "9:16": (96, 172)}
# Of the models that think: pictures on the way, which are not the answer.
_DRAFT: Final = {"thought": True, "inlineData": {"mimeType": "image/png", "data": "AAAA"}}
_TYPE: Final = "type.googleapis.com/google.rpc."


class Gemini:
    """See `Dialect`. Draws one picture per request, as the engine does."""

    def understands(self, request: Request) -> bool:
        """Whether the path is `generateContent`'s."""
        return request.method == "POST" and _PATH.fullmatch(request.path) is not None

    def read(self, request: Request) -> Asked:
        """Read `contents` and `generationConfig`."""
        path = _PATH.fullmatch(request.path)
        body = json.loads(request.body)
        if path is None or not isinstance(body, dict):
            raise ValueError("not a request for content")
        parts = [part for content in body["contents"] for part in content["parts"]]
        config = body.get("generationConfig", {})
        return Asked(
            dialect="gemini",
            model=path[1],
            prompt=" ".join(part["text"] for part in parts if "text" in part),
            references=[_inline(part) for part in parts if "text" not in part],
            count=1,
            size=_SIZES.get(config.get("imageConfig", {}).get("aspectRatio"), (128, 128)),
            format="png",
            seed=config.get("seed", 0),
            key=request.headers.get("x-goog-api-key", ""),
            fields=body,
            request=request,
        )

    def pictures(self, asked: Asked, encoded: Sequence[str]) -> Answer:
        """Answer with a thought, a remark and a picture, as the newer models do."""
        inline = [
            {"inlineData": {"mimeType": f"image/{asked.format}", "data": data}} for data in encoded
        ]
        return _candidates(asked, "STOP", [_DRAFT, {"text": "Here it is."}, *inline])

    def file(self, request: Request) -> Answer | None:  # noqa: ARG002 see Dialect
        """Nothing: its pictures are in its answers."""
        return None

    def failure(self, fault: Fault, asked: Asked) -> Answer | None:
        """Answer as the engine words it."""
        match fault:
            case Fault.PROMPT_BLOCKED:
                blocked = {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}
                return json_answer(200, blocked | {"modelVersion": asked.model})
            case Fault.IMAGE_UNSAFE:
                return _candidates(asked, "IMAGE_SAFETY", [], "Unable to show the generated image.")
            case Fault.TEXT_ONLY:
                return _candidates(asked, "STOP", [_DRAFT, {"text": "I can only describe it."}])
            case Fault.EMPTY:
                return json_answer(200, {"candidates": []})
            case _:
                return _status_failure(fault)

    def limited(self, limit: Limited) -> Answer:
        """429, with the pause where the limit wants it."""
        details = []
        if limit.retry_info is not None:
            details = [{"@type": f"{_TYPE}RetryInfo", "retryDelay": limit.retry_info}]
        headers = {} if limit.header is None else {"retry_after": limit.header}
        message = "You exceeded your current quota."
        return _error(429, "RESOURCE_EXHAUSTED", message, details, headers)

    def malformed(self, why: str) -> Answer:
        """400 INVALID_ARGUMENT."""
        return _error(400, "INVALID_ARGUMENT", why)


def _inline(part: Mapping[str, Any]) -> bytes:
    inline = part.get("inlineData") or part["inline_data"]
    # Google's own SDK sends the alphabet for addresses.
    return base64.b64decode(inline["data"].replace("-", "+").replace("_", "/"), validate=True)


def _candidates(
    asked: Asked, finish: str, parts: Sequence[Mapping[str, Any]], message: str | None = None
) -> Answer:
    candidate = {"content": {"role": "model", "parts": parts}, "finishReason": finish, "index": 0}
    if message is not None:
        candidate["finishMessage"] = message
    usage = {"promptTokenCount": 9, "candidatesTokenCount": 1120, "totalTokenCount": 1129}
    answer = {"candidates": [candidate], "usageMetadata": usage, "modelVersion": asked.model}
    return json_answer(200, answer | {"responseId": "fake"})


def _status_failure(fault: Fault) -> Answer | None:
    match fault:
        case Fault.BAD_KEY:
            info = {"@type": f"{_TYPE}ErrorInfo", "reason": "API_KEY_INVALID"}
            message = "API key not valid. Please pass a valid API key."
            return _error(400, "INVALID_ARGUMENT", message, [info])
        case Fault.MODEL_GONE:
            return _error(404, "NOT_FOUND", "The model is not found for this API version.")
        case Fault.BROKEN:
            return _error(500, "INTERNAL", "An internal error has occurred.")
        case Fault.OVERLOADED:
            return _error(503, "UNAVAILABLE", "The model is overloaded.")
        case Fault.GATEWAY_TIMEOUT:
            return _error(504, "DEADLINE_EXCEEDED", "The deadline expired.")
        case _:
            return None


def _error(
    code: int,
    status: str,
    message: str,
    details: Sequence[Mapping[str, str]] = (),
    headers: Mapping[str, str] | None = None,
) -> Answer:
    error = {"code": code, "message": message, "status": status, "details": list(details)}
    return json_answer(code, {"error": error}, **(headers or {}))
