"""What a database would do for each statement that a test runs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Connection, event

_OF_FEW_ROWS: Final = ("seqscan", "mergejoin", "hashjoin")


@dataclass
class Plans:
    """The steps of all plans, as far as rows are looked for."""

    indexes: set[str] = field(default_factory=set)
    """The indexes that rows were found by, primary keys aside."""
    scans: set[str] = field(default_factory=set)
    """The tables of which every row is read."""
    sorts: bool = False
    """Whether SQLite sorts rows; PostgreSQL may, where there are few."""

    def add_sqlite(self, step: str) -> None:
        """Add a line of EXPLAIN QUERY PLAN."""
        if found := re.search(r"USING (?:COVERING )?INDEX (\w+)", step):
            self.indexes.add(found[1])
        elif found := re.match(r"SCAN (\w+)$", step):
            self.scans.add(found[1])
        self.sorts = self.sorts or "TEMP B-TREE" in step

    def add_postgres(self, node: dict[str, Any]) -> None:
        """Add a node of EXPLAIN (FORMAT JSON), with all below it."""
        index = node.get("Index Name", "")
        is_primary = index.endswith(("_key", "_pkey"))
        if index and not is_primary:
            self.indexes.add(index)
        if node["Node Type"] == "Seq Scan" or (is_primary and "Index Cond" not in node):
            self.scans.add(node["Relation Name"])
        for below in node.get("Plans", ()):
            self.add_postgres(below)


@contextmanager
def recorded_plans(conn: Connection) -> Iterator[Plans]:
    """Collect the plans of each statement in the body."""
    plans = Plans()
    explain = _explain_sqlite if conn.dialect.name == "sqlite" else _explain_postgres

    def before(
        _conn: Connection,
        cursor: Any,  # noqa: ANN401 any driver's cursor
        statement: str,
        parameters: Any,  # noqa: ANN401 and what it takes
        *_: object,
    ) -> None:
        one = parameters[0] if isinstance(parameters, list) else parameters
        explain(cursor.connection, statement, one, plans)

    event.listen(conn, "before_cursor_execute", before)
    try:
        yield plans
    finally:
        event.remove(conn, "before_cursor_execute", before)


def _explain_sqlite(connection: Any, statement: str, parameters: Any, plans: Plans) -> None:  # noqa: ANN401 as above
    for *_, step in connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters):
        plans.add_sqlite(step)


def _explain_postgres(connection: Any, statement: str, parameters: Any, plans: Plans) -> None:  # noqa: ANN401 as above
    # Of a table with a few rows it would read them all, whatever there is to find them by.
    for method in _OF_FEW_ROWS:
        connection.execute(f"SET LOCAL enable_{method} = off")
    (found,) = connection.execute(f"EXPLAIN (FORMAT JSON) {statement}", parameters).fetchone()
    plans.add_postgres(found[0]["Plan"])
    for method in _OF_FEW_ROWS:
        connection.execute(f"SET LOCAL enable_{method} = on")
