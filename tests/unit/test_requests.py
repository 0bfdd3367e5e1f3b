from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ketchup.config import Settings
from ketchup.errors import Forbidden, InvalidRequest
from ketchup.generation import GenerationRequest
from ketchup.ids import KeyId, RequestId, WorkspaceId
from ketchup.providers.catalog import catalog_from
from ketchup.tasks import Priority
from ketchup.wire.requests import RequestHead, parse_request
from ketchup.workspaces import Caller, Environment

CATALOG = catalog_from(Settings().models)
NOT_JSON = "request body is not valid JSON"
NOT_OBJECT = "request body must be a JSON object"
OUT_OF_RANGE = "request body has a number that is out of range"
GOOD: dict[str, Any] = {"model": "google/gempix2", "prompt": "a red boat"}
FIELDS = [
    "prompt", "model", "images", "callback_url", "aspect_ratio", "image_size", "n", "seed",
    "output_format", "priority",
]  # fmt: skip


def head(*keys: bytes, models: frozenset[str] | None = None) -> RequestHead:
    caller = Caller(
        WorkspaceId("ws_1"), KeyId("key_1"), Environment.LIVE, None, models, None, "free"
    )
    return RequestHead(caller, RequestId("req_1"), keys)


def parsed(body: bytes | dict[str, Any], *keys: bytes) -> GenerationRequest:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return parse_request(raw, CATALOG, head(*keys))


def refusal(body: bytes | dict[str, Any], *keys: bytes) -> str:
    with pytest.raises(InvalidRequest) as refused:
        parsed(body, *keys)
    return str(refused.value)


# -- JSON ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"   ",
        b"{",
        b'{"prompt":"x"',
        b"{} x",
        b"{}{}",
        b"{}\x00",
        b"{'prompt':'x'}",
        b'{"n":1,}',
        b'{"n":01}',
        b"{/**/}",
        b"\xef\xbb\xbf{}",
        '{"prompt":"x"}'.encode("utf-16"),
        b"model=google/gempix2&prompt=x",
    ],
    ids=repr,
)
def test_what_is_not_json_is_called_so(body: bytes) -> None:
    assert refusal(body) == NOT_JSON


@pytest.mark.parametrize("name", ["prompt", "model", "unknown"])
@pytest.mark.parametrize(
    "value",
    [
        b'"\xff"',
        b'"\xc0\x80"',
        b'"\xe2\x82"',
        b'"\xed\xa0\x80"',
        b'"\\ud800"',
        b'"\\udc00\\ud800"',
        b'"\\ud800x"',
        b'"\x00"',
        b'"\x1f"',
        b'"\\q"',
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b"undefined",
        b"[" * 100_000 + b"]" * 100_000,
        b"[" * 100_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    ],
    ids=lambda value: repr(value[:12]),
)
def test_a_value_that_json_does_not_have_is_refused_in_every_field(name: str, value: bytes) -> None:
    body = b'{"model":"google/gempix2","prompt":"x","' + name.encode() + b'":' + value + b"}"
    assert refusal(body) == NOT_JSON


def test_invalid_utf_8_is_refused_in_a_name_too() -> None:
    assert refusal(b'{"model":"google/gempix2","prompt":"x","caf\xe9":1}') == NOT_JSON


@pytest.mark.parametrize("body", [b"null", b"1", b"true", b'"x"', b"[]", b'[{"prompt":"x"}]'])
def test_json_of_another_kind_is_refused(body: bytes) -> None:
    assert refusal(body) == NOT_OBJECT


@pytest.mark.parametrize("number", ["1e999", "-1e999", "9" * 5000])
def test_a_number_beyond_all_bounds_is_not_called_another_kind_of_json(number: str) -> None:
    assert refusal(f' {{"n":{number}}}'.encode()) == OUT_OF_RANGE


@pytest.mark.parametrize("number", ["9" * 400, "1e300", "-1", "18446744073709551616", "0.5"])
def test_a_number_out_of_its_fields_range_is_told_by_the_field(number: str) -> None:
    body = f'{{"model":"google/gempix2","prompt":"x","n":{number}}}'
    assert refusal(body.encode()) == "n must be an integer from 1 to 8"


def test_of_a_field_that_comes_twice_the_last_counts() -> None:
    assert parsed(b'{"prompt":"a","model":"google/gempix2","prompt":"b"}').prompt == "b"


