"""`ketchup serve` and `ketchup migrate`."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from ketchup import __version__
from ketchup.cli.failure import Failure

if TYPE_CHECKING:
    from ketchup.config import Settings
    from ketchup.data_folder import DataFolder
    from ketchup.service import Service, Started

ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="Settings file; default ./ketchup.toml.")
]
_FILES: Final = 65_536
DataOption = Annotated[Path | None, typer.Option("--data", help="Folder of everything it keeps.")]


def serve(
    host: Annotated[str | None, typer.Option(help="Where to listen.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one.")] = None,
    data: DataOption = None,
    concurrency: Annotated[
        int | None, typer.Option(help="Tasks that render at once; 0 accepts without rendering.")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Run the whole service in one process."""
    # Nothing of what a start makes is garbage; looking for it cost a twentieth of the time to the
    # first answer. `settle_memory` turns the collector on again.
    gc.disable()
    flags = {"host": host, "port": port, "data": data, "concurrency": concurrency}
    settings = _settings(flags, config)
    # What the service writes is for the service alone, also in a folder that existed before.
    os.umask(0o077)
    _allow_many_files()
    with _open(settings) as folder:
        _configure_log(settings, folder)
        _run(settings, folder)


def migrate(data: DataOption = None, config: ConfigOption = None) -> None:
    """Bring the database to this version's schema, without serving."""
    from ketchup.bootstrap import migrate as migrate_folder

    settings = _settings({"data": data}, config)
    with _open(settings) as folder:
        # Made before the database: a database without its key would be refused.
        folder.secret_key(_revealed(settings))
        changed = migrate_folder(folder)
    print("migrated to the newest schema" if changed else "the schema is up to date")


def _allow_many_files() -> None:
    """Ask for as many files as a busy server needs: each connection is one."""
    import resource

    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if most == resource.RLIM_INFINITY else min(_FILES, most)
    if now != resource.RLIM_INFINITY and now < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def _run(settings: Settings, folder: DataFolder) -> None:
    from ketchup.service import Service, bind, event_loop_runner, settle_memory

    try:
        listener = bind(settings.host, settings.port)
    except OSError as error:
        where = f"{settings.host}:{settings.port}"
        raise Failure(f"cannot listen on {where}: {error.strerror}") from error
    with listener, event_loop_runner() as runner:
        service = Service(settings, folder, listener, loaded=settle_memory)
        runner.run(_serve_until_signal(service))


async def _serve_until_signal(service: Service) -> None:
    import asyncio

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, service.stop)
    await service.run(_print_ready)


def _print_ready(started: Started) -> None:
    print(f"Ketchup {__version__} is ready at {started.base_url}", flush=True)
    if started.first_start is None:
        return
    key = started.first_start.key
    print(
        f"\nYour first API key, shown only once:\n\n  {key}\n\nTry it:\n\n"
        f"  curl {started.base_url}/api/image/gen \\\n"
        f"    -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' \\\n"
        """    -d '{"model":"google/gempix2","prompt":"a red boat on the sea at sunset"}'\n\n"""
        f"  curl -H 'Authorization: Bearer {key}' \\\n"
        f"    '{started.base_url}/api/task/query?task_id=TASK_ID'\n",
        flush=True,
    )


def _settings(flags: Mapping[str, object], config: Path | None) -> Settings:
    from ketchup.config import load

    return load(os.environ, flags=flags, config=config).settings


def _configure_log(settings: Settings, folder: DataFolder) -> None:
    from ketchup import telemetry

    secrets = [folder.secret_key(_revealed(settings)).hex(), folder.admin_token(_token(settings))]
    telemetry.configure(settings.log.level, settings.log.format, secrets=secrets)


def _open(settings: Settings) -> DataFolder:
    from ketchup.clock import SystemClock
    from ketchup.data_folder import DataFolder

    return DataFolder.open(settings.data, SystemClock())


def _token(settings: Settings) -> str | None:
    return settings.admin_token.get_secret_value() if settings.admin_token else None


def _revealed(settings: Settings) -> str | None:
    return settings.secret_key.get_secret_value() if settings.secret_key else None
