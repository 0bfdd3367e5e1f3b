"""Services in processes that are quick to make: for tests that end them hundreds of times.

A zygote is a process that has imported everything and waits. For each order it forks one service,
with the scripted engine, and says when that has ended. To import is nine tenths of a start.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn, TextIO, TypeVar

import ketchup.api
from ketchup.service import event_loop_runner
from tests.support.service import running_service

DEADLINE_SECONDS: Final = 30.0
PUBLIC_URL: Final = "http://ketchup.test"
"""What every one of them calls itself, wherever it listens."""
_SIDE_BY_SIDE: Final = 3
_EVERYTHING: Final = (ketchup.api,)  # what a service loads only behind its start


Case = TypeVar("Case")


@dataclass(frozen=True)
class Ready:
    """What a service says when it can be used."""

    base_url: str
    key: str
    """Of the first start; empty at later ones."""


@dataclass
class Forked:
    """A forked service. It does nothing before `live`."""

    pid: int
    _descriptor: int
    _events: asyncio.StreamReader
    _code: int | None = None

    async def live(self) -> Ready | None:
        """Let it start; return when it is ready, or has ended instead."""
        self.signal(signal.SIGUSR1)
        told = await _told(self._events)
        if "ended" in told:
            self._code = told["ended"]
            return None
        return Ready(**told)

    async def ended(self) -> int:
        """Wait for its end; return its exit code, or minus the signal that ended it."""
        if self._code is None:
            self._code = (await _told(self._events))["ended"]
        return self._code

    async def stop(self) -> int:
        """Ask it to stop in good order, if it still runs, and wait for its end."""
        self.signal(signal.SIGTERM)
        return await self.ended()

    async def kill(self) -> None:
        """Kill -9, if it still runs."""
        self.signal(signal.SIGKILL)
        await self.ended()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if it still runs."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._descriptor, number)


class Zygote:
    """The waiting process, as its test sees it. One service at a time."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @asynccontextmanager
    async def fork(self, data: Path, **settings: object) -> AsyncIterator[Forked]:
        """Fork a service on a data folder; it is killed at the end, if it still runs."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order = {"data": str(data), "settings": {"public_url": PUBLIC_URL, **settings}}
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        pid = (await _told(self._process.stdout))["pid"]
        # A number may be given to another process; what is named by a descriptor stays the same.
        descriptor = os.pidfd_open(pid)
        service = Forked(pid, descriptor, self._process.stdout)
        try:
            yield service
        finally:
            await service.kill()
            os.close(descriptor)


@asynccontextmanager
async def zygote(environ: Mapping[str, str] | None = None) -> AsyncIterator[Zygote]:
    """Start a zygote; `environ` may name other sources than ours."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.zygote"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, **(environ or {})},
    )
    try:
        yield Zygote(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        async with asyncio.timeout(DEADLINE_SECONDS):
            await process.wait()


async def side_by_side(
    cases: Sequence[Case], folder: Path, judge: Callable[[Zygote, Path, Case], Awaitable[None]]
) -> None:
    """Judge every case, a few at a time: one alone mostly waits. Each gets a folder to itself."""
    left = list(reversed(cases))

    async def go_through(number: int) -> None:
        async with zygote() as forks:
            while left:
                case = left.pop()
                try:
                    await judge(forks, folder / str(number), case)
                except Exception as error:
                    error.add_note(f"at {case}")
                    raise

    await asyncio.gather(*(go_through(number) for number in range(_SIDE_BY_SIDE)))


async def _told(events: asyncio.StreamReader) -> dict[str, Any]:
    async with asyncio.timeout(DEADLINE_SECONDS):
        line = await events.readline()
    assert line, "the zygote is gone"
    told: dict[str, Any] = json.loads(line)
    return told


# -- inside the zygote's process -------------------------------------------------------------------


def _main() -> None:
    # Whatever a service prints goes to its log: standard output is for what its test must know.
    events = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    # A child waits for it, from before it is born: it cannot come too early.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    while line := sys.stdin.readline():
        child = os.fork()
        if child == 0:
            _live(json.loads(line), events)
        _tell(events, pid=child)
        _, status = os.waitpid(child, 0)
        _tell(events, ended=os.waitstatus_to_exitcode(status))


def _live(order: Mapping[str, Any], events: TextIO) -> NoReturn:
    data = Path(order["data"])
    log = os.open(data.parent / f"{data.name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, sys.stdout.fileno())
    os.dup2(log, sys.stderr.fileno())
    signal.sigwait([signal.SIGUSR1])
    try:
        with event_loop_runner() as runner:
            runner.run(_serve(data, order["settings"], events))
    except BaseException as error:  # noqa: BLE001 the parent's stack must not go on in the child
        sys.stderr.write(f"{error!r}\n")
        os._exit(1)
    os._exit(0)


async def _serve(data: Path, settings: Mapping[str, object], events: TextIO) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with running_service(data, settings=settings) as service:
        _tell(events, base_url=service.base_url, key=service.key)
        await stop.wait()


def _tell(events: TextIO, **fact: object) -> None:
    events.write(json.dumps(fact) + "\n")
    events.flush()


if __name__ == "__main__":
    _main()
