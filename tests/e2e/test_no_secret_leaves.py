"""A canary for every kind of secret, through good requests and bad: none is found where it could leak."""

from __future__ import annotations

import base64
import json
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest

from ketchup.db import PostgresUrl, SqliteFile
from tests.support.database import contents
from tests.support.process import ServerProcess
from tests.support.receiver import Answer, Receiver

MARK = secrets.token_hex(12)
TOKEN = f"dk-admin_token{MARK}"
IN_ENVIRONMENT = f"sk-environment{MARK}"
STORED = f"sk-stored{MARK}"
SIGNATURE = f"signature{MARK}"
PASSWORD = f"password{MARK}"
WHSEC = "whsec_" + base64.b64encode(f"a webhook secret {MARK}".encode()).decode()
DATA_URI = "data:image/png;base64," + base64.b64encode(f"no picture {MARK}".encode()).decode()


@pytest.mark.parametrize("level", ["info", "warning"])
async def test_no_canary_is_found_in_logs_errors_callbacks_database_or_children(
    tmp_path: Path, database_url: str | None, level: str
) -> None:
    database = database_url and with_password(database_url)
    environ = {
        "KETCHUP_ADMIN_TOKEN": TOKEN,
        "KETCHUP_OPENAI_API_KEY": IN_ENVIRONMENT,
        # Nothing listens there: each call fails, with the key in its headers.
        "KETCHUP_OPENAI_BASE_URL": "http://127.0.0.1:9/v1",
        "KETCHUP_LOG_LEVEL": level,
        **({"KETCHUP_DATABASE": database} if database else {}),
    }
    said: list[str] = []
    async with Receiver(Answer(500), otherwise=Answer(200)) as receiver:
        data = tmp_path / "data"
        with (
            ServerProcess.start(data, environ=environ) as server,
            httpx2.Client(base_url=server.base_url, trust_env=False, timeout=20) as client,
        ):
            admin = {"Authorization": f"Bearer {TOKEN}"}

            def ask(
                method: str,
                path: str,
                headers: dict[str, str],
                **more: Any,  # noqa: ANN401 whatever the client takes
            ) -> httpx2.Response:
                answer = client.request(method, path, headers=headers, **more)
                said.append(f"{answer.status_code} {answer.headers} {answer.text}")
                return answer

            [workspace] = ask("GET", "/admin/v1/workspaces", admin).json()["items"]
            ask("PUT", "/admin/v1/provider-keys/gemini", admin, json={"key": STORED})
            ask("GET", "/admin/v1/provider-keys", admin)
            made = client.post(
                f"/admin/v1/workspaces/{workspace['id']}/keys", headers=admin, json={"name": "k"}
            )
            key = made.json()["key"]
            caller = {"Authorization": f"Bearer {key}"}
            rotated = client.post(
                "/v1/webhooks/secret/rotate", headers=caller, json={"secret": WHSEC}
            )
            assert rotated.status_code == 200

            hook = f"{receiver.url}hook?X-Amz-Signature={SIGNATURE}"
            good = {"model": "openai/gpt-image-2", "prompt": "a boat", "callback_url": hook}
            for body in (
                good,
                {**good, "images": [DATA_URI]},
                {**good, "images": [f"http://127.0.0.1:9/a.png?X-Amz-Signature={SIGNATURE}"]},
                {**good, "model": "google/gempix2"},
                {**good, "n": "many", "images": DATA_URI},
                {**good, "unknown": key},
            ):
                ask("POST", "/api/image/gen", caller, json=body)
            for token in (key[:-1] + "x", TOKEN[:-1], f"{key} {key}"):
                ask("GET", "/api/user", {"Authorization": f"Bearer {token}"})
                ask("GET", "/admin/v1/workspaces", {"Authorization": f"Bearer {token}"})
            ask("POST", "/v1/webhooks/secret/rotate", caller, json={"secret": WHSEC + "!"})
            ask("PUT", "/admin/v1/provider-keys/gemini", admin, json={"key": STORED + "\n\0"})
            ask("POST", "/v1/webhooks/test", caller, json={"url": hook})
            ask("POST", "/v1/webhooks/test", caller, json={"url": f"http://u:{SIGNATURE}@x/ y"})
            await receiver.received(3)
            ask("GET", "/metrics", {})
            dump = contents(PostgresUrl(database) if database else SqliteFile(data / "ketchup.db"))
            for child in children(server.process.pid):
                environment = Path(f"/proc/{child}/environ").read_bytes()
                assert MARK.encode() not in environment
            break_table(data, database)
            broken = [
                ask("POST", "/api/image/gen", caller, json=good),
                ask("PUT", "/admin/v1/provider-keys/gemini", admin, json={"key": STORED}),
            ]
            assert {answer.status_code for answer in broken} <= {500, 503}, broken
            log = server.log
        printed = log + server.log

    assert len(printed) > (500 if level == "info" else 50)
    bodies = [request.body for request in receiver.requests]
    headers = [json.dumps(dict(request.headers)) for request in receiver.requests]
    raw = base64.b64decode(WHSEC.removeprefix("whsec_")).decode()
    hidden = (MARK, key[12:-4], WHSEC[6:], DATA_URI[30:], raw)
    for text in (printed, *said, *headers, *(body.decode() for body in bodies)):
        for secret in hidden:
            # What a caller sent as an address is its own, and is shown to nobody else.
            assert secret not in text.replace(f"X-Amz-Signature={SIGNATURE}", ""), secret
    assert SIGNATURE not in printed
    for secret in (TOKEN, IN_ENVIRONMENT, STORED, PASSWORD, WHSEC[6:], raw, key[12:-4]):
        assert secret.encode() not in dump
    assert workspace["id"].encode() in dump


def with_password(url: str) -> str:
    return f"{url}{'&' if '?' in url else '?'}password={PASSWORD}"


def break_table(data: Path, database: str | None) -> None:
    """Take away what the next requests need: they fail where nobody foresaw it."""
    if database is not None:
        with psycopg.connect(database) as conn:
            conn.execute("ALTER TABLE account RENAME TO gone")
            conn.execute("ALTER TABLE provider_key RENAME TO gone_too")
        return
    with closing(sqlite3.connect(data / "ketchup.db", timeout=20)) as file, file:
        file.execute("ALTER TABLE account RENAME TO gone")
        file.execute("ALTER TABLE provider_key RENAME TO gone_too")


def children(pid: int) -> Iterator[int]:
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield int(child)
            yield from children(int(child))
