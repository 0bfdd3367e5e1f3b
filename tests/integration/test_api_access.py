"""Who may use the admin API: whoever has the token, and what stays secret."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from ketchup.api import create_api, journal
from ketchup.api.admin import routes
from ketchup.db import Location
from tests.support.admin_api import (
    BEARER,
    PROBLEM,
    REQUEST_ID,
    TOKEN,
    V1,
    AdminApi,
    open_admin_api,
    operations,
)

JSON = {"Content-Type": "application/json"}


@pytest.fixture
async def api(location: Location) -> AsyncIterator[AdminApi]:
    async with open_admin_api(location) as opened:
        yield opened


async def test_every_route_answers_401_without_the_token(api: AdminApi) -> None:
    document = (await api.client.get("/openapi.json")).json()
    guarded = [(p, m) for p, m in operations(document) if p.startswith("/admin/")]
    assert len(guarded) == len(routes.routes) + len(journal.routes.routes) == 17
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
