"""CONTRACT §1: what holds on every path and status."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import re
from datetime import UTC, datetime
from pathlib import Path

import httpx2
import pytest
from sqlalchemy import text
from typing_extensions import override

from ketchup import workspaces
from ketchup.clock import after
from ketchup.generation import Decision, GenerationRequest, Submitter
from ketchup.ids import KeyId, WorkspaceId
from ketchup.server import create_app
from ketchup.storage import DiskStorage
from ketchup.workspaces import Environment, NewKey, WorkspaceStatus, mint_secret
from tests.support.customers import customer
from tests.support.exchange import Connection, exchange, head, post
from tests.support.service import RunningService, client_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

REQUEST_ID = re.compile(r"req_[a-z2-7]{26}")
JSON = "application/json; charset=utf-8"
GEN = "/api/image/gen"
QUERY = "/api/task/query?task_id=ta1"
USER = "/api/user"
CREATED_401 = b'{"code":1,"message":"Invalid API key"}'
OTHER_401 = b'{"code":401,"message":"Invalid API key"}'
INTERNAL = b'{"code":1,"message":"internal server error"}'
GOOD = {"model": "google/gempix2", "prompt": "a red boat"}
IMAGE = "/fileSystem/response_images/100/2026/01/01/1767225600000000000_" + "0" * 32 + ".png"
WITHIN_SECONDS = 1.0


# -- every path and status -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "status", "body"),
    [
        ("GET", "/nowhere", 404, b'{"code":1,"message":"not found"}'),
        ("POST", "/nowhere", 404, b'{"code":1,"message":"not found"}'),
        ("GET", "/api", 404, b'{"code":1,"message":"not found"}'),
        ("GET", "/api/", 404, b'{"code":1,"message":"not found"}'),
        ("GET", "/api/image", 404, b'{"code":1,"message":"not found"}'),
        ("POST", "/api/image/gen/", 404, b'{"code":1,"message":"not found"}'),
        ("GET", "/api/balance", 404, b'{"code":1,"message":"not found"}'),
        ("GET", "/fileSystem", 404, b'{"code":1,"message":"not found"}'),
        ("GET", "/fileSystem/", 404, b'{"code":1,"message":"not found"}'),
        ("GET", IMAGE, 404, b'{"code":1,"message":"not found"}'),
        ("GET", GEN, 405, b'{"code":1,"message":"method not allowed"}'),
        ("PUT", GEN, 405, b'{"code":1,"message":"method not allowed"}'),
        ("DELETE", GEN, 405, b'{"code":1,"message":"method not allowed"}'),
        ("OPTIONS", GEN, 405, b'{"code":1,"message":"method not allowed"}'),
        ("POST", QUERY, 405, b'{"code":1,"message":"method not allowed"}'),
        ("POST", USER, 405, b'{"code":1,"message":"method not allowed"}'),
        ("BREW", USER, 400, b'{"code":1,"message":"failed","detail":"request is not valid HTTP"}'),
        ("POST", IMAGE, 405, b'{"code":1,"message":"method not allowed"}'),
        ("POST", GEN, 400, b'{"code":1,"message":"failed","detail":"request body is not valid JSON"}'),
        ("GET", QUERY, 404, b'{"code":1,"message":"task not found"}'),
        ("GET", USER, 200, b'{"code":0,"message":"ok","data":{"credit":"100.00000000"}}'),
    ],
)  # fmt: skip
async def test_every_answer_is_an_envelope_with_a_request_id(
    alice: RunningService, method: str, path: str, status: int, body: bytes
) -> None:
    answer = await alice.client.request(method, path)
    assert (answer.status_code, answer.content) == (status, body)
    assert answer.headers["content-type"] == JSON
    assert REQUEST_ID.fullmatch(answer.headers["x-request-id"])
    assert len(answer.headers.get_list("x-request-id")) == 1


async def test_a_wrong_method_is_told_the_right_one(alice: RunningService) -> None:
    assert (await alice.client.get(GEN)).headers["allow"] == "POST"
    assert (await alice.client.post(QUERY)).headers["allow"] == "GET"
    assert (await alice.client.post(USER)).headers["allow"] == "GET"
    assert (await alice.client.post(IMAGE)).headers["allow"] == "GET, HEAD, OPTIONS"


async def test_a_head_request_gets_no_body_even_for_an_error(alice: RunningService) -> None:
    answer = await alice.client.head(USER)
    assert (answer.status_code, answer.content) == (405, b"")
    assert REQUEST_ID.fullmatch(answer.headers["x-request-id"])


async def test_no_two_answers_have_the_same_request_id(alice: RunningService) -> None:
    answers = await asyncio.gather(*[alice.client.get(USER) for _ in range(20)])
    assert len({answer.headers["x-request-id"] for answer in answers}) == 20


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"this is not HTTP\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nBad Header: x\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET // HTTP/9.9\r\nHost: a\r\n\r\n",
        b"POST /api/image/gen HTTP/1.1\r\nHost: a\r\nContent-Length: many\r\n\r\n",
        b"POST /api/image/gen HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"POST /api/image/gen HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"POST /api/image/gen HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST /api/image/gen HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
    ids=lambda request: repr(request[:60]),
)
async def test_what_is_not_http_gets_the_envelope_too(
    service: RunningService, request_bytes: bytes
) -> None:
    answer = await exchange(service.base_url, request_bytes)
    assert answer.status == 400
    assert answer.body == b'{"code":1,"message":"failed","detail":"request is not valid HTTP"}'
    assert answer.headers["content-type"] == JSON
    assert REQUEST_ID.fullmatch(answer.headers["x-request-id"])


# -- 500 -------------------------------------------------------------------------------------------


class _Crashing(Submitter):
    """A submitter with a bug."""

    def __init__(self) -> None:
        """Need nothing: it never comes to that."""

    @override
    async def submit(self, request: GenerationRequest) -> Decision:
        raise ZeroDivisionError


class _CrashingStorage(DiskStorage):
    """A storage with a bug."""

    @override
    async def size(self, key: str) -> int:
        raise ZeroDivisionError


def broken(service: RunningService, folder: Path) -> httpx2.AsyncClient:
    """Return a client of the same server over a submitter and a storage that crash."""
    runtime = service.runtime
    app = create_app(
        dataclasses.replace(runtime, submitter=_Crashing(), storage=_CrashingStorage(folder))
    )
    headers = {"Authorization": f"Bearer {service.key}"}
    transport = httpx2.ASGITransport(app, raise_app_exceptions=True)
    return httpx2.AsyncClient(transport=transport, base_url="http://ketchup", headers=headers)


async def test_our_own_faults_answer_500_and_tell_nothing(
    alice: RunningService, tmp_path: Path
) -> None:
    now = alice.runtime.clock.now()
    workspace = await alice.runtime.database.read(
        lambda conn: workspaces.get(conn, WorkspaceId(alice.workspace_id))
    )
    image = (
        f"/fileSystem/response_images/{workspace.number}/{_day(alice)}/{now * 1000}_{'0' * 32}.png"
    )
    async with broken(alice, tmp_path) as client:
        for answer in (await client.post(GEN, json=GOOD), await client.get(image)):
            assert (answer.status_code, answer.content) == (500, INTERNAL)
            assert answer.headers["content-type"] == JSON
            assert REQUEST_ID.fullmatch(answer.headers["x-request-id"])


def _day(service: RunningService) -> str:
    return f"{datetime.fromtimestamp(service.runtime.clock.now() // 1_000_000, UTC):%Y/%m/%d}"


# -- authentication --------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEaReR"])
async def test_the_scheme_is_case_insensitive(alice: RunningService, scheme: str) -> None:
    answer = await alice.client.get(USER, headers={"Authorization": f"{scheme} {alice.key}"})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "Bearer",
        "{key}",
        "Basic {key}",
        "Bearer: {key}",
        "Bearer {key}x",
        "Bearer {key} {key}",
        'Bearer "{key}"',
        "Bearer {key},Bearer {key}",
        "Bearer dk-",
        "Bearer dk-0123456789abcdef0123456789abcdef",
        "Bearer " + "a" * 5000,
        "Bearer dk-live_é",
        "Bearer \x80\xff",
    ],
)
async def test_a_missing_or_malformed_key_is_refused(
    alice: RunningService, value: str | None
) -> None:
    headers = [] if value is None else [(b"authorization", value.replace("{key}", alice.key))]
    await refused_everywhere(alice, [(n, v.encode("latin-1")) for n, v in headers])


async def test_a_well_formed_key_that_nobody_was_given_is_refused(alice: RunningService) -> None:
    await refused_everywhere(alice, bearer(mint_secret(Environment.LIVE)))


async def test_a_key_is_never_taken_from_the_query_string_or_another_header(
    alice: RunningService,
) -> None:
    key = alice.key
    for name in ("key", "api_key", "access_token", "authorization", "Authorization", "token"):
        await refused_everywhere(alice, [(b"x-api-key", key.encode())], f"{name}={key}")
        await refused_everywhere(alice, [], f"{name}=Bearer+{key}")


async def test_two_authorization_headers_are_refused_even_when_both_are_good(
    alice: RunningService,
) -> None:
    await refused_everywhere(alice, bearer(alice.key) * 2)


def bearer(key: str) -> list[tuple[bytes, bytes]]:
    return [(b"authorization", f"Bearer {key}".encode())]


async def refused_everywhere(
    service: RunningService, headers: list[tuple[bytes, bytes]], query: str = ""
) -> None:
    """Send a good request to each endpoint with these headers alone: each says 401 its own way."""
    async with client_of(service.base_url, None) as client:
        created = await client.post(f"{GEN}?{query}", json=GOOD, headers=headers)
        queried = await client.get(f"{QUERY}&{query}", headers=headers)
        told = await client.get(f"{USER}?{query}", headers=headers)
    assert (created.status_code, created.content) == (401, CREATED_401)
    assert (queried.status_code, queried.content) == (401, OTHER_401)
    assert (told.status_code, told.content) == (401, OTHER_401)


async def refused_soon(service: RunningService, key: str) -> None:
    """Ask until the key is refused, which must be within a second."""
    async with asyncio.timeout(WITHIN_SECONDS):
        while True:
            if (await service.client.get(USER, headers=bearer(key))).status_code != 200:
                break
    await refused_everywhere(service, bearer(key))


async def test_a_revoked_key_stops_at_once(alice: RunningService) -> None:
    assert (await alice.client.get(USER)).status_code == 200
    keys = (await alice.admin.get(f"/admin/v1/workspaces/{alice.workspace_id}/keys")).json()
    await alice.admin.delete(f"/admin/v1/keys/{keys['items'][0]['id']}")
    await refused_everywhere(alice, bearer(alice.key))


async def test_a_key_that_is_revoked_during_an_upload_pays_for_nothing(
    alice: RunningService,
) -> None:
    body = json.dumps({"model": "google/gempix2", "prompt": "a red boat"}).encode()
    connection = await Connection.to(alice.base_url)
    await connection.send(post(alice.key, body)[:-1])
    assert (await alice.client.get(USER)).status_code == 200
    keys = (await alice.admin.get(f"/admin/v1/workspaces/{alice.workspace_id}/keys")).json()
    await alice.admin.delete(f"/admin/v1/keys/{keys['items'][0]['id']}")
    await connection.send(body[-1:])
    assert (await connection.response()).status == 401
    await connection.close()


async def test_a_key_that_another_node_revoked_stops_within_a_second(
    alice: RunningService,
) -> None:
    assert (await alice.client.get(USER)).status_code == 200
    keys = (await alice.admin.get(f"/admin/v1/workspaces/{alice.workspace_id}/keys")).json()
    key_id = KeyId(keys["items"][0]["id"])
    now = alice.runtime.clock.now()
    await alice.runtime.database.write(lambda conn: workspaces.revoke_key(conn, key_id, now))
    await refused_soon(alice, alice.key)


async def test_a_suspended_workspace_is_refused_until_it_is_active_again(
    alice: RunningService,
) -> None:
    assert (await alice.client.get(USER)).status_code == 200
    path = f"/admin/v1/workspaces/{alice.workspace_id}"
    await alice.admin.patch(path, json={"status": "suspended"})
    await refused_everywhere(alice, bearer(alice.key))
    await alice.admin.patch(path, json={"status": "active"})
    assert (await alice.client.get(USER)).status_code == 200


async def test_a_workspace_that_another_node_suspended_stops_within_a_second(
    alice: RunningService,
) -> None:
    assert (await alice.client.get(USER)).status_code == 200
    workspace_id = WorkspaceId(alice.workspace_id)
    await alice.runtime.database.write(
        lambda conn: workspaces.set_status(conn, workspace_id, WorkspaceStatus.SUSPENDED)
    )
    await refused_soon(alice, alice.key)


async def test_an_expired_key_is_refused(alice: RunningService) -> None:
    runtime = alice.runtime
    now = runtime.clock.now()
    new = NewKey("short", expires_at=after(now, 0.3))
    _, key = await runtime.database.write(
        lambda conn: workspaces.create_key(
            conn, runtime.vault.pepper(conn), WorkspaceId(alice.workspace_id), new, now
        )
    )
    assert (await alice.client.get(USER, headers=bearer(key))).status_code == 200
    await refused_soon(alice, key)


# -- decisions -------------------------------------------------------------------------------------


async def test_the_request_id_stands_on_the_task(alice: RunningService) -> None:
    answer = await alice.client.post(GEN, json=GOOD)
    kept = await alice.runtime.database.read(
        lambda conn: conn.scalar(
            text("SELECT request_id FROM task WHERE id = :id"),
            {"id": answer.json()["data"]["task_id"]},
        )
    )
    assert kept == answer.headers["x-request-id"]


async def test_unknown_fields_are_ignored(alice: RunningService, engine: object) -> None:
    del engine
    unknown = {
        "mode": "image-to-image",
        "parameters": {"negative_prompt": "x", "cfg_scale": 7, "steps": 20, "sampler": None},
        "strength": 0.7,
        "size": "1024x1024",
        "": [],
        "Prompt": 5,
        "task_id": "ta1",
    }
    task_id = await alice.submit(prompt="with unknown fields", **unknown)
    assert (await alice.ended(task_id))["status"] == "success"


async def test_a_query_may_say_that_it_has_json(alice: RunningService) -> None:
    headers = {"Content-Type": "application/json"}
    assert (await alice.client.get(USER, headers=headers)).status_code == 200


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded"])
async def test_json_is_json_whatever_it_is_called(
    alice: RunningService, content_type: str | None
) -> None:
    named = () if content_type is None else (f"Content-Type: {content_type}",)
    body = b'{"model":"google/gempix2","prompt":"a red boat"}'
    assert (await exchange(alice.base_url, post(alice.key, body, *named))).status == 200


async def test_validation_never_answers_422(alice: RunningService) -> None:
    for fields in ({}, {"prompt": 1}, {**GOOD, "n": "many"}, {**GOOD, "images": "x"}):
        assert (await alice.client.post(GEN, json=fields)).status_code == 400


async def test_a_key_without_the_scope_is_forbidden(service: RunningService) -> None:
    for scope, allowed in (("image:create", GEN), ("task:read", QUERY), ("usage:read", USER)):
        async with customer(service, scopes=[scope]) as limited:
            for path in (GEN, QUERY, USER):
                answer = await limited.client.request("POST" if path == GEN else "GET", path)
                if path == allowed:
                    assert answer.status_code != 403
                    continue
                needed = {GEN: "image:create", QUERY: "task:read", USER: "usage:read"}[path]
                detail = f"the API key lacks the scope {needed}"
                expected = b'{"code":1,"message":"failed","detail":"%s"}' % detail.encode()
                assert (answer.status_code, answer.content) == (403, expected)


async def test_too_many_headers_are_refused(alice: RunningService) -> None:
    many = [f"X-{number}: y" for number in range(101)]
    answer = await exchange(alice.base_url, post(alice.key, b"{}", *many))
    assert answer.status == 400
    assert answer.body == b'{"code":1,"message":"failed","detail":"request is not valid HTTP"}'


async def test_headers_without_end_are_refused(alice: RunningService) -> None:
    endless = head(alice.key, "X-Long: " + "y" * 1_000_000)[:-4]
    answer = await exchange(alice.base_url, endless)
    assert answer.status == 400
    assert REQUEST_ID.fullmatch(answer.headers["x-request-id"])


# -- the document ----------------------------------------------------------------------------------


async def test_the_openapi_document_lists_the_contract_and_the_admin_api(
    service: RunningService,
) -> None:
    document = (await service.client.get("/openapi.json")).json()
    paths = list(document["paths"])
    assert paths[:3] == ["/api/image/gen", "/api/task/query", "/api/user"]
    assert "/admin/v1/workspaces" in paths
    assert {"ApiKey", "AdminToken"} <= set(document["components"]["securitySchemes"])
    assert {"GenerateImage", "TaskEnvelope", "Problem"} <= set(document["components"]["schemas"])
    operations = [
        one["operationId"] for item in document["paths"].values() for one in item.values()
    ]
    assert len(operations) == len(set(operations))


async def test_the_document_promises_no_status_that_does_not_come(alice: RunningService) -> None:
    document = (await alice.client.get("/openapi.json")).json()
    responses = document["paths"]["/api/image/gen"]["post"]["responses"]
    for fields in (GOOD, {}, {**GOOD, "n": 800}, {**GOOD, "n": 8}):
        answer = await alice.client.post(GEN, json=fields)
        assert str(answer.status_code) in responses
