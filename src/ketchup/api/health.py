"""Is it alive, is it ready: for supervisors and load balancers, without a token.

Alive means that the process answers. Ready means that the store commits. Anybody may ask, so the
store is asked once a second at most, however many do.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Final, Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel

from ketchup import telemetry
from ketchup.clock import Clock
from ketchup.db import Database
from ketchup.errors import Unavailable

log = telemetry.logger(__name__)

READY_WITHIN_SECONDS: Final = 2.0
_REMEMBER_SECONDS: Final = 1.0


class Health(BaseModel):
    """How the service is."""

    status: Literal["ok", "unavailable"]


class Readiness:
    """Asks the store whether it commits, one question at a time."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._question: asyncio.Task[bool] | None = None
        self._answered = 0.0

    async def is_ready(self) -> bool:
        """Whether a write committed within two seconds, now or a moment ago."""
        if self._question is None or self._is_old(self._question):
            self._question = asyncio.create_task(self._ask())
        done, _ = await asyncio.wait({self._question}, timeout=READY_WITHIN_SECONDS)
        return bool(done) and self._question.result()

    def _is_old(self, question: asyncio.Task[bool]) -> bool:
        # One that is still unanswered is waited for again: a stuck store gets no queue of them.
        return question.done() and self._clock.monotonic() - self._answered >= _REMEMBER_SECONDS

    async def _ask(self) -> bool:
        try:
            await self._database.check_writable()
        except Unavailable:
            return False
        except Exception:  # a store without a schema, or whatever else it is
            log.exception("the store refuses a write that changes nothing")
            return False
        finally:
            self._answered = self._clock.monotonic()
        return True


def health_routes(readiness: Readiness) -> APIRouter:
    """Return `/healthz` and `/readyz`."""
    router = APIRouter(tags=["health"])

    @router.head("/healthz", include_in_schema=False)
    @router.get("/healthz")
    async def healthz() -> Health:
        """Say that the process is up."""
        return Health(status="ok")

    @router.head("/readyz", include_in_schema=False)
    @router.get("/readyz", responses={503: {"model": Health, "description": "Not ready"}})
    async def readyz(response: Response) -> Health:
        """Say whether requests can be served: whether the store commits."""
        if await readiness.is_ready():
            return Health(status="ok")
        response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
        response.headers["Retry-After"] = "1"
        return Health(status="unavailable")

    return router
