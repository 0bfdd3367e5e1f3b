"""`ketchup serve`, `api`, `worker` and `migrate`."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from ketchup import __version__
from ketchup.cli.failure import Exit, Failure

if TYPE_CHECKING:
    import socket

    from ketchup.config import Settings
    from ketchup.data_folder import DataFolder
    from ketchup.service import Role, Service, Started

ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="Settings file; default ./ketchup.toml.")
]
DataOption = Annotated[Path | None, typer.Option("--data", help="Folder of everything it keeps.")]
DatabaseOption = Annotated[
    str | None,
    typer.Option("--database", help="postgresql://… instead of the SQLite file in the folder."),
]
HostOption = Annotated[str | None, typer.Option(help="Where to listen.")]
PortOption = Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one.")]
ConcurrencyOption = Annotated[
    int | None, typer.Option(help="Tasks that render at once; 0 accepts without rendering.")
]
WorkerConcurrencyOption = Annotated[
    int | None, typer.Option(help="Tasks that render at once; 0 renders none.")
]
LanesOption = Annotated[
    str | None, typer.Option(help="The kinds of work that it does; default images,webhooks.")
]
_SHORTEST_KEY: Final = 8
_FILES: Final = 65_536


def serve(
    host: HostOption = None,
    port: PortOption = None,
    data: DataOption = None,
    database: DatabaseOption = None,
    concurrency: ConcurrencyOption = None,
    config: ConfigOption = None,
) -> None:
    """Run the whole service in one process."""
    from ketchup.service import Role

    flags = {
        "host": host,
        "port": port,
        "data": data,
        "database": database,
        "concurrency": concurrency,
    }
    _run(_settings(flags, config), Role.SERVE)


def api(
    host: HostOption = None,
    port: PortOption = None,
    data: DataOption = None,
    database: DatabaseOption = None,
    config: ConfigOption = None,
) -> None:
    """Answer requests, and leave the rendering to workers. On PostgreSQL, any number of these."""
    from ketchup.service import Role

    flags = {"host": host, "port": port, "data": data, "database": database}
    _run(_shared(_settings(flags, config)), Role.API)


def worker(
    lanes: LanesOption = None,
    concurrency: WorkerConcurrencyOption = None,
    data: DataOption = None,
    database: DatabaseOption = None,
    config: ConfigOption = None,
) -> None:
    """Render and deliver, and answer nobody. On PostgreSQL, any number of these."""
    from ketchup.service import Role

    flags = {
        "worker.lanes": lanes,
        "concurrency": concurrency,
        "data": data,
        "database": database,
    }
    _run(_shared(_settings(flags, config)), Role.WORKER)


def migrate(
    data: DataOption = None, database: DatabaseOption = None, config: ConfigOption = None
) -> None:
    """Bring the database to this version's schema, without serving."""
    from ketchup.bootstrap import migrate as migrate_database

    with open_for_work({"data": data, "database": database}, config) as (settings, folder):
        changed = migrate_database(settings, folder)
    print("migrated to the newest schema" if changed else "the schema is up to date")


@contextmanager
def open_for_work(
    flags: Mapping[str, object], config: Path | None
) -> Iterator[tuple[Settings, DataFolder]]:
    """Take the data folder for a command that serves nobody."""
    from ketchup.bootstrap import open_folder

    settings = _settings(flags, config)
    _keep_to_ourselves()
    with open_folder(settings) as folder:
        _configure_log(settings, folder)
        yield settings, folder


def _shared(settings: Settings) -> Settings:
    if settings.database is None:
        raise Failure(
            "a SQLite file has one process: run `ketchup serve`, or name a PostgreSQL database with"
            " --database or KETCHUP_DATABASE",
            Exit.SETTINGS,
        )
    return settings


def _keep_to_ourselves() -> None:
    """Let what is written be for the service alone, also in a folder that existed before."""
    os.umask(0o077)


