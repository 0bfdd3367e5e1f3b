"""The data folder: one owner at a time, secrets that are private, and one clear sentence if not."""

from __future__ import annotations

import errno
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ketchup import data_folder
from ketchup.clock import FrozenClock
from ketchup.data_folder import DataFolder, DataFolderError, DataFolderInUse, Owner

CLOCK = FrozenClock()
NOBODY = 65534

_HOLD = """
import sys
from pathlib import Path
from ketchup.clock import FrozenClock
from ketchup.data_folder import DataFolder
folder = DataFolder.open(Path(sys.argv[1]), FrozenClock())
print("held", flush=True)
sys.stdin.read()
"""
_HOLD_AND_FORK = """
import os, sys
from pathlib import Path
from ketchup.clock import FrozenClock
from ketchup.data_folder import DataFolder
folder = DataFolder.open(Path(sys.argv[1]), FrozenClock())
child = os.fork()
if child == 0:
    print("forked", os.getpid(), flush=True)
sys.stdin.read()
"""


@contextmanager
def held_elsewhere(path: Path, script: str = _HOLD) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run a second process that owns the folder, and what it said once it did."""
    with subprocess.Popen(
        [sys.executable, "-c", script, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


@contextmanager
def as_an_ordinary_user() -> Iterator[None]:
    """Root may do anything: step down where the tests run as root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder that an ordinary user can reach: pytest's own are closed to others."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


def test_a_new_folder_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    with DataFolder.open(tmp_path / "a" / "data", CLOCK) as folder:
        assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
        assert stat.S_IMODE(folder.paths.lock.stat().st_mode) == 0o600
        assert folder.paths.blobs.is_dir()
        assert folder.paths.database == tmp_path / "a" / "data" / "ketchup.db"


def test_a_second_start_is_told_who_owns_the_folder(tmp_path: Path) -> None:
    with held_elsewhere(tmp_path) as (process, said):
        assert said == "held"
        with pytest.raises(DataFolderInUse) as caught:
            DataFolder.open(tmp_path, CLOCK)
        owner = Owner(process.pid, socket.gethostname(), "2025-09-10T10:22:20.010Z")
        assert caught.value.owner == owner
        assert f"in use by process {process.pid} on {owner.host}, started 2025" in str(caught.value)


def test_the_same_process_cannot_own_a_folder_twice(tmp_path: Path) -> None:
    with DataFolder.open(tmp_path, CLOCK), pytest.raises(DataFolderInUse):
        DataFolder.open(tmp_path, CLOCK)


def test_a_refused_start_leaves_the_owner_in_place(tmp_path: Path) -> None:
    with held_elsewhere(tmp_path) as (process, _):
        for _attempt in range(2):
            with pytest.raises(DataFolderInUse, match=f"process {process.pid} "):
                DataFolder.open(tmp_path, CLOCK)


def test_kill_9_frees_the_folder(tmp_path: Path) -> None:
    with held_elsewhere(tmp_path) as (process, _):
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        DataFolder.open(tmp_path, CLOCK).close()


def test_kill_9_frees_the_folder_even_while_a_forked_child_lives_on(tmp_path: Path) -> None:
    with held_elsewhere(tmp_path, _HOLD_AND_FORK) as (process, said):
        child = int(said.removeprefix("forked "))
        try:
            process.send_signal(signal.SIGKILL)
            process.wait(10)
            os.kill(child, 0)  # it is still there
            DataFolder.open(tmp_path, CLOCK).close()
        finally:
            os.kill(child, signal.SIGKILL)


def test_a_closed_folder_can_be_opened_again_and_closed_twice(tmp_path: Path) -> None:
    folder = DataFolder.open(tmp_path, CLOCK)
    folder.close()
    folder.close()
    DataFolder.open(tmp_path, CLOCK).close()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}', "\x00"])
def test_an_unreadable_introduction_still_says_in_use(tmp_path: Path, text: str) -> None:
    with DataFolder.open(tmp_path, CLOCK) as folder:
        folder.paths.lock.write_text(text)
        with pytest.raises(
            DataFolderInUse, match=r"is in use by processes that share it"
        ) as caught:
            DataFolder.open(tmp_path, CLOCK)
        assert caught.value.owner is None


def test_secrets_are_made_once_and_stay(tmp_path: Path) -> None:
    with DataFolder.open(tmp_path, CLOCK) as folder:
        key, token = folder.secret_key(), folder.admin_token()
        assert len(key) == 32
        assert re.fullmatch(r"dk-admin_[\w-]{43}", token)
    with DataFolder.open(tmp_path, CLOCK) as folder:
        assert (folder.secret_key(), folder.admin_token()) == (key, token)
    with DataFolder.open(tmp_path / "other", CLOCK) as other:
        assert other.secret_key() != key
        assert other.admin_token() != token


