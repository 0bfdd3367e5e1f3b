"""strace, as a way to make the system calls of a running process fail, and to see their order.

    async with traced(pid, "-e", "inject=fdatasync:error=EIO:when=3"):
        ...the third fdatasync of each of the process's threads fails...

`when` counts for each thread by itself. A thread that a signal is injected into dies *before* its
call is made. At the end of the block the process runs on, without faults.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Final

import pytest

ATTACH_SECONDS: Final = 10.0
_CALL: Final = re.compile(r"(?m)^(\d+) +(\w+)\(")


def require_strace() -> None:
    """Skip the test where system calls cannot be traced, and say why."""
    if reason := _reason_against():
        pytest.skip(reason)


@cache
def _reason_against() -> str | None:
    if shutil.which("strace") is None:
        return "needs strace"
    tried = subprocess.run(
        ["strace", "-f", "-o", "/dev/null", "true"],  # noqa: S607 where it lies is the system's affair
        capture_output=True,
        timeout=ATTACH_SECONDS,
        check=False,
    )
    return "needs the right to trace processes (ptrace)" if tried.returncode else None


@asynccontextmanager
async def traced(pid: int, *options: str, log: Path = Path("/dev/null")) -> AsyncIterator[None]:
    """Trace a process and all its threads; what it executes as a new program is left alone."""
    command = ["strace", "-f", "-b", "execve", "-p", str(pid), "-o", str(log), *options]
    # Not a process of asyncio's: that one may have been reaped when it is told to end.
    with subprocess.Popen(command, stderr=subprocess.PIPE) as tracer:  # noqa: ASYNC220 as above
        try:
            await asyncio.to_thread(_wait_until_attached, tracer)
            yield
        finally:
            tracer.terminate()
            await asyncio.to_thread(tracer.wait, ATTACH_SECONDS)


def _wait_until_attached(tracer: subprocess.Popen[bytes]) -> None:
    assert tracer.stderr is not None
    line = tracer.stderr.readline()
    assert b"attached" in line, line.decode()


def calls_of(log: Path) -> Counter[str]:
    """Return how often the busiest thread made each call: `when` has no effect beyond."""
    by_thread: Counter[tuple[str, str]] = Counter(_CALL.findall(log.read_text()))
    most: Counter[str] = Counter()
    for (_thread, call), count in by_thread.items():
        most[call] = max(most[call], count)
    return most
