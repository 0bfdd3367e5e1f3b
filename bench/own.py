"""Ketchup without HTTP: the submitter, the runner and the worker of `ketchup serve`, as processes.

python -m bench.own install SETUP    make the tables
python -m bench.own both SETUP       submit and work in one process, as `serve` does
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator

from bench.engine import Engine
from bench.orders import Setup, Submit, setup_from_arguments, take_orders
from bench.prepare import settings_for
from bench.rows import MODEL, PROMPT
from ketchup import ids, telemetry
from ketchup.bootstrap import STUDIO, Runtime, migrate, open_runtime
from ketchup.clock import SystemClock
from ketchup.data_folder import DataFolder
from ketchup.generation import Accepted, GenerationRequest
from ketchup.ids import KeyId, WorkspaceId
from ketchup.service import event_loop_runner, settle_memory
from ketchup.tasks import Options
from ketchup.worker import create_worker
from ketchup.workspaces import Caller, Environment


async def install(setup: Setup) -> None:
    """Make a data folder with an empty database."""
    with DataFolder.open(setup.data, SystemClock()) as owned:
        owned.secret_key()
        migrate(owned)


async def both(setup: Setup) -> None:
    """Submit what is ordered and work on it, in one process."""
    async with _runtime(setup) as runtime, asyncio.TaskGroup() as group:
        worker = create_worker(runtime)
        group.create_task(worker.run(sole_owner=True))
        settle_memory()
        await take_orders(submitter(runtime))
        worker.stop()


@contextlib.asynccontextmanager
async def _runtime(setup: Setup) -> AsyncIterator[Runtime]:
    settings = settings_for(setup.data, concurrency=setup.at_once)
    telemetry.configure(settings.log.level, settings.log.format)
    engines = {STUDIO: Engine(setup.starts, setup.engine_seconds)}
    with DataFolder.open(setup.data, SystemClock()) as owned:
        async with open_runtime(
            settings, owned, base_url="http://127.0.0.1", providers=engines
        ) as runtime:
            yield runtime


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


def _caller(workspace_id: str) -> Caller:
    return Caller(
        WorkspaceId(workspace_id),
        KeyId("key_of_the_bench"),
        Environment.LIVE,
        scopes=None,
        models=None,
        expires_at=None,
    )


if __name__ == "__main__":
    with event_loop_runner() as runner:
        runner.run({"install": install, "both": both}[sys.argv[1]](setup_from_arguments()))
