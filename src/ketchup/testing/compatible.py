"""How servers that speak OpenAI's API differ from it: what their sources and pages say they answer.

docs/engines.md names the releases. Only what Ketchup sends and reads is here.
"""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Final

from typing_extensions import override

from ketchup.testing.asked import Asked
from ketchup.testing.http import Answer, Request, json_answer
from ketchup.testing.openai import EDITS, GENERATIONS, OpenAI

_BASE64: Final = "b64_json"
_MOST_PICTURES: Final = 10


class VllmOmni(OpenAI):
    """vLLM-Omni: one model, base64 alone, and `detail` in place of `error`."""

    def __init__(self, model: str) -> None:
        super().__init__()
        self._model = model

    @override
    def read(self, request: Request) -> Asked:
        asked = super().read(request)
        if asked.model != self._model:
            told = f"request specifies '{asked.model}' but server is running '{self._model}'."
            raise ValueError(f"Model mismatch: {told}")
        if asked.fields.get("response_format", _BASE64) != _BASE64:
            raise ValueError("Only response_format 'b64_json' is supported now.")
        if asked.count > _MOST_PICTURES:
            raise ValueError("Input should be less than or equal to 10")
        return asked

    @override
    def pictures(self, asked: Asked, encoded: Sequence[str]) -> Answer:
        data = [{_BASE64: text, "url": None, "revised_prompt": None} for text in encoded]
        size, metrics = asked.fields.get("size"), None
        shape = {"output_format": asked.format, "size": size, "metrics": metrics}
        return json_answer(200, {"created": 1, "data": data, **shape})

    @override
    def malformed(self, why: str) -> Answer:
        return json_answer(400, {"detail": why})


class SGLang(OpenAI):
    """SGLang: any model's name, and addresses without its own host unless base64 is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self._answers = 0
        self._shelf: dict[str, Answer] = {}

    @override
    def pictures(self, asked: Asked, encoded: Sequence[str]) -> Answer:
        wanted = asked.fields.get("response_format", "url")
        self._answers += 1
        told = {"revised_prompt": asked.prompt, "file_path": "/outputs/one.png"}
        data = [
            {_BASE64: text, "url": None, **told}
            if wanted == _BASE64
            else {_BASE64: None, "url": self._shelved(text, asked, place), **told}
            for place, text in enumerate(encoded)
        ]
        return json_answer(200, {"id": str(self._answers), "created": 1, "data": data})

    @override
    def file(self, request: Request) -> Answer | None:
        return self._shelf.get(request.path)

    @override
    def malformed(self, why: str) -> Answer:
        return json_answer(422, {"detail": why})

    def _shelved(self, text: str, asked: Asked, place: int) -> str:
        variant = f"?variant={place}" if asked.count > 1 else ""
        path = f"/v1/images/{self._answers}/content{variant}"
        self._shelf[path] = Answer(200, base64.b64decode(text), f"image/{asked.format}")
        return path


class LocalAI(OpenAI):
    """LocalAI: no edits, always PNG, and addresses below itself unless base64 is asked for."""

    def __init__(self) -> None:
        super().__init__(paths=[GENERATIONS])

    @override
    def read(self, request: Request) -> Asked:
        return dataclasses.replace(super().read(request), format="png")

    @override
    def pictures(self, asked: Asked, encoded: Sequence[str]) -> Answer:
        if asked.fields.get("response_format") != _BASE64:
            self.as_urls = f"http://{asked.request.headers['host']}/generated-images"
            return super().pictures(asked, encoded)
        data: list[Mapping[str, Any]] = [
            {"embedding": None, "index": 0, _BASE64: text} for text in encoded
        ]
        return json_answer(200, {"created": 1, "id": "1", "data": data})

    @override
    def file(self, request: Request) -> Answer | None:
        if request.path == EDITS:
            return _localais_error(404, "Resource not found")
        return super().file(request)

    @override
    def malformed(self, why: str) -> Answer:
        # Whatever a request lacks.
        return _localais_error(500, why)


def _localais_error(status: int, message: str) -> Answer:
    return json_answer(status, {"error": {"code": status, "message": message, "type": ""}})
