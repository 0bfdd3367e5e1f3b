"""Where settings come from: flags, then the environment, then `ketchup.toml`, then defaults.

Nothing is guessed and nothing is ignored: an unknown name, in any table of the file or in any
`KETCHUP_` variable, is an error with a suggestion. All errors are told at once, one line each, and
no line shows a secret.
"""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Final

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from ketchup.config.catalogues import CATALOGUES
from ketchup.config.fields import (
    Place,
    accepts,
    dotted,
    field_at,
    group_of,
    is_secret,
    leaves,
    variable,
    written,
)
from ketchup.config.kinds import Written
from ketchup.config.schema import PREFIX, UNKNOWN_PLAN, Settings

DEFAULT_FILE: Final = "ketchup.toml"
CONFIG_VARIABLE: Final = "KETCHUP_CONFIG"
URL_VARIABLE: Final = "KETCHUP_URL"
# Variables that are ours without being settings: where the file is, where `ketchup admin` finds the
# server, and whatever a test run needs.
_OTHER_VARIABLES: Final = (CONFIG_VARIABLE, URL_VARIABLE)
_TEST_PREFIX: Final = "KETCHUP_TEST_"
FILE_SUFFIX: Final = "_FILE"
# What the makers of the engines call them, so that a machine that is set up for theirs is for ours.
# Of two for one setting the later wins, and our own name over both.
CUSTOMARY: Final[Mapping[str, Place]] = MappingProxyType(
    {
        "GOOGLE_API_KEY": ("gemini", "api_key"),
        "GEMINI_API_KEY": ("gemini", "api_key"),
        "GOOGLE_GEMINI_BASE_URL": ("gemini", "base_url"),
        "OPENAI_API_KEY": ("openai", "api_key"),
        "OPENAI_BASE_URL": ("openai", "base_url"),
    }
)
_MAX_FILE_BYTES: Final = 1024 * 1024


class SettingsError(Exception):
    """The settings cannot be used. `lines` has one sentence per fault; `str` joins them."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = tuple(lines)


class Kind(StrEnum):
    """The sources, in the order in which they win."""

    FLAG = "flag"
    ENVIRONMENT = "environment"
    FILE = "file"
    DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where one value came from; `name` is the flag, the variable or the file."""

    kind: Kind
    name: str


@dataclass(frozen=True, slots=True)
class Loaded:
    """The settings, and where each came from by its dotted key. What is missing is a default."""

    settings: Settings
    origins: Mapping[str, Origin]

    def origin(self, key: str) -> Origin:
        """Return where `limits.queue_capacity`, say, came from."""
        return self.origins.get(key, Origin(Kind.DEFAULT, ""))


@dataclass(slots=True)
class _Draft:
    """What was found so far. Later sources replace earlier ones, value by value."""

    values: dict[Place, object] = field(default_factory=dict)
    origins: dict[Place, Origin] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    file: str = DEFAULT_FILE

    def put(self, path: Place, value: object, origin: Origin) -> None:
        self.values[path] = value
        self.origins[path] = origin

    def nested(self) -> dict[str, object]:
        tree: dict[str, object] = {}
        for path, value in self.values.items():
            place = tree
            for part in path[:-1]:
                below = place.setdefault(part, {})
                assert isinstance(below, dict)  # noqa: S101 paths come from the schema
                place = below
            place[path[-1]] = value
        return tree


def load(
    environ: Mapping[str, str],
    *,
    flags: Mapping[str, object] = MappingProxyType({}),
    config: Path | None = None,
    folder: Path = Path(),
) -> Loaded:
    """Read every source and return the settings with their origins.

    `flags` are named like settings (`port`, `log.level`); None means not given. `config` is the
    file named by `--config`; else `KETCHUP_CONFIG`, else `ketchup.toml` in `folder`, which may be
    absent. Raises SettingsError.
    """
    draft = _Draft()
    _read_file(draft, environ, config, folder)
    _read_environment(draft, environ)
    for key, value in flags.items():
        if value is not None:
            flag = "--" + key.replace(".", "-").replace("_", "-")
            draft.put(tuple(key.split(".")), value, Origin(Kind.FLAG, flag))
    _read_channel_keys(draft, environ)
    settings = _validated(draft)
    if draft.faults or settings is None:
        raise SettingsError(draft.faults)
    origins = {dotted(path): origin for path, origin in draft.origins.items()}
    return Loaded(settings, MappingProxyType(origins))


