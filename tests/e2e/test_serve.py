"""`ketchup serve` and its companions as an operator meets them: real processes, judged by what they
print, leave and answer."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Final

import httpx2
import pytest

from ketchup.bootstrap import migrate, open_folder
from ketchup.clock import SystemClock
from ketchup.config import Settings
from ketchup.data_folder import DataFolder
from ketchup.service import bind
from tests.support.certificates import operators_certificate
from tests.support.process import DEADLINE_SECONDS, ServerProcess

# Each start takes a second, and five where the machine has much else to do.
pytestmark = pytest.mark.timeout(300)
KEY: Final = re.compile(r"dk-live_\w{38}")


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServerProcess, str]]:
    """A server on a new folder, and what it printed after its first line."""
    with ServerProcess.start(tmp_path_factory.mktemp("serve") / "data") as server:
        assert server.process.stdout is not None
        lines = []
        for line in server.process.stdout:
            lines.append(line)
            if "TASK_ID" in line:
                break
        yield server, "".join(lines)


def ketchup(
    *arguments: str, cwd: Path, environ: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ketchup", *arguments],
        cwd=cwd,
        env={**os.environ, **(environ or {})},
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )


def until(condition: Callable[[], object]) -> None:
    end = monotonic() + DEADLINE_SECONDS
    while not condition():
        assert monotonic() < end, "it did not happen in time"
        sleep(0.02)


def task_of(server: ServerProcess, key: str, **fields: object) -> str:
    """Create a task and return its id."""
    body = {"model": "google/gempix2", "prompt": "a red boat", **fields}
    answer = httpx2.post(
        f"{server.base_url}/api/image/gen", json=body, headers=bearer(key), trust_env=False
    )
    assert answer.status_code == 200, answer.text
    task_id: str = answer.json()["data"]["task_id"]
    return task_id


def query(server: ServerProcess, key: str, task_id: str) -> httpx2.Response:
    return httpx2.get(
        f"{server.base_url}/api/task/query",
        params={"task_id": task_id},
        headers=bearer(key),
        trust_env=False,
    )


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


# -- the first start, and the second ---------------------------------------------------------------


def test_the_printed_commands_make_a_picture(first: tuple[ServerProcess, str]) -> None:
    server, printed = first
    create, ask = re.findall(r"^  curl (?:.*\\\n)*.*$", printed, re.MULTILINE)

    made = json.loads(_bash(create))
    assert made["code"] == 0
    task_id = made["data"]["task_id"]
    shown: dict[str, Any] = {}

    def ended() -> bool:
        shown.update(json.loads(_bash(ask.replace("TASK_ID", task_id)))["data"])
        return shown["status"] in {"success", "failed"}

    until(ended)
    assert shown["status"] == "success"
    image = httpx2.get(shown["result"][0]["image"], trust_env=False)
    assert image.content.startswith(b"\x89PNG")
    assert shown["result"][0]["image"].startswith(server.base_url)


def _bash(command: str) -> str:
    for tool in ("bash", "curl"):
        if shutil.which(tool) is None:
            pytest.skip(f"needs {tool}")
    done = subprocess.run(
        ["bash", "-c", command.replace("curl ", "curl --silent --noproxy '*' ", 1)],  # noqa: S607 as a newcomer does
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=True,
    )
    return done.stdout


def test_what_the_first_start_makes_is_private(first: tuple[ServerProcess, str]) -> None:
    server, _ = first
    made = [server.data, *server.data.rglob("*")]

    assert server.data / "admin.token" in made
    for path in made:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_the_folder_in_use_is_refused_with_its_owner(first: tuple[ServerProcess, str]) -> None:
    server, _ = first

    done = ketchup("serve", "--port", "0", "--data", str(server.data), cwd=server.data.parent)

    assert done.returncode == 3
    assert f"is in use by process {server.process.pid}" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_that_is_taken_is_a_clear_error(
    first: tuple[ServerProcess, str], tmp_path: Path
) -> None:
    port = first[0].base_url.rpartition(":")[2]

    done = ketchup("serve", "--port", port, "--data", str(tmp_path / "data"), cwd=tmp_path)

    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_address_belongs_to_a_server_from_the_moment_it_is_bound() -> None:
    with bind("127.0.0.1", 0) as listener, pytest.raises(OSError, match="in use"):
        bind("127.0.0.1", listener.getsockname()[1])


def test_a_later_start_shows_no_key_and_takes_up_what_waits(tmp_path: Path) -> None:
    with ServerProcess.start(tmp_path / "data", "--concurrency", "0") as server:
        token, task_id = server.admin_token, task_of(server, _new_key(server))
        assert server.terminate() == 0
        [key] = set(KEY.findall(server.printed))
    with closing(sqlite3.connect(tmp_path / "data" / "ketchup.db")) as db:
        assert db.execute("SELECT status, attempt FROM task").fetchall() == [("pending", 0)]

    with ServerProcess.start(tmp_path / "data", "--concurrency", "1") as server:
        until(lambda: query(server, key, task_id).json()["data"]["status"] == "success")
        assert server.admin_token == token
        assert server.terminate() == 0
        assert server.printed == ""


def _new_key(server: ServerProcess) -> str:
    with httpx2.Client(
        base_url=f"{server.base_url}/admin/v1",
        headers=bearer(server.admin_token),
        trust_env=False,
    ) as operator:
        workspace = operator.get("/workspaces").json()["items"][0]["id"]
        key: str = operator.post(f"/workspaces/{workspace}/keys", json={"name": "t"}).json()["key"]
    return key


# -- what cannot be served -------------------------------------------------------------------------


def test_a_mistyped_setting_is_refused_with_a_suggestion(tmp_path: Path) -> None:
    done = ketchup("serve", cwd=tmp_path, environ={"KETCHUP_CONCURENCY": "2"})

    assert done.returncode == 2
    assert "KETCHUP_CONCURRENCY" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_data_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    database = tmp_path / "data" / "ketchup.db"
    settings = Settings(data=tmp_path / "data")
    with open_folder(settings) as folder:
        migrate(settings, folder)
    with closing(sqlite3.connect(database)) as db, db:
        db.execute("UPDATE alembic_version SET version_num = '9999'")
        db.execute("UPDATE schema_support SET oldest_code = '9999'")

    for command in ("serve", "migrate"):
        done = ketchup(command, "--data", "data", cwd=tmp_path)
        assert done.returncode == 3
        assert "newer Ketchup (schema 9999" in done.stderr
        assert "Traceback" not in done.stderr
    with closing(sqlite3.connect(database)) as db:
        assert db.execute("SELECT version_num FROM alembic_version").fetchall() == [("9999",)]


def test_a_file_that_is_no_database_is_a_clear_error(tmp_path: Path) -> None:
    with DataFolder.open(tmp_path / "data", SystemClock()) as folder:
        folder.secret_key()
    (tmp_path / "data" / "ketchup.db").write_bytes(b"not a database at all\n" * 500)

    done = ketchup("serve", "--port", "0", "--data", "data", cwd=tmp_path)

    assert done.returncode == 3
    assert "ketchup.db cannot be used" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_fresh_folder_is_migrated_once(tmp_path: Path) -> None:
    fresh = ketchup("migrate", "--data", "data", cwd=tmp_path)
    again = ketchup("migrate", "--data", "data", cwd=tmp_path)

    assert (fresh.returncode, fresh.stdout) == (0, "migrated to the newest schema\n")
    assert (again.returncode, again.stdout) == (0, "the schema is up to date\n")


def test_a_folder_in_use_is_not_migrated(first: tuple[ServerProcess, str]) -> None:
    server, _ = first

    done = ketchup("migrate", "--data", str(server.data), cwd=server.data.parent)

    assert done.returncode == 3
    assert f"process {server.process.pid}" in done.stderr


# -- running it ------------------------------------------------------------------------------------


def test_an_operator_manages_workspaces_keys_and_credits(
    first: tuple[ServerProcess, str], tmp_path: Path
) -> None:
    server, _ = first

    def admin(*arguments: str) -> dict[str, Any]:
        where = ("--url", server.base_url, "--data", str(server.data), "--json")
        done = ketchup("admin", *arguments, *where, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    workspace = admin("workspace", "create", "atelier")
    key = admin("key", "create", "atelier", "--name", "laptop")["key"]
    admin("credits", "grant", "atelier", "12.5")
    assert _credit(server, key) == "12.50000000"
    audit = admin("credits", "audit", workspace["id"])
    assert (audit["balance"], audit["consistent"]) == ("12.500000", True)

    admin("workspace", "suspend", "atelier")
    suspended = monotonic()
    until(lambda: _user(server, key).status_code == 401)
    assert monotonic() - suspended < 1
    assert _user(server, key).content == b'{"code":401,"message":"Invalid API key"}'


def _user(server: ServerProcess, key: str) -> httpx2.Response:
    return httpx2.get(f"{server.base_url}/api/user", headers=bearer(key), trust_env=False)


def _credit(server: ServerProcess, key: str) -> str:
    credit: str = _user(server, key).json()["data"]["credit"]
    return credit


def test_a_second_interrupt_changes_nothing_about_the_first(tmp_path: Path) -> None:
    with ServerProcess.start(tmp_path / "data") as server:
        task_id = task_of(server, _new_key(server))
        server.process.send_signal(signal.SIGINT)
        server.process.send_signal(signal.SIGINT)

        assert server.process.wait(DEADLINE_SECONDS) == 0
    with closing(sqlite3.connect(tmp_path / "data" / "ketchup.db")) as db:
        [(found, losses)] = db.execute("SELECT id, losses FROM task").fetchall()
    assert (found, losses) == (task_id, 0)
    assert "Traceback" not in server.log


def test_the_log_is_json_and_holds_no_secret(tmp_path: Path) -> None:
    unreachable = "http://127.0.0.1:9/reference.png"
    with ServerProcess.start(tmp_path / "data", environ={"KETCHUP_LOG_LEVEL": "debug"}) as server:
        key, token = _new_key(server), server.admin_token
        task_id = task_of(server, key, images=[unreachable], prompt="words of a customer")
        until(lambda: query(server, key, task_id).json()["data"]["status"] == "failed")
        missing = query(server, key, "ta-unknown")
        wrong = query(server, key[:-1] + "x", task_id)
        assert (missing.status_code, wrong.status_code) == (404, 401)
        assert server.terminate() == 0

    events = [json.loads(line) for line in server.log.splitlines()]
    assert all({"time", "level", "event"} <= event.keys() for event in events)
    assert missing.headers["x-request-id"] in {event.get("request_id") for event in events}
    failed = next(event for event in events if event["event"] == "task failed")
    assert failed["task_id"] == task_id
    assert failed["request_id"].startswith("req_")
    for secret in (key, key[:-1], token):
        assert secret not in server.log


def test_the_log_above_debug_holds_no_prompt(tmp_path: Path) -> None:
    with ServerProcess.start(tmp_path / "data") as server:
        key = _new_key(server)
        unreachable = "http://127.0.0.1:9/reference.png"
        task_id = task_of(server, key, images=[unreachable], prompt="words of a customer")
        until(lambda: query(server, key, task_id).json()["data"]["status"] == "failed")
        assert server.terminate() == 0

    assert task_id in server.log
    assert "words of a customer" not in server.log


def test_a_stop_while_it_starts_is_a_stop(tmp_path: Path) -> None:
    with ServerProcess.start(tmp_path / "data") as server:
        assert server.terminate() == 0
    with ServerProcess.launch(tmp_path / "data") as server:
        lock = tmp_path / "data" / "ketchup.lock"
        until(lambda: str(server.process.pid) in lock.read_text())

        # Whether the handler stands already is a matter of luck: it stops, at once and for good.
        assert server.terminate() in {0, -signal.SIGTERM}
    assert "Traceback" not in server.log


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("expired", "the certificate ended at"),
        ("not begun", "the certificate begins at"),
        ("another key", "the key is not that of the first certificate"),
        ("not there", "cannot be read: No such file or directory"),
    ],
)
def test_a_certificate_that_cannot_sign_ends_the_start_with_one_sentence(
    tmp_path: Path, fault: str, sentence: str
) -> None:
    begins, ends = {"expired": (-9, -1), "not begun": (1, 9)}.get(fault, (-1, 9))
    chain, key = operators_certificate(tmp_path, begins=begins, ends=ends)
    if fault == "another key":
        (tmp_path / "other").mkdir()
        _, key = operators_certificate(tmp_path / "other")
    elif fault == "not there":
        chain.unlink()
    environ = {"KETCHUP_PROVENANCE_CERTIFICATE": str(chain), "KETCHUP_PROVENANCE_KEY": str(key)}

    ended = ketchup("serve", "--port", "0", "--data", "data", cwd=tmp_path, environ=environ)

    assert ended.returncode == 3
    (line,) = ended.stderr.splitlines()
    assert sentence in line
    assert "is ready" not in ended.stdout
