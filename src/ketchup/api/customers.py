"""The customers' API: their models, and their tasks as they look back at them.

Tasks are created by the contract's own endpoint. Every question names the caller's workspace: what
belongs to another is as absent as what never was.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Final

from fastapi import APIRouter, Path, Query, Request, Response, Security

from ketchup import db, generation, tasks
from ketchup.api.dependencies import ApiDependencies, Dependencies
from ketchup.api.keys import (
    AnyCaller,
    CustomerRoute,
    TaskReader,
    TaskWriter,
    documented_scheme,
    tell_limit,
)
from ketchup.api.problems import DOCUMENTED, documented
from ketchup.api.shapes import TaskFilter
from ketchup.api.views import ModelList, ModelView, TaskDetail, TaskPage
from ketchup.db import Connection
from ketchup.errors import Forbidden, Gone, NotFound
from ketchup.ids import could_be_an_id, task_id_floor
from ketchup.tasks import History, Summary, Wanted
from ketchup.workspaces import Caller, Environment

routes: Final = APIRouter(
    prefix="/v1",
    route_class=CustomerRoute,
    dependencies=[Security(documented_scheme)],
    responses=DOCUMENTED,
)

ABSENT: Final = {HTTPStatus.NOT_FOUND: "No such task in this workspace."}
UNSEEN: Final = {**ABSENT, HTTPStatus.GONE: "The task was deleted."}

TaskIdIn = Annotated[str, Path(description="The id that creating the task answered with.")]


@routes.get("/models", tags=["models"])
async def list_models(caller: AnyCaller, api: Dependencies) -> ModelList:
    """List the models that the key may use, with their prices and limits."""
    return ModelList(items=[ModelView.of(m) for m in api.catalog if caller.may_use(m.id)])


@routes.get("/tasks", tags=["tasks"])
async def list_tasks(
    asked: Annotated[TaskFilter, Query()], caller: TaskReader, api: Dependencies
) -> TaskPage:
    """List the workspace's tasks, newest first.

    A filter that leaves much out can end a page early: go on as long as `next` is not null.
    """
    wanted = _wanted(asked, api)

    def work(conn: Connection) -> TaskPage:
        return TaskPage.of(tasks.list_page(conn, caller.workspace_id, wanted))

    return await api.database.read(work)


@routes.get(
    "/tasks/{task_id}",
    tags=["tasks"],
    responses=documented(
        {**UNSEEN, HTTPStatus.TOO_MANY_REQUESTS: "Asked too often, or too many wait already."}
    ),
)
async def get_task(
    task_id: TaskIdIn,
    caller: TaskReader,
    api: Dependencies,
    request: Request,
    wait: Annotated[int, Query(ge=0, le=30, description="Seconds to wait for its end.")] = 0,
) -> TaskDetail:
    """Show a task with what was asked for, its attempts, its cost and its images.

    With `wait` it answers as soon as the task has ended, and as it is when the time is over. 429
    says that the workspace has too many that wait already, 503 that all together have: ask without.
    """
    checked(task_id)
    if api.check_pace is not None:
        tell_limit(request, api.check_pace((caller.key_id, task_id)))

    if wait:
        await _wait(caller, api, request, task_id, wait)
    found = await api.database.read(
        lambda conn: tasks.find_history(conn, caller.workspace_id, task_id)
    )
    return await _shown(caller, api, found)


@routes.post(
    "/tasks/{task_id}/cancel",
    tags=["tasks"],
    response_description="It has ended.",
    responses={
        HTTPStatus.ACCEPTED.value: {
            "description": "An engine that charges has it: it ends when that has answered.",
            "model": TaskDetail,
        },
        **documented({**ABSENT, HTTPStatus.CONFLICT: "It has ended already."}),
    },
)
async def cancel_task(
    task_id: TaskIdIn, caller: TaskWriter, api: Dependencies, response: Response
) -> TaskDetail:
    """End a task before its images are there. It costs nothing, and its callback says so.

    While an engine renders it that charges for it, the answer is 202 and `cancel_requested_at` is
    set: images that come are delivered and cost their price, and it is never sent anywhere again.
    The same again is no error. A task that has ended answers 409: of cancel and its end, one
    counts.
    """
    await check_may_change(caller, api, checked(task_id))

    def work(conn: Connection) -> History | None:
        generation.cancel(conn, caller.workspace_id, task_id, db.now(conn, api.clock))
        return tasks.find_history(conn, caller.workspace_id, task_id)

    found = await api.database.write(work)
    api.ended()
    api.due()
    await api.eraser.delete_references(task_id)
    shown = await _shown(caller, api, found)
    if shown.finished_at is None:
        response.status_code = HTTPStatus.ACCEPTED
    return shown


@routes.delete(
    "/tasks/{task_id}",
    tags=["tasks"],
    status_code=HTTPStatus.NO_CONTENT,
    responses=documented({**ABSENT, HTTPStatus.CONFLICT: "It has not ended."}),
)
async def delete_task(task_id: TaskIdIn, caller: TaskWriter, api: Dependencies) -> None:
    """Delete a task that has ended, with its prompt, its images and its references, for good.

    What it cost stays in the books. One that has not ended answers 409; the same again is no error.
    503 says that it is gone, but an image may be there for a while: send it again.
    """
    await check_may_change(caller, api, checked(task_id))
    await api.eraser.erase(caller.workspace_id, task_id)


async def check_may_change(caller: Caller, api: ApiDependencies, task_id: str) -> None:
    """Raise Forbidden when a key for tests would change a live task.

    Such keys lie in test suites and their logs: what was paid for must not go with one that leaks.
    """
    if caller.environment is not Environment.TEST:
        return
    found = await api.look_at((caller.workspace_id, task_id))
    if found is not None and found.environment != Environment.TEST:
        raise Forbidden("a test key cannot change a live task")


async def _wait(
    caller: Caller, api: ApiDependencies, request: Request, task_id: str, seconds: int
) -> None:
    """Wait for a task's end. What has ended needs no place."""

    async def look() -> Summary | None:
        return await api.look_at((caller.workspace_id, task_id))

    if _is_settled(await look()):
        return
    with api.waits.place(caller.workspace_id):
        await api.waiters.until(look, _is_settled, request.is_disconnected, seconds)