def shown(loaded: Loaded) -> Iterator[tuple[str, str, str]]:
    """Yield (key, value, source) of every setting, catalogues included, with secrets masked."""
    for path in (*leaves(), *_catalogue_places(loaded.settings)):
        key = dotted(path)
        value: object = loaded.settings
        for part in path:
            value = value[part] if isinstance(value, Mapping) else getattr(value, part)
        origin = loaded.origin(key)
        source = f"{origin.kind} {origin.name}".rstrip()
        yield key, written(value, field_at(path)), source


def _catalogue_places(settings: Settings) -> list[Place]:
    return [
        (catalogue, name, field)
        for catalogue, kind in CATALOGUES.items()
        for name in getattr(settings, catalogue)
        for field in kind.entry.model_fields
    ]


# The file ──────────────────────────────────────────────────────────────────────────────────────


def _read_file(
    draft: _Draft, environ: Mapping[str, str], config: Path | None, folder: Path
) -> None:
    named = config or (Path(environ[CONFIG_VARIABLE]) if environ.get(CONFIG_VARIABLE) else None)
    path = named or folder / DEFAULT_FILE
    if named is None and not path.exists():
        return
    draft.file = str(path)
    try:
        # A float is kept as its text: `price = 0.1` is a tenth, exactly.
        table = tomllib.loads(_text_of(path), parse_float=Written)
    except (OSError, ValueError) as error:
        draft.faults.append(f"{path}: cannot be read: {_reason(error)}")
        return
    _walk(draft, table, Settings, (), Origin(Kind.FILE, str(path)))


def _walk(
    draft: _Draft,
    table: Mapping[str, object],
    model: type[BaseModel],
    above: Place,
    origin: Origin,
) -> None:
    for name, value in table.items():
        path = (*above, name)
        info = model.model_fields.get(name)
        if info is None:
            guess = _suggestion(name, model.model_fields)
            draft.faults.append(f"{origin.name}: {dotted(path)}: unknown setting{guess}")
        elif not above and name in CATALOGUES:
            _walk_catalogue(draft, value, name, origin)
        elif (group := group_of(info)) is not None:
            _walk_table(draft, value, group, path, origin)
        else:
            draft.put(path, value, origin)


def _walk_catalogue(draft: _Draft, value: object, catalogue: str, origin: Origin) -> None:
    kind = CATALOGUES[catalogue]
    if not isinstance(value, dict):
        such_as = dotted((catalogue, next(iter(kind.defaults), "name")))
        draft.faults.append(f"{origin.name}: {catalogue}: expected tables such as [{such_as}]")
        return
    for name, fields in value.items():
        _walk_table(draft, fields, kind.entry, (catalogue, name), origin)


def _walk_table(
    draft: _Draft, value: object, model: type[BaseModel], path: Place, origin: Origin
) -> None:
    if isinstance(value, dict):
        if path[0] in CATALOGUES and not value:
            # An empty table still names a model or a plan, and has to say what it must.
            draft.values.setdefault(path, {})
        _walk(draft, value, model, path, origin)
    else:
        draft.faults.append(f"{origin.name}: {dotted(path)}: expected a table, [{dotted(path)}]")


# The environment ───────────────────────────────────────────────────────────────────────────────


def _read_environment(draft: _Draft, environ: Mapping[str, str]) -> None:
    """Take every `KETCHUP_` variable, and the customary names of others.

    An empty one counts as not set, as in compose files.
    """
    known = {variable(path): path for path in leaves()}
    files = {variable(p) + FILE_SUFFIX: p for p, info in leaves().items() if is_secret(info)}
    for name, path in CUSTOMARY.items():
        if environ.get(name):
            draft.put(path, environ[name], Origin(Kind.ENVIRONMENT, name))
    for name in sorted(environ):
        value = environ[name]
        if not name.startswith(PREFIX) or not value or _is_other(name):
            continue
        if name in known:
            draft.put(known[name], value, Origin(Kind.ENVIRONMENT, name))
        elif name in files:
            _read_secret_file(draft, name, value, files[name], environ)
        else:
            guess = _suggestion(name, (*known, *files, *_OTHER_VARIABLES))
            draft.faults.append(f"environment: {name}: unknown setting{guess}")


def _is_other(name: str) -> bool:
    return name in _OTHER_VARIABLES or name.startswith(_TEST_PREFIX)