# -- the fields, in their order --------------------------------------------------------------------

WRONG: list[tuple[str, object, str]] = [
    ("prompt", 1, "prompt must be a string"),
    ("model", "nobody/nothing", "model is not supported"),
    ("images", ["x"] * 5, "images supports at most 4 items"),
    ("callback_url", "ftp://x", "callback_url must be an http or https URL"),
    (
        "aspect_ratio",
        "7:1",
        "aspect_ratio must be one of auto, 1:1, 2:3, 3:2, 3:4, 4:3, 4:5, 5:4, 9:16, 16:9, 21:9",
    ),
    ("image_size", "8K", "image_size must be one of 1K, 2K, 4K"),
    ("n", 9, "n must be an integer from 1 to 8"),
    ("seed", -1, "seed must be an integer from 0 to 4294967295"),
    ("output_format", "gif", "output_format must be one of png, jpeg, webp"),
    ("priority", "urgent", "priority must be one of low, normal, high"),
]


@pytest.mark.parametrize("place", range(len(WRONG)))
def test_the_first_wrong_field_in_the_order_of_the_contract_answers(place: int) -> None:
    # The last first, so that the order in the body cannot be what decides.
    wrong = {name: value for name, value, _ in reversed(WRONG[place:])}
    assert (
        refusal({**wrong, **{k: v for k, v in GOOD.items() if k not in wrong}}) == WRONG[place][2]
    )


def test_the_fields_are_judged_before_the_idempotency_key() -> None:
    assert refusal({**GOOD, "n": 9}, b"") == "n must be an integer from 1 to 8"


@pytest.mark.parametrize(("name", "value", "sentence"), WRONG)
def test_each_field_names_itself_when_it_is_wrong(name: str, value: object, sentence: str) -> None:
    assert refusal({**GOOD, name: value}) == sentence
    assert name in sentence


_NOT_AN_IMAGE = "images[0] must be an http or https URL or a base64 data URI"

OTHER_TYPES: dict[str, Sequence[object]] = {
    "string": [1, 1.5, True, False, [], ["a"], {}, {"a": 1}],
    "list": [1, 1.5, True, "a", {}, [1], ["https://h/a.png", None], [[]], [{}]],
    "integer": ["1", 1.5, 1.0, True, False, [], {}, "", [1]],
}
KINDS = {"images": "list", "n": "integer", "seed": "integer"}


@pytest.mark.parametrize("name", FIELDS)
def test_a_value_of_another_type_is_refused_in_every_field(name: str) -> None:
    for value in OTHER_TYPES[KINDS.get(name, "string")]:
        assert name in refusal({**GOOD, name: value}), value


def test_null_is_the_same_as_absent() -> None:
    optional = dict.fromkeys(FIELDS[2:])
    assert parsed({**GOOD, **optional}) == parsed(GOOD)
    assert refusal({**GOOD, "prompt": None}) == "prompt is required"
    assert refusal({**GOOD, "model": None}) == "model is required"


@pytest.mark.parametrize("character", ["a", "é", "\U0001f345"])
def test_a_prompt_is_counted_in_characters_not_bytes(character: str) -> None:
    assert len(parsed({**GOOD, "prompt": character * 20_000}).prompt) == 20_000
    sentence = "prompt must have at most 20000 characters"
    assert refusal({**GOOD, "prompt": character * 20_001}) == sentence


@pytest.mark.parametrize(
    ("given", "priority"),
    [
        (None, Priority.NORMAL),
        ("low", Priority.LOW),
        ("normal", Priority.NORMAL),
        ("High", Priority.HIGH),
    ],
)
def test_a_priority_orders_a_workspaces_own_tasks(given: str | None, priority: Priority) -> None:
    assert parsed({**GOOD, "priority": given}).priority is priority


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("prompt", "a\0b", "prompt must not contain NUL characters"),
        ("model", "google/gempix2\0", "model is not supported"),
        ("images", ["https://h/a\0.png"], _NOT_AN_IMAGE),
        (
            "images",
            ["data:image/png;base64,iVBORw0KGgo=\0"],
            "images[0] is not a valid base64 image",
        ),
        ("images", ["\0"], _NOT_AN_IMAGE),
        ("callback_url", "https://h/\0", "callback_url must be an http or https URL"),
        ("aspect_ratio", "1:1\0", "aspect_ratio must be one of auto, 1:1, "),
        ("image_size", "1K\0", "image_size must be one of 1K, 2K, 4K"),
        ("output_format", "png\0", "output_format must be one of png, jpeg, webp"),
        ("priority", "low\0", "priority must be one of low, normal, high"),
    ],
)
def test_a_nul_is_refused_because_no_database_keeps_it(
    name: str, value: object, sentence: str
) -> None:
    assert refusal({**GOOD, name: value}).startswith(sentence)


