"""No file grows beyond what can be read in one sitting."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
LIMIT = 600
# Files that may be longer, each with its reason. Long is better than cut against its sense, and
# there has been no such case.
EXCEPTIONS: dict[str, str] = {}


def lengths() -> dict[str, int]:
    return {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for folder in ("src", "tests")
        for path in (ROOT / folder).rglob("*.py")
    }


def test_no_file_is_longer_than_600_lines() -> None:
    found = lengths()
    too_long = {name: lines for name, lines in found.items() if lines > LIMIT}

    assert len(found) > 50, "the folders were not found"
    assert {name: n for name, n in too_long.items() if name not in EXCEPTIONS} == {}


def test_every_exception_is_still_needed_and_says_why() -> None:
    found = lengths()

    assert all(found.get(name, 0) > LIMIT and reason for name, reason in EXCEPTIONS.items())
