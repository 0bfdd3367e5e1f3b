"""`ketchup serve` as a process of its own, for tests that kill, starve or restart it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

DEADLINE_SECONDS: Final = 30.0
COMMAND: Final = (sys.executable, "-m", "ketchup", "serve")
_READY: Final = re.compile(r"is ready at (\S+)")


@dataclass
class ServerProcess:
    """A running server. Use as a context manager: it is killed at the end."""

    process: subprocess.Popen[str]
    base_url: str
    admin_token: str

    @classmethod
    def start(
        cls,
        data: Path,
        *options: str,
        environ: Mapping[str, str] | None = None,
        before: Sequence[str] = (),
    ) -> Self:
        """Start it on a free port and return when it is ready; `before` precedes the command."""
        process = subprocess.Popen(
            [*before, *COMMAND, "--port", "0", "--data", str(data), *options],
            cwd=data.parent,
            env={**os.environ, "KETCHUP_EGRESS_ALLOW": "127.0.0.0/8", **(environ or {})},
            stdout=subprocess.PIPE,
            stderr=_log(data).open("a"),
            text=True,
            start_new_session=True,
        )
        assert process.stdout is not None
        found = _READY.search(process.stdout.readline())
        if found is None:
            process.wait(DEADLINE_SECONDS)
        assert found is not None, _log(data).read_text()
        return cls(process, found[1], (data / "admin.token").read_text().strip())

    @property
    def printed(self) -> str:
        """What it printed after its first line; waits for the end of the process."""
        assert self.process.stdout is not None
        return self.process.stdout.read()

    def kill(self) -> None:
        """Kill -9, and wait until it is gone."""
        self.process.kill()
        self.process.wait(DEADLINE_SECONDS)

    def terminate(self) -> int:
        """Ask it to stop, and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(DEADLINE_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_failure: object) -> None:
        if self.process.poll() is None:
            self.kill()


def _log(data: Path) -> Path:
    return data.parent / f"{data.name}.log"
