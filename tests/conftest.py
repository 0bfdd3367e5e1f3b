"""What holds for every test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.support.postgres_pool import PostgresPool, postgres_pool

# The first run on a fresh clone builds tables of characters, and a machine may be busy: neither
# says anything about the code.
settings.register_profile("ketchup", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ketchup")


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresPool]:
    with postgres_pool(print) as pool:
        yield pool
