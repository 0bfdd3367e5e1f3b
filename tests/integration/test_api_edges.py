"""What the API does at its edges: the token, errors, limits, unknown paths, health, its document."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection
from structlog.testing import capture_logs

from ketchup import errors
from ketchup.api import create_api
from ketchup.api.access import MAX_BODY
from ketchup.api.admin import routes
from ketchup.api.problems import fault_of
from tests.support.admin_api import BEARER, REQUEST_ID, TOKEN, AdminApi, open_admin_api

V1 = "/admin/v1"
JSON = {"Content-Type": "application/json"}
PROBLEM = "application/problem+json"
ENVELOPE = "application/json; charset=utf-8"


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[AdminApi]:
    async with open_admin_api(tmp_path) as opened:
        yield opened


def operations(document: dict[str, dict[str, dict[str, object]]]) -> list[tuple[str, str]]:
    return [(path, method.upper()) for path, item in document["paths"].items() for method in item]


# The token


async def test_every_route_answers_401_without_the_token(api: AdminApi) -> None:
    document = (await api.client.get("/openapi.json")).json()
    guarded = [(p, m) for p, m in operations(document) if p not in {"/healthz", "/readyz"}]
    assert len(guarded) == len(routes.routes) == 11
    async with api.stranger() as stranger:
        for path, method in guarded:
            # A body that no route accepts: the token is asked for before anything of it is read.
            answer = await stranger.request(method, path, content=b"{", headers=JSON)
            assert answer.status_code == 401, (method, path)
            assert answer.headers["WWW-Authenticate"] == "Bearer"
            assert answer.headers["Content-Type"] == PROBLEM
            assert answer.json()["detail"] == "the admin token is missing or wrong"


async def test_only_the_token_itself_is_good(api: AdminApi) -> None:
    for header in [
        b"",
        b"Bearer",
        b"Bearer ",
        b"Bearer  " + TOKEN.encode(),
        b"Bearer " + TOKEN.encode() + b"x",
        b"Bearer " + TOKEN[:-1].encode(),
        b"Bearer " + TOKEN.upper().encode(),
        b"Bearer " + TOKEN.encode() + b", Bearer " + TOKEN.encode(),
        b"Basic " + TOKEN.encode(),
        b"Bearer\t" + TOKEN.encode(),
        TOKEN.encode(),
        b"Bearer \xff\xfe",
    ]:
        async with api.stranger() as stranger:
            answer = await stranger.get(f"{V1}/workspaces", headers=[(b"Authorization", header)])
        assert answer.status_code == 401


async def test_two_tokens_are_no_token(api: AdminApi) -> None:
    good = (b"Authorization", f"Bearer {TOKEN}".encode())
    async with api.stranger() as stranger:
        for second in (good, (b"Authorization", b"Bearer nonsense")):
            answer = await stranger.get(f"{V1}/workspaces", headers=[good, second])
            assert answer.status_code == 401
        assert (await stranger.get(f"{V1}/workspaces", headers=[good])).status_code == 200


async def test_the_case_of_the_scheme_does_not_matter(api: AdminApi) -> None:
    for scheme in ["bearer", "BEARER", "bEaReR"]:
        async with api.stranger() as stranger:
            answer = await stranger.get(
                f"{V1}/workspaces", headers={"Authorization": f"{scheme} {TOKEN}"}
            )
        assert answer.status_code == 200


async def test_an_api_key_is_not_the_admin_token(api: AdminApi) -> None:
    _, secret = await api.key(await api.workspace())
    async with api.stranger() as stranger:
        for headers in ({"Authorization": f"Bearer {secret}"}, {"X-Admin-Token": TOKEN}):
            answer = await stranger.get(f"{V1}/workspaces?token={TOKEN}", headers=headers)
            assert answer.status_code == 401


async def test_without_a_token_there_is_no_api(api: AdminApi) -> None:
    with pytest.raises(ValueError, match="needs a token"):
        create_api(replace(api.app.state.dependencies, admin_token=""))


async def test_secrets_stand_neither_in_the_log_nor_in_a_repr(api: AdminApi) -> None:
    with capture_logs() as logged:
        _, secret = await api.key(await api.workspace())
        async with api.stranger() as stranger:
            await stranger.get(f"{V1}/workspaces", headers={"Authorization": "Bearer guess-me"})
    assert [event["event"] for event in logged] == [
        "changed by the admin",
        "changed by the admin",
        "admin token refused",
    ]
    assert {event["request_id"] for event in logged} == {REQUEST_ID}
    seen = f"{logged} {api.app.state.dependencies!r}"
    assert all(hidden not in seen for hidden in (TOKEN, secret, "guess-me", "p" * 32))


async def test_no_answer_of_the_admin_api_may_be_kept_by_a_cache(api: AdminApi) -> None:
    workspace = f"{V1}/workspaces/{await api.workspace()}"
    answers = [
        await api.client.post(f"{workspace}/keys", json={"name": "ci"}),
        await api.client.get(f"{workspace}/webhook-secret"),
        await api.client.post(f"{workspace}/webhook-secret/rotate"),
        await api.client.get(f"{workspace}/nothing"),
    ]
    assert [answer.headers["Cache-Control"] for answer in answers] == ["no-store"] * 4


# Errors


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
        "TooLarge": 413,
        "RateLimited": 429,
        "Unavailable": 503,
    }
    assert {fault.detail for fault in faults.values()} == {"a fact"}
    assert faults[errors.RateLimited].headers == {"Retry-After": "3"}
    assert faults[errors.Unavailable].headers == {"Retry-After": "1"}


# Outside /admin


async def test_an_unknown_path_answers_in_the_envelope(api: AdminApi) -> None:
    for path in ["/nope", "/", "/adminx", "/api", "/docs", "/redoc", "/v1/tasks"]:
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


# Health


async def test_alive_and_ready_need_no_token(api: AdminApi) -> None:
    async with api.stranger() as stranger:
        for path in ("/healthz", "/readyz"):
            answer = await stranger.get(path)
            assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
            assert (await stranger.head(path)).status_code == 200


async def test_a_closed_store_is_alive_but_not_ready(api: AdminApi) -> None:
    await api.database.close()
    answer = await api.client.get("/readyz")
    assert (answer.status_code, answer.json()) == (503, {"status": "unavailable"})
    assert answer.headers["Retry-After"] == "1"
    assert (await api.client.get("/healthz")).status_code == 200


async def test_a_store_that_cannot_write_is_not_ready_until_it_can(api: AdminApi) -> None:
    def forbid_writes(conn: Connection) -> None:
        conn.exec_driver_sql("PRAGMA query_only=ON")

    await api.database.write(forbid_writes)
    assert (await api.client.get("/readyz")).status_code == 503
    # The failed connection was thrown away. The answer is a second old at most.
    assert (await api.client.get("/readyz")).status_code == 503
    api.clock.advance(1)
    assert (await api.client.get("/readyz")).status_code == 200


async def test_a_locked_store_is_not_ready_after_two_seconds_and_is_asked_once(
    api: AdminApi,
) -> None:
    with closing(sqlite3.connect(api.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        answers = await asyncio.gather(*(api.client.get("/readyz") for _ in range(20)))
        assert {answer.status_code for answer in answers} == {503}
        assert api.database._writer._jobs.qsize() == 0
        other.execute("ROLLBACK")
    # The one question that waited is answered now.
    assert (await api.client.get("/readyz")).status_code == 200


# The document


async def test_the_document_covers_what_there_is_and_needs_no_token(api: AdminApi) -> None:
    async with api.stranger() as stranger:
        document = (await stranger.get("/openapi.json")).json()
    assert document["info"]["title"] == "Ketchup"
    assert sorted(operations(document)) == [
        ("/admin/v1/keys/{key_id}", "DELETE"),
        ("/admin/v1/workspaces", "GET"),
        ("/admin/v1/workspaces", "POST"),
        ("/admin/v1/workspaces/{workspace_id}", "GET"),
        ("/admin/v1/workspaces/{workspace_id}", "PATCH"),
        ("/admin/v1/workspaces/{workspace_id}/audit", "GET"),
        ("/admin/v1/workspaces/{workspace_id}/credits", "POST"),
        ("/admin/v1/workspaces/{workspace_id}/keys", "GET"),
        ("/admin/v1/workspaces/{workspace_id}/keys", "POST"),
        ("/admin/v1/workspaces/{workspace_id}/webhook-secret", "GET"),
        ("/admin/v1/workspaces/{workspace_id}/webhook-secret/rotate", "POST"),
        ("/healthz", "GET"),
        ("/readyz", "GET"),
    ]
    assert document["components"]["securitySchemes"]["AdminToken"]["scheme"] == "bearer"
    for path, item in document["paths"].items():
        for operation in item.values():
            assert "422" not in operation["responses"]
            if path.startswith("/admin/"):
                assert operation["security"] == [{"AdminToken": []}]
                assert list(operation["responses"]["4XX"]["content"]) == [PROBLEM]


async def test_every_reference_in_the_document_leads_somewhere(api: AdminApi) -> None:
    document = (await api.client.get("/openapi.json")).json()
    whole = json.dumps(document)
    for name in {part.split('"')[0] for part in whole.split("#/components/schemas/")[1:]}:
        assert name in document["components"]["schemas"]
    assert "$defs" not in whole


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


@given(header=st.binary(max_size=80), body=st.binary(max_size=80))
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
async def test_no_header_whatever_opens_the_door(api: AdminApi, header: bytes, body: bytes) -> None:
    async with api.stranger() as stranger:
        headers: list[tuple[bytes, bytes]] = [(b"Authorization", header), (b"Accept", b"*/*")]
        answer: httpx2.Response = await stranger.post(
            f"{V1}/workspaces", content=body, headers=headers
        )
    assert answer.status_code == 401
    assert BEARER["Authorization"] not in answer.text
