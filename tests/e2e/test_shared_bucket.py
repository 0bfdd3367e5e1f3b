"""A fleet on several machines: nothing is shared but the database, the secrets and a bucket."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from time import monotonic, sleep

import httpx2

from ketchup.storage import Bucket
from tests.support.postgres_pool import PostgresPool
from tests.support.process import DEADLINE_SECONDS, KETCHUP, ServerProcess

TOKEN = "the-admin-token-of-all-machines-0123456789"


def test_what_one_machine_renders_another_one_shows(
    postgres: PostgresPool, bucket: Bucket, tmp_path: Path
) -> None:
    with postgres.empty() as url:
        environ = {
            "KETCHUP_DATABASE": url,
            "KETCHUP_SECRET_KEY": "ab" * 32,
            "KETCHUP_ADMIN_TOKEN": TOKEN,
            "KETCHUP_STORAGE_URL": f"s3://{bucket.name}/{bucket.prefix}",
            "KETCHUP_STORAGE_ENDPOINT": bucket.endpoint or "",
            "KETCHUP_STORAGE_KEY_ID": "id",
            "KETCHUP_STORAGE_SECRET": "a-secret-of-the-bucket",
        }
        folders = [tmp_path / name / "data" for name in ("one", "two")]
        for folder in folders:
            folder.parent.mkdir()
        migrate = [*KETCHUP, "migrate", "--data", str(folders[0])]
        subprocess.run(migrate, env={**os.environ, **environ}, check=True, capture_output=True)
        with (
            ServerProcess.start(folders[0], role="api", environ=environ) as api,
            ServerProcess.start(folders[1], role="worker", environ=environ) as worker,
        ):
            with _client(api.base_url, _new_key(api.base_url)) as customer:
                image = _image(customer)
                answer = customer.get(image)
            assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
            assert worker.terminate() == 0
            assert api.terminate() == 0
        for folder in folders:
            assert list((folder / "blobs").rglob("*")) == []


def _client(base_url: str, token: str) -> httpx2.Client:
    headers = {"Authorization": f"Bearer {token}"}
    return httpx2.Client(base_url=base_url, headers=headers, trust_env=False)


def _new_key(base_url: str) -> str:
    with _client(f"{base_url}/admin/v1", TOKEN) as operator:
        made = operator.post("/workspaces", json={"name": "customers", "plan": "scale"}).json()
        place = f"/workspaces/{made['id']}"
        operator.post(f"{place}/credits", json={"amount": "100"}).raise_for_status()
        key: str = operator.post(f"{place}/keys", json={"name": "theirs"}).json()["key"]
    return key


def _image(customer: httpx2.Client) -> str:
    """Have a picture made and return the path of its address."""
    body = {"model": "google/gempix2", "prompt": "a red boat"}
    task_id = customer.post("/api/image/gen", json=body).json()["data"]["task_id"]
    until = monotonic() + DEADLINE_SECONDS
    while True:
        answer = customer.get("/api/task/query", params={"task_id": task_id}).json()["data"]
        if answer["status"] in {"success", "failed"}:
            break
        assert monotonic() < until, answer
        sleep(0.02)
    assert answer["status"] == "success", answer
    return httpx2.URL(answer["result"][0]["image"]).path
