"""What the settings offer: a model whose largest task fits none of its channels is refused."""

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
[channels.gpu]
provider = "openai"
base_url = "http://gpu:8000/v1"
models = ["google/gempix2"]
"""
ANOTHER = GPU[GPU.index("[channels") :].replace("gpu]", "other]")
# Nothing is offered that has no live channel.
OTHERS = {"live": "", "test": ANOTHER}


def offer(folder: Path, lines: str) -> None:
    (folder / "ketchup.toml").write_text(GPU + lines)
    engines = {"openai": ScriptedProvider(), "studio": ScriptedProvider()}
    offers_of(load({}, folder=folder).settings, Egress(SystemClock()), engines, processes=1)


@pytest.mark.parametrize("environment", ["live", "test"])
@pytest.mark.parametrize("limit", ["images_in_flight", "images_per_minute"])
def test_a_model_whose_largest_task_fits_nowhere_is_refused(
    tmp_path: Path, limit: str, environment: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        offer(tmp_path, f'{limit} = 1\nenvironment = "{environment}"\n{OTHERS[environment]}')

    assert str(caught.value) == (
        'models."google/gempix2".max_n: no channel of it may have 2 images at once '
        f"(channels.gpu: {limit} = 1); raise a limit, or lower max_n"
    )


@pytest.mark.parametrize(
    "lines",
    [
        "images_in_flight = 2\nimages_per_minute = 2\n",
        "images_in_flight = 0\nimages_per_minute = 0\n",
        # The other one takes what this one cannot.
        f"images_in_flight = 1\n{GPU[GPU.index('[channels') :].replace('gpu]', 'other]')}",
    ],
)
def test_where_one_channel_takes_the_largest_task_that_is_enough(
    tmp_path: Path, lines: str
) -> None:
    offer(tmp_path, lines)
