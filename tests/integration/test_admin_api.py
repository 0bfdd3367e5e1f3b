"""The admin API: what an operator does with workspaces, keys, webhook secrets and credits."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text

from ketchup import workspaces
from ketchup.db import Location
from ketchup.errors import Unauthenticated
from ketchup.ids import WorkspaceId
from ketchup.workspaces import Environment, Scope
from tests.support.admin_api import V1, VAULT, AdminApi, open_admin_api
from tests.support.database import contents
from tests.support.factories import new_workspace

NOW = "2025-09-10T10:22:20.010Z"
NOTHING = {"balance": "0.000000", "held": "0.000000", "available": "0.000000"}


@pytest.fixture
async def api(location: Location) -> AsyncIterator[AdminApi]:
    async with open_admin_api(location) as opened:
        yield opened


# Workspaces


async def test_a_new_workspace_is_active_and_has_nothing(api: AdminApi) -> None:
    answer = await api.client.post(f"{V1}/workspaces", json={"name": "  Acme  "})
    assert answer.status_code == 201
    made = answer.json()
    assert made.pop("id").startswith("ws_")
    assert made == {
        "number": 100,
        "name": "Acme",
        "status": "active",
        "plan": "free",
        "retention_days": 7,
        "created_at": NOW,
        **NOTHING,
    }


async def test_workspaces_are_listed_oldest_first_with_what_they_have(api: AdminApi) -> None:
    first, second = await api.workspace("first"), await api.workspace("second")
    await api.client.post(f"{V1}/workspaces/{second}/credits", json={"amount": "2.5"})
    items = (await api.client.get(f"{V1}/workspaces")).json()["items"]
    assert [(i["id"], i["number"], i["balance"], i["available"]) for i in items] == [
        (first, 100, "0.000000", "0.000000"),
        (second, 101, "2.500000", "2.500000"),
    ]


async def test_one_workspace_is_shown_as_in_the_list(api: AdminApi) -> None:
    workspace = await api.workspace()
    await api.client.post(f"{V1}/workspaces/{workspace}/credits", json={"amount": "3"})
    await api.hold(workspace, 1_000_000)
    shown = (await api.client.get(f"{V1}/workspaces/{workspace}")).json()
    assert [shown] == (await api.client.get(f"{V1}/workspaces")).json()["items"]
    assert (shown["balance"], shown["held"], shown["available"]) == (
        "3.000000",
        "1.000000",
        "2.000000",
    )


@pytest.mark.parametrize("name", ["", "   ", "x" * 201, "a\x00b", "line\nbreak"])
async def test_a_name_that_cannot_be_shown_is_refused(api: AdminApi, name: str) -> None:
    workspace = await api.workspace()
    for path in (f"{V1}/workspaces", f"{V1}/workspaces/{workspace}/keys"):
        answer = await api.client.post(path, json={"name": name})
        assert answer.status_code == 400
        assert answer.json()["detail"] == "name must have 1 to 200 printable characters"
    assert len((await api.client.get(f"{V1}/workspaces")).json()["items"]) == 1


async def test_suspending_a_workspace_stops_its_keys_at_once(api: AdminApi) -> None:
    workspace = await api.workspace()
    _, secret = await api.key(workspace)
    header = [f"Bearer {secret}".encode()]
    # The key is remembered now: only forgetting it stops it before the half second is over.
    await api.authenticator.authenticate(header)

    answer = await api.client.patch(f"{V1}/workspaces/{workspace}", json={"status": "suspended"})
    assert (answer.status_code, answer.json()["status"]) == (200, "suspended")
    with pytest.raises(Unauthenticated):
        await api.authenticator.authenticate(header)

    answer = await api.client.patch(f"{V1}/workspaces/{workspace}", json={"status": "active"})
    assert (answer.status_code, answer.json()["status"]) == (200, "active")
    caller = await api.authenticator.authenticate(header)
    assert caller.workspace_id == workspace


async def test_a_workspace_has_only_two_states(api: AdminApi) -> None:
    workspace = await api.workspace()
    answer = await api.client.patch(f"{V1}/workspaces/{workspace}", json={"status": "deleted"})
    assert answer.status_code == 400
    assert answer.json()["errors"] == [
        {"param": "status", "reason": "should be 'active' or 'suspended'"}
    ]


# Plans


async def test_a_workspace_is_made_on_the_plan_that_is_named(api: AdminApi) -> None:
    answer = await api.client.post(f"{V1}/workspaces", json={"name": "acme", "plan": "pro"})
    assert answer.status_code == 201
    assert (answer.json()["plan"], answer.json()["retention_days"]) == ("pro", 30)


async def test_another_plan_is_known_to_the_keys_at_once(api: AdminApi) -> None:
    workspace = await api.workspace()
    _, secret = await api.key(workspace)
    header = [f"Bearer {secret}".encode()]
    assert (await api.authenticator.authenticate(header)).plan == "free"

    answer = await api.client.patch(f"{V1}/workspaces/{workspace}", json={"plan": "scale"})

    assert answer.status_code == 200
    shown = answer.json()
    assert (shown["plan"], shown["retention_days"], shown["status"]) == ("scale", 90, "active")
    assert (await api.authenticator.authenticate(header)).plan == "scale"


async def test_status_and_plan_change_together_or_not_at_all(api: AdminApi) -> None:
    where = f"{V1}/workspaces/{await api.workspace()}"
    before = (await api.client.get(where)).json()

    refused = await api.client.patch(where, json={"status": "suspended", "plan": "gold"})
    assert refused.status_code == 400
    assert (await api.client.get(where)).json() == before

    changed = await api.client.patch(where, json={"status": "suspended", "plan": "pro"})
    assert (changed.json()["status"], changed.json()["plan"]) == ("suspended", "pro")


@pytest.mark.parametrize("plan", ["gold", "", "Free", "free\x00", "x" * 300])
async def test_an_unknown_plan_is_refused_with_the_names_that_there_are(
    api: AdminApi, plan: str
) -> None:
    workspace = await api.workspace()
    for answer in (
        await api.client.post(f"{V1}/workspaces", json={"name": "two", "plan": plan}),
        await api.client.patch(f"{V1}/workspaces/{workspace}", json={"plan": plan}),
    ):
        assert answer.status_code == 400
        assert answer.json()["detail"] == "plan must be one of free, pro, scale"
    assert [w["plan"] for w in (await api.client.get(f"{V1}/workspaces")).json()["items"]] == [
        "free"
    ]


@pytest.mark.parametrize("escape", ["\\u0000", "\\ud800"])
async def test_text_that_no_database_keeps_is_refused_in_every_field(
    api: AdminApi, escape: str
) -> None:
    where = f"{V1}/workspaces/{await api.workspace()}"
    for method, path, body in [
        ("POST", f"{V1}/workspaces", '{"name": "a%s"}'),
        ("POST", f"{V1}/workspaces", '{"name": "a", "plan": "free%s"}'),
        ("PATCH", where, '{"plan": "free%s"}'),
        ("POST", f"{where}/keys", '{"name": "a%s"}'),
        ("POST", f"{where}/keys", '{"name": "a", "models": ["a%s"]}'),
        ("POST", f"{where}/credits", '{"amount": "1", "note": "a%s"}'),
    ]:
        answer = await api.client.request(
            method, path, content=body % escape, headers={"Content-Type": "application/json"}
        )
        assert answer.status_code == 400, body
        assert answer.json()["detail"]


@pytest.mark.parametrize("change", [{}, {"status": None}, {"plan": None, "status": None}])
async def test_a_change_that_changes_nothing_is_refused(
    api: AdminApi, change: dict[str, object]
) -> None:
    where = f"{V1}/workspaces/{await api.workspace()}"
    answer = await api.client.patch(where, json=change)
    assert (answer.status_code, answer.json()["detail"]) == (
        400,
        "status, plan or both are required",
    )


async def test_the_plans_are_listed_as_the_settings_have_them(api: AdminApi) -> None:
    items = (await api.client.get(f"{V1}/plans")).json()["items"]
    assert [(item["name"], item["default"]) for item in items] == [
        ("free", True),
        ("pro", False),
        ("scale", False),
    ]
    assert items[1] == {
        "name": "pro",
        "title": "Pro",
        "price": "29.000000",
        "submits_per_minute": 120,
        "submit_burst": 30,
        "concurrency": 16,
        "depth": 2000,
        "weight": 4,
        "retention_days": 30,
        "default": False,
    }


async def test_a_workspace_whose_plan_is_gone_is_shown_with_what_holds_instead(
    api: AdminApi,
) -> None:
    made = await api.database.write(lambda conn: new_workspace(conn, plan="gold"))
    shown = (await api.client.get(f"{V1}/workspaces/{made.id}")).json()
    assert (shown["plan"], shown["retention_days"]) == ("gold", 7)


# Keys


async def test_a_new_key_works_and_is_what_was_asked_for(api: AdminApi) -> None:
    workspace = await api.workspace()
    answer = await api.client.post(
        f"{V1}/workspaces/{workspace}/keys",
        json={
            "name": "reader",
            "environment": "test",
            "expires_at": "2030-01-31T12:00:00.5+02:00",
            "scopes": ["task:read", "task:read"],
            "models": ["google/gempix2"],
        },
    )
    assert answer.status_code == 201
    made = answer.json()
    secret = made.pop("key")
    assert secret.startswith("dk-test_")
    assert made.pop("id").startswith("key_")
    assert made == {
        "workspace_id": workspace,
        "name": "reader",
        "environment": "test",
        "hint": f"{secret[:12]}…{secret[-4:]}",
        "scopes": ["task:read"],
        "models": ["google/gempix2"],
        "created_at": NOW,
        "expires_at": "2030-01-31T10:00:00.500Z",
        "revoked_at": None,
        "last_used_at": None,
        "last_used_from": None,
        "networks": None,
        "day_cap": None,
        "month_cap": None,
        "replaced_by": None,
    }
    caller = await api.authenticator.authenticate([f"Bearer {secret}".encode()])
    assert (caller.workspace_id, caller.environment) == (workspace, Environment.TEST)
    assert caller.may(Scope.READ_TASKS)
    assert not caller.may(Scope.CREATE_IMAGES)
    assert caller.may_use("google/gempix2")
    assert not caller.may_use("google/gemini-2.5-flash-image")


async def test_a_key_may_do_everything_for_ever_unless_told_otherwise(api: AdminApi) -> None:
    key, secret = await api.key(await api.workspace(), scopes=None, models=None, expires_at=None)
    assert secret.startswith("dk-live_")
    caller = await api.authenticator.authenticate([f"Bearer {secret}".encode()])
    assert (caller.key_id, caller.scopes, caller.models, caller.expires_at) == (
        key,
        None,
        None,
        None,
    )


async def test_a_key_is_shown_once_and_never_again(api: AdminApi) -> None:
    workspace = await api.workspace()
    key, secret = await api.key(workspace)
    hidden = secret[12:-4]
    listed = await api.client.get(f"{V1}/workspaces/{workspace}/keys")
    assert [item["id"] for item in listed.json()["items"]] == [key]
    assert "key" not in listed.json()["items"][0]
    revoked = await api.client.delete(f"{V1}/keys/{key}")
    shown = [
        await api.client.get(f"{V1}/workspaces/{workspace}{path}")
        for path in ("", "/keys", "/audit", "/webhook-secret")
    ]
    assert all(hidden not in answer.text for answer in [listed, revoked, *shown])
    stored = contents(api.location)
    assert key.encode() in stored
    assert hidden.encode() not in stored


async def test_a_time_needs_a_date_and_a_zone(api: AdminApi) -> None:
    for expires_at in [
        "2030-01-31",
        "2030-01-31T12:00:00",
        "2030-02-30T12:00:00Z",
        "2030-01-31T12:00:60Z",
        "9999-12-31T23:59:59-23:59",
        "2030-01-31T12:00:00+24:00",
        "1893456000",
        "tomorrow",
        "",
        1893456000,
        True,
        ["2030-01-31T12:00:00Z"],
    ]:
        where = f"{V1}/workspaces/{await api.workspace()}/keys"
        answer = await api.client.post(where, json={"name": "ci", "expires_at": expires_at})
        assert answer.status_code == 400
        reason = "must be a time with its zone, such as 2030-01-31T12:00:00Z"
        assert answer.json()["detail"] == f"expires_at: {reason}"


async def test_a_key_cannot_be_born_expired(api: AdminApi) -> None:
    where = f"{V1}/workspaces/{await api.workspace()}/keys"
    for moment in (NOW, "0001-01-01T00:00:00Z"):
        answer = await api.client.post(where, json={"name": "ci", "expires_at": moment})
        assert (answer.status_code, answer.json()["detail"]) == (
            400,
            "expires_at must be in the future",
        )
    assert (await api.client.get(where)).json() == {"items": []}


@pytest.mark.parametrize(
    "wrong",
    [
        {"environment": "staging"},
        {"scopes": ["everything"]},
        {"scopes": []},
        {"scopes": "task:read"},
        {"models": []},
        {"models": [1]},
        {"models": ["a\x00b"]},
        {"models": ["m"] * 101},
    ],
)
async def test_a_key_cannot_be_given_what_is_not_there(
    api: AdminApi, wrong: dict[str, object]
) -> None:
    where = f"{V1}/workspaces/{await api.workspace()}/keys"
    answer = await api.client.post(where, json={"name": "ci", **wrong})
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["param"].split(".")[0] == next(iter(wrong))
    assert (await api.client.get(where)).json() == {"items": []}


async def test_a_revoked_key_stops_at_once_and_revoking_again_is_no_error(api: AdminApi) -> None:
    workspace = await api.workspace()
    key, secret = await api.key(workspace)
    header = [f"Bearer {secret}".encode()]
    await api.authenticator.authenticate(header)
    answer = await api.client.delete(f"{V1}/keys/{key}")
    assert (answer.status_code, answer.content) == (204, b"")
    with pytest.raises(Unauthenticated):
        await api.authenticator.authenticate(header)

    api.clock.advance(60)
    assert (await api.client.delete(f"{V1}/keys/{key}")).status_code == 204
    listed = (await api.client.get(f"{V1}/workspaces/{workspace}/keys")).json()["items"]
    assert [item["revoked_at"] for item in listed] == [NOW]


# Webhook secrets


async def test_rotating_replaces_the_webhook_secret_and_keeps_the_old_one_for_a_while(
    api: AdminApi,
) -> None:
    workspace = await api.workspace()
    where = f"{V1}/workspaces/{workspace}/webhook-secret"
    old = (await api.client.get(where)).json()["secret"]
    assert old.startswith("whsec_")
    rotated = await api.client.post(f"{where}/rotate", json={"overlap_hours": 1})
    assert rotated.status_code == 200
    new = rotated.json()["secret"]
    assert new != old
    assert (await api.client.get(where)).json() == {"secret": new}
    assert await signing_secrets(api, workspace) == [new, old]
    api.clock.advance(3599)
    assert await signing_secrets(api, workspace) == [new, old]
    api.clock.advance(1)
    assert await signing_secrets(api, workspace) == [new]


@pytest.mark.parametrize(("sent", "hours"), [(b"", 24), (b"{}", 24), (b'{"overlap_hours":0}', 0)])
async def test_the_overlap_is_a_day_unless_told_otherwise(
    api: AdminApi, sent: bytes, hours: int
) -> None:
    workspace = await api.workspace()
    where = f"{V1}/workspaces/{workspace}/webhook-secret/rotate"
    answer = await api.client.post(
        where, content=sent, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 200
    assert len(await signing_secrets(api, workspace)) == (2 if hours else 1)
    api.clock.advance(hours * 3600)
    assert await signing_secrets(api, workspace) == [answer.json()["secret"]]


async def test_an_overlap_is_whole_hours_up_to_a_week(api: AdminApi) -> None:
    for hours in [-1, 169, 1.5, "24", True, None]:
        where = f"{V1}/workspaces/{await api.workspace()}/webhook-secret"
        before = (await api.client.get(where)).json()
        answer = await api.client.post(f"{where}/rotate", json={"overlap_hours": hours})
        assert answer.status_code == 400
        assert answer.json()["errors"][0]["param"] == "overlap_hours"
        assert (await api.client.get(where)).json() == before


async def signing_secrets(api: AdminApi, workspace: str) -> list[str]:
    now = api.clock.now()
    return await api.database.read(
        lambda conn: workspaces.webhook_secrets(conn, VAULT, WorkspaceId(workspace), now)
    )


# What is not there


async def test_an_unknown_workspace_is_not_found_anywhere(api: AdminApi) -> None:
    for workspace in ["ws_aaaaaaaaaaaaaaaa", "x" * 300, "a%00b", "%FF", "%F0"]:
        base = f"{V1}/workspaces/{workspace}"
        answers = [
            await api.client.get(base),
            await api.client.patch(base, json={"status": "active"}),
            await api.client.get(f"{base}/keys"),
            await api.client.post(f"{base}/keys", json={"name": "ci"}),
            await api.client.get(f"{base}/webhook-secret"),
            await api.client.post(f"{base}/webhook-secret/rotate", json={}),
            await api.client.post(f"{base}/credits", json={"amount": "1"}),
            await api.client.get(f"{base}/audit"),
        ]
        for answer in answers:
            assert (answer.status_code, answer.json()["detail"]) == (404, "workspace not found")
        entries = await api.database.read(
            lambda conn: conn.scalar(text("SELECT count(*) FROM entry"))
        )
        assert entries == 0


async def test_an_unknown_key_is_not_found(api: AdminApi) -> None:
    for key in ["key_aaaaaaaaaaaaaaaa", "x" * 300, "a%00b"]:
        answer = await api.client.delete(f"{V1}/keys/{key}")
        assert (answer.status_code, answer.json()["detail"]) == (404, "key not found")
