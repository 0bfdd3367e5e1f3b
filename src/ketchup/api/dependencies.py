"""What the routes work with, given once when the application is built."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Annotated, cast

from fastapi import Depends, Request

from ketchup.api.verifying import Verifying
from ketchup.api.waiting import Waiters
from ketchup.clock import Clock
from ketchup.db import Database
from ketchup.generation import Results
from ketchup.provenance.finisher import Finisher
from ketchup.providers.catalog import Catalog
from ketchup.workspaces import Authenticator, Pepper, Plans


@dataclass(frozen=True, slots=True)
class ApiDependencies:
    """What stands behind the API."""

    database: Database
    authenticator: Authenticator
    pepper: Pepper = field(repr=False)
    admin_token: str = field(repr=False)
    clock: Clock
    plans: Plans
    catalog: Catalog
    results: Results
    ended: Callable[[], None]
    """Called after each commit that ended a task."""
    waiters: Waiters
    check_pace: Callable[[Hashable], None] | None
    """Counts one more question after the same thing; raises RateLimited. None never does."""
    finisher: Finisher
    verifying: Verifying


def dependencies_of(request: Request) -> ApiDependencies:
    """Return what `create_api` was given."""
    return cast("ApiDependencies", request.app.state.dependencies)


async def _injected(request: Request) -> ApiDependencies:
    # A coroutine function: FastAPI would run a plain one on a thread.
    return dependencies_of(request)


Dependencies = Annotated[ApiDependencies, Depends(_injected)]
