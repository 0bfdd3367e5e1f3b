"""The HTTP API beside the contract: `/v1` for customers, `/admin/v1` for operators, and health.

FastAPI and pydantic stay inside this package. It also answers, in the contract's envelope, for
every path that no surface knows. Request ids come from the server in front: they are read here, for
the log and the problems, and never made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from typing_extensions import override

from ketchup import __version__
from ketchup.api import (
    admin,
    customers,
    deliveries,
    events,
    journal,
    leaks,
    problems,
    provenance,
    receivers,
    usage,
)
from ketchup.api.dependencies import ApiDependencies
from ketchup.api.health import Readiness, health_routes
from ketchup.api.waiting import Places, Waiters

__all__ = ["ApiDependencies", "Places", "Waiters", "create_api"]


def create_api(
    dependencies: ApiDependencies, *, beside: Mapping[str, Any] | None = None
) -> FastAPI:
    """Build the application. It opens and closes nothing.

    `beside` describes what the same server answers besides: OpenAPI's `paths` and `components`,
    which `/openapi.json` lists first.
    """
    if not dependencies.admin_token:
        raise ValueError("the admin API needs a token")
    app = _Api(
        beside or {},
        [plan.name for plan in dependencies.plans],
        title="Ketchup",
        version=__version__,
        description="Make images and look back at them; operate workspaces, keys and credits.",
        # The pages that FastAPI offers load their scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=_operation_id,
    )
    app.state.dependencies = dependencies
    problems.install(app)
    app.include_router(customers.routes)
    app.include_router(events.routes)
    app.include_router(usage.routes)
    app.include_router(deliveries.routes)
    app.include_router(leaks.routes)
    app.include_router(receivers.routes)
    app.include_router(admin.routes)
    app.include_router(journal.routes)
    app.include_router(provenance.routes)
    app.include_router(health_routes(Readiness(dependencies.database, dependencies.clock)))
    return app


class _Api(FastAPI):
    """An application whose document describes its problems and its neighbours too."""

    def __init__(
        self,
        beside: Mapping[str, Any],
        plans: Sequence[str],
        **options: Any,  # noqa: ANN401 FastAPI's
    ) -> None:
        super().__init__(**options)
        self._beside = beside
        self._plans = plans

    @override
    def openapi(self) -> dict[str, Any]:
        document = super().openapi()
        components = document["components"]
        components["schemas"].update(problems.schemas())
        for name in ("NewWorkspace", "WorkspaceChange"):
            # The settings say which there are, and the shapes are older than the settings.
            components["schemas"][name]["properties"]["plan"]["anyOf"][0]["enum"] = [*self._plans]
        document["paths"] = {**self._beside.get("paths", {}), **document["paths"]}
        for kind, named in self._beside.get("components", {}).items():
            components[kind] = {**named, **components.get(kind, {})}
        return document


def _operation_id(route: APIRoute) -> str:
    return route.name
