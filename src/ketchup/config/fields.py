"""What the schema says about each setting: place, names, what it accepts, how it reads.

`sources` reads values by it and `page` documents them by it, so the two cannot disagree.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from types import MappingProxyType
from typing import Final

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from ketchup import money
from ketchup.config.catalogues import CATALOGUES
from ketchup.config.kinds import Accepts
from ketchup.config.schema import PREFIX, Settings
from ketchup.money import Credits

_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")

Place = tuple[str, ...]
"""A setting's place: `("port",)`, `("limits", "queue_capacity")`, `("models", id, "price")`."""


@cache
def leaves() -> Mapping[Place, FieldInfo]:
    """Return every setting outside the catalogues, by its place, in the order of the schema."""
    return MappingProxyType(dict(_leaves(Settings, ())))


def field_at(place: Place) -> FieldInfo | None:
    """Return what the schema says of one setting, of a catalogue's too; None where it says none."""
    if place[0] in CATALOGUES:
        return CATALOGUES[place[0]].entry.model_fields.get(place[-1])
    return leaves().get(place)


def group_of(info: FieldInfo) -> type[BaseModel] | None:
    """Return the table that a field is, or None where it is a value."""
    kind = info.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def variable(path: Place) -> str:
    """Return the variable of a setting: `KETCHUP_LIMITS_QUEUE_CAPACITY`."""
    return PREFIX + "_".join(path).upper()


def is_secret(info: FieldInfo) -> bool:
    """Say whether a setting may also come from a file named by `…_FILE`, and is never shown."""
    return "SecretStr" in str(info.annotation)


def accepts(info: FieldInfo) -> str:
    """Return what a setting accepts, in words."""
    return next((m.words for m in _metadata(info) if isinstance(m, Accepts)), "another value")


def dotted(path: Place) -> str:
    """Write a place as TOML does: `models."google/gempix2".price`."""
    return ".".join(part if _BARE.fullmatch(part) else _quoted(part) for part in path)


def written(value: object, info: FieldInfo | None) -> str:  # noqa: PLR0911 one per kind
    """Write a value as `ketchup.toml` would, an unset one as nothing, a secret as `***`."""
    if value is None:
        return ""
    if isinstance(value, SecretStr):
        return "***"
    if info is not None and info.annotation is Credits:
        assert isinstance(value, int)  # noqa: S101 an amount is micro-credits
        return _quoted(money.decimal(Credits(value)).rstrip("0").rstrip("."))
    if isinstance(value, Mapping):
        items = (f"{_quoted(k)} = {written(v, None)}" for k, v in value.items())
        return f"{{ {', '.join(items)} }}" if value else "{}"
    if isinstance(value, tuple | list):
        return f"[{', '.join(written(item, None) for item in value)}]"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, int | float):
        return str(value).lower()  # true and false are numbers here
    return _quoted(str(value))


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _leaves(model: type[BaseModel], above: Place) -> Iterator[tuple[Place, FieldInfo]]:
    for name, info in model.model_fields.items():
        group = group_of(info)
        if group is not None:
            yield from _leaves(group, (*above, name))
        elif above or name not in CATALOGUES:
            yield (*above, name), info


def _metadata(info: FieldInfo) -> Iterator[object]:
    yield from info.metadata
    # `Annotated[…] | None` keeps what was said of the first part inside the union.
    for part in getattr(info.annotation, "__args__", ()):
        yield from getattr(part, "__metadata__", ())
