"""Children: confined processes that work on strangers' bytes, one job at a time each.

A child lives for many jobs. It starts when it is first needed, it is killed when a job takes too
long, and one that dies is replaced: a hostile image costs its own job, and nobody else's. What a
child answers is to be checked as if it had been taken over.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Final, TypeVar

from ketchup import telemetry
from ketchup.confined.rights import UNFILTERED
from ketchup.errors import Unavailable

T = TypeVar("T")

log = telemetry.logger(__name__)

_START_SECONDS: Final = 30.0
_END_SECONDS: Final = 2.0


@cache
def _tell_once() -> None:
    """Tell the operator what the system does not give. Once: it is the same for every child."""
    log.error(
        "CHILDREN THAT DECODE PICTURES ARE NOT FULLY CONFINED: no system call is refused to them",
        detail="this kernel has no filter of system calls (seccomp) that Ketchup knows: run it on "
        "Linux on x86_64 or aarch64; until then, code that takes a child over has the rights of "
        "the service's own user, but for opening files and sockets",
    )


class ChildLost(Exception):
    """The child died, hung or answered nonsense; it is gone. `str(error)` is for the log."""


class ChildSpent(ChildLost):
    """The child used up the CPU time of a job. Another would do so too."""


class Child:
    """One confined process, and how many jobs it was given."""

    def __init__(self, process: Process) -> None:
        assert process.stdin is not None  # noqa: S101 for the type checker: both are pipes
        assert process.stdout is not None  # noqa: S101 as above
        self._process = process
        self._requests = process.stdin
        self._answers = process.stdout
        self.jobs = 0

    @property
    def pid(self) -> int:
        """The system's name for it."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it has not ended, as far as is known."""
        return self._process.returncode is None

    @property
    def spent(self) -> bool:
        """Whether it was ended for using more CPU time than it had; known when it has ended."""
        return self._process.returncode == -signal.SIGXCPU

    async def ready(self) -> None:
        """Wait until the child has given up its rights. Nothing is sent to it before."""
        async with asyncio.timeout(_START_SECONDS):
            if await self.receive(1) == UNFILTERED:
                _tell_once()

    async def send(self, *parts: bytes) -> None:
        """Write to the child, as fast as it reads."""
        for part in parts:
            self._requests.write(part)
        await self._requests.drain()

    async def receive(self, length: int) -> bytes:
        """Return exactly that many bytes. Raises EOFError when the child ends before."""
        return await self._answers.readexactly(length)

    async def end(self) -> None:
        """Let the child go: without input it exits. One that does not is killed."""
        self._requests.close()
        try:
            async with asyncio.timeout(_END_SECONDS):
                await self._process.wait()
        except TimeoutError:
            await self.kill()

    async def kill(self) -> None:
        """End the child whatever it does."""
        with suppress(ProcessLookupError):
            self._process.kill()
        self._requests.close()
        await self._process.wait()


class Children:
    """At most `processes` children of one script. Safe for concurrent use."""

    def __init__(
        self,
        script: Path,
        *,
        processes: int,
        jobs_per_process: int,
        memory_bytes: int,
        cpu_seconds: int,
        arguments: Sequence[str] = (),
    ) -> None:
        self._slots = asyncio.Semaphore(processes)
        self._idle: list[Child] = []
        self._command = (str(script), str(memory_bytes), str(cpu_seconds), *arguments)
        self._jobs_per_process = jobs_per_process
        self._closed = False

    async def run(
        self,
        job: Callable[[Child], Awaitable[T]],
        *,
        seconds: float,
        answers: tuple[type[Exception], ...] = (),
    ) -> T:
        """Lend a child to a job. What is among `answers` was said by a child that is well.

        Raises ChildLost, or Unavailable when no child can be started.
        """
        async with self._slots:
            child = await self._take()
            try:
                async with asyncio.timeout(seconds):
                    done = await job(child)
            except answers:
                await self._put_back(child)
                raise
            except TimeoutError as error:
                await child.kill()
                raise ChildLost("took too long") from error
            except (EOFError, OSError) as error:
                await child.end()
                if child.spent:
                    raise ChildSpent("used up its time") from error
                raise ChildLost(repr(error)) from error
            except BaseException:
                # Cancelled half-way: an answer would come that nobody asked for.
                await asyncio.shield(child.kill())
                raise
            await self._put_back(child)
            return done

    async def warm(self) -> None:
        """Start a child ahead of the first job, unless there is one. Raises Unavailable."""
        async with self._slots:
            if not self._idle and not self._closed:
                await self._put_back(await _start(self._command))

    async def close(self) -> None:
        """End the idle children. May be called twice; a job under way ends its child itself."""
        self._closed = True
        while self._idle:
            await self._idle.pop().end()

    async def _take(self) -> Child:
        """Return an idle child that still lives, or a new one.

        One that the system ended while it was idle must not cost the next customer a task.
        """
        while self._idle:
            child = self._idle.pop()
            if child.alive:
                child.jobs += 1
                return child
            await child.end()
        child = await _start(self._command)
        child.jobs += 1
        return child

    async def _put_back(self, child: Child) -> None:
        if child.jobs < self._jobs_per_process and not self._closed:
            self._idle.append(child)
        else:
            await child.end()


async def _start(command: tuple[str, ...]) -> Child:
    """Start a child and wait until it is confined. Raises Unavailable."""
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",  # neither the environment nor the working directory decides what is imported
            *command,
            stdin=PIPE,
            stdout=PIPE,
            stderr=DEVNULL,
            env={},
            cwd="/",
            # Ctrl-C at the terminal is for the server, which ends its tasks first.
            start_new_session=True,
        )
    except OSError as error:
        raise Unavailable("images cannot be decoded now") from error
    child = Child(process)
    try:
        await child.ready()
    except (TimeoutError, EOFError, OSError) as error:
        await child.end()
        raise Unavailable("images cannot be decoded now") from error
    except BaseException:
        await asyncio.shield(child.kill())
        raise
    return child
