"""What the tests of several modules share: one service for all customers of a module."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.customers import customer
from tests.support.service import RunningService, running_service


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(
    module_database_url: str | None, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[RunningService]:
    """Run a service for a module, whose tests run on the module's loop."""
    folder = tmp_path_factory.mktemp("service") / "data"
    async with running_service(folder, database=module_database_url) as service:
        yield service


@pytest_asyncio.fixture(loop_scope="module")
async def service(shared: RunningService) -> AsyncIterator[RunningService]:
    """Return the shared service as a customer of its own sees it."""
    async with customer(shared) as own:
        yield own
