"""Bootstrap: every long-lived object, built in order and closed in the opposite one.

Settings are read here and in `offers` and `engines`, which build the engines, besides the command
line, which loads them; everything else is given plain values. `open_runtime` takes an owned data
folder and returns what the surfaces and the worker share. What varies between production, tests and
benchmarks is a parameter: clock, engines, address.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from pydantic import SecretStr

from ketchup import credits, migrations, telemetry, workspaces
from ketchup.clock import Clock, SystemClock, after
from ketchup.config import Settings, SettingsError
from ketchup.data_folder import DataFolder, paths
from ketchup.db import (
    Bell,
    Connection,
    Database,
    Engine,
    Location,
    News,
    PostgresUrl,
    SqliteFile,
    bell_of,
    engine_of,
    metadata,
)
from ketchup.egress import Bounds, Egress, EgressError, Resolver
from ketchup.engines import STUDIO
from ketchup.errors import Unavailable
from ketchup.generation import (
    Chores,
    Engines,
    Eraser,
    Finishing,
    Inputs,
    Results,
    Runner,
    RunRules,
    Submitter,
    Wakeup,
    allowance_of,
)
from ketchup.ids import WorkerId, WorkspaceId, name_bits
from ketchup.offers import Providers, offers_of
from ketchup.origins import Origins
from ketchup.pace import Pace
from ketchup.provenance.finisher import Finisher
from ketchup.providers.catalog import Catalog
from ketchup.references import Decoder, References
from ketchup.storage import Bucket, BucketStorage, DiskStorage, Storage, reference_key
from ketchup.webhooks import Sender, SenderSettings
from ketchup.workspaces import Authenticator, NewKey, Plans, Vault, plans_from

if TYPE_CHECKING:
    from ketchup.provenance.signer import Credential

log = telemetry.logger(__name__)

_DAY_SECONDS = 86_400


@dataclass(frozen=True, slots=True)
class Rules:
    """What the operator decided about the surfaces and the worker. Times are in seconds."""

    insufficient_credits_status: int
    max_body_bytes: int
    max_plain_body_bytes: int
    polls_per_second: float
    """0 for no limit."""
    poll_burst: int
    concurrency: int
    lanes: frozenset[str]
    lease_seconds: float
    drain_seconds: float
    verifies_per_minute: int
    """Of one workspace; 0 for no limit."""
    new_key_seconds: int | None
    """How long a key works that is made without saying it; None is for ever."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """What the surfaces and the worker share. The settings are not here: see `rules`."""

    rules: Rules
    clock: Clock
    database: Database
    storage: Storage
    catalog: Catalog
    plans: Plans
    authenticator: Authenticator
    origins: Origins
    submitter: Submitter
    results: Results
    finisher: Finisher
    runner: Runner
    eraser: Eraser
    chores: Chores
    accepted: Wakeup
    """Rung after a commit that let tasks in or made them ready, here."""
    ended: Wakeup
    """Rung after a commit that ended tasks, here."""
    due: Wakeup
    """Rung after a commit that made deliveries due, here."""
    elsewhere: Mapping[News, Wakeup]
    """Rung when another process on this database has done one of these."""
    stopping: Wakeup
    """Rung once, when this process begins to stop."""
    bell: Bell
    """Wakes the other processes on this database, and is rung by them."""
    is_alone: bool
    """Whether no other process can be on this database."""
    vault: Vault
    admin_token: str
    make_sender: Callable[[WorkerId], Sender]

    async def retention(self, number: int) -> int | None:
        """Return how many seconds a workspace keeps its images; None for an unknown number."""
        plan = await self.database.read(lambda conn: workspaces.find_plan(conn, number))
        return None if plan is None else self.plans.find(plan).retention_seconds


@dataclass(frozen=True, slots=True)
class FirstStart:
    """What was made because there was nothing: shown once, then forgotten."""

    workspace_id: WorkspaceId
    key: str


def location_of(settings: Settings, folder: Path) -> Location:
    """Return where the database is: the PostgreSQL one, else a file in the data folder."""
    url = _revealed(settings.database)
    return PostgresUrl(url) if url else SqliteFile(paths(folder).database)


def open_folder(settings: Settings) -> DataFolder:
    """Take the data folder: alone with the SQLite file in it, or beside others on PostgreSQL."""
    if settings.database is None:
        return DataFolder.open(settings.data, SystemClock())
    return DataFolder.share(settings.data)


def migrate(settings: Settings, folder: DataFolder) -> bool:
    """Bring the database to the newest schema; False when it was there already.

    Raises migrations.SchemaTooNew, DatabaseUnusable and WrongSecretKey.
    """
    # Made before the database: a database without its key would be refused.
    vault = vault_of(settings, folder)
    with open_store(settings, folder) as engine:
        changed = migrations.upgrade(engine, newest=metadata)
        _check(engine, vault)
    return changed


def require_usable(settings: Settings, folder: DataFolder) -> None:
    """Raise unless the database can be used as it is: see `migrations` and WrongSecretKey."""
    vault = vault_of(settings, folder)
    with open_store(settings, folder) as engine:
        migrations.require_usable(engine)
        _check(engine, vault)


@contextmanager
def open_store(settings: Settings, folder: DataFolder) -> Iterator[Engine]:
    """Open the database for work without a service around it."""
    engine = engine_of(location_of(settings, folder.path), lasting=True)
    try:
        yield engine
    finally:
        engine.dispose()


def _check(engine: Engine, vault: Vault) -> None:
    with migrations.usable(engine), engine.begin() as conn:
        workspaces.require_same_secret(conn, vault)
        for setting in migrations.risks(conn):
            log.error(
                "DURABILITY IS OFF: a power failure can lose acknowledged tasks and credits",
                setting=setting,
                remedy=f"set {setting} = on in postgresql.conf",
            )


@asynccontextmanager
async def open_runtime(
    settings: Settings,
    folder: DataFolder,
    *,
    base_url: str,
    port: int | None = None,
    clock: Clock | None = None,
    providers: Providers | None = None,
    resolver: Resolver | None = None,
) -> AsyncIterator[Runtime]:
    """Build everything on a data folder and a migrated database, and close it at the end.

    `port` is the one that this process listens at, where it is another than the setting.

    Raises storage.BucketUnusable.

    `providers` replaces the built-in engines, by name, and `resolver` the machine's.
    """
    clock = clock or SystemClock()
    async with AsyncExitStack() as closing:
        vault = vault_of(settings, folder)
        location = location_of(settings, folder.path)
        database = Database(location)
        closing.push_async_callback(database.close)
        store = await _storage(settings, folder, clock)
        egress = Egress(
            clock,
            allow=settings.egress.allow,
            ports=settings.egress.ports,
            resolver=resolver,
            own_url=base_url,
            own_ports={port or settings.port},
            bounds=Bounds(
                per_workspace=settings.egress.per_workspace,
                per_origin=settings.egress.per_destination,
                per_second=settings.egress.per_second,
                wait_seconds=settings.egress.wait_seconds,
            ),
            post_seconds=settings.webhooks.timeout_seconds,
        )
        closing.push_async_callback(egress.close)
        decoder = Decoder(processes=_concurrency(settings) or 1)
        closing.push_async_callback(decoder.close)
        finisher = await _finisher(settings, folder, clock)
        closing.push_async_callback(finisher.close)
        settings = await _with_stored_keys(settings, database, vault)
        engines = offers_of(settings, egress, providers, processes=_concurrency(settings) or 1)
        for provider in engines.providers.values():
            closing.push_async_callback(provider.close)

        results = Results(store, engines.catalog, base_url)
        references = References(
            egress, decoder, failures_last=settings.egress.failures_last_seconds
        )
        inputs = Inputs(references, store, clock, own_key=results.key_of)
        authenticator = Authenticator(database, vault, clock, _failures(settings, clock))
        plans = plans_from(settings.plans, settings.default_plan)
        eraser = Eraser(database, results, clock)
        accepted, ended, due, bell = Wakeup(), Wakeup(), Wakeup(), bell_of(location)
        for wakeup, news in ((accepted, News.READY), (ended, News.ENDED), (due, News.DUE)):
            wakeup.listen(partial(bell.ring, news))
        yield Runtime(
            rules=_rules(settings),
            clock=clock,
            database=database,
            storage=store,
            catalog=engines.catalog,
            plans=plans,
            authenticator=authenticator,
            origins=Origins(settings.server.trusted_proxies),
            submitter=Submitter(
                database,
                inputs,
                clock,
                allowances=lambda plan: allowance_of(plans.find(plan)),
                capacity=settings.limits.queue_capacity,
                accepted=accepted,
            ),
            results=results,
            finisher=finisher,
            runner=Runner(
                database,
                engines,
                inputs,
                store,
                results,
                clock=clock,
                random=Random(),
                rules=_run_rules(settings),
                ended=ended,
                due=due,
                ready=accepted,
                finishing=Finishing(finisher, _drawn_by_rules(engines)),
            ),
            eraser=eraser,
            chores=Chores(database, store, authenticator, plans, clock, eraser, ready=accepted),
            accepted=accepted,
            ended=ended,
            due=due,
            elsewhere={news: Wakeup() for news in News},
            stopping=Wakeup(),
            bell=bell,
            is_alone=isinstance(location, SqliteFile),
            vault=vault,
            admin_token=folder.admin_token(_revealed(settings.admin_token)),
            make_sender=_sender_maker(settings, database, egress, vault, clock),
        )


async def first_start(runtime: Runtime, settings: Settings) -> FirstStart | None:
    """Create the first workspace with credits and a key; None when there is one already."""
    return await runtime.database.write(lambda conn: _first_start(conn, runtime, settings))


def _first_start(conn: Connection, runtime: Runtime, settings: Settings) -> FirstStart | None:
    # Of two processes that start together, one creates it.
    workspaces.lock_creation(conn)
    if workspaces.list_all(conn):
        return None
    now = runtime.clock.now()
    workspace = workspaces.create(conn, settings.start.workspace, settings.start.plan, now)
    if settings.start.credits:
        credits.grant(conn, workspace.id, settings.start.credits, "first start", now)
    workspaces.rotate_webhook_secret(conn, runtime.vault, workspace.id, 0, now)
    lasts = runtime.rules.new_key_seconds
    new = NewKey("first key", expires_at=None if lasts is None else after(now, lasts))
    _, key = workspaces.create_key(conn, runtime.vault.pepper(conn), workspace.id, new, now)
    return FirstStart(workspace.id, key)


async def _with_stored_keys(settings: Settings, database: Database, vault: Vault) -> Settings:
    """Return the settings with the providers' keys of the database where they name none."""
    try:
        stored = await database.read(lambda conn: workspaces.open_provider_keys(conn, vault))
    except Unavailable:
        log.warning(
            "the providers' keys in the database cannot be read: start again when it answers"
        )
        return settings
    if not stored:
        return settings
    keys = {name: SecretStr(key) for name, key in stored.items()}
    return settings.with_keys(keys)


