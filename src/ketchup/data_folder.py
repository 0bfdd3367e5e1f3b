"""The data folder: one process owns it, or several share it beside a PostgreSQL database.

Its secrets are made here and nowhere else. Ownership is an exclusive `flock` on `ketchup.lock`,
held until `close`; those who share the folder hold it together. The kernel gives it back
when the owner ends in any way, `kill -9` included, so there are no stale locks to clean up; the
text inside only says whom to ask. The lock file is never deleted: whoever had opened the old one
would then own a file that nobody else can see.

Secrets are files of mode 0600, complete or absent: written beside, synced, then linked into place.
They are made once, also when several processes start together; a folder that has a database but no
key any more is refused, for a new key would silently void every API key.

    DATA/ketchup.lock     who owns the folder
    DATA/secret.key       protects API keys at rest: 32 bytes, as 64 hexadecimal characters
    DATA/secret.key.next  the one that takes its place, while `rotate-secret-key` runs
    DATA/admin.token      opens the admin API
    DATA/ketchup.db       the database
    DATA/blobs/           the images
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import secrets
import socket
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from typing_extensions import override

from ketchup.clock import Clock, iso

ADMIN_TOKEN_FILE: Final = "admin.token"  # noqa: S105 a file name
SECRET_KEY_FILE: Final = "secret.key"  # noqa: S105 a file name
NEXT_SECRET_KEY_FILE: Final = "secret.key.next"  # noqa: S105 a file name
LOCK_FILE: Final = "ketchup.lock"
_SECRET_KEY_BYTES: Final = 32
_SHARED: Final = (
    " by processes that share it beside a PostgreSQL database;"
    " name that database too, or choose another folder"
)
_MAX_SECRET_BYTES: Final = 4096


class DataFolderError(Exception):
    """The data folder cannot be used; `str(error)` is one sentence for the operator."""


class DataFolderInUse(DataFolderError):
    """Another process owns the data folder."""

    def __init__(self, path: Path, owner: Owner | None) -> None:
        super().__init__(
            f"the data folder {path} is in use"
            + (f" by {owner}; stop it first, or choose another folder" if owner else _SHARED)
        )
        self.owner = owner


@dataclass(frozen=True, slots=True)
class Owner:
    """Who holds the lock, as it introduced itself."""

    pid: int
    host: str
    since: str

    @override
    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, started {self.since}"


@dataclass(frozen=True, slots=True)
class Paths:
    """Where things lie in the folder."""

    database: Path
    blobs: Path
    secret_key: Path
    admin_token: Path
    lock: Path


def paths(folder: Path) -> Paths:
    """Return where things lie in a data folder, whether it exists or not."""
    return Paths(
        database=folder / "ketchup.db",
        blobs=folder / "blobs",
        secret_key=folder / SECRET_KEY_FILE,
        admin_token=folder / ADMIN_TOKEN_FILE,
        lock=folder / LOCK_FILE,
    )


class DataFolder:
    """An owned data folder. Use as a context manager, or `close` it."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self.paths = paths(path)
        self._lock: int | None = lock
        # A forked child shares the lock and would keep it when this process is killed.
        os.register_at_fork(after_in_child=self.close)

    @classmethod
    def open(cls, path: Path, clock: Clock) -> Self:
        """Take the folder, made with mode 0700 if it is missing.

        Raises DataFolderInUse, and DataFolderError where it cannot be made or written.
        """
        return cls._open(path, fcntl.LOCK_EX, lambda lock: _introduce(lock, clock))

    @classmethod
    def share(cls, path: Path) -> Self:
        """Take the folder together with other processes: the database is not in it.

        Raises DataFolderInUse where one process owns it, and DataFolderError.
        """
        return cls._open(path, fcntl.LOCK_SH, lambda lock: os.ftruncate(lock, 0))

    @classmethod
    def _open(cls, path: Path, kind: int, introduce: Callable[[int], None]) -> Self:
        path = path.absolute()
        try:
            _make(path)
            lock = os.open(paths(path).lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise DataFolderError(_sentence(path, error)) from error
        try:
            _take(lock, path, kind)
            introduce(lock)
            paths(path).blobs.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            os.close(lock)
            raise DataFolderError(_sentence(path, error)) from error
        except DataFolderInUse:
            os.close(lock)
            raise
        return cls(path, lock)

    def secret_key(self, configured: str | None = None) -> bytes:
        """Return the 32 bytes that protect API keys: the configured ones, else the folder's own.

        `configured` is 64 hexadecimal characters. The folder's key is made at the first call,
        which must come before the database is made. Raises DataFolderError.
        """
        path = self.paths.secret_key
        if configured is None and self.paths.database.exists() and not path.exists():
            raise DataFolderError(
                f"{path} is missing, but the database needs it; restore it from a backup"
            )
        return _key_of(configured or _kept(path, secrets.token_hex(_SECRET_KEY_BYTES)), path)

    def next_secret_key(self) -> bytes:
        """Return the key that takes the place of the folder's, made at the first call."""
        path = self.path / NEXT_SECRET_KEY_FILE
        return _key_of(_kept(path, secrets.token_hex(_SECRET_KEY_BYTES)), path)

    def take_next_secret_key(self) -> None:
        """Put it in the place of the folder's key, at once and for good."""
        path = self.path / NEXT_SECRET_KEY_FILE
        try:
            path.replace(self.paths.secret_key)
            _sync(self.path)
        except OSError as error:
            raise DataFolderError(_sentence(self.path, error)) from error

    def admin_token(self, configured: str | None = None) -> str:
        """Return the token of the admin API: the configured one, else the folder's own.

        The folder's token is made at the first call. Its first letters let the log hide it.
        """
        made = f"dk-admin_{secrets.token_urlsafe(32)}"
        return configured or _kept(self.paths.admin_token, made)

    def close(self) -> None:
        """Give the folder back. May be called twice."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def read_secret(path: Path) -> str:
    """Return what a secret file holds, without the line end.

    A file that others may read is refused, not repaired: what it holds may have been read already,
    and only the operator can judge whether to keep it. Raises FileNotFoundError, DataFolderError.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
        if mode & 0o077:
            raise DataFolderError(
                f"{path} can be read by others (mode {mode:04o}); if nobody has read it, "
                f"run `chmod 600 {path}`, otherwise replace it"
            )
        text = os.read(descriptor, _MAX_SECRET_BYTES).decode("ascii", errors="replace").strip()
    finally:
        os.close(descriptor)
    if not text:
        raise DataFolderError(f"{path} is empty; restore it from a backup")
    return text


def _make(path: Path) -> None:
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))


