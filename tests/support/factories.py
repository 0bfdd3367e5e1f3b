"""Rows and requests with every field filled in; a test names only what it is about."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any, Final

from sqlalchemy import Connection

from ketchup import credits, ids, leases, tasks, workspaces
from ketchup.clock import FrozenClock, Micros
from ketchup.generation import Ending, GenerationRequest
from ketchup.ids import KeyId, RequestId, TaskId, WorkerId, WorkspaceId
from ketchup.money import MICRO, Credits
from ketchup.providers.base import AspectRatio, ImageSize
from ketchup.providers.catalog import Model, ResultForm
from ketchup.references import UrlReference
from ketchup.tasks import UNLIMITED, Allowance, End, Lease, NewTask, Options, Priority
from ketchup.workspaces import Caller, Environment, Pepper, Plan, Plans, Vault, Workspace

NOW: Final = FrozenClock().now()
PEPPER: Final = Pepper(b"pepper for tests, 32 bytes long!")
VAULT: Final = Vault(PEPPER)
PRICE: Final = Credits(MICRO // 2)
WORKER: Final = WorkerId("wrk_one")
OTHER_WORKER: Final = WorkerId("wrk_two")

MODEL: Final = Model(
    id="google/gempix2",
    title="Nano Banana image generation model",
    price=PRICE,
    aliases=(),
    max_reference_images=4,
    aspect_ratios=frozenset(AspectRatio),
    image_sizes=frozenset(ImageSize),
    max_count=8,
    result_form=ResultForm.URL,
    provider="studio",
)


def plan_of(name: str, **changes: Any) -> Plan:  # noqa: ANN401 any field
    """Return a plan without limits."""
    plan = Plan(
        name=name,
        title=name.title(),
        price=Credits(0),
        submits_per_minute=0,
        submit_burst=10,
        concurrency=0,
        depth=0,
        weight=1,
        retention_days=30,
    )
    return replace(plan, **changes)


PLANS: Final = Plans([plan_of("free", retention_days=7), plan_of("scale")], "free")


def new_workspace(
    conn: Connection, *, grant: int = 100 * MICRO, name: str = "acme", plan: str = "scale"
) -> Workspace:
    """Create a workspace that owns `grant` micro-credits."""
    workspace = workspaces.create(conn, name, plan, NOW)
    if grant:
        credits.grant(conn, workspace.id, Credits(grant), "a test's", NOW)
    return workspace


def caller_of(workspace_id: WorkspaceId) -> Caller:
    return Caller(
        workspace_id, KeyId("key_one"), Environment.LIVE, None, None, expires_at=None, plan="scale"
    )


def request_of(
    workspace_id: WorkspaceId,
    *,
    prompt: str = "a lighthouse",
    idempotency_key: str | None = None,
    options: Options | None = None,
    images: tuple[UrlReference, ...] = (),
    callback_url: str | None = None,
    model: Model = MODEL,
    priority: Priority = Priority.NORMAL,
) -> GenerationRequest:
    return GenerationRequest(
        caller=caller_of(workspace_id),
        request_id=RequestId("req_one"),
        model=model,
        prompt=prompt,
        images=images,
        callback_url=callback_url,
        options=options or Options(),
        idempotency_key=idempotency_key,
        priority=priority,
    )


# Ids sort by age to the millisecond.
_MILLISECONDS: Final = itertools.count()


def new_task(workspace_id: WorkspaceId, **changes: Any) -> NewTask:  # noqa: ANN401 any field
    """Return a task that is younger than all before it."""
    task = NewTask(
        id=ids.task_id(NOW + 1000 * next(_MILLISECONDS)),
        workspace_id=workspace_id,
        key_id=KeyId("key_one"),
        request_id=RequestId("req_one"),
        model=MODEL.id,
        prompt="a lighthouse",
        images=(),
        callback_url=None,
        options=Options(),
        price=PRICE,
    )
    return replace(task, **changes)


def enqueue(
    conn: Connection,
    workspace_id: WorkspaceId,
    count: int = 1,
    *,
    allowance: Allowance = UNLIMITED,
    **changes: Any,  # noqa: ANN401 the fields of NewTask
) -> list[TaskId]:
    """Let tasks in with their turns, without credits: for tests of the queue alone."""
    new = [new_task(workspace_id, **changes) for _ in range(count)]
    turns = tasks.lock_turns(conn, [workspace_id])
    tasks.enqueue(conn, turns, [(task, allowance) for task in new], NOW)
    return [task.id for task in new]


def register(conn: Connection, *workers: WorkerId, now: Micros = NOW) -> None:
    """Enter these workers, unless they are."""
    for worker in workers:
        if not leases.lock_alive(conn, worker):
            leases.register(conn, worker, now)


def claim(conn: Connection, worker: WorkerId, limit: int, now: Micros) -> list[Lease]:
    """Claim for a worker that lives: it is entered first."""
    register(conn, worker, now=now)
    return tasks.claim(conn, worker, limit, now)


def claim_one(conn: Connection, worker: WorkerId = WORKER, now: Micros = NOW) -> Lease:
    (lease,) = claim(conn, worker, 1, now)
    return lease


def success(lease: Lease) -> End:
    return End(lease.attempt, images=("a.png",), consumed=lease.price, reason=None)


def failure(lease: Lease, reason: str = "The prompt was refused.") -> End:
    return End(lease.attempt, images=None, consumed=Credits(0), reason=reason, detail="why")


def ending(lease: Lease, end: End) -> Ending:
    return Ending(lease, end, callback=None)


def submitted(conn: Connection, workspace: WorkspaceId) -> TaskId:
    """Hold the price of a task that owes a callback, and enqueue it."""
    new = new_task(workspace, callback_url="https://example.com/hook")
    (held,) = credits.hold(conn, [credits.HoldRequest(new.id, workspace, PRICE)], NOW)
    assert isinstance(held, credits.Held)
    tasks.enqueue(conn, tasks.lock_turns(conn, [workspace]), [(new, UNLIMITED)], NOW)
    return new.id
