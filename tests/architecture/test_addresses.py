"""Nothing is decided, and no address made, from what a request says about its own host."""

from __future__ import annotations

import re
from pathlib import Path

SOURCES = Path(__file__).parents[2] / "src" / "ketchup"
# `Request.url` and `base_url` are put together from `Host` (CVE-2026-48710); the path is in the scope.
FROM_HOST = re.compile(r"\brequest\.(url|base_url|url_for)\b|\burl_for\(|\bHTTPConnection\b")


def found_in(text: str) -> list[str]:
    return [match.group() for match in FROM_HOST.finditer(text)]


def test_surfaces_decide_by_the_path_of_the_scope() -> None:
    files = [*(SOURCES / "api").rglob("*.py"), *(SOURCES / "wire").rglob("*.py")]
    files += [SOURCES / "server.py", SOURCES / "protocol.py", SOURCES / "edge.py"]

    assert len(files) > 20, "the folders were not found"
    assert {
        path.name: found_in(path.read_text()) for path in files if found_in(path.read_text())
    } == {}


def test_an_address_from_the_host_is_found() -> None:
    assert found_in("if request.url.path.startswith('/admin'):") == ["request.url"]
