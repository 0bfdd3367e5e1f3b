"""The secret key's rotation, from the file to the database and back. Each step may be the last.

    1  the next key is written beside the folder's        nothing uses it yet
    2  the ring is opened by both, all is sealed anew     either key works
    3  the next key takes the place of the folder's       either key works
    4  the key before opens the ring no more              the new one works

Cut off anywhere, the service starts with the key that lies in its place, and the next call goes on
from there. A SQLite file has one process, which this is, so 4 follows at once. Beside PostgreSQL
others may run with the key before: 4 waits for `finish`. A configured key is the operator's to put
in place, so 1 and 3 are theirs, and 4 waits as well.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from ketchup import migrations, workspaces
from ketchup.bootstrap import open_store, vault_of
from ketchup.clock import Clock
from ketchup.config import Settings
from ketchup.data_folder import DataFolder
from ketchup.db import Connection, Engine
from ketchup.workspaces import Rotated, RotationRefused, Vault

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a call: `rotated` None where only an earlier rotation was gone on with."""

    rotated: Rotated | None
    finished: bool
    """Whether the new secret key alone opens what is sealed."""


def rotate_secret_key(
    settings: Settings, folder: DataFolder, given: bytes | None, clock: Clock
) -> Outcome:
    """Begin a rotation, or go on with one that was cut off; finish it where nobody else can run.

    `given` is the new key where it is configured; None where the folder has its own. Raises
    RotationRefused, WrongSecretKey, DataFolderError, and what `migrations` raises.
    """
    is_ours = settings.secret_key is None
    if is_ours == (given is not None):
        raise RotationRefused(_MINE if is_ours else _YOURS)
    with open_store(settings, folder) as engine:
        migrations.require_usable(engine)
        before = _checked(engine, vault_of(settings, folder))
        if is_ours and _in(engine, lambda conn: _waits_for_us(conn, before)):
            # Cut off behind the third step.
            return Outcome(None, finished=_finish_if_alone(settings, engine, before))
        after = Vault(folder.next_secret_key() if given is None else given)
        rotated = None
        if not _in(engine, lambda conn: workspaces.opens(conn, after)):
            rotated = _in(engine, lambda conn: workspaces.rotate(conn, before, after, clock.now()))
        if not is_ours:
            return Outcome(rotated, finished=False)
        folder.take_next_secret_key()
        return Outcome(rotated, finished=_finish_if_alone(settings, engine, after))


def finish_rotation(settings: Settings, folder: DataFolder) -> bool:
    """Let the new key alone open what is sealed; False when there was nothing to finish."""
    with open_store(settings, folder) as engine:
        migrations.require_usable(engine)
        vault = _checked(engine, vault_of(settings, folder))
        return _in(engine, lambda conn: workspaces.finish(conn, vault))


def _waits_for_us(conn: Connection, vault: Vault) -> bool:
    return workspaces.is_unfinished(conn) and workspaces.is_newest(conn, vault)


def _finish_if_alone(settings: Settings, engine: Engine, vault: Vault) -> bool:
    if settings.database is not None:
        return False
    _in(engine, lambda conn: workspaces.finish(conn, vault))
    return True


def _checked(engine: Engine, vault: Vault) -> Vault:
    _in(engine, lambda conn: workspaces.require_same_secret(conn, vault))
    return vault


def _in(engine: Engine, work: Callable[[Connection], _T]) -> _T:
    with migrations.usable(engine), engine.begin() as conn:
        return work(conn)


_MINE = "the secret key lies in the data folder, where a new one is made: leave --new-key out"
_YOURS = "the secret key is configured: write a new one to a file and name it with --new-key FILE"
