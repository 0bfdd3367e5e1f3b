"""docs/configuration.md, written from the settings by `make docs`. A test fails on drift."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from ketchup.config.catalogues import CATALOGUES, Catalogue
from ketchup.config.fields import (
    Place,
    accepts,
    dotted,
    group_of,
    is_secret,
    leaves,
    variable,
    written,
)
from ketchup.config.schema import Settings
from ketchup.config.sources import CONFIG_VARIABLE, DEFAULT_FILE, FILE_SUFFIX, URL_VARIABLE

_INTRODUCTION: Final = f"""\
# Configuration

<!-- Written by `make docs` from the settings themselves. Change src/ketchup/config/. -->

Every setting has a default that works. A value is taken from the first of these that has one:

1. a flag of the command, such as `--port 9000`;
2. a variable, such as `KETCHUP_LIMITS_QUEUE_CAPACITY=500`; an empty one counts as not set;
3. `{DEFAULT_FILE}` in the folder where the command runs, or the file that `--config` or
   `{CONFIG_VARIABLE}` names;
4. the default.

Lists are separated by commas in variables: `KETCHUP_EGRESS_ALLOW=10.0.0.0/8,fd00::/8:8080`. A
secret can also be read from a file, by the variable with `{FILE_SUFFIX}` at its end. Sizes are in
bytes and times in seconds.

A name that is not known is an error with a suggestion, in the file and in every variable that
begins with `KETCHUP_`; so a mistyped limit cannot stay without effect. Two variables are no
settings: `{CONFIG_VARIABLE}`, and `{URL_VARIABLE}`, the server that `ketchup admin` talks to. On
Kubernetes set `enableServiceLinks: false` if a service is called `ketchup`: it would set variables
such as `KETCHUP_PORT` to addresses.

`ketchup config show` prints every value and where it came from.
"""

_MERGING: Final = """\
A field that is set for one that comes with Ketchup replaces that field alone. They are set in the
file only."""
_IN_THE_FILE: Final = "They are set in the file only; [engines](engines.md) has examples."
# How each catalogue's names are called, and the fields by which the delivered entries are listed.
_LISTED: Final = {
    "models": ('"<id>"', "id", ("title", "price", "aliases")),
    "plans": (
        "<name>",
        "name",
        (
            *("price", "submits_per_minute", "submit_burst", "concurrency", "depth"),
            *("weight", "retention_days"),
        ),
    ),
    "channels": ("<name>", "name", ()),
}


def page() -> str:
    """Return the whole page."""
    sections = [
        _INTRODUCTION,
        "\n".join(_general()),
        *("\n".join(_group(name, group)) for name, group in _groups()),
        *("\n".join(_catalogue(name, kind)) for name, kind in CATALOGUES.items()),
        "\n".join(_example()),
    ]
    return "\n".join(sections)


def example() -> str:
    """Return a `ketchup.toml` that says what the defaults say already."""
    lines: list[str] = []
    for place, info in leaves().items():
        if len(place) > 1 and f"[{place[0]}]" not in lines:
            lines += ["", f"[{place[0]}]"]
        lines.append(_assignment(place[-1], info))
    for catalogue, kind in CATALOGUES.items():
        for name, entry in _delivered(kind):
            lines += ["", f"[{dotted((catalogue, name))}]"]
            lines += [
                f"{key} = {written(getattr(entry, key), info)}"
                for key, info in kind.entry.model_fields.items()
                if getattr(entry, key) is not None
            ]
    return "\n".join(lines).strip() + "\n"


def _assignment(key: str, info: FieldInfo) -> str:
    value = written(info.default, info)
    return f"{key} = {value}" if value else f"# {key} ="


def _groups() -> Iterator[tuple[str, type[BaseModel]]]:
    for name, info in Settings.model_fields.items():
        group = group_of(info)
        if group is not None:
            yield name, group


def _general() -> list[str]:
    rows = [_row(place, info) for place, info in leaves().items() if len(place) == 1]
    return ["## General", "", *_table(rows), ""]


def _group(name: str, group: type[BaseModel]) -> list[str]:
    rows = [_row(place, info) for place, info in leaves().items() if place[0] == name]
    return [f"## `[{name}]`", "", _doc(group), "", *_table(rows), ""]


def _row(place: Place, info: FieldInfo) -> tuple[str, ...]:
    names = f"`{variable(place)}`"
    if is_secret(info):
        names += f", `…{FILE_SUFFIX}`"
    return (f"`{place[-1]}`", names, _default(info), accepts(info), info.description or "")


def _catalogue(catalogue: str, kind: Catalogue) -> list[str]:
    placeholder, word, fields = _LISTED[catalogue]
    rows = [
        (f"`{key}`", _default(info), accepts(info), info.description or "")
        for key, info in kind.entry.model_fields.items()
    ]
    listed = [
        (f"`{name}`", *(_cell(getattr(entry, key), kind.entry.model_fields[key]) for key in fields))
        for name, entry in _delivered(kind)
    ]
    return [
        f"## `[{catalogue}.{placeholder}]`",
        "",
        f"{_doc(kind.entry)} {_MERGING if listed else _IN_THE_FILE}",
        "",
        *_rows(("key", "default", "accepts", "meaning"), rows),
        "",
        *(("These come with Ketchup:", "", *_rows((word, *fields), listed), "") if listed else ()),
    ]


def _delivered(kind: Catalogue) -> Iterator[tuple[str, BaseModel]]:
    for name, fields in kind.defaults.items():
        yield name, kind.entry.model_validate(dict(fields))


def _cell(value: object, info: FieldInfo) -> str:
    if isinstance(value, tuple):
        return ", ".join(f"`{item}`" for item in value)
    return written(value, info).strip('"')


def _example() -> list[str]:
    return [
        "## A whole `ketchup.toml`",
        "",
        "With the defaults:",
        "",
        "```toml",
        example() + "```",
        "",
    ]


def _table(rows: Iterable[tuple[str, ...]]) -> list[str]:
    return _rows(("key", "variable", "default", "accepts", "meaning"), rows)


def _rows(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    ruler = tuple("---" for _ in head)
    return [f"| {' | '.join(cells)} |" for cells in (head, ruler, *rows)]


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "required"
    if info.default_factory is not None:
        return "`{}`"
    value = written(info.default, info)
    return f"`{value}`" if value else ""


def _doc(model: type[BaseModel]) -> str:
    return " ".join((model.__doc__ or "").split())
