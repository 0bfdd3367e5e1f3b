"""The benchmark measures what it says: every answer is right, and the books agree. Never a speed."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from bench.contestants import Name

TINY = ("--rounds", "1", "--seconds", "0.2", "--posts", "8", "--tasks", "50", "--starts", "1")


async def test_every_contestant_answers_right_and_stores_what_it_acknowledged(
    tmp_path: Path,
) -> None:
    written = tmp_path / "bench.json"
    command = [sys.executable, "-m", "bench", *TINY, "--json", str(written)]

    async with asyncio.timeout(90):
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        printed, _ = await process.communicate()

    report = json.loads(written.read_bytes())
    assert process.returncode == 0, printed.decode()
    assert report["faults"] == []
    assert set(report["acknowledged"]) == set(Name)
    assert all(count > 0 for count in report["acknowledged"].values())
    assert {one["work"] for one in report["load"]} == {
        "POST at 8 connections",
        "GET at 64 connections",
    }
    for one in report["load"]:
        assert all(set(outcome["statuses"]) == {"200"} for outcome in one["rounds"])
