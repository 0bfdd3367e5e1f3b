"""What fault tests are run on, and chance, of which each says where it came from."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.support.deployment import Deployment, deployed
from tests.support.postgres_pool import PostgresPool


@pytest.fixture
def random() -> Random:
    """Decide by a seed that a failure prints; KETCHUP_TEST_SEED repeats its decisions."""
    seed = int(os.environ.get("KETCHUP_TEST_SEED") or Random().randrange(10**6))
    sys.stdout.write(f"KETCHUP_TEST_SEED={seed}\n")
    return Random(seed)


Deploy = Callable[..., AbstractContextManager[Deployment]]


@pytest.fixture
def deploy(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Deploy]:
    """Deploy one kind on an empty database; what else is given goes to `deployed`."""
    with ExitStack() as databases:

        def make(kind: str, **options: Any) -> AbstractContextManager[Deployment]:  # noqa: ANN401 see `deployed`
            if kind == "sqlite":
                return deployed(kind, tmp_path, None, **options)
            pool: PostgresPool = request.getfixturevalue("postgres")
            return deployed(kind, tmp_path, databases.enter_context(pool.empty()), **options)

        yield make
