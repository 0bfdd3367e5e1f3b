"""Piped: a process that an engine draws in, and the frames that go to and fro.

They are plain subprocesses that speak over pipes, not `multiprocessing` children: those import the
program's main module again, here the whole server, and need a watchdog to die with it. Each frame
is four bytes of length, then its body. What a body means is the engine's own.

A process holds no secret, for it is given an environment of its own. It ends when its input does,
so it cannot outlive a server that was killed: the kernel closes the pipe for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import struct
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import BinaryIO, Final

from ketchup.providers.base import Unavailable

_LENGTH: Final = struct.Struct(">I")
_NICENESS: Final = 5
_PACKAGE_ROOT: Final = Path(__file__).resolve().parents[2]
# What an interpreter needs to start, and nothing that may hold a secret.
_KEPT_VARIABLES: Final = ("PATH", "LANG", "LC_ALL", "SYSTEMROOT", "TMPDIR", "VIRTUAL_ENV")


class Child:
    """One process, as the server sees it. `name` is how errors call it: `the studio's process`."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        if process.stdin is None or process.stdout is None:
            raise RuntimeError(f"{name} was started without pipes")
        self._name = name
        self._process = process
        self._input = process.stdin
        self._output = process.stdout

    @classmethod
    async def start(
        cls,
        name: str,
        module: str,
        *,
        keep: Iterable[str] = (),
        add: Mapping[str, str] | None = None,
    ) -> Child:
        """Start a module of ours. `keep` names more variables that it may see, `add` sets some.

        Raises Unavailable.
        """
        kept = {key: os.environ[key] for key in (*_KEPT_VARIABLES, *keep) if key in os.environ}
        environment = {**kept, **(add or {}), "PYTHONPATH": str(_PACKAGE_ROOT)}
        try:
            process = await asyncio.create_subprocess_exec(
                # -P: a module in the working directory must not stand in for one of ours.
                sys.executable, "-P", "-m", module,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, env=environment,
            )  # fmt: skip
        except OSError as error:
            raise Unavailable(f"No process: {name}: {error}") from error
        return cls(name, process)

    @property
    def alive(self) -> bool:
        """Whether it has not ended, as far as is known."""
        # Its pipe closes at once; that the process was reaped is heard of later.
        return self._process.returncode is None and not self._output.at_eof()

    @property
    def pid(self) -> int:
        """The system's name for it."""
        return self._process.pid

    async def send(self, body: bytes) -> None:
        """Write a frame, as fast as it is read. Raises Unavailable when the process is gone."""
        try:
            self._input.write(_LENGTH.pack(len(body)) + body)
            await self._input.drain()
        except OSError as error:
            raise self._died() from error

    async def receive(self) -> bytes:
        """Return the body of the next frame. Raises Unavailable when the process is gone."""
        try:
            (length,) = _LENGTH.unpack(await self._output.readexactly(_LENGTH.size))
            return await self._output.readexactly(length)
        except (OSError, asyncio.IncompleteReadError) as error:
            raise self._died() from error

    def kill(self) -> None:
        """End it whatever it does; who waits for an answer is told."""
        if self._process.returncode is None:
            # It may end by itself between the two lines.
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def stop(self) -> None:
        """End it whatever it does, and wait until it is gone."""
        self.kill()
        self._input.close()
        await self._process.wait()

    def _died(self) -> Unavailable:
        return Unavailable(f"{self._name} died while it rendered.".capitalize())


def take_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Make this process the server's child, and return what it reads from and writes to."""
    # Ctrl+C reaches the whole process group, and a supervisor's stop every process of the service;
    # the server decides when its renderers stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # Pictures wait for the API and never the other way round.
    os.nice(_NICENESS)
    output = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    # A library that prints must not break the protocol.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return sys.stdin.buffer, output


def read(source: BinaryIO) -> bytes | None:
    """Return the body of the next frame, or None at the end of the input."""
    head = source.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    body = source.read(length)
    return body if len(body) == length else None


def write(sink: BinaryIO, body: bytes) -> None:
    """Write a frame. Raises BrokenPipeError when the server is gone."""
    sink.write(_LENGTH.pack(len(body)) + body)
    sink.flush()
