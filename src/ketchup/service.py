"""The service: server, worker or both in one process, started and stopped together.

Used by `serve`, `api`, `worker` and `demo`, and by whoever embeds Ketchup. It owns no signal: the
caller says when to stop, and everything that was accepted is then finished or handed back.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final
from urllib.parse import urlsplit

import uvicorn
from starlette.types import ASGIApp
from typing_extensions import override

from ketchup import migrations, telemetry
from ketchup.bootstrap import (
    FirstStart,
    Runtime,
    first_start,
    migrate,
    open_runtime,
    require_usable,
)
from ketchup.clock import Clock, SystemClock
from ketchup.config import Settings
from ketchup.data_folder import DataFolder
from ketchup.edge import Hosts, Peers
from ketchup.egress import Resolver
from ketchup.errors import Unavailable
from ketchup.protocol import HttpProtocol, protocol_of
from ketchup.providers.base import Provider
from ketchup.server import App, create_app
from ketchup.worker import create_worker

log = telemetry.logger(__name__)

_BACKLOG: Final = 2048
_STORE_POLL_SECONDS: Final = 1.0
_TELL_AGAIN: Final = 60
_USES_SECONDS: Final = 30.0
_OBJECTS_BEFORE_COLLECTING: Final = 20_000
_CLOSE_CONNECTIONS_SECONDS: Final = 10


@dataclass(frozen=True, slots=True)
class Started:
    """A service that answers requests."""

    base_url: str
    runtime: Runtime
    first_start: FirstStart | None


class Role(Enum):
    """What a process does."""

    SERVE = auto()  # everything; brings the schema up to date first
    API = auto()  # answers requests
    WORKER = auto()  # renders and delivers


@dataclass
class Service:
    """One process's service on a data folder and, unless it is a worker alone, a bound socket."""

    settings: Settings
    folder: DataFolder
    listener: socket.socket | None
    providers: Mapping[str, Provider] | None = None
    loaded: Callable[[], None] | None = None
    """Called once when every surface is in memory and nothing more will be built."""
    role: Role = Role.SERVE
    clock: Clock = field(default_factory=SystemClock)
    resolver: Resolver | None = None
    """What looks up the names that callers give; by default the machine does."""
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _settled: asyncio.Event = field(default_factory=asyncio.Event)

    def stop(self) -> None:
        """Ask `run` to come to a graceful end. On the event loop only."""
        self._stop.set()

    async def run(self, ready: Callable[[Started], None]) -> None:
        """Serve until stopped; `ready` is called once, when the first request can come.

        Raises what `bootstrap.migrate` and `bootstrap.require_usable` raise. A PostgreSQL server
        that does not answer is waited for; the API refuses requests for the moment until then.
        """
        if self.listener is None and self.settings.public_url is None:
            log.warning("callbacks will name an address of this machine: set KETCHUP_PUBLIC_URL")
        port = self.listener.getsockname()[1] if self.listener else None
        base_url = self.settings.base_url(port)
        is_usable = await self._try_store()
        if self.role is not Role.API and not is_usable:
            await self._wait_for_store()
            if self._stop.is_set():
                return
            is_usable = True
        async with open_runtime(
            self.settings,
            self.folder,
            base_url=base_url,
            port=port,
            clock=self.clock,
            providers=self.providers,
            resolver=self.resolver,
        ) as runtime:
            made = None
            if self.role is Role.SERVE:
                made = await first_start(runtime, self.settings)
            await self._run_parts(runtime, is_usable, Started(base_url, runtime, made), ready)

    async def _run_parts(
        self,
        runtime: Runtime,
        is_usable: bool,
        started: Started,
        ready: Callable[[Started], None],
    ) -> None:
        stops: list[Callable[[], None]] = []
        async with _one_failure(), asyncio.TaskGroup() as group:
            background = [group.create_task(self._background(runtime, is_usable))]
            if self.role is not Role.API:
                worker = create_worker(runtime)
                stops.append(worker.stop)
                group.create_task(worker.run(sole_owner=runtime.is_alone))
            if self.listener is not None:
                app = create_app(runtime)
                server = _Server(app, self._protocol(started.base_url), lambda: ready(started))
                # Those who wait for something are answered, or the server would wait for them.
                stops += [server.stop, runtime.stopping]
                group.create_task(server.serve(sockets=[self.listener]))
                group.create_task(self._load(app, server))
            else:
                ready(started)
                self._settle()
            if self.role is not Role.API and runtime.finisher.signs:
                background.append(group.create_task(self._warm(runtime)))
            await self._stop.wait()
            for stop in stops:
                stop()
            for task in background:
                task.cancel()

    def _protocol(self, base_url: str) -> type[HttpProtocol]:
        """Return how HTTP is spoken: for the names that the settings imply or list."""
        own = [urlsplit(url).hostname or "" for url in (base_url, self.settings.local_url())]
        settings = self.settings
        return protocol_of(
            Hosts([*own, settings.host], settings.server.hosts),
            Peers(settings.server.connections_per_address, settings.server.uncapped),
        )

    async def _background(self, runtime: Runtime, is_usable: bool) -> None:
        if not is_usable:
            await self._wait_for_store()
        async with asyncio.TaskGroup() as group:
            group.create_task(runtime.bell.run(lambda news: runtime.elsewhere[news]()))
            if self.role is Role.API:
                # Where there is a worker, it is one of its chores.
                group.create_task(_write_uses(runtime))

    async def _warm(self, runtime: Runtime) -> None:
        """Start what finishes pictures when the start is over: the first one need not wait."""
        await self._settled.wait()
        await runtime.finisher.warm()

    async def _try_store(self) -> bool:
        """Whether the database can be used now; False when its server does not answer yet."""
        try:
            await self._check_store()
        except migrations.DatabaseUnreachable as error:
            log.warning("waiting for the database", cause=str(error))
            return False
        return True

    async def _wait_for_store(self) -> None:
        waited = 0
        while not self._stop.is_set():
            waited += 1
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_STORE_POLL_SECONDS):
                    await self._stop.wait()
            try:
                await self._check_store()
            except migrations.DatabaseUnreachable as error:
                if waited % _TELL_AGAIN == 0:
                    log.warning("still waiting for the database", cause=str(error))
            else:
                log.info("the database answers")
                return

    async def _check_store(self) -> None:
        check = migrate if self.role is Role.SERVE else require_usable
        await asyncio.to_thread(check, self.settings, self.folder)

    async def _load(self, app: App, server: _Server) -> None:
        await server.listening.wait()
        await app.load()
        self._settle()

    def _settle(self) -> None:
        self._settled.set()
        if self.loaded is not None:
            self.loaded()


async def _write_uses(runtime: Runtime) -> None:
    """Write down now and then when keys were last used."""
    while True:
        await asyncio.sleep(_USES_SECONDS)
        # What is not written now is written the next time.
        with contextlib.suppress(Unavailable):
            await runtime.authenticator.write_uses()


@contextlib.asynccontextmanager
async def _one_failure() -> AsyncIterator[None]:
    """Raise what ended a part by itself, where the group would wrap it."""
    try:
        yield
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None


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

    def __init__(
        self, app: ASGIApp, protocol: type[HttpProtocol], ready: Callable[[], None]
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=protocol,
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

    def stop(self) -> None:
        """Take no new connections, and end when the requests that are here are answered."""
        self.should_exit = True

    @override
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()
        self.listening.set()

    @override
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
