"""What the routes work with, given once when the application is built."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from typing import Annotated, cast

from fastapi import Depends, Request

from ketchup.api.waiting import Places, Waiters
from ketchup.clock import Clock
from ketchup.db import Database
from ketchup.generation import Eraser, Results
from ketchup.ids import WorkspaceId
from ketchup.origins import Origins
from ketchup.pace import Standing
from ketchup.provenance.finisher import Finisher
from ketchup.providers.catalog import Catalog
from ketchup.tasks import Summary
from ketchup.workspaces import Authenticator, Plans, Vault


@dataclass(frozen=True, slots=True)
class ApiDependencies:
    """What stands behind the API."""

    database: Database
    authenticator: Authenticator
    vault: Vault
    admin_token: str = field(repr=False)
    clock: Clock
    plans: Plans
    catalog: Catalog
    results: Results
    eraser: Eraser
    ended: Callable[[], None]
    """Called after each commit that ended a task."""
    due: Callable[[], None]
    """Called after each commit that made a delivery due."""
    waiters: Waiters
    waits: Places
    origins: Origins
    new_key_seconds: int | None
    """How long a key works that is made without saying it; None is for ever."""
    check_leak_report: Callable[[Hashable], Standing]
    """Counts one more report of a leaked key; raises RateLimited."""
    check_pace: Callable[[Hashable], Standing] | None
    """Counts one more question after the same thing; raises RateLimited. None never does."""
    check_redelivery: Callable[[Hashable], Standing]
    """Counts one more callback that is sent again; raises RateLimited."""
    look_at: Callable[[tuple[WorkspaceId, str]], Awaitable[Summary | None]]
    """One read for all who look at tasks at the same time."""
    streams: Places
    stream_waiters: Waiters
    """Apart from `waiters`: who follows a stream takes no place from who asks once."""
    finisher: Finisher
    verifying: Places
    """For strangers' pictures: each is held in memory, and one process works on them in turn."""
    check_verifying: Callable[[Hashable], Standing] | None
    """Counts one more picture that is verified; raises RateLimited. None never does."""


def dependencies_of(request: Request) -> ApiDependencies:
    """Return what `create_api` was given."""
    return cast("ApiDependencies", request.app.state.dependencies)


async def _injected(request: Request) -> ApiDependencies:
    # A coroutine function: FastAPI would run a plain one on a thread.
    return dependencies_of(request)


Dependencies = Annotated[ApiDependencies, Depends(_injected)]
