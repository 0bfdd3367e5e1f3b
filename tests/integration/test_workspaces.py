"""Workspaces and keys: what is stored, what is shown, and that no secret can be read back."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import replace

import pytest
from sqlalchemy import Connection, Engine, delete
from sqlalchemy.exc import IntegrityError

from ketchup import workspaces
from ketchup.clock import Micros, after
from ketchup.db import Location
from ketchup.errors import InvalidRequest, NotFound
from ketchup.ids import KeyId, WorkspaceId
from ketchup.workspaces import Environment, NewKey, Pepper, Scope, Vault, WorkspaceStatus, digest
from ketchup.workspaces.tenants import workspace
from tests.support.database import contents, open_engine
from tests.support.factories import NOW, PEPPER, VAULT, new_workspace

DAY = 86_400.0


@pytest.fixture
def engine(location: Location) -> Iterator[Engine]:
    with open_engine(location) as engine:
        yield engine


@pytest.fixture
def conn(engine: Engine) -> Iterator[Connection]:
    with engine.begin() as conn:
        yield conn


# -- workspaces -----------------------------------------------------------------------------------


def test_workspaces_are_numbered_from_100_and_listed_oldest_first(conn: Connection) -> None:
    made = [workspaces.create(conn, name, "free", NOW) for name in ("one", "two", "three")]

    assert [workspace.number for workspace in made] == [100, 101, 102]
    assert workspaces.list_all(conn) == made
    assert workspaces.get(conn, made[1].id) == made[1]
    assert made[1].status is WorkspaceStatus.ACTIVE


def test_a_name_is_kept_without_the_space_around_it(conn: Connection) -> None:
    assert workspaces.create(conn, "  Müller & Töchter  ", "free", NOW).name == "Müller & Töchter"


@pytest.mark.parametrize("name", ["", "   ", "a\nb", "a\x00b", "x" * 201, "\u202eevil"])
def test_a_name_that_cannot_be_shown_is_refused(conn: Connection, name: str) -> None:
    with pytest.raises(InvalidRequest, match="1 to 200 printable"):
        workspaces.create(conn, name, "free", NOW)
    assert workspaces.list_all(conn) == []


def test_what_is_absent_is_not_found(conn: Connection) -> None:
    nobody = WorkspaceId("ws_nobody")
    with pytest.raises(NotFound, match="workspace not found"):
        workspaces.get(conn, nobody)
    with pytest.raises(NotFound):
        workspaces.set_status(conn, nobody, WorkspaceStatus.SUSPENDED)
    with pytest.raises(NotFound):
        workspaces.set_plan(conn, nobody, "free")
    with pytest.raises(NotFound):
        workspaces.create_key(conn, PEPPER, nobody, NewKey("k"), NOW)
    with pytest.raises(NotFound):
        workspaces.list_keys(conn, nobody)
    with pytest.raises(NotFound):
        workspaces.rotate_webhook_secret(conn, VAULT, nobody, 0, NOW)
    with pytest.raises(NotFound, match="key not found"):
        workspaces.revoke_key(conn, KeyId("key_nobody"), NOW)


def test_a_number_is_never_used_again(conn: Connection) -> None:
    gone = new_workspace(conn)
    conn.execute(delete(workspace).where(workspace.c.id == gone.id))

    assert new_workspace(conn).number == gone.number + 1


def test_a_plan_is_found_by_the_number_in_an_address(conn: Connection) -> None:
    made = workspaces.create(conn, "one", "free", NOW)

    assert workspaces.find_plan(conn, made.number) == "free"
    assert workspaces.find_plan(conn, 999) is None


def test_a_workspace_can_be_given_another_plan(conn: Connection) -> None:
    one, other = new_workspace(conn, plan="free"), new_workspace(conn, plan="free")

    changed = workspaces.set_plan(conn, one.id, "pro")

    assert changed == replace(one, plan="pro")
    assert workspaces.list_all(conn) == [changed, other]


def test_the_database_knows_only_two_states(conn: Connection) -> None:
    workspace = new_workspace(conn)
    with pytest.raises(IntegrityError, match=r"(?i)check constraint .*workspace_status"):
        workspaces.set_status(conn, workspace.id, "deleted")  # type: ignore[arg-type]  # on purpose


# -- keys -----------------------------------------------------------------------------------------


def test_a_key_is_shown_once_and_recognised_by_its_hint_afterwards(conn: Connection) -> None:
    workspace = new_workspace(conn)
    new = NewKey("ci", Environment.TEST, after(NOW, DAY), (Scope.READ_TASKS,), ("google/gempix2",))

    key, secret = workspaces.create_key(conn, PEPPER, workspace.id, new, NOW)

    assert secret.startswith("dk-test_")
    assert key.hint == f"{secret[:12]}…{secret[-4:]}"
    assert secret[12:-4] not in repr(key)
    assert workspaces.list_keys(conn, workspace.id) == [key]
    assert (key.scopes, key.models) == (("task:read",), ("google/gempix2",))
    assert (key.created_at, key.expires_at, key.revoked_at) == (NOW, after(NOW, DAY), None)


def test_a_key_finds_its_caller(conn: Connection) -> None:
    workspace = new_workspace(conn, plan="pro")
    key, secret = workspaces.create_key(
        conn, PEPPER, workspace.id, NewKey("k", scopes=(), models=None), NOW
    )

    unknown = digest(PEPPER, "dk-live_unknown")
    found = workspaces.find_callers(conn, [unknown, digest(PEPPER, secret), unknown], NOW)

    assert found[0] is found[2] is None
    assert found[1] is not None
    assert (found[1].workspace_id, found[1].key_id) == (workspace.id, key.id)
    assert (found[1].scopes, found[1].models) == (frozenset(), None)
    assert found[1].plan == "pro"
    other_pepper = digest(Pepper(b"not the pepper of this database"), secret)
    assert workspaces.find_callers(conn, [other_pepper], NOW) == [None]


@pytest.mark.parametrize("expires_at", [NOW, Micros(NOW - 1), Micros(0)])
def test_a_key_cannot_be_born_expired(conn: Connection, expires_at: Micros) -> None:
    workspace = new_workspace(conn)
    with pytest.raises(InvalidRequest, match="expires_at must be in the future"):
        workspaces.create_key(conn, PEPPER, workspace.id, NewKey("k", expires_at=expires_at), NOW)
    assert workspaces.list_keys(conn, workspace.id) == []


def test_a_revocation_is_for_good_and_keeps_its_first_time(conn: Connection) -> None:
    workspace = new_workspace(conn)
    key, secret = workspaces.create_key(conn, PEPPER, workspace.id, NewKey("k"), NOW)
    _, other = workspaces.create_key(conn, PEPPER, workspace.id, NewKey("other"), NOW)

    assert workspaces.revoke_key(conn, key.id, after(NOW, 1)).revoked_at == after(NOW, 1)
    assert workspaces.revoke_key(conn, key.id, after(NOW, 9)).revoked_at == after(NOW, 1)

    wanted = [digest(PEPPER, secret), digest(PEPPER, other)]
    assert [bool(one) for one in workspaces.find_callers(conn, wanted, NOW)] == [False, True]
    assert len(workspaces.list_keys(conn, workspace.id)) == 2


# -- the secrets of webhooks ----------------------------------------------------------------------


def test_a_rotated_secret_signs_along_until_its_time(conn: Connection) -> None:
    workspace = new_workspace(conn)

    def secrets(seconds: float = 0) -> list[str]:
        return workspaces.webhook_secrets(conn, VAULT, workspace.id, after(NOW, seconds))

    (first,) = secrets()
    workspaces.rotate_webhook_secret(conn, VAULT, workspace.id, DAY, NOW)
    second, overlapping = secrets(DAY - 1)

    assert overlapping == first != second
    assert secrets(DAY) == [second]
    workspaces.rotate_webhook_secret(conn, VAULT, workspace.id, 0, NOW)
    (third,) = secrets()
    assert third not in {first, second}


def test_a_webhook_secret_has_the_standards_form_and_is_each_workspaces_own(
    conn: Connection,
) -> None:
    one, two = new_workspace(conn), new_workspace(conn)
    (mine,) = workspaces.webhook_secrets(conn, VAULT, one.id, NOW)
    (theirs,) = workspaces.webhook_secrets(conn, VAULT, two.id, NOW)
    (peppered,) = workspaces.webhook_secrets(conn, Vault(b"another"), one.id, NOW)

    assert len({mine, theirs, peppered}) == 3
    assert mine.startswith("whsec_")
    assert 24 <= len(base64.b64decode(mine.removeprefix("whsec_"), validate=True)) <= 64


# -- at rest --------------------------------------------------------------------------------------


def test_no_secret_can_be_read_from_what_is_stored(location: Location, engine: Engine) -> None:
    with engine.begin() as conn:
        workspace = new_workspace(conn)
        made = [
            workspaces.create_key(conn, PEPPER, workspace.id, NewKey(f"k{i}"), NOW)
            for i in range(20)
        ]
        workspaces.rotate_webhook_secret(conn, VAULT, workspace.id, DAY, NOW)
        signing = workspaces.webhook_secrets(conn, VAULT, workspace.id, NOW)
    files = contents(location)

    for key, secret in made:
        assert key.id.encode() in files  # the rows are there,
        assert secret[12:-4].encode() not in files  # and what makes the secret is not
    for secret in signing:
        body = secret.removeprefix("whsec_")
        assert body.encode() not in files
        assert base64.b64decode(body) not in files
    assert bytes(PEPPER) not in files
