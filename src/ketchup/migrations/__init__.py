"""The schema's history, applied by Alembic.

`HEAD` names the newest step, so that a start on an up-to-date database does not pay for importing
Alembic. A step is never edited after a release.

Old code runs on the next schema: a step only adds, and a column is removed one release after the
last code that used it. So a fleet is migrated first and restarted node by node, unless a step
leaves older code behind: 0002 changed tables, and 0003 made rows mean what older code cannot know.
Each step writes into `schema_support` which code can still work with what it made, and code that it
leaves behind then refuses to start.

PostgreSQL's history begins with step 0002: an empty database is made at once, whatever its kind,
and no PostgreSQL database was ever at 0001.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
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
from sqlalchemy.exc import DatabaseError, DBAPIError

from ketchup.db import Fault, PostgresUrl, fault_of, metadata

HEAD: Final = "0004"
OLDEST_CODE: Final = "0004"
"""The oldest code, by its `HEAD`, that works on the schema at ours."""


class SchemaTooNew(Exception):
    """The database was written by a newer Ketchup; this one must not touch it."""


class SchemaTooOld(Exception):
    """The database must be migrated before this Ketchup can use it."""


class DatabaseUnusable(Exception):
    """The database cannot be opened, read or written; `str(error)` is one sentence."""


class DatabaseUnreachable(DatabaseUnusable):
    """The server does not answer, or not yet: worth another try."""


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
    Processes that do this at the same time do it one after the other.

    Raises SchemaTooNew for a schema that this release cannot work with, and DatabaseUnusable.
    """
    with usable(engine), engine.begin() as conn:
        _prepare(conn, newest)
        at = current(conn)
        if at is not None and _supports_us(conn, at):
            return False
        if at is None and (newest is not None or conn.dialect.name == "postgresql"):
            _create(conn, newest or metadata)
        else:
            _apply(conn)
        return True


def require_usable(engine: Engine) -> None:
    """Raise SchemaTooOld, SchemaTooNew or DatabaseUnusable unless this code can work with it."""
    with usable(engine), engine.begin() as conn:
        at = current(conn)
        if at is None or not _supports_us(conn, at):
            name = (
                "has no schema yet" if at is None else f"is at schema {at}, this one needs {HEAD}"
            )
            raise SchemaTooOld(f"the database {name}; run `ketchup migrate` first")


def _supports_us(conn: Connection, at: str) -> bool:
    """Whether our code works with this schema; False for an older one. Raises SchemaTooNew."""
    if at <= HEAD:
        return at == HEAD
    oldest = conn.scalar(text("SELECT oldest_code FROM schema_support"))
    if oldest is None or oldest > HEAD:
        raise SchemaTooNew(
            f"the data was written by a newer Ketchup (schema {at}, this one knows {HEAD});"
            " start that version, or restore a backup from before the upgrade"
        )
    return True


def risks(conn: Connection) -> list[str]:
    """Return the server's settings with which a power failure loses acknowledged work."""
    if conn.dialect.name != "postgresql":
        return []
    from ketchup.db import postgres  # noqa: PLC0415 loaded where a server is used

    return postgres.risks(conn)


@contextmanager
def usable(engine: Engine) -> Iterator[None]:
    """Turn what the database raises into DatabaseUnusable, or DatabaseUnreachable."""
    try:
        yield
    except DBAPIError as error:
        # What is wrong in a step keeps its traceback; a file that is no database does not.
        if fault_of(error) is not Fault.DOWN and type(error) is not DatabaseError:
            raise
        where = str(PostgresUrl(engine.url.render_as_string()))
        if engine.dialect.name == "sqlite":
            where = str(engine.url.database)
        why = " ".join(str(error.orig).split())
        kind = DatabaseUnusable if engine.dialect.name == "sqlite" else DatabaseUnreachable
        raise kind(f"the database {where} cannot be used: {why}") from error


def _prepare(conn: Connection, newest: MetaData | None) -> None:
    if conn.dialect.name != "postgresql":
        return
    from ketchup.db import postgres  # noqa: PLC0415 loaded where a server is used

    if wrong := postgres.shortcomings(conn):
        raise DatabaseUnusable("; ".join(wrong))
    postgres.teach(newest or metadata)
    postgres.take_turn(conn)


def _create(conn: Connection, newest: MetaData) -> None:
    newest.create_all(conn)
    _VERSION.create(conn, checkfirst=True)
    conn.execute(insert(_VERSION).values(version_num=HEAD))
    _SUPPORT.create(conn)
    conn.execute(insert(_SUPPORT).values(oldest_code=OLDEST_CODE))
    if conn.dialect.name == "postgresql":
        from ketchup.db import postgres  # noqa: PLC0415 loaded where a server is used

        postgres.tune(conn, newest)


# As Alembic makes it.
_VERSION: Final = Table(
    "alembic_version",
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)
_SUPPORT: Final = Table(
    "schema_support", MetaData(), Column("oldest_code", String(32), nullable=False)
)


def _apply(conn: Connection) -> None:
    # Imported late: time that only an upgrade needs.
    from alembic import command  # noqa: PLC0415 as above
    from alembic.config import Config  # noqa: PLC0415 as above

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = conn
    command.upgrade(config, HEAD)
