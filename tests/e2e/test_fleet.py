"""Roles apart, on one PostgreSQL database: what an operator of a fleet meets."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import httpx2
import psycopg
import pytest

from tests.support.deployment import Deployment, deployed
from tests.support.gated import COMMAND, VARIABLE, Gates
from tests.support.postgres import postgres_server
from tests.support.postgres_pool import PostgresPool
from tests.support.process import KETCHUP, ServerProcess
from tests.support.receiver import Receiver

pytestmark = pytest.mark.timeout(180)
_ROOT: Final = Path(__file__).parents[2]
_ROLES: Final = ("api", "worker")


@pytest.fixture
def empty(postgres: PostgresPool) -> Iterator[str]:
    with postgres.empty() as url:
        yield url


def ketchup(
    *arguments: str, cwd: Path, database: str | None = None, **environ: str
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, in a folder of its own."""
    given = {"KETCHUP_DATABASE": database} if database else {}
    return subprocess.run(
        [*KETCHUP, *arguments],
        cwd=cwd,
        env={**os.environ, **given, **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def attempts_of(deployment: Deployment) -> list[tuple[object, ...]]:
    return deployment.rows("SELECT number, outcome FROM attempt ORDER BY number")


def test_a_worker_that_is_stopped_hands_over_what_renders_and_it_costs_no_try(
    empty: str, tmp_path: Path
) -> None:
    gates = Gates(tmp_path / "gates")
    environ = {
        VARIABLE: str(tmp_path / "gates"),
        "PYTHONPATH": f"{_ROOT / 'src'}:{_ROOT}",
        "KETCHUP_CONCURRENCY": "1",
        "KETCHUP_WORKER_DRAIN_SECONDS": "0.2",
    }
    with deployed("pair", tmp_path, empty, COMMAND, **environ) as fleet:
        fleet.start()
        key = fleet.new_key()
        with client(fleet, key) as customer:
            task_id = submit(customer)
            ((first, _),) = gates.wait_for(1)
            (stopped,) = [p for p in fleet.processes if p.process.pid == first]

            assert stopped.terminate() == 0

            (_, (second, _)) = gates.wait_for(2)
            assert second != first
            gates.open(second)
            ended(customer, task_id)
        assert attempts_of(fleet) == [(1, "interrupted"), (2, "success")]
        assert fleet.rows("SELECT tries, losses FROM task") == [(0, 0)]
        fleet.stop()


def test_a_task_that_one_process_accepts_another_renders(empty: str, tmp_path: Path) -> None:
    with deployed("pair", tmp_path, empty, KETCHUP_PROVENANCE_ENABLED="true") as fleet:
        fleet.start()
        with client(fleet, fleet.new_key()) as customer:
            image = ended(customer, submit(customer))["result"][0]["image"]
            assert httpx2.get(image, trust_env=False).headers["content-type"] == "image/png"
        fleet.stop()


async def test_a_worker_takes_only_the_work_of_its_lanes(empty: str, tmp_path: Path) -> None:
    environ = {"KETCHUP_EGRESS_ALLOW": "127.0.0.0/8:1-65535"}
    with deployed("lanes", tmp_path, empty, **environ) as fleet:
        await asyncio.to_thread(fleet.start)
        async with Receiver() as receiver:
            with client(fleet, fleet.new_key()) as customer:
                for _ in range(4):
                    await asyncio.to_thread(submit, customer, receiver.url)
                await receiver.received(4)
        (rendered,) = fleet.rows("SELECT DISTINCT worker_id FROM attempt")
        (told,) = fleet.rows("SELECT DISTINCT worker_id FROM delivery_attempt")
        assert rendered != told
        await asyncio.to_thread(fleet.stop)


@pytest.mark.parametrize("role", _ROLES)
def test_a_role_needs_a_database_that_can_be_shared(role: str, tmp_path: Path) -> None:
    done = ketchup(role, "--data", "data", cwd=tmp_path)

    assert done.returncode == 2
    assert "run `ketchup serve`, or name a PostgreSQL database" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("role", _ROLES)
def test_a_role_refuses_a_database_without_a_schema_and_names_the_command(
    role: str, empty: str, tmp_path: Path
) -> None:
    port = ("--port", "0") if role == "api" else ()

    done = ketchup(role, "--data", "data", *port, cwd=tmp_path, database=empty)

    assert done.returncode == 3
    assert done.stderr.strip().endswith("no schema yet; run `ketchup migrate` first")
    assert "Traceback" not in done.stderr


def test_the_schema_is_made_once_however_many_make_it(empty: str, tmp_path: Path) -> None:
    environ = {**os.environ, "KETCHUP_DATABASE": empty}
    started = [
        subprocess.Popen(
            [*KETCHUP, "migrate", "--data", "data"],
            cwd=tmp_path,
            env=environ,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]

    said = sorted(process.communicate(timeout=60)[0].strip() for process in started)

    assert [process.returncode for process in started] == [0, 0, 0]
    assert said == [
        "migrated to the newest schema",
        "the schema is up to date",
        "the schema is up to date",
    ]


def test_a_process_with_another_secret_key_is_refused(empty: str, tmp_path: Path) -> None:
    assert ketchup("migrate", "--data", "one", cwd=tmp_path, database=empty).returncode == 0
    # Nothing was made with the first key yet: its folder may have been thrown away.
    assert ketchup("migrate", "--data", "two", cwd=tmp_path, database=empty).returncode == 0
    with psycopg.connect(empty) as conn:
        conn.execute(
            "INSERT INTO workspace (id, number, name, status, retention_days, secret_version,"
            " created_at, plan) VALUES ('ws_one', 100, 'acme', 'active', 30, 1, 0, 'free')"
        )

    done = ketchup("worker", "--data", "one", cwd=tmp_path, database=empty)

    assert done.returncode == 3
    assert "another secret key" in done.stderr
    assert "Traceback" not in done.stderr
    assert ketchup("migrate", "--data", "two", cwd=tmp_path, database=empty).returncode == 0


def test_a_folder_has_one_owner_or_many_that_share_it(empty: str, tmp_path: Path) -> None:
    with ServerProcess.start(tmp_path / "data"):
        done = ketchup("migrate", "--data", "data", cwd=tmp_path, database=empty)

        assert done.returncode == 3
        assert "is in use" in done.stderr


def test_a_server_that_may_forget_is_warned_of_loudly(tmp_path: Path) -> None:
    with postgres_server("-c", "fsync=off", "-c", "synchronous_commit=off") as server:
        url = server.create_database("careless")

        done = ketchup("migrate", "--data", "data", cwd=tmp_path, database=url)

    assert done.returncode == 0
    assert "DURABILITY IS OFF" in done.stderr
    assert "fsync" in done.stderr
    assert "synchronous_commit" in done.stderr


def test_the_password_of_the_database_is_never_told(tmp_path: Path) -> None:
    url = "postgresql://ketchup:open-sesame@127.0.0.1:1/absent"

    done = ketchup("migrate", "--data", "data", cwd=tmp_path, database=url)
    shown = ketchup("config", "show", cwd=tmp_path, database=url)

    assert done.returncode == 3
    assert "127.0.0.1:1/absent cannot be used" in done.stderr
    assert "open-sesame" not in done.stdout + done.stderr + shown.stdout + shown.stderr


def test_what_the_bell_listens_with_ends_with_its_process(empty: str, tmp_path: Path) -> None:
    with deployed("pair", tmp_path, empty) as fleet:
        fleet.start()
        fleet.stop()

        with psycopg.connect(empty) as conn:
            left = conn.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                " AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
            ).fetchone()
    assert left == (0,)


def client(fleet: Deployment, key: str) -> httpx2.Client:
    headers = {"Authorization": f"Bearer {key}"}
    return httpx2.Client(base_url=fleet.addresses[0], headers=headers, trust_env=False)


def submit(customer: httpx2.Client, callback_url: str | None = None) -> str:
    body = {"model": "google/gempix2", "prompt": "a red boat"}
    if callback_url:
        body["callback_url"] = callback_url
    answer = customer.post("/api/image/gen", json=body)
    assert answer.status_code == 200, answer.text
    task_id: str = answer.json()["data"]["task_id"]
    return task_id


def ended(customer: httpx2.Client, task_id: str) -> dict[str, list[dict[str, str]]]:
    """Poll until the task has succeeded. The test's own time limit is the deadline."""
    while True:
        answer = customer.get("/api/task/query", params={"task_id": task_id})
        data: dict[str, list[dict[str, str]]] = answer.json()["data"]
        if str(data["status"]) in {"success", "failed"}:
            assert str(data["status"]) == "success", data
            return data