def _is_settled(found: Summary | None) -> bool:
    """Whether waiting longer would show nothing else."""
    return found is None or found.finished_at is not None


async def _shown(caller: Caller, api: ApiDependencies, found: History | None) -> TaskDetail:
    if found is None:
        raise NotFound(NO_TASK)
    if found.summary.is_deleted:
        raise Gone("the task was deleted")
    keys = found.images
    # Outside of the transaction: some models show the image itself, which is read from the store.
    shown = None if keys is None else await api.results.show(found.summary.model, keys)
    kept_seconds = api.plans.find(caller.plan).retention_seconds
    return TaskDetail.showing(found, shown, generation.expires_at(keys or (), kept_seconds))


def _wanted(asked: TaskFilter, api: ApiDependencies) -> Wanted:
    now = api.clock.now()
    ends = [] if asked.created_before is None else [task_id_floor(asked.created_before, now)]
    if asked.before is not None:
        ends.append(checked(asked.before))
    known = None if asked.model is None else api.catalog.find(asked.model)
    return Wanted(
        limit=asked.limit,
        before=min(ends, default=None),
        since=None if asked.created_from is None else task_id_floor(asked.created_from, now),
        status=asked.status,
        # One that is not offered any more still names its tasks.
        model=asked.model if known is None else known.id,
    )


NO_TASK: Final = "task not found"


def checked(task_id: str) -> str:
    """Return what could be a task's id. Raises NotFound."""
    if not could_be_an_id(task_id):
        raise NotFound(NO_TASK)
    return task_id
