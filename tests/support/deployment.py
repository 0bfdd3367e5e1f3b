"""The ways to run Ketchup, as one thing that is started, asked, broken and judged.

    with deployed("fleet", folder, url) as deployment:
        deployment.start()
        ...send requests to deployment.addresses; kill deployment.processes[2]...
        assert deployment.violations(promises) == []

Every process that answers requests keeps its address when it is started again.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import SystemRandom
from typing import Any, Final

import httpx2

from tests.support.invariants import Promises, rows_of, violations
from tests.support.process import DEADLINE_SECONDS, KETCHUP, ServerProcess

# A process each, by its command; a port is added where it takes one.
ROLES: Final[Mapping[str, Sequence[str]]] = {
    "sqlite": ("serve",),
    "postgres": ("serve",),
    "fleet": ("api", "api", "worker --lanes images", "worker", "worker --lanes webhooks"),
    "lanes": ("api", "worker --lanes images", "worker --lanes webhooks"),
    "pair": ("api", "worker", "worker"),
    "doors": ("api", "api"),
}
_LOG_SHOWN: Final = 20_000
_GENEROUS: Final = "1000000"
# Below those that the system gives to connections: it must still be free after a kill.
_PORTS: Final = range(20_000, 30_000)


@dataclass
class Deployment:
    """Processes on one data folder and one database."""

    data: Path
    roles: Sequence[str]
    database: str | None
    environ: dict[str, str]
    ports: Sequence[int]
    command: Sequence[str]
    processes: list[ServerProcess] = field(default_factory=list)

    @property
    def addresses(self) -> list[str]:
        """Where requests are answered."""
        places = zip(self.roles, self.ports, strict=True)
        return [f"http://127.0.0.1:{port}" for role, port in places if _answers(role)]

    @property
    def workers(self) -> list[int]:
        """The places of the processes that render."""
        return [place for place, role in enumerate(self.roles) if "images" in _lanes_of(role)]

    @property
    def admin_token(self) -> str:
        return (self.data / "admin.token").read_text().strip()

    @property
    def log(self) -> str:
        """What all the processes wrote."""
        return self.processes[0].log if self.processes else ""

    def configure(self, settings: str) -> None:
        """Write the settings file that the processes find."""
        (self.data.parent / "ketchup.toml").write_text(settings)

    def start(self, *options: str) -> None:
        """Start every process, and return when all are ready."""
        if "serve" not in self.roles:
            self._migrate()
        self.processes = [self._launch(place, *options) for place in range(len(self.roles))]
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        """Wait for those that were started and did not say yet that they are ready."""
        for process in self.processes:
            assert process.is_ready or process.wait_until_ready(), process.log

    def launch_again(self, place: int) -> ServerProcess:
        """Start one process anew, in the place of one that has ended; returns at once."""
        self.processes[place].close()
        self.processes[place] = self._launch(place)
        return self.processes[place]

    def stop(self) -> None:
        """Stop every process in good order that still runs."""
        for process in self.processes:
            if process.process.poll() is None:
                assert process.terminate() == 0, process.log
            process.close()

    def new_key(self, environment: str = "live") -> str:
        """Make a workspace with many credits and a key, as an operator does; return the key."""
        headers = {"Authorization": f"Bearer {self.admin_token}"}
        base_url = f"{self.addresses[0]}/admin/v1"
        with httpx2.Client(base_url=base_url, headers=headers, trust_env=False) as operator:
            workspace = _made(operator, "/workspaces", name="customers", plan="scale")["id"]
            _made(operator, f"/workspaces/{workspace}/credits", amount=_GENEROUS)
            wanted = {"name": "theirs", "environment": environment}
            key: str = _made(operator, f"/workspaces/{workspace}/keys", **wanted)["key"]
        return key

    def violations(
        self,
        promises: Promises,
        *,
        at_the_end: bool = False,
        costs: Mapping[str, int] | None = None,
    ) -> list[str]:
        """Return all that is wrong. On SQLite the process must be gone."""
        return violations(
            self.data, promises, at_the_end=at_the_end, database=self.database, costs=costs or {}
        )

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Ask the database. On SQLite the process must be gone."""
        with rows_of(self.data, self.database) as rows:
            return list(rows(sql))

    def _launch(self, place: int, *options: str) -> ServerProcess:
        role = self.roles[place]
        name, *own = role.split()
        port = ("--port", str(self.ports[place])) if _answers(role) else ()
        return ServerProcess.launch(
            self.data,
            *(*port, *own, *options),
            role=name,
            environ=self.environ,
            command=self.command,
        )

    def _migrate(self) -> None:
        command = [*KETCHUP, "migrate", "--data", str(self.data)]
        subprocess.run(
            command,
            env={**os.environ, **self.environ},
            cwd=self.data.parent,
            check=True,
            capture_output=True,
            timeout=DEADLINE_SECONDS,
        )


@contextmanager
def deployed(
    kind: str,
    folder: Path,
    database: str | None,
    command: Sequence[str] = KETCHUP,
    **environ: str,
) -> Iterator[Deployment]:
    """Prepare a deployment for the body; whatever still runs at the end is killed.

    `command` is what takes the role, and `environ` adds to its environment.
    """
    roles = ROLES[kind]
    ports = _free_ports(len(roles))
    settings = {
        "KETCHUP_PUBLIC_URL": f"http://127.0.0.1:{ports[0]}",
        # Hundreds of starts, each with a child more to start: what is tested is the queue.
        "KETCHUP_PROVENANCE_ENABLED": "false",
        **environ,
    }
    if database is not None:
        settings["KETCHUP_DATABASE"] = database
    deployment = Deployment(folder / "data", roles, database, settings, ports, command)
    try:
        yield deployment
    except BaseException:
        sys.stdout.write(deployment.log[-_LOG_SHOWN:])
        raise
    finally:
        for process in deployment.processes:
            if process.process.poll() is None:
                process.kill()
            process.close()


def _answers(role: str) -> bool:
    return not role.startswith("worker")


def _lanes_of(role: str) -> str:
    name, _, lanes = role.partition(" --lanes ")
    return "" if name == "api" else lanes or "images,webhooks"


def _free_ports(count: int) -> Sequence[int]:
    found: list[int] = []
    for port in SystemRandom().sample(_PORTS, len(_PORTS)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                found.append(port)
        if len(found) == count:
            return found
    raise AssertionError("no port is free")


def _made(operator: httpx2.Client, path: str, **body: str) -> dict[str, Any]:
    answer = operator.post(path, json=body)
    assert answer.is_success, answer.text
    made: dict[str, Any] = answer.json()
    return made
