"""The whole service against its own description: every operation, every check, and their links.

Schemathesis makes requests out of `/openapi.json`, good ones and bad ones, alone and one after the
other by the links, and judges each answer: no 5xx, no status, header or body that is not described,
nothing accepted that is described as wrong, and nothing refused that is described as right.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from tests.support.receiver import Receiver
from tests.support.service import RunningService, running_service

SETTINGS = Path(__file__).with_name("schemathesis.toml")
LONG_MINUTES = int(os.environ.get("KETCHUP_FUZZ_MINUTES", "5"))


@pytest_asyncio.fixture
async def service(tmp_path: Path, database_url: str | None) -> AsyncIterator[RunningService]:
    async with running_service(tmp_path / "data", database=database_url) as running:
        yield running


async def fuzz(service: RunningService, notes: Path, *options: str, minutes: float) -> str:
    """Run it against a service; return what it printed. It fails with that when it found any."""
    # Drawing a traceback with all that it knows takes longer than anybody waits for an answer.
    with capture_logs() as logged:
        printed = await _fuzz(service, notes, *options, minutes=minutes)
    crashes = [one for one in logged if one["log_level"] in {"error", "critical"}]
    assert not crashes, crashes
    return printed


async def _fuzz(service: RunningService, notes: Path, *options: str, minutes: float) -> str:
    async with Receiver() as hook:
        # So that there is a callback to send again.
        await service.ended(await service.submit(callback_url=hook.url))
        await hook.received(1)
        fuzzer = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "schemathesis.cli", "--config-file", str(SETTINGS)),
            *("run", f"{service.base_url}/openapi.json", "--no-color", "--continue-on-failure"),
            *("--request-timeout", "15", *options),
            env={
                **os.environ,
                "KETCHUP_KEY": service.key,
                "KETCHUP_ADMIN": service.runtime.admin_token,
            },
            # It leaves its notes where it runs.
            cwd=notes,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(minutes * 60 + 60):
                printed = (await fuzzer.communicate())[0].decode()
        finally:
            if fuzzer.returncode is None:
                fuzzer.kill()
                await fuzzer.wait()
    assert fuzzer.returncode == 0, printed
    return printed


async def test_what_is_described_is_what_is_done(service: RunningService, tmp_path: Path) -> None:
    printed = await fuzz(
        service,
        tmp_path,
        "--phases",
        "coverage,stateful",
        "-n",
        "3",
        "--generation-deterministic",
        minutes=1,
    )
    assert "Tested: 38" in printed


@pytest.mark.torture
@pytest.mark.timeout(LONG_MINUTES * 60 + 120)
async def test_what_is_described_is_what_is_done_for_minutes(
    service: RunningService, tmp_path: Path
) -> None:
    """What failed is printed with its seed: `--seed` has the same requests made again."""
    seconds = str(LONG_MINUTES * 60)
    await fuzz(
        service,
        tmp_path,
        "--generation-database",
        "none",
        "--max-time",
        seconds,
        minutes=LONG_MINUTES,
    )
