"""The documents say what is there: links lead somewhere, and what they name exists."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import typer

from ketchup import cli
from ketchup.config.fields import leaves, variable
from ketchup.generation import cancel, finish, outcomes, run
from ketchup.references import Problem

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "ketchup"
PAGES = sorted(
    page
    for folder in (ROOT, ROOT / "docs", ROOT / "docs" / "decisions", ROOT / "docs" / "gallery")
    for page in folder.glob("*.md")
)
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))
# Variables that are no settings, and the form of a secret that is read from a file.
OTHER_VARIABLES = {"KETCHUP_CONFIG", "KETCHUP_URL", "KETCHUP_TEST_POSTGRES", "KETCHUP_TEST_SEED"}

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)|<img src=\"([^\"]+)\"")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_MAKE = re.compile(r"\bmake ([a-z]+)\b")
_TARGET = re.compile(r"^([a-z]+):", re.MULTILINE)
_DESCRIBED = re.compile(r"^([a-z]+):.* ## \S", re.MULTILINE)
_COMMAND = re.compile(r"^(?:[A-Z_]+=\S+ )*ketchup (?!:).*", re.MULTILINE)
_PATH = re.compile(r"`((?:[a-z_]+/)+[a-z_0-9]+\.(?:py|md|toml))`")


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def _prose(page: Path) -> str:
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def _code(page: Path) -> str:
    """Return what a reader would type: fenced blocks, and what stands between backticks."""
    text = page.read_text(encoding="utf-8")
    blocks = [code for _, code in _FENCE.findall(text)]
    return "\n".join([*blocks, *re.findall(r"`([^`\n]+)`", _FENCE.sub("", text))])


def _anchors(page: Path) -> set[str]:
    """Return the anchors that a page's headings get when it is rendered."""
    headings = (re.sub(r"[^\w\- ]", "", h).strip().lower() for h in _HEADING.findall(_prose(page)))
    return {heading.replace(" ", "-") for heading in headings}


def _relative_links(page: Path) -> Iterator[str]:
    for link, image in _LINK.findall(_prose(page)):
        if "://" not in (target := link or image):
            yield target


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for link in _relative_links(page):
        path, _, anchor = link.partition("#")
        target = page.parent / unquote(path) if path else page
        assert target.is_file(), f"{link} leads nowhere"
        assert not anchor or anchor in _anchors(target), f"{link}: there is no such heading"


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_make_target_that_is_named_exists(page: Path) -> None:
    targets = set(_TARGET.findall((ROOT / "Makefile").read_text(encoding="utf-8")))
    assert set(_MAKE.findall(_code(page))) <= targets


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_command_line_that_is_shown_would_be_taken(page: Path) -> None:
    blocks = [code for _, code in _FENCE.findall(page.read_text(encoding="utf-8"))]
    for line in _COMMAND.findall("\n".join(blocks)):
        words = [word for word in shlex.split(line, comments=True) if word != "&"]
        _parse(typer.main.get_command(cli.app), words[words.index("ketchup") + 1 :])


def test_the_api_page_names_every_sentence_for_a_failed_task_and_no_other() -> None:
    said = {
        value
        for module in (cancel, finish, outcomes, run)
        for name, value in vars(module).items()
        if name.isupper() and name[0] != "_" and isinstance(value, str) and value.endswith(".")
    }
    said |= {problem.value for problem in Problem}
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    table = page.partition("### Why a task fails\n")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)) == said


def _parse(command: Any, words: list[str]) -> None:  # noqa: ANN401 typer has a click of its own
    """Take the arguments as the command line would, and do nothing. Raises a UsageError."""
    if not hasattr(command, "commands"):
        command.make_context("ketchup", words)
    elif words and not words[0].startswith("-"):
        _parse(command.commands[words[0]], words[1:])


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_variable_that_is_named_is_a_setting(page: Path) -> None:
    settings = {variable(place) for place in leaves()}
    named = set(re.findall(r"KETCHUP_[A-Z_]*[A-Z]", page.read_text(encoding="utf-8")))
    assert {name.removesuffix("_FILE") for name in named} <= settings | OTHER_VARIABLES


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_path_that_is_named_exists(page: Path) -> None:
    for path in _PATH.findall(_prose(page)):
        assert (SOURCE / path).exists() or (ROOT / path).exists(), f"there is no {path}"


@pytest.mark.parametrize("page", DECISIONS, ids=_name)
def test_every_decision_has_its_four_parts(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text.startswith(f"# {page.name[:4]}. ")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == [
        "Context", "Decision", "Consequences", "Alternatives",
    ]  # fmt: skip
    consequences = text.split("## Consequences")[1].split("## Alternatives")[0]
    assert "\nGood:\n" in consequences
    assert "\nBad:\n" in consequences


def test_decisions_are_numbered_without_a_gap_and_listed_in_order() -> None:
    numbers = [int(page.name[:4]) for page in DECISIONS]
    assert numbers == list(range(1, len(numbers) + 1))
    listed = list(_relative_links(ROOT / "docs" / "decisions" / "README.md"))
    assert listed == [page.name for page in DECISIONS]


def test_the_architecture_names_every_module() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    modules = {
        path.name + ("/" if path.is_dir() else "")
        for path in SOURCE.iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    missing = {name for name in modules - {"__init__.py", "__main__.py"} if f"`{name}`" not in text}
    assert not missing


def test_make_help_describes_every_target() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert set(_TARGET.findall(text)) == set(_DESCRIBED.findall(text))


def test_the_pages_are_found() -> None:
    names = {_name(page) for page in PAGES}
    assert {"README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md"} <= names
    assert {"docs/api.md", "docs/configuration.md", "docs/decisions/README.md"} <= names
    assert len(DECISIONS) >= 11


def test_the_tests_that_the_security_page_names_are_there() -> None:
    named = re.findall(
        r"`(tests/[a-z_0-9/]+\.py)(?:::(\w+))?`", _prose(ROOT / "docs" / "security.md")
    )
    assert len(named) > 40

    for file, test in named:
        text = (ROOT / file).read_text(encoding="utf-8")
        assert f"def {test}(" in text or not test, (file, test)
