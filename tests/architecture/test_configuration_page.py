"""docs/configuration.md says what the settings are now."""

from __future__ import annotations

from pathlib import Path

import pytest

from ketchup.config import ModelSettings, load
from ketchup.config.fields import accepts, leaves, variable
from ketchup.config.page import example, page
from ketchup.config.schema import Settings

DOCS = Path(__file__).parents[2] / "docs" / "configuration.md"
SOURCE = Path(__file__).parents[2] / "src" / "ketchup"
EVERY = {".".join(place): info for place, info in leaves().items()} | {
    f"models.*.{name}": info for name, info in ModelSettings.model_fields.items()
}


def test_the_page_in_the_repository_is_the_generated_one() -> None:
    assert DOCS.read_text(encoding="utf-8") == page(), "run `make docs`"


@pytest.mark.parametrize("key", EVERY)
def test_every_setting_says_what_it_means_and_what_it_accepts(key: str) -> None:
    info = EVERY[key]
    assert info.description
    assert info.description.endswith(".")
    assert accepts(info) != "another value"


def test_every_variable_stands_on_the_page_once() -> None:
    names = [variable(place) for place in leaves()]
    assert len(set(names)) == len(names), "two settings share a variable"
    for name in names:
        assert page().count(f"| `{name}`") == 1


def test_the_example_says_what_the_defaults_say(tmp_path: Path) -> None:
    (tmp_path / "ketchup.toml").write_text(example(), encoding="utf-8")
    loaded = load({}, folder=tmp_path)
    assert loaded.settings == Settings()
    assert loaded.origin("webhooks.schedule").kind == "file"


@pytest.mark.parametrize("place", leaves(), ids=".".join)
def test_every_setting_is_read_by_something(place: tuple[str, ...]) -> None:
    read = "".join(
        path.read_text(encoding="utf-8")
        for path in SOURCE.rglob("*.py")
        if path.parent.name != "config"
    )
    group, name = place if len(place) > 1 else ("settings", place[0])
    in_settings = f"self.{name}" in (SOURCE / "config" / "schema.py").read_text(encoding="utf-8")
    assert f"{group}.{name}" in read or (group == "settings" and in_settings)
