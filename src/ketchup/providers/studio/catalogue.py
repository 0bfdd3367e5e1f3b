"""Finds every setting and subject: one module each, in the order of their names."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from functools import cache

from ketchup.providers.studio import settings as settings_package
from ketchup.providers.studio import subjects as subjects_package
from ketchup.providers.studio.model import Setting, Subject


@cache
def settings() -> dict[str, Setting]:
    """Return the settings by name."""
    found = _attributes(settings_package.__name__, settings_package.__path__, "SETTING")
    return {item.name: item for item in found if isinstance(item, Setting)}


@cache
def subjects() -> dict[str, Subject]:
    """Return the subjects by name."""
    found = _attributes(subjects_package.__name__, subjects_package.__path__, "SUBJECT")
    return {item.name: item for item in found if isinstance(item, Subject)}


def _attributes(package: str, path: list[str], attribute: str) -> Iterator[object]:
    # A folder lists its files in any order; the pictures must not depend on it.
    for name in sorted(module.name for module in pkgutil.iter_modules(path)):
        yield getattr(importlib.import_module(f"{package}.{name}"), attribute)
