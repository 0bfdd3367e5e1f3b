"""What a producer process is told on standard input, a line each, and what it answers.

Every contestant of the queue's parts has a producer: it submits one task per call, as the handler
of a request would, with as many calls under way as the order says. The answer to an order is a
receipt: every task that was acknowledged, and the moment at which its submit began.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import msgspec

Submit = Callable[[str], Awaitable[str]]
"""Submits a task for a workspace and returns its id when it is durable."""


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """Where a contestant's processes find everything; their second argument, as JSON."""

    folder: str
    """The data folder: pictures go there, and Ketchup's own files."""
    postgres: str | None = None
    redis: int | None = None
    """The port of a Redis on this machine."""
    engine_seconds: float = 0.0
    at_once: int = 64
    """How many tasks may be in the engine."""
    lease_seconds: float = 15.0
    """How long a worker may be silent."""

    @property
    def data(self) -> Path:
        """The data folder, as a path."""
        return Path(self.folder)

    @property
    def starts(self) -> Path:
        """The file that `engine` keeps."""
        return self.data / "starts"


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """Tasks to submit, for the workspaces in turn."""

    tasks: int
    workspaces: list[str]
    at_once: int = 64
    per_second: float | None = None
    """None is as fast as it goes; otherwise `at_once` does not count."""


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an order."""

    submitted: dict[str, int]
    """The moment at which each task's submit began, in nanoseconds of the monotonic clock."""


async def take_orders(submit: Submit) -> None:
    """Say that we are ready, and fulfil orders until there are no more."""
    tell_ready()
    while line := await asyncio.to_thread(sys.stdin.buffer.readline):
        receipt = await fulfil(msgspec.json.decode(line, type=Order), submit)
        sys.stdout.buffer.write(msgspec.json.encode(receipt) + b"\n")
        sys.stdout.buffer.flush()


async def fulfil(order: Order, submit: Submit) -> Receipt:
    """Submit what is ordered, and return the receipt when all of it is durable."""
    submitted: dict[str, int] = {}

    async def one(workspace_id: str) -> None:
        began = time.monotonic_ns()
        submitted[await submit(workspace_id)] = began

    workspaces = itertools.islice(itertools.cycle(order.workspaces), order.tasks)
    if order.per_second is None:
        await asyncio.gather(*(_each(workspaces, one) for _ in range(order.at_once)))
    else:
        await _paced(workspaces, one, 1 / order.per_second)
    return Receipt(submitted=submitted)


async def until_told_to_stop() -> None:
    """Say that a worker is ready, and wait for the end of its standard input."""
    tell_ready()
    await asyncio.to_thread(sys.stdin.buffer.read)


def tell_ready() -> None:
    """Say that this process does its work from now on."""
    print("ready", flush=True)


def setup_from_arguments() -> Setup:
    """Read the setup that this process was started with."""
    return msgspec.json.decode(sys.argv[2], type=Setup)


async def _each(workspaces: Iterator[str], one: Callable[[str], Awaitable[None]]) -> None:
    for workspace_id in workspaces:
        await one(workspace_id)


async def _paced(
    workspaces: Iterator[str], one: Callable[[str], Awaitable[None]], interval: float
) -> None:
    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for n, workspace_id in enumerate(workspaces):
            await asyncio.sleep(began + n * interval - time.monotonic())
            group.create_task(_awaited(one(workspace_id)))


async def _awaited(call: Awaitable[None]) -> None:
    await call
