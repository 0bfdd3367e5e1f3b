"""A commit that reaches the disk and is not heard of: as when a connection breaks in that moment."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, event
from sqlalchemy.exc import OperationalError

from ketchup.db import Database


@contextmanager
def answer_lost(database: Database, statement: str) -> Iterator[threading.Event]:
    """Lose the answer to the next commit of a transaction with such a statement, a pattern.

    The event that is returned is set when it has happened.
    """
    engines = {lane._engine for lane in database._lanes.all()}
    pattern, happened = re.compile(statement, re.DOTALL), threading.Event()
    matched: set[Connection] = set()

    def look(conn: Connection, _cursor: object, text: str, *_: object) -> None:
        if pattern.search(text):
            matched.add(conn)

    def commit(conn: Connection) -> None:
        if conn in matched and not happened.is_set():
            conn.connection.driver_connection.execute("COMMIT")  # type: ignore[union-attr] # it is open
            happened.set()
            raise OperationalError("COMMIT", None, ConnectionError("the answer was lost"))

    for engine in engines:
        event.listen(engine, "before_cursor_execute", look)
        event.listen(engine, "commit", commit)
    try:
        yield happened
    finally:
        for engine in engines:
            event.remove(engine, "before_cursor_execute", look)
            event.remove(engine, "commit", commit)
