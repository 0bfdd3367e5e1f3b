"""Ketchup without HTTP, in the roles that its commands have.

python -m bench.own both SETUP      what `ketchup serve` does, in one process
python -m bench.own submit SETUP    what `ketchup api` does
python -m bench.own work SETUP      what `ketchup worker` does
"""

from __future__ import annotations

import asyncio
import sys
from typing import Final

from bench.books import PLAN
from bench.engine import Engine
from bench.orders import Setup, Submit, setup_from_arguments, take_orders, until_told_to_stop
from bench.prepare import settings_for
from bench.rows import MODEL, PROMPT
from ketchup import bootstrap, ids, telemetry
from ketchup.bootstrap import STUDIO, Runtime
from ketchup.config import Settings
from ketchup.generation import Accepted, GenerationRequest
from ketchup.ids import KeyId, WorkspaceId
from ketchup.service import Role, Service, Started, event_loop_runner, settle_memory
from ketchup.tasks import Options
from ketchup.workspaces import Caller, Environment

ROLES: Final = {"both": Role.SERVE, "submit": Role.API, "work": Role.WORKER}


def bring_up_to_date(setup: Setup) -> None:
    """Make the tables and the secrets, as `ketchup migrate` does."""
    settings = _settings(setup)
    with bootstrap.open_folder(settings) as folder:
        bootstrap.migrate(settings, folder)


async def main(role: Role, setup: Setup) -> None:
    """Do what is ordered until there are no more orders, or work until told to stop."""
    settings = _settings(setup)
    telemetry.configure(settings.log.level, settings.log.format)
    engines = {STUDIO: Engine(setup.starts, setup.engine_seconds)}
    started: asyncio.Future[Started] = asyncio.get_running_loop().create_future()
    with bootstrap.open_folder(settings) as folder:
        service = Service(settings, folder, None, engines, loaded=settle_memory, role=role)
        async with asyncio.TaskGroup() as group:
            group.create_task(service.run(started.set_result))
            runtime = (await started).runtime
            if role is Role.WORKER:
                await until_told_to_stop()
            else:
                await take_orders(submitter(runtime))
            service.stop()


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
        runner.run(main(ROLES[sys.argv[1]], setup_from_arguments()))