def _concurrency(settings: Settings) -> int:
    """Return how many tasks render at once: by default one per core."""
    return settings.concurrency if settings.concurrency is not None else os.cpu_count() or 1


async def _storage(settings: Settings, folder: DataFolder, clock: Clock) -> Storage:
    """Return the place of all blobs; a bucket has been tried out."""
    storage = settings.storage
    if (storage.key_id is None) != (storage.secret is None):
        raise SettingsError(["storage.key_id and storage.secret: one needs the other"])
    if storage.url is None:
        if storage.downloads == "presigned":
            raise SettingsError(["storage.downloads: presigned needs a bucket in storage.url"])
        return DiskStorage(folder.paths.blobs)
    name, _, prefix = storage.url.removeprefix("s3://").partition("/")
    bucket = Bucket(
        name,
        prefix,
        endpoint=storage.endpoint,
        region=storage.region,
        key_id=storage.key_id,
        secret=_revealed(storage.secret),
        is_in_host=storage.addressing == "host",
    )
    store = BucketStorage(bucket, presigned=storage.downloads == "presigned")
    # Under a reference's key: what a crash leaves of it is swept.
    await store.require_usable(reference_key(clock.now(), name_bits()))
    return store


async def _finisher(settings: Settings, folder: DataFolder, clock: Clock) -> Finisher:
    """Return what finishes pictures. Raises CredentialUnusable."""
    credential = await asyncio.to_thread(_credential, settings, folder, clock)
    return Finisher(credential, processes=_concurrency(settings) or 1)


