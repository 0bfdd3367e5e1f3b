"""PostgreSQL: how its connections are set up, and what its server must promise.

Imported only where a database of this kind is opened: its dialect and driver take a tenth of a
second to load.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Connection, Engine, MetaData, create_engine, event, text
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.pool import NullPool

from ketchup.db.schema import CHURNS, WHERE

OLDEST_SERVER: Final = 15
_DRIVER: Final = "postgresql+psycopg"
# A server that is gone without a word must not keep a thread: the system would wait for two hours.
_CONNECTION: Final = {
    "connect_timeout": 5,
    "application_name": "ketchup",
    # Whatever the database is encoded in: `shortcomings` says then what is wrong with it.
    "client_encoding": "utf8",
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 40_000,
}
# A process that is stopped in the middle of a transaction must not keep its locks for long.
_SESSION: Final = """
SET idle_in_transaction_session_timeout = '5s';
SET lock_timeout = '10s';
SET statement_timeout = '30s';
SET client_min_messages = warning
"""
_READING: Final = """;
SET default_transaction_read_only = on;
SET default_transaction_isolation = 'repeatable read'
"""
_MIGRATION_LOCK: Final = 0x6B65_7463_6875_70  # the letters of the product
_STORAGE: Final = (
    "fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, "
    "autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0"
)


def postgres_engine(url: str, *, read_only: bool = False, lasting: bool = False) -> Engine:
    """Return an engine whose connections have our time limits; none for `lasting` work."""
    engine = create_engine(
        driver_url(url),
        poolclass=NullPool,
        hide_parameters=True,
        connect_args=_CONNECTION,
    )

    def set_up(connection: Any, _record: object) -> None:  # noqa: ANN401 any driver's connection
        connection.autocommit = True
        if not lasting:
            connection.execute(_SESSION + (_READING if read_only else ""))
        connection.autocommit = False

    event.listen(engine, "connect", set_up)
    event.listen(engine, "handle_error", _leave_out_values)
    return engine


def _leave_out_values(context: ExceptionContext) -> None:
    """Shorten an error's text to its first sentence: the rest quotes rows, and goes to the log."""
    error: Any = context.original_exception
    sentence = getattr(getattr(error, "diag", None), "message_primary", None)
    if sentence is None:
        return
    error.args = (sentence,)
    if context.sqlalchemy_exception is not None:
        context.sqlalchemy_exception.args = (f"({type(error).__name__}) {sentence}",)


def driver_url(url: str) -> str:
    """Name the driver in a `postgresql://` or `postgres://` address."""
    return f"{_DRIVER}://{url.partition('://')[2]}"


def teach(metadata: MetaData) -> None:
    """Tell the dialect which indexes are partial. Before tables are made from the metadata."""
    for table in metadata.tables.values():
        for index in table.indexes:
            if WHERE in index.info:
                index.dialect_options["postgresql"]["where"] = index.info[WHERE]


def tune(conn: Connection, metadata: MetaData) -> None:
    """Leave room in the pages of tables whose rows are updated often, and vacuum them often."""
    for table in metadata.sorted_tables:
        if table.info.get(CHURNS):
            conn.execute(text(f"ALTER TABLE {table.name} SET ({_STORAGE})"))


def take_turn(conn: Connection) -> None:
    """Wait until no other process changes the schema. Held until the transaction ends."""
    conn.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})


def shortcomings(conn: Connection) -> list[str]:
    """Return why this server cannot be used; nothing when it can."""
    found = []
    version = int(conn.execute(text("SHOW server_version_num")).scalar_one())
    if version < OLDEST_SERVER * 10_000:
        found.append(f"PostgreSQL {version // 10_000} is too old; {OLDEST_SERVER} is the oldest")
    encoding = conn.execute(text("SHOW server_encoding")).scalar_one()
    if encoding != "UTF8":
        found.append(f"the database is encoded in {encoding}; create it with ENCODING 'UTF8'")
    return found


def risks(conn: Connection) -> list[str]:
    """Return the settings of this server with which a power failure loses acknowledged work."""
    return [
        name
        for name in ("fsync", "full_page_writes", "synchronous_commit")
        if conn.execute(text(f"SHOW {name}")).scalar_one() == "off"
    ]
