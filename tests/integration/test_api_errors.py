"""What the API answers when something is wrong: always 4xx, 503 or 500, and in its form."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from urllib.parse import quote

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.types import Receive, Scope, Send
from structlog.testing import capture_logs

from ketchup import errors
from ketchup.api.access import MAX_BODY
from ketchup.api.problems import fault_of
from ketchup.db import Location
from tests.support.admin_api import BEARER, PROBLEM, REQUEST_ID, V1, AdminApi, open_admin_api

JSON = {"Content-Type": "application/json"}
ENVELOPE = "application/json; charset=utf-8"


@pytest.fixture
async def api(location: Location) -> AsyncIterator[AdminApi]:
    async with open_admin_api(location) as opened:
        yield opened


async def test_an_error_is_a_problem_document_that_names_its_request(api: AdminApi) -> None:
    answer = await api.client.post(f"{V1}/workspaces", json={"title": "x", "name": 7})
    assert answer.status_code == 400
    assert answer.headers["Content-Type"] == PROBLEM
    assert answer.json() == {
        "type": "about:blank",
        "title": "Bad Request",
        "status": 400,
        "detail": "name: should be a valid string",
        "instance": f"urn:ketchup:request:{REQUEST_ID}",
        "errors": [
            {"param": "name", "reason": "should be a valid string"},
            {"param": "title", "reason": "is not a known field"},
        ],
    }


async def test_a_missing_field_is_named(api: AdminApi) -> None:
    answer = await api.client.post(f"{V1}/workspaces", json={})
    assert answer.json()["detail"] == "name: is required"


async def test_what_is_not_json_is_refused(api: AdminApi) -> None:
    for body in [
        b"{",
        b'{"name":"\xff"}',
        b'{"name":' + b"[" * 60_000,
        b'{"name":' + b"9" * 10_000 + b"}",
        b"\xff\xfe\x00",
        b"nonsense",
        b" ",
    ]:
        answer = await api.client.post(f"{V1}/workspaces", content=body, headers=JSON)
        assert (answer.status_code, answer.headers["Content-Type"]) == (400, PROBLEM)
        assert answer.json()["detail"] == "the request body is not valid JSON"


async def test_a_body_is_an_object(api: AdminApi) -> None:
    for body in [b"", b"[]", b"null", b'"name"', b"1", b"NaN", b"true"]:
        answer = await api.client.post(f"{V1}/workspaces", content=body, headers=JSON)
        assert answer.status_code == 400
        assert answer.json()["detail"].startswith("the request body must be a JSON object")


async def test_half_a_character_is_refused_wherever_it_stands(api: AdminApi) -> None:
    workspace = f"{V1}/workspaces/{await api.workspace()}"
    for path, body in [
        (f"{V1}/workspaces", rb'{"name":"\ud800"}'),
        (f"{V1}/workspaces", rb'{"name":"acme","\ud800":1}'),
        (f"{workspace}/keys", rb'{"name":"ci","models":["\udfff"]}'),
        (f"{workspace}/keys", rb'{"name":"ci","expires_at":"\ud800"}'),
        (f"{workspace}/credits", rb'{"amount":"\ud800"}'),
        (f"{workspace}/credits", rb'{"amount":"1","note":"\ud800"}'),
    ]:
        answer = await api.client.post(path, content=body, headers=JSON)
        assert (answer.status_code, answer.headers["Content-Type"]) == (400, PROBLEM), body
    assert (await api.client.get(workspace)).json()["balance"] == "0.000000"


async def test_json_is_asked_for_by_name(api: AdminApi) -> None:
    for content_type in ("text/plain", "application/x-www-form-urlencoded"):
        answer = await api.client.post(
            f"{V1}/workspaces", content=b'{"name":"x"}', headers={"Content-Type": content_type}
        )
        assert answer.status_code == 400
        assert "Content-Type: application/json" in answer.json()["detail"]


async def test_the_value_that_was_refused_is_not_sent_back(api: AdminApi) -> None:
    answer = await api.client.post(f"{V1}/workspaces", json={"name": {"secret": "swordfish"}})
    assert answer.status_code == 400
    assert "swordfish" not in answer.text


async def test_a_problem_names_twenty_fields_at_most(api: AdminApi) -> None:
    body = {f"{'x' * 200}{n}": n for n in range(100)}
    named = (await api.client.post(f"{V1}/workspaces", json=body)).json()["errors"]
    assert len(named) == 20
    assert max(len(error["param"]) for error in named) == 100


async def test_a_body_over_64_kib_is_refused_and_one_of_64_kib_is_not(api: AdminApi) -> None:
    longest = b'{"name":"acme"}'.ljust(MAX_BODY)
    answer = await api.client.post(f"{V1}/workspaces", content=longest, headers=JSON)
    assert answer.status_code == 201
    answer = await api.client.post(f"{V1}/workspaces", content=longest + b" ", headers=JSON)
    assert (answer.status_code, answer.headers["Content-Type"]) == (413, PROBLEM)
    assert answer.json()["detail"] == "the request body is too large"


async def test_a_stream_without_end_is_read_up_to_the_limit_only(api: AdminApi) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 1024
            yield b" " * 1024

    answer = await api.client.post(f"{V1}/workspaces", content=endless(), headers=JSON)
    assert answer.status_code == 413
    assert sent <= MAX_BODY + 2 * 1024


async def test_an_unknown_admin_path_is_a_problem(api: AdminApi) -> None:
    for path in ("/admin", "/admin/", f"{V1}/nothing", f"{V1}/workspaces/"):
        answer = await api.client.get(path)
        assert (answer.status_code, answer.headers["Content-Type"]) == (404, PROBLEM)
        assert answer.json()["detail"] == "not found"


async def test_half_a_character_in_a_path_is_not_found(api: AdminApi) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["path"] = f"{V1}/workspaces/\udcff"
        await api.app(scope, receive, send)

    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(
        transport=transport, base_url="http://ketchup", headers=BEARER
    ) as client:
        answer = await client.get("/")
    assert (answer.status_code, answer.json()["detail"]) == (404, "workspace not found")


async def test_a_wrong_method_is_told_the_right_ones(api: AdminApi) -> None:
    workspace = f"{V1}/workspaces/{await api.workspace()}"
    for method, path, allow in [
        ("DELETE", f"{V1}/workspaces", "GET, POST"),
        ("POST", workspace, "GET, PATCH"),
        ("GET", f"{V1}/keys/key_x", "DELETE"),
        ("TRACE", f"{workspace}/credits", "POST"),
    ]:
        answer = await api.client.request(method, path)
        assert (answer.status_code, answer.headers["Content-Type"]) == (405, PROBLEM)
        assert answer.headers["Allow"] == allow


async def test_a_store_that_is_down_is_503_and_says_when_to_come_back(api: AdminApi) -> None:
    await api.database.close()
    answer = await api.client.get(f"{V1}/workspaces")
    assert (answer.status_code, answer.headers["Content-Type"]) == (503, PROBLEM)
    assert answer.headers["Retry-After"] == "1"
    assert answer.json()["detail"] == "the store is unavailable; try again shortly"


async def test_our_own_fault_is_500_and_tells_nothing(api: AdminApi) -> None:
    dependencies = replace(api.app.state.dependencies, clock=None)
    api.app.state.dependencies = dependencies
    with capture_logs() as logged:
        answer = await api.client.post(f"{V1}/workspaces", json={"name": "acme"})
    assert (answer.status_code, answer.headers["Content-Type"]) == (500, PROBLEM)
    assert answer.json()["detail"] == "internal server error"
    assert "NoneType" not in answer.text
    assert [(e["event"], e["log_level"], e["request_id"]) for e in logged] == [
        ("request failed", "error", REQUEST_ID)
    ]


def test_every_kind_of_error_has_its_own_status() -> None:
    kinds = errors.KetchupError.__subclasses__()
    ours = [kind for kind in kinds if kind.__module__ == "ketchup.errors"]
    timed: dict[type[errors.KetchupError], errors.KetchupError] = {
        errors.RateLimited: errors.RateLimited("a fact", retry_after=2.1),
        errors.Unavailable: errors.Unavailable("a fact", retry_after=0.1),
    }
    faults = {kind: fault_of(timed.get(kind) or kind("a fact")) for kind in ours}
    assert {kind.__name__: fault.status for kind, fault in faults.items()} == {
        "InvalidRequest": 400,
        "Unauthenticated": 401,
        "InsufficientFunds": 402,
        "Forbidden": 403,
        "NotFound": 404,
        "Conflict": 409,
        "Gone": 410,
        "TooLarge": 413,
        "RateLimited": 429,
        "Unavailable": 503,
    }
    assert {fault.detail for fault in faults.values()} == {"a fact"}
    assert faults[errors.RateLimited].headers == {"Retry-After": "3"}
    assert faults[errors.Unavailable].headers == {"Retry-After": "1"}


# Outside /admin


async def test_an_unknown_path_answers_in_the_envelope(api: AdminApi) -> None:
    for path in ["/nope", "/", "/adminx", "/api", "/docs", "/redoc", "/v1x"]:
        for method in ("GET", "POST", "DELETE"):
            answer = await api.client.request(method, path)
            assert (answer.status_code, answer.headers["Content-Type"]) == (404, ENVELOPE)
            assert answer.content == b'{"code":1,"message":"not found"}'


async def test_a_wrong_method_outside_admin_answers_in_the_envelope(api: AdminApi) -> None:
    for path in ("/healthz", "/readyz", "/openapi.json"):
        answer = await api.client.post(path)
        assert (answer.status_code, answer.headers["Content-Type"]) == (405, ENVELOPE)
        assert answer.headers["Allow"] == "GET, HEAD"
        assert answer.content == b'{"code":1,"message":"method not allowed"}'


# Anything at all

FIELDS = ["name", "status", "expires_at", "environment", "scopes", "models", "overlap_hours"]
FIELDS += ["amount", "note", "\ud800", "", "__class__"]
TEXT = st.one_of(
    st.text(st.characters(), max_size=30),
    st.sampled_from(["\ud800", "\x00", "active", "live", "task:read", "1", "-1", "9" * 12, "é"]),
    st.sampled_from(
        ["2030-01-01T00:00:00Z", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59"]
    ),
)
VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=10,
)
OBJECT = st.dictionaries(st.sampled_from(FIELDS) | TEXT, VALUE, max_size=5)
BODY = st.binary(max_size=200) | (OBJECT | VALUE).map(lambda value: json.dumps(value).encode())
ROUTE = st.sampled_from(
    [
        ("POST", "/workspaces"),
        ("PATCH", "/workspaces/{}"),
        ("POST", "/workspaces/{}/keys"),
        ("POST", "/workspaces/{}/webhook-secret/rotate"),
        ("POST", "/workspaces/{}/credits"),
        ("DELETE", "/keys/{}"),
    ]
)


@given(data=st.data())
@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
async def test_no_request_whatever_makes_it_fail(api: AdminApi, data: st.DataObject) -> None:
    known = (await api.client.get(f"{V1}/workspaces")).json()["items"]
    workspace = known[0]["id"] if known else await api.workspace()
    method, path = data.draw(ROUTE)
    named = data.draw(st.just(workspace) | st.text(st.characters(codec="utf-8"), max_size=45))
    answer = await api.client.request(
        method,
        V1 + path.format(quote(named, safe="")),
        content=data.draw(BODY),
        headers=JSON,
    )
    assert answer.status_code < 500
    assert answer.status_code != 422
    if answer.status_code >= 400:
        assert answer.headers["Content-Type"] == PROBLEM
        assert answer.json()["status"] == answer.status_code
    audit = (await api.client.get(f"{V1}/workspaces/{workspace}/audit")).json()
    assert audit["consistent"] is True
