"""The simulation finds mistakes in the product, each within a few seeds."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Final

import pytest

from tests.simulation.mutants import MUTANTS, Mutant, imported_from
from tests.simulation.plan import SHORT_DAY

_SEEDS: Final = range(1, 61)

# A world that was found out is left as it stands, with all that runs in it.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def found_at(mutant: Mutant, folder: Path) -> int | None:
    """Return the first seed that finds it."""
    try:
        with imported_from(mutant.plant(folder)) as simulate:
            for seed in _SEEDS:
                if simulate(seed, SHORT_DAY).complaints:
                    return seed
        return None
    finally:
        # What still runs in the world that was found out is nothing to a later test.
        gc.collect()


@pytest.mark.parametrize("mutant", [m for m in MUTANTS if m.shows_soon], ids=lambda m: m.name)
def test_a_mistake_that_shows_soon_is_found(mutant: Mutant, tmp_path: Path) -> None:
    assert found_at(mutant, tmp_path)


@pytest.mark.torture
@pytest.mark.timeout(600)
@pytest.mark.parametrize("mutant", [m for m in MUTANTS if not m.shows_soon], ids=lambda m: m.name)
def test_a_mistake_that_shows_seldom_is_found(mutant: Mutant, tmp_path: Path) -> None:
    assert found_at(mutant, tmp_path)
