"""A check that is silenced says why, on the same line: the next reader must be able to disagree."""

from __future__ import annotations

import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_SILENCED = re.compile(
    r"#\s*(?:noqa(?::\s*[A-Z]+\d+(?:,\s*[A-Z]+\d+)*)?|type:\s*ignore(?:\[[^]]*\])?)"
)
_REASON = re.compile(r"[\s#]*[^\s#].{3,}")


def _silenced_without_reason(file: Path) -> list[str]:
    with tokenize.open(file) as source:
        comments = [
            t for t in tokenize.generate_tokens(source.readline) if t.type == tokenize.COMMENT
        ]
    found = [(t, match) for t in comments if (match := _SILENCED.search(t.string))]
    return [
        f"{file.relative_to(ROOT)}:{t.start[0]} {t.string}"
        for t, match in found
        if not _REASON.match(t.string[match.end() :])
    ]


def test_every_silenced_check_has_its_reason_on_the_line() -> None:
    files = [f for part in ("src", "tests", "bench") for f in sorted((ROOT / part).rglob("*.py"))]

    bare = [line for file in files for line in _silenced_without_reason(file)]

    assert bare == []


@pytest.mark.parametrize(
    ("comment", "is_bare"),
    [
        ("# noqa: S311", True),
        ("# noqa: S311, S603 ", True),
        ("# type: ignore[arg-type]", True),
        ("# noqa: S311 jitter is no secret", False),
        ("# type: ignore[override] # the library's signature", False),
    ],
)
def test_a_reason_is_told_from_a_bare_code(comment: str, is_bare: bool) -> None:
    match = _SILENCED.search(comment)

    assert match is not None
    assert (_REASON.match(comment[match.end() :]) is None) is is_bare
