"""Ketchup without HTTP, in the roles that its commands have.

python -m bench.own both SETUP      what `ketchup serve` does, in one process
python -m bench.own submit SETUP    what `ketchup api` does
python -m bench.own work SETUP      what `ketchup worker` does
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import Iterator
from typing import Final

from bench.books import PLAN
from bench.engine import Engine
from bench.orders import Setup, Submit, setup_from_arguments, take_orders, until_told_to_stop
from bench.prepare import settings_for
from bench.rows import MODEL, PROMPT
from ketchup import bootstrap, ids, telemetry
from ketchup.bootstrap import Runtime
from ketchup.config import Settings
from ketchup.engines import STUDIO
from ketchup.generation import Accepted, GenerationRequest
from ketchup.ids import KeyId, WorkspaceId
from ketchup.service import Role, Service, Started, bind, event_loop_runner, settle_memory
from ketchup.tasks import Options
from ketchup.workspaces import Caller, Environment

ROLES: Final = {"both": Role.SERVE, "submit": Role.API, "work": Role.WORKER}


def bring_up_to_date(setup: Setup) -> None:
    """Make the tables and the secrets, as `ketchup migrate` does."""
    settings = _settings(setup)
    with bootstrap.open_folder(settings) as folder:
        bootstrap.migrate(settings, folder)


async def serve(setup: Setup) -> None:
    """Serve until SIGTERM."""
    with bind("127.0.0.1", 0) as listener, _service(Role.SERVE, setup, listener) as service:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, service.stop)
        await service.run(lambda started: print(f"ready at {started.base_url}", flush=True))


async def fulfil_orders(role: Role, setup: Setup) -> None:
    """Do what is ordered until there are no more orders, or work until told to stop."""
    started: asyncio.Future[Started] = asyncio.get_running_loop().create_future()
    with _service(role, setup, None) as service:
        async with asyncio.TaskGroup() as group:
            group.create_task(service.run(started.set_result))
            runtime = (await started).runtime
            if role is Role.WORKER:
                await until_told_to_stop()
            else:
                await take_orders(submitter(runtime))
            service.stop()


@contextlib.contextmanager
def _service(role: Role, setup: Setup, listener: socket.socket | None) -> Iterator[Service]:
    settings = _settings(setup)
    telemetry.configure(settings.log.level, settings.log.format)
    engines = {STUDIO: Engine(setup.starts, setup.engine_seconds)}
    with bootstrap.open_folder(settings) as folder:
        yield Service(settings, folder, listener, engines, loaded=settle_memory, role=role)


def submitter(runtime: Runtime) -> Submit:
    """Return what hands a task in, behind everything that HTTP would add."""
    model = runtime.catalog.find(MODEL)
    assert model is not None
    request_ids = ids.RequestIds()
    callers: dict[str, Caller] = {}

    async def submit(workspace_id: str) -> str:
        caller = callers.setdefault(workspace_id, _caller(workspace_id))
        request = GenerationRequest(
            caller=caller,
            request_id=request_ids.mint(),
            model=model,
            prompt=PROMPT,
            images=(),
            callback_url=None,
            options=Options(),
        )
        decision = await runtime.submitter.submit(request)
        assert isinstance(decision, Accepted), decision
        return decision.task_id

    return submit


def _settings(setup: Setup) -> Settings:
    return settings_for(
        setup.data,
        database=setup.postgres,
        concurrency=setup.at_once,
        lease_seconds=setup.lease_seconds,
    )


def _caller(workspace_id: str) -> Caller:
    return Caller(
        workspace_id=WorkspaceId(workspace_id),
        key_id=KeyId("key_of_the_bench"),
        plan=PLAN,
        environment=Environment.LIVE,
        scopes=None,
        models=None,
        expires_at=None,
    )


if __name__ == "__main__":
    with event_loop_runner() as runner:
        _, role, _ = sys.argv
        given = setup_from_arguments()
        runner.run(serve(given) if role == "serve" else fulfil_orders(ROLES[role], given))