def _drawn_by_rules(engines: Engines) -> set[str]:
    """Return every name that the studio goes by: a channel of it has one of its own."""
    studio = engines.providers.get(STUDIO)
    return {name for name, provider in engines.providers.items() if provider is studio}


def _credential(settings: Settings, folder: DataFolder, clock: Clock) -> Credential | None:
    given = settings.provenance
    if (given.certificate is None) != (given.key is None):
        raise SettingsError(["provenance.certificate and provenance.key: one needs the other"])
    if not settings.provenance.enabled:
        return None
    # Imported late: it loads a library of cryptography that nobody else needs.
    from ketchup.provenance.signer import load, load_or_make  # noqa: PLC0415 as above

    if given.certificate and given.key:
        return load(given.certificate, given.key, clock)
    return load_or_make(folder.path, clock, settings.provenance.organisation)


def _sender_maker(
    settings: Settings, database: Database, egress: Egress, vault: Vault, clock: Clock
) -> Callable[[WorkerId], Sender]:
    async def secrets(workspace_id: WorkspaceId) -> Sequence[str]:
        return await database.read(
            lambda conn: workspaces.webhook_secrets(conn, vault, workspace_id, clock.now())
        )

    def make(worker_id: WorkerId) -> Sender:
        return Sender(
            database,
            egress,
            worker_id=worker_id,
            secrets=secrets,
            clock=clock,
            random=Random(),
            settings=_sender_settings(settings),
            errors=(EgressError,),
        )

    return make


