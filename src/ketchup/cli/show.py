"""How commands print: tables for people on a terminal, tab-separated text in a pipe, or JSON.

What a server says may hold anything: whatever could move a cursor or turn text around is escaped.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence

Row = Mapping[str, object]


def show_list(rows: Sequence[Row], *, as_json: bool, empty: str) -> None:
    """Print rows under the names of the first row's fields; `empty` is said if there are none."""
    if as_json:
        print(json.dumps(rows, indent=2))
    elif not rows:
        print(empty, file=sys.stderr)
    elif sys.stdout.isatty():
        _rich_table(rows)
    else:
        print("\t".join(printable(name) for name in rows[0]))
        for row in rows:
            print("\t".join(_cell(row.get(name)) for name in rows[0]))


def show_one(row: Row, *, as_json: bool, note: str = "") -> None:
    """Print one thing, a field per line; `note` is for people and goes to standard error."""
    if as_json:
        print(json.dumps(row, indent=2))
        return
    width = max((len(name) for name in row), default=0)
    for name, value in row.items():
        print(f"{printable(name):<{width}}  {_cell(value)}")
    if note:
        print(note, file=sys.stderr)


def printable(text: str) -> str:
    """Escape what a terminal would act on."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, str):
        return printable(value)
    return printable(json.dumps(value, ensure_ascii=False))


def _rich_table(rows: Sequence[Row]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in rows[0]:
        # An id that is cut cannot be copied: it may go on in the next line, but never ends in dots.
        table.add_column(Text(printable(name)), overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(row.get(name))) for name in rows[0]))
    Console().print(table)
