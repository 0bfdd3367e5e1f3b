"""One service per module of contract tests and database; for each test a workspace of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.customers import customer
from tests.support.engines import PromptedProvider
from tests.support.service import RunningService, running_service


@pytest.fixture(scope="module")
def engine() -> PromptedProvider:
    return PromptedProvider()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(
    engine: PromptedProvider,
    tmp_path_factory: pytest.TempPathFactory,
    module_database_url: str | None,
) -> AsyncIterator[RunningService]:
    """Run with more hands than any test keeps busy, and callbacks that come again at once."""
    async with running_service(
        tmp_path_factory.mktemp("service"),
        database=module_database_url,
        providers={"studio": engine},
        # What customers download is what they get by default: signed.
        settings={
            "concurrency": 16,
            "webhooks.schedule": "0,0,0,0",
            "provenance.enabled": True,
        },
    ) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def alice(service: RunningService) -> AsyncIterator[RunningService]:
    """Return a customer with 100 credits."""
    async with customer(service) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def bob(service: RunningService) -> AsyncIterator[RunningService]:
    """Return another one."""
    async with customer(service) as made:
        yield made