def test_secret_files_are_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with DataFolder.open(tmp_path, CLOCK) as folder:
            folder.secret_key()
            folder.admin_token()
    finally:
        os.umask(before)
    for path in (folder.paths.secret_key, folder.paths.admin_token):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not list(tmp_path.glob(".*")), "nothing half-written is left"


def test_what_a_crash_left_beside_is_overwritten(tmp_path: Path) -> None:
    with DataFolder.open(tmp_path, CLOCK) as folder:
        beside = tmp_path / ".admin.token.new"
        beside.write_text("dk-admin_" + "x" * 100)
        beside.chmod(0o644)
        token = folder.admin_token()
        assert folder.paths.admin_token.read_text() == f"{token}\n"
        assert stat.S_IMODE(folder.paths.admin_token.stat().st_mode) == 0o600


def test_configured_secrets_win_and_leave_no_file(tmp_path: Path) -> None:
    with DataFolder.open(tmp_path, CLOCK) as folder:
        assert folder.secret_key("ab" * 32) == b"\xab" * 32
        assert folder.admin_token("given") == "given"
        assert not folder.paths.secret_key.exists()
        assert not folder.paths.admin_token.exists()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o622])
def test_a_secret_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    with DataFolder.open(tmp_path, CLOCK) as folder:
        folder.secret_key()
        folder.paths.secret_key.chmod(mode)
        with pytest.raises(DataFolderError, match=f"read by others .mode {mode:04o}.*chmod 600"):
            folder.secret_key()
        assert stat.S_IMODE(folder.paths.secret_key.stat().st_mode) == mode, "it is not repaired"


def test_a_lost_key_is_not_replaced_once_there_is_a_database(tmp_path: Path) -> None:
    with DataFolder.open(tmp_path, CLOCK) as folder:
        folder.paths.database.write_bytes(b"")
        with pytest.raises(
            DataFolderError, match=r"secret\.key is missing, but the database needs"
        ):
            folder.secret_key()
        assert not folder.paths.secret_key.exists()
        assert folder.secret_key("ab" * 32) == b"\xab" * 32


@pytest.mark.parametrize("text", ["", "\n", "abc", "zz" * 32, "ab" * 31, "ab" * 33, "\u00e9" * 64])
def test_a_damaged_key_is_refused_and_kept(tmp_path: Path, text: str) -> None:
    with DataFolder.open(tmp_path, CLOCK) as folder:
        folder.paths.secret_key.write_text(text, encoding="utf-8")
        folder.paths.secret_key.chmod(0o600)
        with pytest.raises(DataFolderError, match="restore it from a backup"):
            folder.secret_key()
        assert folder.paths.secret_key.read_text(encoding="utf-8") == text


def test_a_file_in_place_of_the_folder_is_one_clear_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "data"):
        with pytest.raises(DataFolderError) as caught:
            DataFolder.open(path, CLOCK)
        assert str(caught.value) == f"the data folder {path} cannot be used: it is not a folder"


def test_a_folder_that_may_not_be_written_is_one_clear_sentence(public_folder: Path) -> None:
    public_folder.chmod(0o555)
    for path in (public_folder, public_folder / "data"):
        with as_an_ordinary_user(), pytest.raises(DataFolderError) as caught:
            DataFolder.open(path, CLOCK)
        assert str(caught.value) == (
            f"the data folder {path} cannot be used: this user may not read and write it"
        )


def test_a_secret_that_cannot_be_written_is_one_clear_sentence(public_folder: Path) -> None:
    public_folder.chmod(0o777)
    with as_an_ordinary_user(), DataFolder.open(public_folder / "data", CLOCK) as folder:
        folder.path.chmod(0o500)
        with pytest.raises(DataFolderError, match="this user may not read and write it"):
            folder.admin_token()
        folder.path.chmod(0o700)
    # The cleaning runs as whoever runs the tests.
    assert folder.path.is_dir()


@pytest.mark.parametrize(
    ("number", "cause"),
    [
        (errno.EROFS, "it is on a read-only file system"),
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "the disk quota is used up"),
        (errno.EIO, "input/output error"),
    ],
)
def test_what_a_test_cannot_cause_has_its_sentence_too(number: int, cause: str) -> None:
    error = OSError(number, os.strerror(number))
    assert data_folder._sentence(Path("/d"), error) == f"the data folder /d cannot be used: {cause}"
