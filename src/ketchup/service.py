"""The service: server and worker in one process, started and stopped together.

Used by `serve`, by `demo` and by whoever embeds Ketchup. It owns no signal: the caller says when to
stop, and everything that was accepted is then finished or handed back.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import uvicorn
from starlette.types import ASGIApp
from typing_extensions import override

from ketchup.bootstrap import FirstStart, Runtime, first_start, open_runtime
from ketchup.config import Settings
from ketchup.data_folder import DataFolder
from ketchup.protocol import HttpProtocol
from ketchup.providers.base import Provider
from ketchup.server import App, create_app
from ketchup.worker import create_worker

_BACKLOG: Final = 2048
_OBJECTS_BEFORE_COLLECTING: Final = 20_000
_CLOSE_CONNECTIONS_SECONDS: Final = 10


@dataclass(frozen=True, slots=True)
class Started:
    """A service that answers requests."""

    base_url: str
    runtime: Runtime
    first_start: FirstStart | None


@dataclass
class Service:
    """One process's service on an owned data folder and a bound socket."""

    settings: Settings
    folder: DataFolder
    listener: socket.socket
    providers: Mapping[str, Provider] | None = None
    loaded: Callable[[], None] | None = None
    """Called once when every surface is in memory and nothing more will be built."""
    _stop: asyncio.Event = field(default_factory=asyncio.Event)

    def stop(self) -> None:
        """Ask `run` to come to a graceful end. On the event loop only."""
        self._stop.set()

    async def run(self, ready: Callable[[Started], None]) -> None:
        """Serve until stopped; `ready` is called once, when the first request can come."""
        base_url = self.settings.base_url(self.listener.getsockname()[1])
        async with open_runtime(
            self.settings, self.folder, base_url=base_url, providers=self.providers
        ) as runtime:
            made = await first_start(runtime, self.settings)
            app = create_app(runtime)
            server = _Server(app, lambda: ready(Started(base_url, runtime, made)))
            worker = create_worker(runtime)
            async with asyncio.TaskGroup() as group:
                group.create_task(worker.run(sole_owner=True))
                group.create_task(server.serve(sockets=[self.listener]))
                group.create_task(self._load(app, server))
                await self._stop.wait()
                server.should_exit = True
                worker.stop()

    async def _load(self, app: App, server: _Server) -> None:
        await server.listening.wait()
        await app.load()
        if self.loaded is not None:
            self.loaded()


def event_loop_runner() -> asyncio.Runner:
    """Return a runner on the quickest event loop that the platform has."""
    if sys.platform == "win32":
        return asyncio.Runner()
    import uvloop  # noqa: PLC0415 not for every platform

    return asyncio.Runner(loop_factory=uvloop.new_event_loop)


def settle_memory() -> None:
    """Take what was built so far out of the collector's sight, and call it less often.

    For a process that does nothing but serve. The modules and the application live as long as it
    does; to look through them again and again cost a seventh of every request, and most of the
    slowest ones' time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_OBJECTS_BEFORE_COLLECTING)
    gc.enable()


def bind(host: str, port: int) -> socket.socket:
    """Return a listening socket. Raises OSError when the address is taken or not ours.

    It listens at once, because two sockets may be bound to one address as long as neither listens:
    the later of two servers would notice only when everything else is up. Who connects before the
    service is ready waits for it.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named, because the event loop turns off Nagle's delay only where it reads that this is TCP: an
    # answer's head and body would arrive 40 ms apart.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        # A restart must not wait for the connections of the one before to be forgotten.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


class _Server(uvicorn.Server):
    """uvicorn without hands on the process: no signals, no logging, no lifespan."""

    def __init__(self, app: ASGIApp, ready: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=HttpProtocol,
                ws="none",
                lifespan="off",
                log_config=None,
                # uvicorn words every line before it asks whether anybody reads it.
                access_log=logging.getLogger("uvicorn.access").isEnabledFor(logging.INFO),
                server_header=False,
                # Nothing here depends on who a proxy says that the client is.
                proxy_headers=False,
                backlog=_BACKLOG,
                timeout_graceful_shutdown=_CLOSE_CONNECTIONS_SECONDS,
            )
        )
        self.listening = asyncio.Event()
        self._ready = ready

    @override
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()
        self.listening.set()

    @override
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
