"""What holds for every test, and the databases that tests are given.

A test that takes `location` or `database_url` runs once on SQLite and once on PostgreSQL.
`-k "not postgresql"` leaves the second out, and with it the server's start.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, settings

from ketchup.clock import FrozenClock
from ketchup.config.sources import CUSTOMARY
from ketchup.db import Location, PostgresUrl, SqliteFile
from ketchup.ids import name_bits
from ketchup.storage import Bucket
from tests.support.bucket_server import bucket_server, make_bucket
from tests.support.clocks import DatabaseClock, by_its_clock, install_clock
from tests.support.database import migrate, migrated_file
from tests.support.postgres_pool import PostgresPool, postgres_pool

# The first run on a fresh clone builds tables of characters, and a machine may be busy: neither
# says anything about the code.
settings.register_profile("ketchup", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ketchup")

# Whoever has a key of their own in the environment pays for no test.
for _name in CUSTOMARY:
    os.environ.pop(_name, None)

BOTH = ("sqlite", "postgresql")


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresPool]:
    """Run one server for all tests, from the first one that needs it to the end."""
    with postgres_pool(_prepare) as pool:
        yield pool


def _prepare(url: str) -> None:
    migrate(url)
    install_clock(url)


@pytest.fixture(params=BOTH)
def location(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Location]:
    """Give the test a migrated database of its own; the SQLite one lies in `tmp_path`."""
    if request.param == "sqlite":
        yield migrated_file(tmp_path)
    else:
        with _pool(request).migrated() as url:
            yield PostgresUrl(by_its_clock(url))


@pytest.fixture
def clock(location: Location) -> Iterator[FrozenClock]:
    """Return a clock that the database of the test goes by as well."""
    if isinstance(location, SqliteFile):
        yield FrozenClock()
    else:
        with psycopg.connect(location.url, autocommit=True) as conn:
            yield DatabaseClock(conn)


@pytest.fixture(params=BOTH)
def empty_location(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Location]:
    """Give the test an empty database of its own."""
    if request.param == "sqlite":
        yield SqliteFile(tmp_path / "empty.db")
    else:
        with _pool(request).empty() as url:
            yield PostgresUrl(url)


@pytest.fixture(params=BOTH)
def database_url(request: pytest.FixtureRequest) -> Iterator[str | None]:
    """Give a service a database of its own on PostgreSQL; on SQLite None, for it makes its file."""
    yield from _database_url(request)


@pytest.fixture(params=BOTH, scope="module")
def module_database_url(request: pytest.FixtureRequest) -> Iterator[str | None]:
    """Give the same to a service that all tests of a module use."""
    yield from _database_url(request)


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """Run one S3 server for all tests, from the first one that needs it to the end."""
    with bucket_server() as address:
        yield address


@pytest.fixture
def bucket(s3: str) -> Bucket:
    """Give the test an empty bucket of its own."""
    return make_bucket(s3, f"images-{name_bits()}", prefix="ours/here")


def _database_url(request: pytest.FixtureRequest) -> Iterator[str | None]:
    if request.param == "sqlite":
        yield None
    else:
        with _pool(request).migrated() as url:
            yield url


def _pool(request: pytest.FixtureRequest) -> PostgresPool:
    # Asked for late: who leaves PostgreSQL out does not start a server.
    pool: PostgresPool = request.getfixturevalue("postgres")
    return pool