@pytest.mark.parametrize("name", [*FIELDS[:2], *FIELDS[3:6], *FIELDS[8:]])
def test_half_a_character_is_refused_in_every_field_of_text(name: str) -> None:
    # As text, `json.dumps` writes it as the escape that JSON has no character for.
    assert refusal({**GOOD, name: "a\ud800"}) == NOT_JSON
    assert refusal({**GOOD, "images": ["https://h/\udfff"]}) == NOT_JSON


def test_a_key_for_other_models_is_forbidden_this_one_and_its_aliases() -> None:
    asked = head(models=frozenset({"google/gemini-2.5-flash-image"}))
    for name in ("google/gempix2", "google/nano-banana-2"):
        with pytest.raises(Forbidden):
            parse_request(json.dumps({**GOOD, "model": name}).encode(), CATALOG, asked)
    allowed = json.dumps({**GOOD, "model": "google/nano-banana"}).encode()
    assert parse_request(allowed, CATALOG, asked).model.id == "google/gemini-2.5-flash-image"


@pytest.mark.parametrize("key", [b"a", b"!~", b"k" * 255])
def test_an_idempotency_key_is_visible_ascii(key: bytes) -> None:
    assert parsed(GOOD, key).idempotency_key == key.decode()


@pytest.mark.parametrize(
    "keys", [[b""], [b"k" * 256], [b"a b"], [b"\xe9"], [b"\x7f"], [b"a", b"a"]]
)
def test_another_idempotency_key_is_refused(keys: list[bytes]) -> None:
    sentence = "Idempotency-Key must be 1 to 255 visible ASCII characters"
    assert refusal(GOOD, *keys) == sentence


# -- whatever comes --------------------------------------------------------------------------------

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["google/gempix2", "google/nano-banana", "auto", "1:1", "2k", "png", " "])
    | st.sampled_from(
        ["https://h/a.png", "data:image/png;base64,iVBORw0KGgo=", "data:,", "ftp://h"]
    ),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(), inner, max_size=6),
    max_leaves=12,
)
REQUESTS = st.dictionaries(st.sampled_from([*FIELDS, "mode", "parameters"]), JSON)


def judge(body: bytes, *keys: bytes) -> None:
    """Parse, or refuse with one sentence that a client can be shown; raise anything else."""
    try:
        request = parsed(body, *keys)
    except (InvalidRequest, Forbidden) as refused:
        sentence = str(refused)
        assert 1 <= len(sentence) <= 200
        assert sentence.isascii()
        assert sentence.isprintable()
        return
    assert isinstance(request, GenerationRequest)
    assert 1 <= len(request.prompt) <= 20_000
    assert len(request.images) <= 4
    assert 1 <= request.options.n <= 8
    request.prompt.encode()


@given(st.binary())
def test_any_bytes_are_a_request_or_refused(body: bytes) -> None:
    judge(body)


@given(JSON)
def test_any_json_is_a_request_or_refused(value: object) -> None:
    judge(json.dumps(value).encode())


@given(REQUESTS, st.lists(st.binary(max_size=300), max_size=2))
def test_any_fields_are_a_request_or_refused(fields: dict[str, object], keys: list[bytes]) -> None:
    judge(json.dumps({**GOOD, **fields}).encode(), *keys)


@given(REQUESTS, st.integers(0, 400), st.binary(max_size=4))
@example({}, 10, b"\xff")
def test_any_damage_to_a_good_body_is_a_request_or_refused(
    fields: dict[str, object], at: int, damage: bytes
) -> None:
    body = json.dumps({**GOOD, **fields}, ensure_ascii=False).encode("utf-8", "surrogatepass")
    judge(body[:at] + damage + body[at + len(damage) :])