def _read_secret_file(
    draft: _Draft, name: str, file: str, path: Place, environ: Mapping[str, str]
) -> None:
    plain = variable(path)
    if environ.get(plain):
        draft.faults.append(f"environment: {name}: {plain} is set too; set only one of them")
        return
    try:
        secret = _text_of(Path(file)).strip()
    except (OSError, ValueError) as error:
        draft.faults.append(f"environment: {name}: cannot read {file}: {_reason(error)}")
        return
    draft.put(path, secret, Origin(Kind.ENVIRONMENT, name))


def _read_channel_keys(draft: _Draft, environ: Mapping[str, str]) -> None:
    """Take the keys of channels from the variables that `key_env` names."""
    for place in [p for p in draft.values if p[0] == "channels" and p[-1] == "key_env"]:
        name, key = str(draft.values[place]), (*place[:-1], "key")
        if key in draft.values:
            draft.faults.append(f"{draft.file}: {dotted(place)}: key is set too; set only one")
        elif environ.get(name):
            draft.put(key, environ[name], Origin(Kind.ENVIRONMENT, name))
        else:
            draft.faults.append(f"{draft.file}: {dotted(place)}: the variable {name} is not set")


# Checking, and saying what is wrong ────────────────────────────────────────────────────────────


def _validated(draft: _Draft) -> Settings | None:
    try:
        return Settings.model_validate(draft.nested())
    except ValidationError as error:
        first: dict[Place, ErrorDetails] = {}
        for detail in error.errors(include_url=False):
            first.setdefault(_place(detail, draft), detail)
        draft.faults += [_explain(place, detail, draft) for place, detail in first.items()]
        return None


def _place(error: ErrorDetails, draft: _Draft) -> Place:
    """Find the setting that an error is about: the library adds list indexes and the like."""
    if error["type"] == UNKNOWN_PLAN:
        return tuple(error["ctx"]["place"])
    path = tuple(str(part) for part in error["loc"] if part != "[key]")
    for length in range(len(path), 0, -1):
        if path[:length] in draft.origins:
            return path[:length]
    return path


def _explain(place: Place, error: ErrorDetails, draft: _Draft) -> str:
    key = dotted(place)
    info = field_at(place)
    origin = draft.origins.get(place)
    if error["type"] == "missing":
        return f"{draft.file}: {key}: missing; expected {_words(info)}"
    if origin is None or info is None:
        # A rule about a name, or about several settings, explains itself.
        reason = error["msg"].removeprefix("Value error, ")
        return f"{draft.file}: {key}: {reason}"
    where = origin.name if origin.kind is Kind.FILE else _SOURCES[origin.kind]
    name = key if origin.kind is Kind.FILE else origin.name
    if error["type"] == UNKNOWN_PLAN:
        return f"{where}: {name}: {error['msg']}"
    shown = "the value" if is_secret(info) else _shown(draft.values[place])
    return f"{where}: {name}: {shown} is not accepted; expected {_words(info)}"


_SOURCES: Final = {Kind.FLAG: "command line", Kind.ENVIRONMENT: "environment"}


def _words(info: FieldInfo | None) -> str:
    return "a value" if info is None else accepts(info)


def _shown(value: object) -> str:
    if isinstance(value, SecretStr):
        return "the value"
    text = json.dumps(value, ensure_ascii=True, default=str)
    return text if len(text) <= 80 else f"{text[:77]}…"  # noqa: PLR2004 what fits on a line


def _suggestion(name: str, known: Iterable[str]) -> str:
    for catalogue in CATALOGUES:
        if name.startswith(f"{PREFIX}{catalogue.upper()}"):
            return f"; {catalogue} are set in {DEFAULT_FILE}"
    names = {k.removeprefix(PREFIX): k for k in sorted(known)}
    # Compared without the prefix, which would make any two variables look alike.
    close = difflib.get_close_matches(name.removeprefix(PREFIX), names, n=1)
    if close:
        return f"; did you mean {names[close[0]]}?"
    # The variables are too many for a line; a table's keys are not.
    return "" if name.startswith(PREFIX) else f"; expected {', '.join(names)}"


def _text_of(path: Path) -> str:
    with path.open("rb") as file:
        raw = file.read(_MAX_FILE_BYTES + 1)
    if len(raw) > _MAX_FILE_BYTES:
        raise ValueError("it is larger than a mebibyte")
    return raw.decode()


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, OSError):
        return (error.strerror or str(error)).lower()
    return "it is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else str(error)
