"""A full disk and a read-only one, for real: a small file system in memory under the data folder.

Nothing is acknowledged that is not durable, what was acknowledged can still be asked for, and when
there is space again the same process goes on.
"""

from __future__ import annotations

import os
import resource
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep
from typing import Final

import httpx2
import pytest

from tests.support.invariants import Promises, violations
from tests.support.process import COMMAND, DEADLINE_SECONDS, ServerProcess

_SIZE: Final = 8 * 1024 * 1024
_REFUSAL: Final = (
    b'{"code":1,"message":"failed","detail":"the store is unavailable; try again shortly"}'
)
_UNREACHABLE: Final = "http://127.0.0.1:9/reference.png"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system of its own, of 8 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if not _mounted(folder):
        pytest.skip("mounting a file system needs root and the right to mount")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)  # noqa: S607 the system's own


def _mounted(folder: Path) -> bool:
    if os.geteuid() != 0:
        return False
    command = ["mount", "-t", "tmpfs", "-o", f"size={_SIZE}", "tmpfs", str(folder)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@contextmanager
def full(disk: Path) -> Iterator[None]:
    """Leave not one free page on the disk."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError:
                continue
    try:
        yield
    finally:
        filler.unlink()


@contextmanager
def read_only(disk: Path) -> Iterator[None]:
    """Let nothing be written. Needs that nobody has a file there open for writing."""
    _remount(disk, "ro")
    try:
        yield
    finally:
        _remount(disk, "rw")


@contextmanager
def unwritable(server: ServerProcess) -> Iterator[None]:
    """Let every write of a running process fail, as on a disk that the system has given up."""
    pid = server.process.pid
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))


def _remount(disk: Path, mode: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{mode}", str(disk)], check=True)  # noqa: S607 as above


class Customer:
    """One customer, with a key of the first workspace."""

    def __init__(self, server: ServerProcess) -> None:
        self._client = httpx2.Client(base_url=server.base_url, trust_env=False, timeout=30)
        token = {"Authorization": f"Bearer {server.admin_token}"}
        base = "/admin/v1/workspaces"
        workspace = self._client.get(base, headers=token).json()["items"][0]["id"]
        made = self._client.post(f"{base}/{workspace}/keys", json={"name": "t"}, headers=token)
        self._client.headers["Authorization"] = f"Bearer {made.json()['key']}"

    def submit(self, **fields: object) -> httpx2.Response:
        body = {"model": "google/gempix2", "prompt": "a red boat", **fields}
        return self._client.post("/api/image/gen", json=body)

    def status(self, task_id: str) -> str:
        answer = self._client.get("/api/task/query", params={"task_id": task_id})
        assert answer.status_code == 200, answer.text
        status: str = answer.json()["data"]["status"]
        return status

    def ready(self) -> int:
        return self._client.get("/readyz").status_code

    def credit(self) -> str:
        credit: str = self._client.get("/api/user").json()["data"]["credit"]
        return credit

    def close(self) -> None:
        self._client.close()


@contextmanager
def customer_of(server: ServerProcess) -> Iterator[Customer]:
    customer = Customer(server)
    try:
        yield customer
    finally:
        customer.close()


def accepted(answer: httpx2.Response) -> str:
    assert answer.status_code == 200, answer.text
    task_id: str = answer.json()["data"]["task_id"]
    return task_id


def until(condition: Callable[[], bool]) -> None:
    end = monotonic() + DEADLINE_SECONDS
    while not condition():
        assert monotonic() < end, "it did not happen in time"
        sleep(0.02)


def test_a_full_disk_refuses_everything_and_the_same_server_recovers(disk: Path) -> None:
    _refuses_and_recovers(disk, lambda _server: full(disk))


def test_a_disk_without_writing_refuses_everything_and_the_same_server_recovers(
    tmp_path: Path,
) -> None:
    _refuses_and_recovers(tmp_path, unwritable)


def _refuses_and_recovers(
    folder: Path, broken: Callable[[ServerProcess], AbstractContextManager[None]]
) -> None:
    promises = Promises()
    with _server(folder) as server, customer_of(server) as customer:
        ended = accepted(customer.submit(images=[_UNREACHABLE]))
        until(lambda: customer.status(ended) == "failed")
        waiting = accepted(customer.submit(n=2))
        promises.accepted |= {ended, waiting}
        with broken(server):
            # What the database has allocated already may take a few more.
            while (answer := customer.submit()).status_code == 200:
                promises.accepted.add(accepted(answer))
            for _ in range(20):
                assert answer.status_code == 503
                assert answer.content == _REFUSAL
                assert int(answer.headers["retry-after"]) >= 1
                answer = customer.submit()
            assert customer.status(ended) == "failed"
            assert customer.status(waiting) in {"pending", "submitted", "in_progress"}
            until(lambda: customer.ready() == 503)

        until(lambda: customer.ready() == 200)
        promises.accepted.add(accepted(customer.submit(images=[_UNREACHABLE])))
        until(lambda: {customer.status(t) for t in promises.accepted} <= {"success", "failed"})
        assert customer.status(waiting) == "success"
        assert server.terminate() == 0
    assert violations(folder / "data", promises, at_the_end=True) == []
    with closing(sqlite3.connect(folder / "data" / "ketchup.db")) as db:
        assert {row[0] for row in db.execute("SELECT id FROM task")} == promises.accepted


def test_a_picture_that_does_not_fit_waits_for_space(disk: Path) -> None:
    with _server(disk, KETCHUP_WORKER_MAX_TRIES="1") as server, customer_of(server) as customer:
        task_id = accepted(customer.submit())
        until(lambda: customer.status(task_id) == "in_progress")
        with full(disk):
            until(lambda: "store unavailable" in server.log or "waits for" in server.log)
            assert customer.status(task_id) == "in_progress"

        until(lambda: customer.status(task_id) == "success")
        assert customer.credit() == "99.50000000"
        assert server.terminate() == 0
    assert violations(disk / "data", Promises({task_id}), at_the_end=True) == []


def test_a_stop_on_a_disk_without_writing_is_a_stop_and_the_next_start_goes_on(
    tmp_path: Path,
) -> None:
    with _server(tmp_path, KETCHUP_WORKER_DRAIN_SECONDS="0") as server:
        with customer_of(server) as customer:
            task_id = accepted(customer.submit(image_size="2K"))
            until(lambda: customer.status(task_id) == "in_progress")
        with unwritable(server):
            assert server.terminate() == 0
    assert violations(tmp_path / "data", Promises({task_id})) == []

    with _server(tmp_path) as server, customer_of(server) as customer:
        until(lambda: customer.status(task_id) == "success")
        assert server.terminate() == 0
    assert violations(tmp_path / "data", Promises({task_id}), at_the_end=True) == []


def test_a_start_on_a_disk_that_takes_nothing_is_one_clear_sentence(disk: Path) -> None:
    (disk / "made").mkdir()
    with ServerProcess.start(disk / "made" / "data", "--concurrency", "0") as server:
        assert server.terminate() == 0

    for breakage, data in (
        (full, disk / "new"),
        (read_only, disk / "new"),
        (read_only, disk / "made" / "data"),
        (full, disk / "made" / "data"),
    ):
        with breakage(disk):
            done = subprocess.run(
                [*COMMAND, "--port", "0", "--data", str(data)],
                cwd=disk.parent,
                capture_output=True,
                text=True,
                timeout=DEADLINE_SECONDS,
                check=False,
            )
        assert done.returncode == 3, (breakage, data, done.stderr)
        assert "cannot be used: " in done.stderr
        assert "Traceback" not in done.stderr
        assert done.stdout == ""


def _server(folder: Path, **environ: str) -> ServerProcess:
    environ = {"KETCHUP_WORKER_LEASE_SECONDS": "3", **environ}
    return ServerProcess.start(folder / "data", "--concurrency", "1", environ=environ)
