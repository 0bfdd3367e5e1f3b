"""Limits as a client meets them over HTTP: the headers that tell them, caps, refusals, leaks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ketchup import workspaces
from ketchup.clock import after
from tests.support.customers import admin, customer
from tests.support.engines import ScriptedProvider
from tests.support.service import RunningService, client_of, running_service

GEN, QUERY, USER = "/api/image/gen", "/api/task/query", "/api/user"
GOOD = {"model": "google/gempix2", "prompt": "a red boat"}
SETTINGS = {
    "limits.failed_logins_per_minute": 20,
    "limits.polls_per_second": 1.0,
    "server.trusted_proxies": "127.0.0.0/8",
    "provenance.verifies_per_minute": 2,
    "concurrency": 0,
}
CAP_OF_DAY = {
    "code": 1,
    "message": "failed",
    "detail": "spend cap of the API key is reached for this day",
}
UNKNOWN = "dk-live_0123456789ABCDEFGHIJKLMNOPQRSTUV05H69u"


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[RunningService]:
    """Run a service behind a proxy that is trusted: each test says where it comes from."""
    async with running_service(tmp_path / "data", settings=SETTINGS) as service:
        yield service


def limits(answer: Any) -> tuple[str | None, str | None]:  # noqa: ANN401 an answer
    return answer.headers.get("ratelimit-policy"), answer.headers.get("ratelimit")


async def test_a_submit_says_what_the_plan_leaves_and_a_refusal_when_there_is_more(
    service: RunningService,
) -> None:
    async with customer(service, plan="free") as own:
        answers = [await own.client.post(GEN, json=GOOD) for _ in range(6)]

    assert [answer.status_code for answer in answers] == [200] * 5 + [429]
    assert {limits(answer)[0] for answer in answers} == {'"submit";q=5;w=30'}
    left = [limits(answer)[1] for answer in answers]
    # Time goes on: some of the last may have come back.
    assert left[:2] == ['"submit";r=4;t=6', '"submit";r=3;t=6']
    wait = answers[-1].headers["retry-after"]
    assert left[-1] == f'"submit";r=0;t={wait}'
    assert 1 <= int(wait) <= 6
    assert answers[-1].json() == {"code": 1, "message": "failed", "detail": "rate limit exceeded"}


async def test_a_plan_without_a_rate_tells_none(service: RunningService) -> None:
    assert limits(await service.client.post(GEN, json=GOOD)) == (None, None)


async def test_polls_are_told_on_both_surfaces_from_one_count(service: RunningService) -> None:
    task_id = await service.submit()

    polls = [await service.client.get(QUERY, params={"task_id": task_id}) for _ in range(2)]
    polls.append(await service.client.get(f"/v1/tasks/{task_id}"))
    while polls[-1].status_code == 200:
        polls.append(await service.client.get(f"/v1/tasks/{task_id}"))

    assert {limits(answer)[0] for answer in polls} == {'"poll";q=5;w=5'}
    assert [limits(answer)[1] for answer in polls[:3]] == [
        f'"poll";r={left};t=1' for left in (4, 3, 2)
    ]
    assert limits(polls[-1])[1] == f'"poll";r=0;t={polls[-1].headers["retry-after"]}'
    assert polls[-1].headers["content-type"] == "application/problem+json"


async def test_wrong_keys_are_counted_by_address_on_every_surface_together(
    service: RunningService,
) -> None:
    here, there = {"X-Forwarded-For": "203.0.113.9"}, {"X-Forwarded-For": "203.0.113.10"}
    async with client_of(service.base_url, UNKNOWN) as stranger:
        told = [
            (await stranger.get(path, headers=here)).status_code
            for path in (USER, "/v1/models", "/admin/v1/workspaces", QUERY) * 5
        ]
        assert told == [401] * 20

        for path in (USER, "/v1/models", "/admin/v1/workspaces"):
            refused = await stranger.get(path, headers=here)
            assert refused.status_code == 429
            wait = refused.headers["retry-after"]
            assert limits(refused) == ('"failure";q=20;w=60', f'"failure";r=0;t={wait}')
        # In the middle they are told nothing: only who fails would learn of it.
        first = await stranger.get(USER, headers=there)
        assert (first.status_code, limits(first)) == (401, (None, None))

    assert (await service.client.get(USER, headers=here)).status_code == 200
    assert (await service.admin.get("/admin/v1/plans", headers=here)).status_code == 200


async def test_a_cap_answers_402_with_its_own_words_and_a_failed_task_gives_it_back(
    tmp_path: Path,
) -> None:
    engines = {"studio": ScriptedProvider()}
    async with (
        running_service(tmp_path / "data", providers=engines, settings={"concurrency": 0}) as one,
        customer(one, day_cap="1", month_cap="9") as own,
    ):
        first, second = await own.submit(), await own.submit()

        refused = await own.client.post(GEN, json=GOOD)
        assert (refused.status_code, refused.json()) == (402, CAP_OF_DAY)
        dear = await own.client.post(GEN, json={**GOOD, "n": 2})
        assert dear.json() == CAP_OF_DAY

        assert (await own.client.post(f"/v1/tasks/{first}/cancel")).status_code == 200
        third = await own.submit()
        assert (await own.client.post(GEN, json=GOOD)).json() == CAP_OF_DAY
        assert len({first, second, third}) == 3


async def test_many_requests_under_one_key_are_refused_by_the_cap_alike(
    service: RunningService,
) -> None:
    async with customer(service, day_cap="0.5") as own:
        named = {"Idempotency-Key": "order-7"}
        first = await own.client.post(GEN, json=GOOD, headers=named)
        again = await own.client.post(GEN, json=GOOD, headers=named)
        other = await own.client.post(GEN, json=GOOD, headers={"Idempotency-Key": "order-8"})

    assert first.json() == again.json()
    assert (other.status_code, other.json()) == (402, CAP_OF_DAY)


async def test_a_key_is_bound_to_its_networks_and_refused_in_the_same_words_elsewhere(
    service: RunningService,
) -> None:
    async with (
        customer(service, networks=["203.0.113.0/24"]) as own,
        client_of(service.base_url, UNKNOWN) as stranger,
    ):
        ours, theirs = {"X-Forwarded-For": "203.0.113.9"}, {"X-Forwarded-For": "198.51.100.1"}
        assert (await own.client.get(USER, headers=ours)).status_code == 200
        elsewhere = await own.client.get(USER, headers=theirs)
        unknown = await stranger.get(USER, headers=theirs)

    assert elsewhere.status_code == 401
    assert elsewhere.content == unknown.content == b'{"code":401,"message":"Invalid API key"}'
    changing = {"date", "x-request-id"}
    assert {k: v for k, v in elsewhere.headers.items() if k not in changing} == {
        k: v for k, v in unknown.headers.items() if k not in changing
    }


async def test_a_leak_report_ends_a_key_and_says_the_same_whatever_it_was(
    service: RunningService,
) -> None:
    async with customer(service) as own, client_of(service.base_url, None) as stranger:
        said = []
        for key in ("", "no key", UNKNOWN, "dk-live_é", own.key, own.key, "x" * 256):
            answer = await stranger.post("/v1/keys/report-leak", json={"key": key})
            kept = {k: v for k, v in answer.headers.items() if k not in CHANGING}
            said.append((answer.status_code, answer.content, tuple(sorted(kept.items()))))
        assert len(set(said)) == 1
        assert said[0][0] == 204
        assert (await own.client.get(USER)).status_code == 401
    assert (await service.client.get(USER)).status_code == 200


CHANGING = {"date", "x-request-id", "ratelimit"}


async def test_a_reported_key_stops_at_once_though_it_was_just_found_good(
    service: RunningService,
) -> None:
    async with customer(service) as own, client_of(service.base_url, None) as stranger:
        assert (await own.client.get(USER)).status_code == 200
        await stranger.post("/v1/keys/report-leak", json={"key": own.key})
        assert (await own.client.get(USER)).status_code == 401


async def test_leak_reports_are_limited_by_address_and_bounded(service: RunningService) -> None:
    async with client_of(service.base_url, None) as stranger:

        async def report(key: str, address: str) -> Any:  # noqa: ANN401 an answer
            where = {"X-Forwarded-For": address}
            body = {"key": key}
            return await stranger.post("/v1/keys/report-leak", json=body, headers=where)

        answers = [await report(UNKNOWN, "203.0.113.9") for _ in range(21)]
        assert [answer.status_code for answer in answers] == [204] * 20 + [429]
        assert limits(answers[0]) == ('"leak-report";q=20;w=60', '"leak-report";r=19;t=3')
        assert "retry-after" in answers[-1].headers
        assert (await report(UNKNOWN, "203.0.113.10")).status_code == 204
        # Nothing that was sent comes back, and not much is read.
        long = await report("canary" * 100, "203.0.113.11")
        assert long.status_code == 400
        assert "canary" not in long.text
        assert (await report("x" * 100_000, "203.0.113.12")).status_code == 413


async def test_a_new_key_ends_after_a_year_unless_somebody_says_never(
    service: RunningService,
) -> None:
    keys = f"/workspaces/{service.workspace_id}/keys"
    made = await admin(service, keys, {"name": "k"})
    for_ever = await admin(service, keys, {"name": "k", "expires_at": None})
    listed = await service.runtime.database.read(
        lambda conn: workspaces.list_keys(conn, workspaces.list_all(conn)[0].id)
    )

    ends = {key.id: key.expires_at for key in listed}
    created = {key.id: key.created_at for key in listed}
    year = 365 * 86_400
    assert ends[made["id"]] == after(created[made["id"]], year)
    assert ends[for_ever["id"]] is None
    assert for_ever["expires_at"] is None
    # The first key of all is no exception.
    (first,) = set(ends) - {made["id"], for_ever["id"]}
    assert ends[first] == after(created[first], year)


async def test_an_operator_rotates_a_key(service: RunningService) -> None:
    async with customer(service, day_cap="3", networks=["203.0.113.0/24"]) as own:
        path = f"/admin/v1/workspaces/{own.workspace_id}/keys"
        (old,) = (await own.admin.get(path)).json()["items"]
        for wrong in ({"overlap_hours": 2}, {"overlap_hours": "24"}, {"overlap": 24}):
            refused = await own.admin.post(f"/admin/v1/keys/{old['id']}/rotate", json=wrong)
            assert refused.status_code == 400
        new = await admin(own, f"/keys/{old['id']}/rotate", {"overlap_hours": 0})

        assert (new["day_cap"], new["networks"]) == ("3.000000", ["203.0.113.0/24"])
        where = {"X-Forwarded-For": "203.0.113.9"}
        async with client_of(own.base_url, new["key"]) as client:
            assert (await client.get(USER, headers=where)).status_code == 200
        # Here at once, for it is forgotten with the change.
        assert (await own.client.get(USER, headers=where)).status_code == 401
        again = await own.admin.post(f"/admin/v1/keys/{old['id']}/rotate")
        assert again.status_code == 409
        listed = {one["id"]: one for one in (await own.admin.get(path)).json()["items"]}
        assert listed[old["id"]]["replaced_by"] == new["id"]
        assert "key" not in listed[new["id"]]
