"""What a database consists of, in words that can be compared."""

from __future__ import annotations

from collections import Counter
from typing import Final

from sqlalchemy import Engine, text

_SQLITE: Final = "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"
_POSTGRES: Final = """
SELECT attrelid::regclass::text, concat_ws(' ', attname, format_type(atttypid, atttypmod),
    CASE WHEN attnotnull THEN 'NOT NULL' END, pg_get_expr(adbin, adrelid), attidentity)
FROM pg_attribute
JOIN pg_class c ON c.oid = attrelid AND relkind = 'r' AND relnamespace = 'public'::regnamespace
LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
WHERE attnum > 0 AND NOT attisdropped
UNION ALL
SELECT conrelid::regclass::text, conname || ' ' || pg_get_constraintdef(oid)
FROM pg_constraint WHERE connamespace = 'public'::regnamespace
UNION ALL
SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
UNION ALL
SELECT relname, array_to_string(reloptions, ', ')
FROM pg_class WHERE relnamespace = 'public'::regnamespace AND reloptions IS NOT NULL
"""


def schema(engine: Engine) -> dict[str, Counter[str]]:
    """Return the clauses of every table and index, by name."""
    found: dict[str, Counter[str]] = {}
    is_sqlite = engine.dialect.name == "sqlite"
    with engine.begin() as conn:
        for name, clause in conn.execute(text(_SQLITE if is_sqlite else _POSTGRES)):
            found.setdefault(name, Counter()).update(_clauses(clause) if is_sqlite else [clause])
    return found


def _clauses(sql: str) -> Counter[str]:
    """Split a statement at its top level: constraints may stand in any order."""
    head, _, body = " ".join(sql.split()).partition("(")
    depth, parts = 1, [""]
    for character in body:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if (depth, character) in {(1, ","), (0, ")")}:
            parts.append("")
        else:
            parts[-1] += character
    return Counter([head.strip(), *(part.strip() for part in parts)])
