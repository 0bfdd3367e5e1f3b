"""Chance, of which every fault test says where it came from."""

from __future__ import annotations

import os
import sys
from random import Random

import pytest


@pytest.fixture
def random() -> Random:
    """Decide by a seed that a failure prints; KETCHUP_TEST_SEED repeats its decisions."""
    seed = int(os.environ.get("KETCHUP_TEST_SEED") or Random().randrange(10**6))
    sys.stdout.write(f"KETCHUP_TEST_SEED={seed}\n")
    return Random(seed)
