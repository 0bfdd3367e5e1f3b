"""What the settings offer: a channel whose limits one task could not keep to is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from ketchup.clock import SystemClock
from ketchup.config import SettingsError, load
from ketchup.egress import Egress
from ketchup.offers import offers_of
from tests.support.engines import ScriptedProvider

GPU = """
[models."google/gempix2"]
max_n = 2
[models."google/gemini-2.5-flash-image"]
max_n = 4
provider = "studio"
fallback = "google/gempix2"
[channels.gpu]
provider = "openai"
base_url = "http://gpu:8000/v1"
models = ["google/gempix2"]
"""


def offer(folder: Path, lines: str) -> None:
    (folder / "ketchup.toml").write_text(GPU + lines)
    engines = {"openai": ScriptedProvider(), "studio": ScriptedProvider()}
    offers_of(load({}, folder=folder).settings, Egress(SystemClock()), engines, processes=1)


@pytest.mark.parametrize("limit", ["images_in_flight", "images_per_minute"])
def test_a_limit_below_what_one_task_may_ask_for_is_refused(tmp_path: Path, limit: str) -> None:
    with pytest.raises(SettingsError) as caught:
        offer(tmp_path, f"{limit} = 3\n")

    # The model that it stands in for has the larger tasks.
    model = "google/gemini-2.5-flash-image"
    assert str(caught.value) == (
        f"channels.gpu.{limit}: 3 is less than the 4 images that one task of {model} may ask for; "
        f'raise it, or lower models."{model}".max_n'
    )


@pytest.mark.parametrize(
    "lines",
    [
        "images_in_flight = 4\nimages_per_minute = 4\n",
        "images_in_flight = 0\nimages_per_minute = 0\n",
        # Nothing stands in for tests.
        'environment = "test"\nimages_in_flight = 2\n',
    ],
)
def test_as_much_as_one_task_may_ask_for_is_enough(tmp_path: Path, lines: str) -> None:
    offer(tmp_path, lines)
