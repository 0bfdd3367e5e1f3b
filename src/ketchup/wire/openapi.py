"""The contract as OpenAPI: three paths and their shapes, merged into the application's document.

The answers are the msgspec types that are sent. The request is described here by a type of its own,
because the endpoint judges fields one by one; it uses the same bounds. What it promises is never
more than what is accepted: `null`, unknown fields and odd capitals are accepted beyond it.

Pure: a catalogue in, plain data out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from ketchup.providers.base import AspectRatio, ImageFormat, ImageSize
from ketchup.providers.catalog import Catalog
from ketchup.wire.endpoints import (
    CreatedEnvelope,
    CreditEnvelope,
    Endpoints,
    TaskEnvelope,
)
from ketchup.wire.envelope import INTERNAL_ERROR, Failure
from ketchup.wire.requests import MAX_IDEMPOTENCY_KEY, MAX_PROMPT, MAX_SEED, PRIORITIES

Schema = dict[str, Any]

_SCHEME: Final = "ApiKey"
_REF: Final = "#/components/schemas/{name}"
_JSON: Final = "application/json"
_BAD_REQUEST: Final = 400


class GenerateImage(msgspec.Struct):
    """What to generate. Unknown fields are ignored, and null is the same as absent."""

    model: Annotated[str, Meta(description="A model's id or one of its aliases.")]
    prompt: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=MAX_PROMPT,
            description="What to show. Only white space counts as empty unless there are images.",
        ),
    ]
    images: (
        Annotated[
            list[str],
            Meta(
                description="Reference images: http or https URLs, or base64 data URIs of PNG, "
                "JPEG or WebP images, at most 20 MiB each."
            ),
        ]
        | None
    ) = None
    callback_url: (
        Annotated[str, Meta(description="An http or https URL, told once when the task ends.")]
        | None
    ) = None
    aspect_ratio: (
        Annotated[str, Meta(description="Width to height; auto follows the first reference.")]
        | None
    ) = None
    image_size: Annotated[str, Meta(description="1K is about a megapixel.")] | None = None
    n: Annotated[int, Meta(ge=1, description="How many images; each costs the price.")] | None = 1
    seed: (
        Annotated[
            int, Meta(ge=0, le=MAX_SEED, description="Honoured where the engine can repeat itself.")
        ]
        | None
    ) = None
    output_format: ImageFormat | None = ImageFormat.PNG
    priority: (
        Annotated[
            str,
            Meta(
                description="The order among the workspace's own waiting tasks.",
                extra_json_schema={"enum": [*PRIORITIES]},
            ),
        ]
        | None
    ) = "normal"


def describe(catalog: Catalog, insufficient_credits_status: int) -> Schema:
    """Return `paths` and `components` of the contract for the models that there are."""
    _, schemas = msgspec.json.schema_components(
        [GenerateImage, CreatedEnvelope, TaskEnvelope, CreditEnvelope, Failure], ref_template=_REF
    )
    _bound_by_catalog(schemas["GenerateImage"]["properties"], catalog)
    return {
        "paths": {
            "/api/image/gen": {"post": _create(catalog, insufficient_credits_status)},
            "/api/task/query": {"get": _query()},
            "/api/user": {"get": _user()},
        },
        "components": {
            "schemas": schemas,
            "headers": _HEADERS,
            "securitySchemes": {
                _SCHEME: {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "dk-",
                    "description": "An API key, such as a workspace's owner creates.",
                }
            },
        },
    }


def _bound_by_catalog(properties: Schema, catalog: Catalog) -> None:
    """Write in what the models can do at most: each has limits of its own within that."""
    models = list(catalog)
    names = [name for model in models for name in (model.id, *model.aliases)]
    ratios = {ratio for model in models for ratio in model.aspect_ratios}
    sizes = {size for model in models for size in model.image_sizes}
    properties["model"]["enum"] = names
    _string(properties["aspect_ratio"])["enum"] = ["auto", *(r for r in AspectRatio if r in ratios)]
    _string(properties["image_size"])["enum"] = [
        written for size in ImageSize if size in sizes for written in (size, size.lower())
    ]
    images = next(one for one in properties["images"]["anyOf"] if one["type"] == "array")
    images["maxItems"] = max((model.max_reference_images for model in models), default=0)
    count = next(one for one in properties["n"]["anyOf"] if one["type"] == "integer")
    count["maximum"] = max((model.max_count for model in models), default=1)


def _string(schema: Schema) -> Schema:
    return next(one for one in schema["anyOf"] if one["type"] == "string")


def _create(catalog: Catalog, insufficient_credits_status: int) -> Schema:
    model = next((model.id for model in catalog), "")
    operation = _operation("createImageTask", Endpoints.create.__doc__)
    operation["parameters"] = [
        {
            "name": "Idempotency-Key",
            "in": "header",
            "description": "Your own name for this request: sent again within 48 hours, it answers "
            "with the same task.",
            "schema": {"type": "string", "pattern": f"^[!-~]{{1,{MAX_IDEMPOTENCY_KEY}}}$"},
        }
    ]
    operation["requestBody"] = {
        "required": True,
        "content": {
            _JSON: {
                "schema": {"$ref": _REF.format(name="GenerateImage")},
                "example": {"model": model, "prompt": "A tomato in a space suit"},
            }
        },
    }
    made = _success("The task is durable.", CreatedEnvelope, "Idempotency-Replayed")
    operation["responses"] = {
        "200": {**made, "links": _LINKS},
        "400": _failures("The request cannot be accepted.", _detailed("prompt is required")),
        "401": _failures(_UNAUTHENTICATED, {"code": 1, "message": "Invalid API key"}),
        "403": _failures(_FORBIDDEN, _detailed("the API key is not allowed to use this model")),
        "409": _failures(
            "The idempotency key is taken.",
            _detailed("idempotency key was used with another request"),
        ),
        "413": _failures("The body is too large.", _detailed("request body is too large")),
        **_SOMETIMES,
    }
    # For clients that know no 402 it is one of the 400s.
    if insufficient_credits_status != _BAD_REQUEST:
        operation["responses"][str(insufficient_credits_status)] = _failures(
            "The credits do not cover the price.", _detailed("insufficient credits")
        )
    return operation


def _query() -> Schema:
    operation = _operation("queryTask", Endpoints.query.__doc__)
    operation["parameters"] = [
        {
            "name": "task_id",
            "in": "query",
            "required": True,
            "description": "The id that creating the task answered with.",
            "schema": {"type": "string", "minLength": 1},
        }
    ]
    operation["responses"] = {
        "200": _success("The task, in whatever state.", TaskEnvelope),
        "400": _failures("There is no task id.", _detailed("task_id is required")),
        "401": _failures(_UNAUTHENTICATED, {"code": 401, "message": "Invalid API key"}),
        "403": _failures(_FORBIDDEN, _detailed("the API key lacks the scope task:read")),
        "404": _failures(
            "No such task in this workspace.", {"code": 1, "message": "task not found"}
        ),
        **_SOMETIMES,
    }
    return operation


def _user() -> Schema:
    operation = _operation("getCredit", Endpoints.user.__doc__)
    operation["responses"] = {
        "200": _success("The balance less what open tasks hold.", CreditEnvelope),
        "401": _failures(_UNAUTHENTICATED, {"code": 401, "message": "Invalid API key"}),
        "403": _failures(_FORBIDDEN, _detailed("the API key lacks the scope usage:read")),
        "500": _SOMETIMES["500"],
        "503": _SOMETIMES["503"],
    }
    return operation


def _operation(name: str, docstring: str | None) -> Schema:
    summary, _, more = (docstring or "").partition("\n\n")
    operation = {
        "operationId": name,
        "tags": ["images"],
        "summary": summary.strip().removesuffix("."),
        "security": [{_SCHEME: []}],
    }
    return {**operation, "description": " ".join(more.split())} if more.strip() else operation


def _success(description: str, shape: type[msgspec.Struct], *headers: str) -> Schema:
    schema = {"$ref": _REF.format(name=shape.__name__)}
    return _response(description, {"schema": schema}, headers)


def _failures(description: str, example: Mapping[str, object], *headers: str) -> Schema:
    schema = {"$ref": _REF.format(name=Failure.__name__)}
    return _response(description, {"schema": schema, "example": example}, headers)


def _response(description: str, content: Schema, headers: Sequence[str]) -> Schema:
    return {
        "description": description,
        "headers": {
            name: {"$ref": f"#/components/headers/{name}"} for name in ("X-Request-Id", *headers)
        },
        "content": {_JSON: content},
    }


def _detailed(detail: str) -> Schema:
    return {"code": 1, "message": "failed", "detail": detail}


_LINKS: Final[Schema] = {
    operation: {
        "operationId": operation,
        "description": said,
        "parameters": {"task_id": "$response.body#/data/task_id"},
    }
    for operation, said in {
        "queryTask": "Ask for the task.",
        "get_task": "Ask for the task with all that happened to it.",
        "follow_task": "Follow the task until it has ended.",
        "cancel_task": "End the task before its images are there.",
        "delete_task": "Delete the task when it has ended.",
        "list_deliveries": "List the task's callbacks.",
        "task_provenance": "Say what the task's pictures are known by.",
    }.items()
}
_UNAUTHENTICATED: Final = (
    "The key is missing, malformed, unknown, expired or revoked, or its workspace is suspended."
)
_FORBIDDEN: Final = "The key is good, but may not do this."
_HEADERS: Final[Schema] = {
    "X-Request-Id": {
        "description": "Names this request in logs and on the task.",
        "schema": {"type": "string", "pattern": "^req_[a-z2-7]{26}$"},
    },
    "Retry-After": {
        "description": "Seconds to wait.",
        "schema": {"type": "integer", "minimum": 1},
    },
    "Idempotency-Replayed": {
        "description": "There when an earlier request with this key made the task.",
        "schema": {"type": "string", "enum": ["true"]},
    },
}
_SOMETIMES: Final[Schema] = {
    "429": _failures("Too often.", _detailed("rate limit exceeded"), "Retry-After"),
    "500": _failures("Our fault.", msgspec.json.decode(INTERNAL_ERROR)),
    "503": _failures(
        "Not now.", _detailed("the service is busy; try again shortly"), "Retry-After"
    ),
}
