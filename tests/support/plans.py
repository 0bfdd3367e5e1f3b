"""What SQLite would do for each statement that a test runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, event


@contextmanager
def recorded_plans(conn: Connection) -> Iterator[list[str]]:
    """Collect a line for each step of each statement's plan, as EXPLAIN QUERY PLAN names them."""
    steps: list[str] = []

    def explain(
        _conn: Connection,
        cursor: Any,  # noqa: ANN401 any driver's cursor
        statement: str,
        parameters: Any,  # noqa: ANN401 and what it takes
        *_: object,
    ) -> None:
        one = parameters[0] if isinstance(parameters, list) else parameters
        plan = cursor.connection.execute(f"EXPLAIN QUERY PLAN {statement}", one)
        steps.extend(detail for _id, _parent, _unused, detail in plan)

    event.listen(conn, "before_cursor_execute", explain)
    try:
        yield steps
    finally:
        event.remove(conn, "before_cursor_execute", explain)
