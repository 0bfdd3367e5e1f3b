"""The schema's history, applied by Alembic.

`HEAD` names the newest step, so that a start on an up-to-date database does not pay for importing
Alembic. A step is never edited after a release; old code runs on the next schema, so a column is
removed one release after the last code that used it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    insert,
    inspect,
    text,
)
from sqlalchemy.exc import DatabaseError, OperationalError

HEAD: Final = "0002"


class SchemaTooNew(Exception):
    """The database was written by a newer Ketchup; this one must not touch it."""


class DatabaseUnusable(Exception):
    """The database cannot be opened, read or written; `str(error)` is one sentence."""


def current(conn: Connection) -> str | None:
    """Return the step that the database is at; None for an empty one."""
    if not inspect(conn).has_table("alembic_version"):
        return None
    version = conn.scalar(text("SELECT version_num FROM alembic_version"))
    return None if version is None else str(version)


def upgrade(engine: Engine, *, newest: MetaData | None = None) -> bool:
    """Bring the database to `HEAD` in one transaction; False when it was there already.

    `newest` is the schema at `HEAD`. An empty database is made from it at once: that is the same as
    going through the steps, which a test holds, and spares the first start Alembic's 0.3 s.

    Raises SchemaTooNew for a step that this release does not know, and DatabaseUnusable.
    """
    try:
        with engine.begin() as conn:
            at = current(conn)
            if at == HEAD:
                return False
            if at is None and newest is not None:
                _create(conn, newest)
            else:
                _apply(conn, at)
            return True
    except DatabaseError as error:
        # The other kinds are mistakes in a step: those keep their traceback.
        if type(error) not in {DatabaseError, OperationalError}:
            raise
        where = engine.url.database
        raise DatabaseUnusable(f"the database {where} cannot be used: {error.orig}") from error


def _create(conn: Connection, newest: MetaData) -> None:
    newest.create_all(conn)
    _VERSION.create(conn, checkfirst=True)
    conn.execute(insert(_VERSION).values(version_num=HEAD))


# As Alembic makes it.
_VERSION: Final = Table(
    "alembic_version",
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)


def _apply(conn: Connection, at: str | None) -> None:
    # Imported late: time that only an upgrade needs.
    from alembic import command  # noqa: PLC0415 as above
    from alembic.config import Config  # noqa: PLC0415 as above
    from alembic.script import ScriptDirectory  # noqa: PLC0415 as above

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if at is not None and at not in known:
        raise SchemaTooNew(
            f"the data was written by a newer Ketchup (schema {at}, this one knows {HEAD});"
            " start that version, or restore a backup from before the upgrade"
        )
    config.attributes["connection"] = conn
    command.upgrade(config, HEAD)
