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
_READY: Final = re.compile(r"is ready at (\S+)")
_KEY: Final = re.compile(r"dk-live_[0-9A-Za-z]{38}")


@dataclass
class ServerProcess:
    """A running server. Use as a context manager: it is killed at the end."""

    process: subprocess.Popen[str]
    base_url: str
    key: str | None
    """The first key, when this was the first start."""

    @classmethod
    def start(
        cls,
        data: Path,
        *options: str,
        environ: Mapping[str, str] | None = None,
        before: Sequence[str] = (),
    ) -> Self:
        """Start it on a free port and return when it is ready. `before` is put before the command."""
        process = subprocess.Popen(
            [*before, sys.executable, "-m", "ketchup", "serve", "--port", "0", "--data", str(data), *options],
            cwd=data.parent,
            env={**os.environ, "KETCHUP_EGRESS_ALLOW": "127.0.0.0/8", **(environ or {})},
            stdout=subprocess.PIPE,
            stderr=(data.parent / f"{data.name}.log").open("a"),
            text=True,
            start_new_session=True,
        )
        assert process.stdout is not None
        text = ""
        for line in process.stdout:
            text += line
            # On a first start the key and the curl lines follow.
            if _READY.search(text) and (data / "ketchup.started").exists() is False:
                break
        found = _READY.search(text)
        assert found is not None, (data.parent / f"{data.name}.log").read_text()
        return cls(process, found[1], None)

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
