"""Pages: a list that a caller goes through, newest first, at a cost that no filter changes.

A page looks at a bounded number of rows, whatever it is asked to leave out: a filter that fits
nothing costs as much as one that fits everything. So a page may have fewer rows than its limit,
even none, while others follow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, Select, func, select
from sqlalchemy.sql.base import ReadOnlyColumnCollection

LOOK_AT_MOST: Final = 1_000
"""Rows that one page looks at when it leaves some out."""

Columns = ReadOnlyColumnCollection[str, Any]


def read_page(
    conn: Connection,
    span: Select[Any],
    wanted: Callable[[Columns], Sequence[ColumnElement[bool]]],
    limit: int,
    *,
    look_at_most: int = LOOK_AT_MOST,
) -> tuple[Sequence[Row[Any]], str | None]:
    """Return rows of a span, and the id to go on before; None behind the last page.

    The span is ordered by falling ids, through an index; `wanted` says which of its rows are shown.
    """
    looked_at = span.limit(look_at_most).subquery()
    c = looked_at.c
    found = select(looked_at).where(*wanted(c)).order_by(c.id.desc()).limit(limit + 1)
    rows = conn.execute(found).all()
    if len(rows) > limit:
        return rows[:limit], rows[limit - 1].id
    count, last = conn.execute(select(func.count(), func.min(c.id)).select_from(looked_at)).one()
    # Unless it came to the end of all rows.
    return rows, last if count == look_at_most else None
