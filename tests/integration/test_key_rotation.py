"""The secret key is replaced: nothing stops working, and a kill at any step leaves a key that works."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import text

from ketchup import data_folder, workspaces
from ketchup.bootstrap import migrate, open_folder, open_store, require_usable, vault_of
from ketchup.clock import FrozenClock, after
from ketchup.config import Settings, load
from ketchup.db import Location
from ketchup.errors import Unavailable
from ketchup.ids import WorkspaceId
from ketchup.key_rotation import Outcome, finish_rotation, rotate_secret_key
from ketchup.sealing import Unsealable
from ketchup.workspaces import NewKey, RotationRefused, Vault, WrongSecretKey, digest
from tests.support.database import open_engine
from tests.support.factories import NOW, new_workspace

DAY = 86_400.0


def settings_of(folder: Path, database: str | None = None, **more: object) -> Settings:
    flags = {"data": folder, "database": database, **more}
    return load({}, flags=flags, folder=folder.parent).settings


# ── what is sealed ───────────────────────────────────────────────────────────────────────────────


def test_what_is_sealed_opens_at_its_place_alone(location: Location) -> None:
    old_key, new_key = Vault(b"1" * 32), Vault(b"2" * 32)
    with open_engine(location) as engine, engine.begin() as conn:
        sealed = old_key.seal(conn, b"a secret", "workspace/ws_1/sealed_secret")

        assert b"a secret" not in sealed
        assert old_key.unseal(conn, sealed, "workspace/ws_1/sealed_secret") == b"a secret"
        for elsewhere in ("workspace/ws_2/sealed_secret", "workspace/ws_1/old_sealed_secret"):
            with pytest.raises(Unsealable):
                old_key.unseal(conn, sealed, elsewhere)
        for at in range(len(sealed)):
            changed = bytes([*sealed[:at], sealed[at] ^ 1, *sealed[at + 1 :]])
            with pytest.raises((Unsealable, Unavailable)):
                old_key.unseal(conn, changed, "workspace/ws_1/sealed_secret")
        with pytest.raises((Unsealable, Unavailable)):
            old_key.unseal(conn, b"", "workspace/ws_1/sealed_secret")
        with pytest.raises(Unavailable):
            new_key.unseal(conn, sealed, "workspace/ws_1/sealed_secret")


def test_a_secret_that_is_swapped_into_another_row_signs_nothing(location: Location) -> None:
    old_key = Vault(b"1" * 32)
    with open_engine(location) as engine, engine.begin() as conn:
        mine, theirs = new_workspace(conn), new_workspace(conn)
        workspaces.rotate_webhook_secret(conn, old_key, theirs.id, 0, NOW)
        conn.execute(
            text(
                "UPDATE workspace SET sealed_secret ="
                " (SELECT sealed_secret FROM workspace WHERE id = :theirs) WHERE id = :mine"
            ),
            {"mine": mine.id, "theirs": theirs.id},
        )
        with pytest.raises(Unsealable):
            workspaces.webhook_secrets(conn, old_key, mine.id, NOW)


# ── a rotation ───────────────────────────────────────────────────────────────────────────────────


def test_both_keys_work_side_by_side_until_the_rotation_is_finished(location: Location) -> None:
    new_key, other_key = Vault(b"2" * 32), Vault(b"3" * 32)
    running = Vault(b"1" * 32)
    with open_engine(location) as engine:
        with engine.begin() as conn:
            derived, sealed = new_workspace(conn), new_workspace(conn)
            workspaces.rotate_webhook_secret(conn, running, sealed.id, 0, NOW)
            workspaces.rotate_webhook_secret(conn, running, sealed.id, DAY, NOW)
            workspaces.set_provider_key(conn, running, "openai", "sk-of-the-fleet", NOW)
            before = [
                workspaces.webhook_secrets(conn, running, w.id, NOW) for w in (derived, sealed)
            ]
            pepper = running.pepper(conn)
            _, key = workspaces.create_key(conn, pepper, sealed.id, NewKey("k"), NOW)
            ring = bytes(conn.execute(text("SELECT sealed FROM key_ring")).scalar_one())
        with engine.begin() as conn:
            rotated = workspaces.rotate(conn, running, new_key, NOW)
        assert (rotated.webhook_secrets, rotated.provider_keys) == (2, 1)
        assert rotated.keys_under_older_peppers == 1

        # One that runs with the key before, one that starts with it, and one with the new key.
        for vault in (running, Vault(b"1" * 32), Vault(b"2" * 32)):
            with engine.begin() as conn:
                workspaces.require_same_secret(conn, vault)
                found = [
                    workspaces.webhook_secrets(conn, vault, w.id, NOW) for w in (derived, sealed)
                ]
                assert found == before
                assert workspaces.open_provider_keys(conn, vault) == {"openai": "sk-of-the-fleet"}
                callers = [digest(p, key) for p in vault.peppers(conn)]
                assert any(workspaces.find_callers(conn, callers, NOW))
        # What one of them writes, the others read.
        for writer, reader in ((running, new_key), (new_key, running)):
            with engine.begin() as conn:
                new = workspaces.rotate_webhook_secret(conn, writer, derived.id, 0, NOW)
            with engine.begin() as conn:
                assert workspaces.webhook_secrets(conn, reader, derived.id, NOW) == [new]

        with engine.begin() as conn, pytest.raises(RotationRefused, match="new secret key"):
            workspaces.finish(conn, running)
        with engine.begin() as conn, pytest.raises(RotationRefused, match="not finished"):
            workspaces.rotate(conn, new_key, other_key, NOW)
        with engine.begin() as conn:
            assert workspaces.finish(conn, new_key) is True
            assert workspaces.finish(conn, new_key) is False
        with engine.begin() as conn:
            with pytest.raises(WrongSecretKey):
                workspaces.require_same_secret(conn, Vault(b"1" * 32))
            # The ring of before opens nothing of today, even to whoever has kept it.
            stolen = Vault(b"1" * 32)
            conn.execute(
                text("INSERT INTO key_ring VALUES (:id, :ring)"),
                {"id": stolen.key_id, "ring": ring},
            )
            with pytest.raises(Unavailable, match="replaced"):
                workspaces.webhook_secrets(conn, stolen, sealed.id, NOW)


def test_an_older_pepper_goes_when_no_key_that_works_is_left_under_it(location: Location) -> None:
    old_key, new_key, other_key = Vault(b"1" * 32), Vault(b"2" * 32), Vault(b"3" * 32)
    with open_engine(location) as engine, engine.begin() as conn:
        workspace = new_workspace(conn)
        new = NewKey("k", expires_at=after(NOW, DAY))
        key, secret = workspaces.create_key(conn, old_key.pepper(conn), workspace.id, new, NOW)
        workspaces.rotate(conn, old_key, new_key, NOW)
        workspaces.finish(conn, new_key)
        assert len(new_key.peppers(conn)) == 2
        found = workspaces.find_callers(
            conn, [digest(p, secret) for p in new_key.peppers(conn)], NOW
        )
        assert [caller and caller.key_id for caller in found] == [None, key.id]

        rotated = workspaces.rotate(conn, new_key, other_key, after(NOW, DAY))

        assert rotated.keys_under_older_peppers == 0
        assert len(other_key.peppers(conn)) == 1


def test_a_rotation_that_fails_half_way_leaves_all_as_it_was(location: Location) -> None:
    old_key, new_key = Vault(b"1" * 32), Vault(b"2" * 32)
    with open_engine(location) as engine:
        with engine.begin() as conn:
            workspace = new_workspace(conn)
            secret = workspaces.rotate_webhook_secret(conn, old_key, workspace.id, 0, NOW)
        conn = engine.connect()
        workspaces.rotate(conn, old_key, new_key, NOW)
        conn.close()  # without a commit
        with engine.begin() as conn:
            assert workspaces.webhook_secrets(conn, old_key, workspace.id, NOW) == [secret]
            with pytest.raises(WrongSecretKey):
                workspaces.require_same_secret(conn, new_key)


# ── the command ──────────────────────────────────────────────────────────────────────────────────


def prepared(settings: Settings) -> tuple[WorkspaceId, str, str]:
    """Make a workspace; return its id, its webhook secret and an API key."""
    with open_folder(settings) as owned:
        migrate(settings, owned)
        vault = vault_of(settings, owned)
        with open_store(settings, owned) as engine, engine.begin() as conn:
            workspace = workspaces.create(conn, "one", "free", NOW).id
            webhook = workspaces.rotate_webhook_secret(conn, vault, workspace, 0, NOW)
            workspaces.set_provider_key(conn, vault, "gemini", "AIza-of-the-fleet", NOW)
            _, key = workspaces.create_key(conn, vault.pepper(conn), workspace, NewKey("k"), NOW)
    return workspace, webhook, key


def assert_works(settings: Settings, known: tuple[WorkspaceId, str, str]) -> None:
    workspace, webhook, key = known
    with open_folder(settings) as owned:
        require_usable(settings, owned)
        vault = vault_of(settings, owned)
        with open_store(settings, owned) as engine, engine.begin() as conn:
            assert workspaces.webhook_secrets(conn, vault, workspace, NOW) == [webhook]
            assert workspaces.open_provider_keys(conn, vault) == {"gemini": "AIza-of-the-fleet"}
            digests = [digest(pepper, key) for pepper in vault.peppers(conn)]
            assert any(workspaces.find_callers(conn, digests, NOW))


def rotate(settings: Settings, given: bytes | None = None) -> Outcome:
    with open_folder(settings) as owned:
        return rotate_secret_key(settings, owned, given, FrozenClock())


def test_alone_in_its_folder_the_new_key_takes_the_place_of_the_old_at_once(tmp_path: Path) -> None:
    settings = settings_of(tmp_path / "data")
    known = prepared(settings)
    old = data_folder.read_secret(tmp_path / "data" / "secret.key")

    outcome = rotate(settings)

    assert outcome.finished
    assert outcome.rotated is not None
    assert (outcome.rotated.webhook_secrets, outcome.rotated.provider_keys) == (1, 1)
    assert data_folder.read_secret(tmp_path / "data" / "secret.key") != old
    assert not list((tmp_path / "data").glob("*.next*"))
    assert_works(settings, known)
    with open_folder(settings) as owned, pytest.raises(WrongSecretKey):
        require_usable(settings_of(tmp_path / "data", secret_key=old), owned)
    with open_folder(settings), pytest.raises(data_folder.DataFolderInUse):
        rotate(settings)


def test_beside_postgresql_a_configured_key_is_replaced_by_hand_and_then_finished(
    tmp_path: Path, database_url: str | None
) -> None:
    old, new = b"\x01" * 32, b"\x02" * 32
    settings = settings_of(tmp_path / "data", database_url, secret_key=old.hex())
    renewed = settings_of(tmp_path / "data", database_url, secret_key=new.hex())
    known = prepared(settings)
    with pytest.raises(RotationRefused, match="--new-key"):
        rotate(settings)

    assert not rotate(settings, new).finished
    assert rotate(settings, new).rotated is None  # once more changes nothing
    assert_works(settings, known)
    assert_works(renewed, known)
    with open_folder(renewed) as owned:
        assert finish_rotation(renewed, owned) is True

    assert_works(renewed, known)
    with open_folder(settings) as owned, pytest.raises(WrongSecretKey):
        require_usable(settings, owned)


# Rotates each of the folders, and is killed at the step that is the folder's name: a statement, a
# commit, or what is done to a file. One process loads everything, and every try is a fork of it.
_KILLED = """
import os, signal, sys
from pathlib import Path
from sqlalchemy import Engine, event
import ketchup.generation
from ketchup.bootstrap import open_folder
from ketchup.clock import SystemClock
from ketchup.config import load
from ketchup.key_rotation import rotate_secret_key

