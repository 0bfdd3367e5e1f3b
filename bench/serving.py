"""How the floor and the baseline are served: uvicorn with the settings of `ketchup serve`."""

from __future__ import annotations

import asyncio
from typing import Literal

import uvicorn
import uvloop
from starlette.types import ASGIApp

from ketchup.protocol import HttpProtocol
from ketchup.service import bind

Http = Literal["httptools"] | type[HttpProtocol]
"""The protocol class: uvicorn's own, or Ketchup's on top of it."""


async def serve(app: ASGIApp, http: Http) -> None:
    """Serve on a free port, told on standard output, until SIGTERM."""
    config = uvicorn.Config(
        app,
        http=http,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=2048,
    )
    with bind("127.0.0.1", 0) as listener:
        print(f"ready at http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        await uvicorn.Server(config).serve(sockets=[listener])


def runner() -> asyncio.Runner:
    """Return the event loop that `ketchup serve` uses too."""
    return asyncio.Runner(loop_factory=uvloop.new_event_loop)