def _failures(settings: Settings, clock: Clock) -> Pace | None:
    """Return what counts refused keys by address."""
    per_minute = settings.limits.failed_logins_per_minute
    return Pace("failure", per_minute / 60, per_minute, clock) if per_minute else None


def _rules(settings: Settings) -> Rules:
    limits, worker = settings.limits, settings.worker
    return Rules(
        insufficient_credits_status=settings.contract.insufficient_credits_status,
        max_body_bytes=limits.max_body_bytes,
        max_plain_body_bytes=limits.max_plain_body_bytes,
        polls_per_second=limits.polls_per_second,
        poll_burst=limits.poll_burst,
        concurrency=_concurrency(settings),
        lanes=frozenset(worker.lanes),
        lease_seconds=worker.lease_seconds,
        drain_seconds=worker.drain_seconds,
        verifies_per_minute=settings.provenance.verifies_per_minute,
        new_key_seconds=settings.keys.default_days * _DAY_SECONDS or None,
    )


def _run_rules(settings: Settings) -> RunRules:
    return RunRules(
        max_tries=settings.worker.max_tries,
        max_losses=settings.worker.max_losses,
        timeout_seconds=settings.worker.task_timeout_seconds,
        patience_seconds=settings.worker.patience_seconds,
    )


def _sender_settings(settings: Settings) -> SenderSettings:
    webhooks = settings.webhooks
    return SenderSettings(
        schedule=webhooks.schedule,
        timeout=webhooks.timeout_seconds,
        concurrency=webhooks.concurrency,
        slow=webhooks.slow,
        per_destination=webhooks.per_destination,
    )


def vault_of(settings: Settings, folder: DataFolder) -> Vault:
    """Return what the secret key opens: the configured one, else the folder's."""
    return Vault(folder.secret_key(_revealed(settings.secret_key)))


def _revealed(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()
