"""The benchmark measures what it says: every answer is right, and the books agree. Never a speed."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.contestants import Name

TINY = (
    *("--rounds", "1", "--seconds", "0.2", "--posts", "8", "--tasks", "50", "--starts", "1"),
    *("--pipeline", "50", "--pictures", "disk", "--latency", "10", "--inserts", "100"),
    *("--flood", "100", "--singles", "2", "--kills", "1", "--lease", "3"),
)
OURS = ("--queues", "ketchup-sqlite", "ketchup-postgres")
# Every contestant is several processes, and each of them a second of a machine with nothing to do.
SECONDS = 280

pytestmark = pytest.mark.timeout(300)


@pytest.mark.parametrize(
    "options",
    [
        ("start",),
        ("pipeline", *OURS),
        *(
            pytest.param(options, marks=pytest.mark.torture)
            for options in (
                ("pipeline",),
                ("latency", *OURS),
                ("growth",),
                ("fair", *OURS),
                ("recovery", *OURS),
            )
        ),
    ],
    ids=lambda options: "-".join(options[:1] + options[2:3]),
)
async def test_each_part_is_right_about_what_it_measures(
    options: tuple[str, ...], tmp_path: Path
) -> None:
    report = await _run(tmp_path, "--only", *options)

    assert report["faults"] == []
    assert list(report["parts"]) == [options[0]]
    assert report["goals"]


async def test_every_contestant_answers_right_and_stores_what_it_acknowledged(
    tmp_path: Path,
) -> None:
    whole = await _run(tmp_path, "--only", "accept")
    report = whole["parts"]["accept"]

    assert whole["faults"] == []
    assert set(report["acknowledged"]) == set(Name)
    assert all(count > 0 for count in report["acknowledged"].values())
    assert {one["work"] for one in report["load"]} == {
        "POST at 8 connections",
        "GET at 64 connections",
    }
    for one in report["load"]:
        assert all(set(outcome["statuses"]) == {"200"} for outcome in one["rounds"])


async def _run(folder: Path, *options: str) -> dict[str, Any]:
    written = folder / "bench.json"
    command = [sys.executable, "-m", "bench", *options, *TINY, "--json", str(written)]
    async with asyncio.timeout(SECONDS):
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        printed, _ = await process.communicate()
    assert process.returncode == 0, printed.decode()
    report: dict[str, Any] = json.loads(written.read_bytes())
    return report
