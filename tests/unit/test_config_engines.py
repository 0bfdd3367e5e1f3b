"""The keys of the engines, under our names and under those that their makers gave them."""

from __future__ import annotations

from pathlib import Path

import pytest

from ketchup.config import Kind, SettingsError, load
from ketchup.config.sources import shown

GOOGLE = "https://generativelanguage.googleapis.com"


def test_no_engine_is_set_up_by_default(tmp_path: Path) -> None:
    settings = load({}, folder=tmp_path).settings

    assert settings.gemini.api_key is None
    assert settings.openai.api_key is None
    assert (settings.gemini.base_url, settings.openai.base_url) == (
        GOOGLE,
        "https://api.openai.com/v1",
    )


@pytest.mark.parametrize(
    ("environ", "key", "source"),
    [
        ({"GOOGLE_API_KEY": "g"}, "g", "GOOGLE_API_KEY"),
        ({"GOOGLE_API_KEY": "g", "GEMINI_API_KEY": "m"}, "m", "GEMINI_API_KEY"),
        ({"GOOGLE_API_KEY": "g", "GEMINI_API_KEY": ""}, "g", "GOOGLE_API_KEY"),
        (
            {"GEMINI_API_KEY": "m", "KETCHUP_GEMINI_API_KEY": "k"},
            "k",
            "KETCHUP_GEMINI_API_KEY",
        ),
    ],
)
def test_a_key_has_several_names(
    tmp_path: Path, environ: dict[str, str], key: str, source: str
) -> None:
    loaded = load(environ, folder=tmp_path)
    found = loaded.settings.gemini.api_key

    assert found is not None
    assert found.get_secret_value() == key
    assert loaded.origin("gemini.api_key").name == source
    assert loaded.origin("gemini.api_key").kind is Kind.ENVIRONMENT


def test_the_addresses_are_read_too(tmp_path: Path) -> None:
    environ = {"GOOGLE_GEMINI_BASE_URL": "http://a/g/", "OPENAI_BASE_URL": "http://b/v1"}
    settings = load(environ, folder=tmp_path).settings

    assert (settings.gemini.base_url, settings.openai.base_url) == ("http://a/g", "http://b/v1")


def test_a_bad_key_is_named_and_not_shown(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load({"OPENAI_API_KEY": "sk-se cret"}, folder=tmp_path)

    assert "environment: OPENAI_API_KEY: the value is not accepted" in str(caught.value)
    assert "cret" not in str(caught.value)


def test_a_key_is_never_shown(tmp_path: Path) -> None:
    loaded = load({"OPENAI_API_KEY": "sk-secret"}, folder=tmp_path)

    assert ("openai.api_key", "***", "environment OPENAI_API_KEY") in list(shown(loaded))
    assert "sk-secret" not in repr(loaded)
