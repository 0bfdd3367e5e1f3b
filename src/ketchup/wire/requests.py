"""From the bytes of `POST /api/image/gen` to a request that may be submitted: CONTRACT §2.

The fields are judged one by one in the order of the contract, so that the first fault answers
whatever the order in the body. Unknown fields are ignored and `null` is the same as absent: real
clients send both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import msgspec

from ketchup.egress import BadUrl, check_url
from ketchup.errors import Forbidden, InvalidRequest
from ketchup.generation import GenerationRequest
from ketchup.ids import RequestId
from ketchup.providers.base import AspectRatio, ImageFormat, ImageSize
from ketchup.providers.catalog import Catalog, Model
from ketchup.references import Reference, parse
from ketchup.tasks import Options, Priority
from ketchup.workspaces import Caller

MAX_PROMPT: Final = 20_000
MAX_SEED: Final = 2**32 - 1
MAX_IDEMPOTENCY_KEY: Final = 255
PRIORITIES: Final = tuple(priority.name.lower() for priority in Priority)
NOT_JSON: Final = "request body is not valid JSON"
NOT_AN_OBJECT: Final = "request body must be a JSON object"
OUT_OF_RANGE: Final = "request body has a number that is out of range"
CALLBACK_NOT_URL: Final = "callback_url must be an http or https URL"
BAD_IDEMPOTENCY_KEY: Final = (
    f"Idempotency-Key must be 1 to {MAX_IDEMPOTENCY_KEY} visible ASCII characters"
)
MODEL_FORBIDDEN: Final = "the API key is not allowed to use this model"


@dataclass(frozen=True, slots=True)
class RequestHead:
    """What stands around the body."""

    caller: Caller
    request_id: RequestId
    idempotency_keys: Sequence[bytes]
    """The values of all headers `Idempotency-Key`."""


def parse_request(body: bytes, catalog: Catalog, head: RequestHead) -> GenerationRequest:
    """Judge the body. Raises InvalidRequest with one clear sentence, or Forbidden."""
    fields = _fields(body)
    has_images = isinstance(fields.images, list) and bool(fields.images)
    prompt = _prompt(fields.prompt, has_images=has_images)
    model = _model(fields.model, catalog, head.caller)
    return GenerationRequest(
        caller=head.caller,
        request_id=head.request_id,
        model=model,
        prompt=prompt,
        images=_images(fields.images, model),
        callback_url=_callback_url(fields.callback_url),
        options=_options(fields, model),
        priority=_priority(fields.priority),
        idempotency_key=parse_idempotency_key(head.idempotency_keys),
    )


def parse_idempotency_key(values: Sequence[bytes]) -> str | None:
    """Read the header `Idempotency-Key`: 1 to 255 visible ASCII characters."""
    if not values:
        return None
    value = values[0]
    if len(values) > 1 or not 1 <= len(value) <= MAX_IDEMPOTENCY_KEY or not _is_visible(value):
        raise InvalidRequest(BAD_IDEMPOTENCY_KEY)
    return value.decode("ascii")


class _Fields(msgspec.Struct):
    """The known fields, of any type: which type is wrong is told in the contract's order."""

    prompt: Any = None
    model: Any = None
    images: Any = None
    callback_url: Any = None
    aspect_ratio: Any = None
    image_size: Any = None
    n: Any = None
    seed: Any = None
    output_format: Any = None
    priority: Any = None


_DECODER: Final = msgspec.json.Decoder(_Fields)


def _fields(body: bytes) -> _Fields:
    try:
        if not body.isascii():
            # msgspec looks only at the text of fields that it knows.
            body.decode()
        return _DECODER.decode(body)
    except msgspec.ValidationError as error:
        # A field may be anything, so inside an object only a number's size can be wrong.
        is_object = body.lstrip().startswith(b"{")
        raise InvalidRequest(OUT_OF_RANGE if is_object else NOT_AN_OBJECT) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        # msgspec lets the last two through as they are.
        raise InvalidRequest(NOT_JSON) from error


def _prompt(value: object, *, has_images: bool) -> str:
    if value is None or value == "":
        raise InvalidRequest("prompt is required")
    if not isinstance(value, str):
        raise InvalidRequest("prompt must be a string")
    if len(value) > MAX_PROMPT:
        raise InvalidRequest(f"prompt must have at most {MAX_PROMPT} characters")
    if not has_images and not value.strip():
        raise InvalidRequest("prompt is required")
    if "\0" in value:
        raise InvalidRequest("prompt must not contain NUL characters")
    return value


def _model(value: object, catalog: Catalog, caller: Caller) -> Model:
    if value is None or value == "":
        raise InvalidRequest("model is required")
    if not isinstance(value, str):
        raise InvalidRequest("model must be a string")
    model = catalog.find(value)
    if model is None:
        raise InvalidRequest("model is not supported")
    if not caller.may_use(model.id):
        raise Forbidden(MODEL_FORBIDDEN)
    return model


def _images(value: object, model: Model) -> tuple[Reference, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise InvalidRequest("images must be a list of URLs")
    most = model.max_reference_images
    if len(value) > most:
        raise InvalidRequest(f"images supports at most {most} items")
    return tuple(parse(item, index=index) for index, item in enumerate(value))


def _callback_url(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise InvalidRequest(CALLBACK_NOT_URL)
    try:
        check_url(value)
    except BadUrl as error:
        raise InvalidRequest(CALLBACK_NOT_URL) from error
    return value


def _options(fields: _Fields, model: Model) -> Options:
    return Options(
        aspect_ratio=_choice("aspect_ratio", fields.aspect_ratio, _ratios(model.aspect_ratios)),
        image_size=_choice("image_size", fields.image_size, _sizes(model.image_sizes)),
        n=1 if fields.n is None else _integer("n", fields.n, 1, model.max_count),
        seed=None if fields.seed is None else _integer("seed", fields.seed, 0, MAX_SEED),
        output_format=_choice("output_format", fields.output_format, _FORMATS),
    )


def _priority(value: object) -> Priority:
    chosen = _choice("priority", value, PRIORITIES)
    return Priority.NORMAL if chosen is None else Priority[chosen.upper()]


# Kept, because going through an enumeration is slow and a catalogue has few different sets.
@lru_cache(maxsize=128)
def _ratios(offered: frozenset[AspectRatio]) -> tuple[str, ...]:
    return ("auto", *(ratio.value for ratio in AspectRatio if ratio in offered))


@lru_cache(maxsize=128)
def _sizes(offered: frozenset[ImageSize]) -> tuple[str, ...]:
    return tuple(size.value for size in ImageSize if size in offered)


def _choice(name: str, value: object, choices: Sequence[str]) -> str | None:
    if value is None:
        return None
    if isinstance(value, str):
        if value in choices:
            return value
        for choice in choices:
            if choice.lower() == value.lower():
                return choice
    raise InvalidRequest(f"{name} must be one of {', '.join(choices)}")


def _integer(name: str, value: object, least: int, most: int) -> int:
    # True is an int in Python, but not in JSON.
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise InvalidRequest(f"{name} must be an integer from {least} to {most}")
    return value


def _is_visible(value: bytes) -> bool:
    return all(0x21 <= byte <= 0x7E for byte in value)  # noqa: PLR2004 the visible ASCII characters


_FORMATS: Final = tuple(format_.value for format_ in ImageFormat)