def _take(lock: int, path: Path, kind: int) -> None:
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise DataFolderInUse(path, _owner(lock)) from error


def _introduce(lock: int, clock: Clock) -> None:
    me = {"pid": os.getpid(), "host": socket.gethostname(), "since": iso(clock.now())}
    os.ftruncate(lock, 0)
    os.pwrite(lock, json.dumps(me).encode() + b"\n", 0)


def _owner(lock: int) -> Owner | None:
    """Read who owns the lock. None where the owner has only just taken it."""
    try:
        found = json.loads(os.pread(lock, 4096, 0))
        return Owner(int(found["pid"]), str(found["host"]), str(found["since"]))
    except (ValueError, KeyError, TypeError):
        return None


def _kept(path: Path, made: str) -> str:
    """Return the secret in a file, which is given the one just made if there is none yet."""
    try:
        return read_secret(path)
    except FileNotFoundError:
        try:
            _write_secret(path, made)
        except FileExistsError:
            # Another process that shares the folder was first.
            return read_secret(path)
        except OSError as error:
            raise DataFolderError(_sentence(path.parent, error)) from error
        return made
    except OSError as error:
        raise DataFolderError(_sentence(path.parent, error)) from error


def _write_secret(path: Path, text: str) -> None:
    # Of its own even where two processes have the same number, in containers that share a folder.
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}.new")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(descriptor, 0o600)
        os.write(descriptor, text.encode() + b"\n")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    try:
        path.hardlink_to(beside)
    finally:
        beside.unlink()
    # Without this, a power cut could take the name back after a key was made with it.
    _sync(path.parent)


def _sync(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read_secret_key(path: Path) -> bytes:
    """Return the 32 bytes that a file names by 64 hexadecimal characters.

    Raises FileNotFoundError, DataFolderError.
    """
    return _key_of(read_secret(path), path)


def _key_of(text: str, path: Path) -> bytes:
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != _SECRET_KEY_BYTES:
        raise DataFolderError(
            f"{path} does not hold 64 hexadecimal characters; restore it from a backup"
        )
    return key


_CAUSES: Final = {
    errno.EACCES: "this user may not read and write it",
    errno.EPERM: "this user may not read and write it",
    errno.EROFS: "it is on a read-only file system",
    errno.ENOTDIR: "it is not a folder",
    errno.EEXIST: "it is not a folder",
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
}


def _sentence(path: Path, error: OSError) -> str:
    cause = _CAUSES.get(error.errno or 0, (error.strerror or str(error)).lower())
    return f"the data folder {path} cannot be used: {cause}"