def _allow_many_files() -> None:
    """Ask for as many files as a busy server needs: each connection is one."""
    import resource

    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if most == resource.RLIM_INFINITY else min(_FILES, most)
    if now != resource.RLIM_INFINITY and now < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def _run(settings: Settings, role: Role) -> None:
    # Nothing of what a start makes is garbage; looking for it cost a twentieth of the time to the
    # first answer. `settle_memory` turns the collector on again.
    gc.disable()
    _keep_to_ourselves()
    _allow_many_files()
    from ketchup.bootstrap import open_folder

    with open_folder(settings) as folder:
        _configure_log(settings, folder)
        _run_in(settings, folder, role)


def _run_in(settings: Settings, folder: DataFolder, role: Role) -> None:
    from ketchup.service import Role, Service, event_loop_runner, settle_memory

    listening = nullcontext() if role is Role.WORKER else _listener(settings)
    with listening as listener, event_loop_runner() as runner:
        service = Service(settings, folder, listener, loaded=settle_memory, role=role)
        runner.run(_run_until_signal(service))


def _listener(settings: Settings) -> socket.socket:
    from ketchup.service import bind

    try:
        return bind(settings.host, settings.port)
    except OSError as error:
        where = f"{settings.host}:{settings.port}"
        raise Failure(f"cannot listen on {where}: {error.strerror}") from error


async def _run_until_signal(service: Service) -> None:
    import asyncio

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, service.stop)
    from ketchup.service import Role

    await service.run(_print_working if service.role is Role.WORKER else _print_ready)


def _print_working(_started: Started) -> None:
    print(f"Ketchup {__version__} is working", flush=True)


def _print_ready(started: Started) -> None:
    print(f"Ketchup {__version__} is ready at {started.base_url}", flush=True)
    if started.first_start is None:
        return
    key = started.first_start.key
    model = next((model.id for model in started.runtime.catalog), "MODEL")
    print(
        f"\nYour first API key, shown only once:\n\n  {key}\n\nTry it:\n\n"
        f"  curl {started.base_url}/api/image/gen \\\n"
        f"    -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' \\\n"
        f"""    -d '{{"model":"{model}","prompt":"a red boat on the sea at sunset"}}'\n\n"""
        f"  curl -H 'Authorization: Bearer {key}' \\\n"
        f"    '{started.base_url}/api/task/query?task_id=TASK_ID'\n",
        flush=True,
    )


def _settings(flags: Mapping[str, object], config: Path | None) -> Settings:
    from ketchup.config import load

    return load(os.environ, flags=flags, config=config).settings


def _configure_log(settings: Settings, folder: DataFolder) -> None:
    from ketchup import telemetry

    secrets = [
        folder.secret_key(_revealed(settings)).hex(),
        folder.admin_token(_token(settings)),
        *_database_password(settings),
        *_bucket_secret(settings),
        *_engine_keys(settings),
    ]
    telemetry.configure(settings.log.level, settings.log.format, secrets=secrets)


def _engine_keys(settings: Settings) -> list[str]:
    given = [settings.gemini.api_key, settings.openai.api_key]
    given += [channel.key for channel in settings.channels.values()]
    keys = [key.get_secret_value() for key in given if key is not None]
    # A shorter one is no secret, and would be found in every line.
    return [key for key in keys if len(key) >= _SHORTEST_KEY]


def _token(settings: Settings) -> str | None:
    return settings.admin_token.get_secret_value() if settings.admin_token else None


def _revealed(settings: Settings) -> str | None:
    return settings.secret_key.get_secret_value() if settings.secret_key else None


def _bucket_secret(settings: Settings) -> list[str]:
    secret = settings.storage.secret
    return [] if secret is None else [secret.get_secret_value()]


def _database_password(settings: Settings) -> list[str]:
    from urllib.parse import parse_qs, unquote, urlsplit

    if settings.database is None:
        return []
    parts = urlsplit(settings.database.get_secret_value())
    query = parse_qs(parts.query)
    found = [parts.password, *query.get("password", []), *query.get("sslpassword", [])]
    return [form for password in found if password for form in {password, unquote(password)}]