base, steps, kill_at = Path(sys.argv[1]), 0, 0

def step(*_):
    global steps
    steps += 1
    if steps == kill_at:
        os.kill(os.getpid(), signal.SIGKILL)

def audit(name, arguments):
    if name in {"os.rename", "os.link", "os.remove"} or (
        name == "open" and ".next" in str(arguments[0])
    ):
        step()

while True:
    kill_at += 1
    folder = base / str(kill_at) / "data"
    folder.parent.mkdir()
    os.system(f"cp -a {base / 'data'} {folder}")
    child = os.fork()
    if child == 0:
        settings = load({}, flags={"data": folder}, folder=folder.parent).settings
        with open_folder(settings) as owned:
            event.listen(Engine, "after_cursor_execute", step)
            event.listen(Engine, "commit", step)
            sys.addaudithook(audit)
            rotate_secret_key(settings, owned, None, SystemClock())
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status):
        sys.exit(status)
    assert os.WTERMSIG(status) == signal.SIGKILL
"""


def test_killed_at_any_step_the_service_starts_and_the_next_call_ends_the_rotation(
    tmp_path: Path,
) -> None:
    known = prepared(settings_of(tmp_path / "data"))
    subprocess.run([sys.executable, "-c", _KILLED, str(tmp_path)], check=True, timeout=90)
    folders = sorted(tmp_path.glob("*/data"))
    assert len(folders) > 30
    left: set[tuple[bool, bool]] = set()

    for folder in folders[:-1]:
        settings = settings_of(folder)
        assert_works(settings, known)
        left.add((is_unfinished(settings), (folder / "secret.key.next").exists()))
        assert rotate(settings).finished
        assert_works(settings, known)
        assert not list(folder.glob("*.next"))

    # Nothing yet, the next key beside, both open the ring, the next key in its place.
    assert left >= {(False, False), (False, True), (True, True), (True, False)}


def is_unfinished(settings: Settings) -> bool:
    with (
        open_folder(settings) as owned,
        open_store(settings, owned) as engine,
        engine.begin() as conn,
    ):
        return workspaces.is_unfinished(conn)
