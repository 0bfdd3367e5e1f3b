"""Many rows in one statement, and rows that may be there already.

SQLite is handed the rows one by one, in its own process. PostgreSQL's driver would send each of
them by itself; as one JSON array they cost the client a tenth of that. No column here holds bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import msgspec
from sqlalchemy import (
    Connection,
    Executable,
    Insert,
    Table,
    TextClause,
    Update,
    bindparam,
    insert,
    text,
    update,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler

Row = Mapping[str, object]


class InsertNew(Insert):
    """An INSERT that passes over rows whose key is there already."""

    inherit_cache = True


def insert_new(table: Table) -> InsertNew:
    """Insert the rows that are not there yet, and leave the others as they are."""
    return InsertNew(table)


@dataclass(frozen=True, slots=True)
class Write:
    """Rows to write. `each` is SQLite's statement for one of them, `all` PostgreSQL's for all."""

    rows: Sequence[Row]
    each: Executable
    all: str
    """Of two databases one reads it: `{rows}` stands for what is given as JSON."""
    prefix: str = ""
    """What stands before a column's name among the parameters of `each`."""


def insertion(table: Table, rows: Sequence[Row]) -> Write:
    """Insert rows that all give the same columns."""
    columns = _columns(rows)
    return Write(rows, insert(table), _insert_all(table.name, columns))


def insertion_of_new(table: Table, rows: Sequence[Row]) -> Write:
    """Insert those of the rows whose key is not there yet."""
    columns = _columns(rows)
    return Write(rows, insert_new(table), _insert_all(table.name, columns) + _LEAVE_OLD)


def change(
    table: Table,
    keys: tuple[str, ...],
    rows: Sequence[Row],
    *,
    unset: str | None = None,
    raised: str | None = None,
) -> Write:
    """Set the columns that each row gives where the row has these keys.

    With `unset`, only where that column is null; with `raised`, only where it becomes more. The
    caller has locked the rows, or there is one.
    """
    columns = tuple(column for column in _columns(rows) if column not in keys)
    each = _update_each(table, keys, columns, unset, raised)
    whole = _update_all(table.name, keys, columns, unset, raised)
    return Write(rows, each, whole, prefix="new_")


def addition(table: Table, keys: tuple[str, ...], rows: Sequence[Row]) -> Write:
    """Insert rows; where one with these keys is there, add the other columns to it.

    No two of the rows have the same keys.
    """
    columns = _columns(rows)
    adding = _adding(table.name, keys, columns)
    each = _add_each(table.name, columns, adding)
    return Write(rows, each, _insert_all(table.name, columns) + adding)


def write_many(conn: Connection, *writes: Write) -> None:
    """Write them all: to different tables, none of which depends on what another has written.

    PostgreSQL is asked once: a statement costs the client a third of a millisecond, however little
    it does.
    """
    wanted = [write for write in writes if write.rows]
    if not wanted:
        return
    if conn.dialect.name == "sqlite":
        for write in wanted:
            conn.execute(write.each, _prefixed(write.rows, write.prefix))
    else:
        given = {f"rows_{n}": _ENCODER.encode(one.rows).decode() for n, one in enumerate(wanted)}
        conn.execute(_together(tuple(one.all for one in wanted)), given)


def _columns(rows: Sequence[Row]) -> tuple[str, ...]:
    return tuple(rows[0]) if rows else ()


def _prefixed(rows: Sequence[Row], prefix: str) -> Sequence[Row]:
    if not prefix:
        return rows
    return [{prefix + column: value for column, value in row.items()} for row in rows]


@cache
def _together(writes: tuple[str, ...]) -> TextClause:
    filled = [write.replace("{rows}", f":rows_{n}") for n, write in enumerate(writes)]
    parts = [f"write_{n} AS ({write})" for n, write in enumerate(filled[:-1])]
    return text((f"WITH {', '.join(parts)} " if parts else "") + filled[-1])


@cache
def _insert_all(table: str, columns: tuple[str, ...]) -> str:
    names = ", ".join(columns)
    return f"INSERT INTO {table} ({names}) SELECT {names} FROM {_rows_of(table)}"  # noqa: S608 our own names


@cache
def _update_each(
    table: Table,
    keys: tuple[str, ...],
    columns: tuple[str, ...],
    unset: str | None,
    raised: str | None,
) -> Update:
    return (
        update(table)
        .where(*(table.c[key] == bindparam(f"new_{key}") for key in keys))
        .where(*([table.c[unset].is_(None)] if unset else []))
        .where(*([table.c[raised] < bindparam(f"new_{raised}")] if raised else []))
        .values({column: bindparam(f"new_{column}") for column in columns})
    )


@cache
def _update_all(
    table: str,
    keys: tuple[str, ...],
    columns: tuple[str, ...],
    unset: str | None,
    raised: str | None,
) -> str:
    values = ", ".join(f"{column} = new.{column}" for column in columns)
    same = " AND ".join(f"old.{key} = new.{key}" for key in keys)
    same += f" AND old.{unset} IS NULL" if unset else ""
    same += f" AND old.{raised} < new.{raised}" if raised else ""
    return f"UPDATE {table} AS old SET {values} FROM {_rows_of(table)} AS new WHERE {same}"  # noqa: S608 our own names


@cache
def _add_each(table: str, columns: tuple[str, ...], adding: str) -> TextClause:
    values = ", ".join(f":{column}" for column in columns)
    into = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({values})"  # noqa: S608 our own names
    return text(into + adding)


@cache
def _adding(table: str, keys: tuple[str, ...], columns: tuple[str, ...]) -> str:
    sums = (f"{one} = {table}.{one} + excluded.{one}" for one in columns if one not in keys)
    return f" ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {', '.join(sums)}"


def _rows_of(table: str) -> str:
    return f"json_populate_recordset(NULL::{table}, CAST({{rows}} AS json))"


@compiles(InsertNew)
def _compile(statement: InsertNew, compiler: SQLCompiler, **options: Any) -> str:  # noqa: ANN401 the library's own signature
    # Both databases say it in these words.
    made = compiler.visit_insert(statement, **options)  # type: ignore[no-untyped-call]  # theirs
    return f"{made}{_LEAVE_OLD}"


_LEAVE_OLD: Final = " ON CONFLICT DO NOTHING"
_ENCODER: Final = msgspec.json.Encoder()
