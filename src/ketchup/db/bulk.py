"""Many rows in one statement, and rows that may be there already.

SQLite is handed the rows one by one, in its own process. PostgreSQL's driver would send each of
them by itself; as one JSON array they cost the client a tenth of that. No column here holds bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final

import msgspec
from sqlalchemy import (
    Connection,
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


def insert_many(conn: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Insert rows that all give the same columns."""
    _insert(conn, insert(table), _INSERT, rows)


def insert_many_new(conn: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Insert those of the rows whose key is not there yet."""
    _insert(conn, insert_new(table), _INSERT_NEW, rows)


def update_many(
    conn: Connection,
    table: Table,
    keys: tuple[str, ...],
    rows: Sequence[Row],
    *,
    unset: str | None = None,
) -> None:
    """Set the columns that each row gives where the row has these keys.

    With `unset`, only where that column is null. The caller has locked the rows.
    """
    if not rows:
        return
    columns = tuple(column for column in rows[0] if column not in keys)
    if conn.dialect.name == "sqlite":
        given = [{f"new_{column}": value for column, value in row.items()} for row in rows]
        conn.execute(_update_each(table, keys, columns, unset), given)
    else:
        statement = _update_all(table, keys, columns, unset)
        conn.execute(statement, {"rows": _ENCODER.encode(rows).decode()})


def add_many(conn: Connection, table: Table, keys: tuple[str, ...], rows: Sequence[Row]) -> None:
    """Insert rows; where one with these keys is there, add the other columns to it.

    No two of the rows have the same keys.
    """
    if not rows:
        return
    columns = tuple(rows[0])
    if conn.dialect.name == "sqlite":
        conn.execute(_add_each(table.name, keys, columns), rows)
    else:
        statement = _add_all(table.name, keys, columns)
        conn.execute(statement, {"rows": _ENCODER.encode(rows).decode()})


def _insert(conn: Connection, one: Insert, many: str, rows: Sequence[Row]) -> None:
    if not rows:
        return
    if conn.dialect.name == "sqlite":
        conn.execute(one, rows)
    else:
        statement = _insert_all(one.table.name, tuple(rows[0]), many)
        conn.execute(statement, {"rows": _ENCODER.encode(rows).decode()})


@cache
def _insert_all(table: str, columns: tuple[str, ...], template: str) -> TextClause:
    return text(template.format(table=table, columns=", ".join(columns), rows=_rows_of(table)))


@cache
def _update_each(
    table: Table, keys: tuple[str, ...], columns: tuple[str, ...], unset: str | None
) -> Update:
    return (
        update(table)
        .where(*(table.c[key] == bindparam(f"new_{key}") for key in keys))
        .where(*([table.c[unset].is_(None)] if unset else []))
        .values({column: bindparam(f"new_{column}") for column in columns})
    )


@cache
def _update_all(
    table: Table, keys: tuple[str, ...], columns: tuple[str, ...], unset: str | None
) -> TextClause:
    values = ", ".join(f"{column} = new.{column}" for column in columns)
    same = " AND ".join(f"old.{key} = new.{key}" for key in keys)
    same += f" AND old.{unset} IS NULL" if unset else ""
    return text(
        f"UPDATE {table.name} AS old SET {values} FROM {_rows_of(table.name)} AS new WHERE {same}"  # noqa: S608 our own names
    )


@cache
def _add_each(table: str, keys: tuple[str, ...], columns: tuple[str, ...]) -> TextClause:
    values = ", ".join(f":{column}" for column in columns)
    into = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({values})"  # noqa: S608 our own names
    return text(into + _adding(table, keys, columns))


@cache
def _add_all(table: str, keys: tuple[str, ...], columns: tuple[str, ...]) -> TextClause:
    into = _INSERT.format(table=table, columns=", ".join(columns), rows=_rows_of(table))
    return text(into + _adding(table, keys, columns))


def _adding(table: str, keys: tuple[str, ...], columns: tuple[str, ...]) -> str:
    sums = (f"{one} = {table}.{one} + excluded.{one}" for one in columns if one not in keys)
    return f" ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {', '.join(sums)}"


def _rows_of(table: str) -> str:
    return f"json_populate_recordset(NULL::{table}, CAST(:rows AS json))"


@compiles(InsertNew)
def _compile(statement: InsertNew, compiler: SQLCompiler, **options: Any) -> str:  # noqa: ANN401 the library's own signature
    # Both databases say it in these words.
    made = compiler.visit_insert(statement, **options)  # type: ignore[no-untyped-call]  # theirs
    return f"{made} ON CONFLICT DO NOTHING"


_INSERT: Final = "INSERT INTO {table} ({columns}) SELECT {columns} FROM {rows}"
_INSERT_NEW: Final = _INSERT + " ON CONFLICT DO NOTHING"
_ENCODER: Final = msgspec.json.Encoder()
