"""The README as a newcomer follows it: its commands, in its order, against the real server.

What is fenced as `bash` is run by bash in one folder; `receiver.py` is the block of Python. Only
addresses and the key are put in, and the folder's `.venv` is the one that runs this test.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
from PIL import Image

from tests.support.process import ServerProcess

README = Path(__file__).parents[2] / "README.md"
DEADLINE_SECONDS = 90
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_KEY = re.compile(r"dk-live_[0-9A-Za-z]{38}")
_TASK = re.compile(r'"task_id":"(ta[0-9a-f-]{34})"')


@dataclass(frozen=True)
class Followed:
    """What a newcomer has after following the page: the folder, the key, and the terminal."""

    folder: Path
    key: str
    printed: str


def _blocks(language: str) -> list[str]:
    return [code for found, code in _FENCE.findall(README.read_text("utf-8")) if found == language]


def _free_port() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return str(listener.getsockname()[1])


def _first_key(server: ServerProcess) -> str:
    assert server.process.stdout is not None
    for line in server.process.stdout:
        if found := _KEY.search(line):
            return found[0]
    raise EOFError("the server ended without printing a key")


def _put_in(text: str, values: dict[str, str]) -> str:
    for placeholder, value in values.items():
        assert placeholder in text, f"the README no longer says {placeholder}"
        text = text.replace(placeholder, value)
    return text


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Followed:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("needs bash")
    if shutil.which("curl") is None:
        pytest.skip("needs curl")
    if not Path(sys.prefix, "bin", "activate").exists():
        pytest.skip("needs to run from a virtual environment")
    folder = tmp_path_factory.mktemp("newcomer")
    (folder / ".venv").symlink_to(sys.prefix)
    port = _free_port()
    (receiver,) = _blocks("python")
    (folder / "receiver.py").write_text(_put_in(receiver, {"9000": port}), encoding="utf-8")
    with ServerProcess.start(folder / "ketchup-data") as server:
        key = _first_key(server)
        values = {"http://127.0.0.1:8000": server.base_url, "dk-live_…": key, "9000": port}
        script = "set -euo pipefail\n" + _put_in("\n".join(_blocks("bash")), values)
        done = subprocess.run(
            [bash],
            input=script,
            cwd=folder,
            env={**os.environ, "KETCHUP_URL": server.base_url, "no_proxy": "*"},
            capture_output=True,
            text=True,
            timeout=DEADLINE_SECONDS,
            check=False,
        )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return Followed(folder, key, done.stdout)


def test_the_image_that_was_asked_for_is_downloaded(followed: Followed) -> None:
    with Image.open(followed.folder / "lighthouse.png") as image:
        assert image.size == (1376, 768)


def test_the_price_is_what_is_missing_from_the_credit(followed: Followed) -> None:
    assert '"consumed":"0.50000000"' in followed.printed
    assert '"credit":"99.50000000"' in followed.printed


def test_the_same_idempotency_key_gets_the_same_task(followed: Followed) -> None:
    tasks = _TASK.findall(followed.printed)
    assert len([task for task in set(tasks) if tasks.count(task) == 2]) >= 1
    twice = tasks[-3:-1]  # the one after them asks for the callback
    assert twice[0] == twice[1]


def test_the_receiver_is_told_and_finds_the_signature_good(followed: Followed) -> None:
    task = _TASK.findall(followed.printed)[-1]
    assert f"{task} success" in (followed.folder / "received.txt").read_text(encoding="utf-8")


def test_the_admin_commands_show_what_they_did(followed: Followed) -> None:
    assert re.search(r"^available\s+25\.000000$", followed.printed, re.MULTILINE)
    assert re.search(r"^consistent\s+true$", followed.printed, re.MULTILINE)
    assert re.search(r"\tacme\tsuspended\t", followed.printed)


def test_a_server_starts_on_the_backup_and_knows_the_task_and_its_image(followed: Followed) -> None:
    task = _TASK.findall(followed.printed)[0]
    with ServerProcess.start(followed.folder / "backup") as server:
        answer = httpx2.get(
            f"{server.base_url}/api/task/query",
            params={"task_id": task},
            headers={"Authorization": f"Bearer {followed.key}"},
            trust_env=False,
        ).json()
        assert answer["data"]["status"] == "success"
        image = httpx2.get(answer["data"]["result"][0]["image"], trust_env=False)
    assert image.content == (followed.folder / "lighthouse.png").read_bytes()
