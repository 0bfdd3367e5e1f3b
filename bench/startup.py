"""Start-up: from starting the command to the first answer of the contract, and what it then weighs.

The command is `ketchup serve` as an operator starts it, rendering included. A cold folder is empty:
the schema, the secrets, the first workspace and its key are made. Memory is that of the whole
process tree when every surface is loaded, as proportional set size (a page that two processes share
counts half for each) and as resident set size (it counts in full for both).
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from statistics import median

from bench.contestants import running
from bench.processes import tree
from bench.report import Part, at_most, number


@dataclass(frozen=True, slots=True)
class Start:
    """One start. The sizes are None where the system does not tell them."""

    seconds: float
    pss_mb: float | None
    rss_mb: float | None


@dataclass(frozen=True, slots=True)
class Starts:
    """Starts on empty folders, and starts on one that was used before."""

    cold: list[Start]
    warm: list[Start]


def measure(folder: Path, times: int) -> Starts:
    """Start that many times of each kind; `folder` is filled with data folders."""
    cold = [_start(folder / str(n)) for n in range(times)]
    return Starts(cold, [_start(folder / "0") for _ in range(times)])


def part(starts: Starts) -> Part:
    """Return the starts as a part of the report."""
    both = starts.cold + starts.warm
    slower = max(_median_seconds(starts.cold), _median_seconds(starts.warm))
    memory = _largest([start.pss_mb for start in both])
    return Part(
        name="start",
        table=list(_table(starts)),
        goals=[
            at_most("`ketchup serve` ready: ≤ 1.5 s", slower, 1.5),
            at_most("`ketchup serve` memory (PSS): ≤ 150 MB", memory, 150),
        ],
        figures={"starts": starts},
    )


def _table(starts: Starts) -> Iterator[str]:
    yield "| `ketchup serve` | ready, median s | largest PSS MB | largest RSS MB |"
    yield "|---|---|---|---|"
    for name, kind in (("empty folder", starts.cold), ("used folder", starts.warm)):
        pss, rss = _largest([s.pss_mb for s in kind]), _largest([s.rss_mb for s in kind])
        yield f"| {name} | {_median_seconds(kind):.2f} | {number(pss)} | {number(rss)} |"


def _median_seconds(starts: list[Start]) -> float:
    return median(start.seconds for start in starts)


def _largest(sizes: list[float | None]) -> float | None:
    return max((size for size in sizes if size is not None), default=None)


def _start(folder: Path) -> Start:
    command = [sys.executable, "-m", "ketchup", "serve", "--data", str(folder), "--port", "0"]
    began = time.perf_counter()
    with running(command, None) as (process, port):
        connection = HTTPConnection("127.0.0.1", port, timeout=10)
        _ask(connection, "/api/user", 401)
        seconds = time.perf_counter() - began
        # Loaded behind the contract: its memory counts, and its time does not.
        _ask(connection, "/healthz", 200)
        connection.close()
        return Start(seconds, *_sizes(process))


def _ask(connection: HTTPConnection, path: str, expected: int) -> None:
    connection.request("GET", path)
    answer = connection.getresponse()
    answer.read()
    if answer.status != expected:
        raise RuntimeError(f"{path} answered {answer.status}")


def _sizes(process: subprocess.Popen[str]) -> tuple[float | None, float | None]:
    try:
        sizes = [_sizes_of(pid) for pid in tree(process.pid)]
    except OSError:
        return None, None
    return sum(pss for pss, _ in sizes), sum(rss for _, rss in sizes)


def _sizes_of(pid: int) -> tuple[float, float]:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    kilobytes = {name: int(size.split()[0]) for name, size in (one.split(":") for one in lines)}
    return kilobytes["Pss"] / 1024, kilobytes["Rss"] / 1024
