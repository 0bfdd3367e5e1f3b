"""Channels in the settings: what the docs show is taken, and what is wrong is one sentence."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ketchup.config import SettingsError, load
from ketchup.config.sources import shown

ENGINES = Path(__file__).parents[2] / "docs" / "engines.md"
BLOCKS = re.findall(r"```toml\n(.*?)```", ENGINES.read_text(encoding="utf-8"), re.DOTALL)
KEYS = {"GEMINI_API_KEY": "a-key", "OPENAI_API_KEY": "b-key"}


@pytest.mark.parametrize("block", BLOCKS)
def test_each_engine_of_the_docs_takes_less_than_ten_lines(tmp_path: Path, block: str) -> None:
    (tmp_path / "ketchup.toml").write_text(block)
    loaded = load(KEYS, folder=tmp_path)

    assert len(block.splitlines()) < 10
    assert len(loaded.settings.channels) == 1
    assert "-key" not in repr(list(shown(loaded)))


def test_what_goes_into_every_request_keeps_its_numbers(tmp_path: Path) -> None:
    text = '[channels.a]\nprovider = "openai"\nbase_url = "http://a"\nmodels = ["google/gempix2"]\n'
    (tmp_path / "ketchup.toml").write_text(text + "extra = { scale = 3.5, steps = 8, x = [0.5] }")
    channel = load({}, folder=tmp_path).settings.channels["a"]

    assert channel.extra == {"scale": 3.5, "steps": 8, "x": [0.5]}
    assert type(channel.extra["scale"]) is float


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ('models = ["nobody/none"]\nkey = "k"', "a serves nobody/none, and there is no such model"),
        ('models = ["google/gempix2"]', "a has no key; set key or key_env"),
        ('models = ["google/gempix2"]\nkey_env = "NOT_SET"', "the variable NOT_SET is not set"),
        ('models = ["google/gempix2"]\nkey = "k"\nwieght = 2', "did you mean weight?"),
        ('models = ["google/gempix2"]\nkey = "k"\nunknown = "retry"', "expected auto, resubmit"),
    ],
)
def test_a_wrong_channel_is_told_in_one_sentence(tmp_path: Path, lines: str, told: str) -> None:
    (tmp_path / "ketchup.toml").write_text(f'[channels.a]\nprovider = "gemini"\n{lines}\n')

    with pytest.raises(SettingsError) as caught:
        load({}, folder=tmp_path)
    assert told in str(caught.value)


@pytest.mark.parametrize("fallback", ["nobody/none", "google/gempix2"])
def test_a_stand_in_is_another_model_of_the_catalogue(tmp_path: Path, fallback: str) -> None:
    text = f'[models."google/gempix2"]\nfallback = "{fallback}"\n'
    (tmp_path / "ketchup.toml").write_text(text)

    with pytest.raises(SettingsError) as caught:
        load({}, folder=tmp_path)
    assert f"google/gempix2: the fallback {fallback} is no other model" in str(caught.value)


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ("", "a needs a path or a pipeline, and not both"),
        ('path = "/x"\npipeline = "a/b"', "a needs a path or a pipeline, and not both"),
        ('pipeline = "klein"', "expected an owner and a name"),
        ('path = "/x"\ndevice = "cuda:x"', "expected auto, cpu, mps, cuda"),
        ('path = "/x"\nbatch = 0', "expected a whole number, 1 to 64"),
        ('path = "/x"\noffload = "disk"', "expected none, model or sequential"),
    ],
)
def test_a_wrong_channel_of_local_weights_is_told_in_one_sentence(
    tmp_path: Path, lines: str, told: str
) -> None:
    text = '[channels.a]\nprovider = "diffusers"\nmodels = ["google/gempix2"]\n'
    (tmp_path / "ketchup.toml").write_text(text + lines)

    with pytest.raises(SettingsError) as caught:
        load({}, folder=tmp_path)
    assert told in str(caught.value)
