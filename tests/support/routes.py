"""Every route that the running application answers on, taken from its routers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fastapi import FastAPI
from starlette.routing import BaseRoute, Route

from ketchup.bootstrap import Runtime
from ketchup.server import create_app
from ketchup.wire.app import API, FILES

Endpoint = tuple[str, str]
"""A method and the template of a path."""

FILE = FILES + "{path}"


async def all_routes(runtime: Runtime) -> set[Endpoint]:
    """Return what the contract, the customers' and the operators' routers know."""
    app = create_app(runtime)
    contract = {(method, path) for path, (method, _, _) in app._wire._routes.items()}
    assert all(path.startswith(API) for _, path in contract)
    api = await app.load()
    assert isinstance(api, FastAPI)
    files = {(method, FILE) for method in ("GET", "HEAD", "OPTIONS")}
    return contract | files | set(_walk(api.routes))


def _walk(routes: Iterable[BaseRoute]) -> Iterator[Endpoint]:
    for route in routes:
        # FastAPI keeps an included router whole; its routes have their prefix already.
        inner = getattr(route, "original_router", None)
        if inner is not None:
            yield from _walk(inner.routes)
            continue
        # A mounted application would have routes that nobody has looked at.
        assert isinstance(route, Route), route
        yield from ((method, route.path) for method in route.methods or ())
