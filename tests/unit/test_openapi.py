from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ketchup.config import Settings
from ketchup.ids import KeyId, RequestId, WorkspaceId
from ketchup.providers.catalog import catalog_from
from ketchup.tasks import Status
from ketchup.wire import describe
from ketchup.wire.openapi import GenerateImage
from ketchup.wire.requests import RequestHead, _Fields, parse_request
from ketchup.workspaces import Caller, Environment

CATALOG = catalog_from(Settings().models)
DOCUMENT = describe(CATALOG, 402)
SCHEMAS = DOCUMENT["components"]["schemas"]
OPERATIONS = {
    path: operation for path, item in DOCUMENT["paths"].items() for operation in item.values()
}
REQUEST = SCHEMAS["GenerateImage"]


def inside(value: object) -> Iterator[object]:
    yield value
    children = value.values() if isinstance(value, dict) else value
    if isinstance(children, list) or isinstance(value, dict):
        for child in children:  # type: ignore[attr-defined] # a list, or the values of an object
            yield from inside(child)


def test_it_is_plain_json() -> None:
    assert json.loads(json.dumps(DOCUMENT)) == DOCUMENT


def test_every_reference_leads_somewhere() -> None:
    references = [
        one["$ref"] for one in inside(DOCUMENT) if isinstance(one, dict) and "$ref" in one
    ]
    assert references
    for reference in references:
        place: Any = DOCUMENT
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]


def test_there_are_the_contracts_paths_and_answers() -> None:
    assert {path: sorted(one["responses"]) for path, one in OPERATIONS.items()} == {
        "/api/image/gen": ["200", "400", "401", "402", "403", "409", "413", "429", "500", "503"],
        "/api/task/query": ["200", "400", "401", "403", "404", "429", "500", "503"],
        "/api/user": ["200", "401", "403", "500", "503"],
    }


def test_a_service_that_never_answers_402_does_not_promise_it() -> None:
    operation = describe(CATALOG, 400)["paths"]["/api/image/gen"]["post"]
    assert "402" not in operation["responses"]
    assert operation["responses"]["400"] == OPERATIONS["/api/image/gen"]["responses"]["400"]


@pytest.mark.parametrize("path", OPERATIONS)
def test_every_operation_wants_the_key_and_says_what_it_does(path: str) -> None:
    operation = OPERATIONS[path]
    assert operation["security"] == [{"ApiKey": []}]
    assert operation["operationId"].isidentifier()
    assert operation["summary"]
    for status, response in operation["responses"].items():
        assert response["description"]
        assert "X-Request-Id" in response["headers"]
        assert ("Retry-After" in response["headers"]) == (status in {"429", "503"})


@pytest.mark.parametrize("path", OPERATIONS)
def test_every_example_of_an_error_is_an_error(path: str) -> None:
    for status, response in OPERATIONS[path]["responses"].items():
        if status != "200":
            example = response["content"]["application/json"]["example"]
            assert set(example) <= set(SCHEMAS["Failure"]["properties"])
            assert set(example) >= set(SCHEMAS["Failure"]["required"])


def test_the_shapes_are_those_that_are_sent() -> None:
    task = SCHEMAS["TaskView"]
    assert list(task["properties"]) == task["required"] == [
        "task_id", "status", "result", "consumed", "created_at", "status_reason",
    ]  # fmt: skip
    assert SCHEMAS["Status"]["enum"] == sorted(Status)
    assert SCHEMAS["Failure"]["required"] == ["code", "message"]


# -- the request -----------------------------------------------------------------------------------


def test_the_request_has_the_fields_that_are_read() -> None:
    assert set(REQUEST["properties"]) == {field.name for field in msgspec.structs.fields(_Fields)}
    assert REQUEST["required"] == ["model", "prompt"]
    assert REQUEST.get("additionalProperties") is not False


def test_the_bounds_are_those_of_the_catalogue() -> None:
    properties = REQUEST["properties"]
    assert properties["model"]["enum"] == [
        name for model in CATALOG for name in (model.id, *model.aliases)
    ]
    kinds = {
        name: next(one for one in properties[name]["anyOf"] if one.get("type") != "null")
        for name in ("images", "aspect_ratio", "image_size", "n", "seed", "priority")
    }
    assert kinds["images"]["maxItems"] == 4
    assert kinds["aspect_ratio"]["enum"] == (
        ["auto", "1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9"]
    )
    assert kinds["priority"]["enum"] == ["low", "normal", "high"]
    assert kinds["image_size"]["enum"] == ["1K", "1k", "2K", "2k", "4K", "4k"]
    assert (kinds["n"]["minimum"], kinds["n"]["maximum"]) == (1, 8)
    assert (kinds["seed"]["minimum"], kinds["seed"]["maximum"]) == (0, 2**32 - 1)


def optional(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | values


def choice(name: str) -> st.SearchStrategy[str]:
    return st.sampled_from(
        next(one["enum"] for one in REQUEST["properties"][name]["anyOf"] if "enum" in one)
    )


PROMISED = st.fixed_dictionaries(
    {
        "model": st.sampled_from(REQUEST["properties"]["model"]["enum"]),
        "prompt": st.text(min_size=1).filter(lambda text: text.strip() and "\0" not in text),
    },
    optional={
        "images": optional(st.lists(st.just("https://h/a.png"), max_size=4)),
        "callback_url": optional(st.just("https://h/hook")),
        "aspect_ratio": optional(choice("aspect_ratio")),
        "image_size": optional(choice("image_size")),
        "n": optional(st.integers(1, 8)),
        "seed": optional(st.integers(0, 2**32 - 1)),
        "output_format": optional(st.sampled_from(["png", "jpeg", "webp"])),
        "priority": optional(choice("priority")),
    },
)


@given(PROMISED)
def test_what_is_promised_is_accepted(fields: dict[str, object]) -> None:
    caller = Caller(WorkspaceId("ws_1"), KeyId("key_1"), Environment.LIVE, None, None, None, "free")
    body = json.dumps(fields).encode()
    accepted = parse_request(body, CATALOG, RequestHead(caller, RequestId("req_1"), []))
    assert accepted.prompt == msgspec.json.decode(body, type=GenerateImage).prompt


def test_an_idempotency_key_is_described_as_it_is_judged() -> None:
    (header,) = OPERATIONS["/api/image/gen"]["parameters"]
    pattern = header["schema"]["pattern"]
    assert re.search(pattern, "!" + "k" * 253 + "~")
    for bad in ("", "a b", "k" * 256, "é", "\x7f"):
        assert not re.search(pattern, bad)
