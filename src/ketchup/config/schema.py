"""The settings themselves: names, kinds, defaults and meanings, and nothing about where they live.

A `Settings` is exactly what it is given and never looks around: `Settings()` is the defaults on
every machine. `sources.load` is what reads flags, variables and the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from typing_extensions import override

from ketchup.config import kinds
from ketchup.money import Credits

PREFIX: Final = "KETCHUP_"
_WILDCARDS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 compared with, not bound to


class Group(BaseModel):
    """A table of `ketchup.toml`. The docstring of each is its introduction in the documentation."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Limits(Group):
    """What one caller may ask for, and how much may wait."""

    max_body_bytes: kinds.Bytes = Field(
        40 * kinds.MEBIBYTE, description="Largest request body that carries data URIs."
    )
    max_plain_body_bytes: kinds.Bytes = Field(
        kinds.MEBIBYTE, description="Largest request body without data URIs."
    )
    polls_per_second: kinds.PollRate = Field(
        0.0, description="Queries per second, per key and task; 0 for no limit."
    )
    poll_burst: kinds.PollBurst = Field(
        5, description="Queries that may come at once when polls are limited."
    )
    queue_capacity: kinds.Positive = Field(
        10_000, description="Writes that may wait in memory; one more answers 503."
    )


class Worker(Group):
    """How tasks are run, and what happens when that goes wrong."""

    lanes: kinds.Lanes = Field(
        ("images", "webhooks"), description="The kinds of work that a worker does."
    )
    lease_seconds: kinds.LeaseSeconds = Field(
        15.0, description="How long a worker may be silent before others take over its tasks."
    )
    max_tries: kinds.Positive = Field(
        3, description="Tries at a task that the engine fails, the first included."
    )
    max_losses: kinds.Positive = Field(
        10, description="Times a task may lose its worker before it is given up."
    )
    drain_seconds: kinds.Pause = Field(
        20.0, description="How long a stop waits for running tasks before it hands them back."
    )
    task_timeout_seconds: kinds.Seconds = Field(
        300.0, description="How long one try at a task may take."
    )
    patience_seconds: kinds.Seconds = Field(
        1800.0,
        description="How long a task waits while every channel of its model is out, for a wrong "
        "key or because it fails; then it fails, and costs nothing.",
    )


class Storage(Group):
    """Where images and references are kept: in the data folder, or in a bucket that all share."""

    url: kinds.BucketUrl | None = Field(
        None, description="A bucket on S3, or on a server that speaks like it; by default DATA."
    )
    endpoint: kinds.WebAddress | None = Field(
        None, description="The server of the bucket; by default Amazon's of the region."
    )
    region: kinds.Text | None = Field(
        None, description="The region of the bucket; by default `AWS_REGION`, else us-east-1."
    )
    addressing: kinds.Addressing = Field(
        "path", description="Whether the bucket's name stands in the path or in the host."
    )
    key_id: kinds.Text | None = Field(
        None,
        description="The id of the access key; by default `AWS_ACCESS_KEY_ID`, or what the "
        "machine's role is given.",
    )
    secret: kinds.BucketSecret | None = Field(
        None, description="The secret of the access key; by default `AWS_SECRET_ACCESS_KEY`."
    )
    downloads: kinds.Downloads = Field(
        "proxied",
        description="Whether an image's address serves it, or leads to the bucket for ten minutes.",
    )


class Provenance(Group):
    """What stored pictures say about themselves, by a certificate of yours or one made in DATA."""

    enabled: kinds.Flag = Field(
        default=True,
        description="Whether pictures are decoded, signed and logged before they are stored.",
    )
    certificate: kinds.FilePath | None = Field(
        None, description="A certificate chain in PEM, the signing certificate first."
    )
    key: kinds.FilePath | None = Field(
        None, description="The file of its private key, in PEM, readable by its owner alone."
    )
    organisation: kinds.Text = Field(
        "Ketchup", description="Who signs, in a certificate that is made."
    )
    verifies_per_minute: kinds.Cap = Field(
        60,
        description="Pictures that a workspace may have verified, per minute and process; 0 for no "
        "limit.",
    )


class Webhooks(Group):
    """How callbacks are delivered."""

    schedule: kinds.Schedule = Field(
        (0, 5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400),
        description="The pause before each attempt, spread by 20 %.",
    )
    timeout_seconds: kinds.Seconds = Field(
        15.0, description="How long one attempt may take in all."
    )
    concurrency: kinds.Positive = Field(256, description="Attempts at once.")
    per_destination: kinds.Positive = Field(4, description="Attempts at once to the same receiver.")


class Egress(Group):
    """Where callers' addresses may lead: the public internet, and what is opened here."""

    allow: kinds.Networks = Field(
        (), description="Private networks that references and callbacks may reach."
    )
    ports: kinds.Ports = Field(
        (80, 443), description="Ports that they may reach on the public internet."
    )


class Gemini(Group):
    """Google's image models. With a key, they render Google's models."""

    api_key: kinds.UpstreamKey | None = Field(
        None, description="The key; also read from GEMINI_API_KEY or GOOGLE_API_KEY."
    )
    base_url: kinds.WebAddress = Field(
        "https://generativelanguage.googleapis.com",
        description="Where the API is, for channels too that do not say; also read from "
        "GOOGLE_GEMINI_BASE_URL.",
    )
    api_version: kinds.ApiVersion = Field(
        "v1beta", description="The version of the API, for channels too."
    )


class OpenAI(Group):
    """OpenAI's image API, or a server that speaks it. With a key, it renders OpenAI's models."""

    api_key: kinds.UpstreamKey | None = Field(
        None, description="The key; also read from OPENAI_API_KEY."
    )
    base_url: kinds.WebAddress = Field(
        "https://api.openai.com/v1",
        description="Where the API is, with its version, for channels too that do not say; also "
        "read from OPENAI_BASE_URL.",
    )


class Contract(Group):
    """Variations of the public contract, for clients that need them."""

    insufficient_credits_status: kinds.ShortfallStatus = Field(
        402, description="The status when a workspace cannot pay; 400 for strict older clients."
    )


class Log(Group):
    """The log, one line per event on standard error."""

    level: kinds.LogLevel = Field("info", description="The least level that is logged.")
    format: kinds.LogFormat = Field(
        "auto", description="JSON lines, or text for people; `auto` is text on a terminal."
    )


class Start(Group):
    """What the first start creates in an empty data folder."""

    workspace: kinds.Text = Field("default", description="Name of the first workspace.")
    credits: kinds.Amount = Field(
        Credits(100_000_000), description="Credits that the first workspace is given."
    )
    plan: kinds.PlanName = Field("scale", description="The plan of the first workspace.")


class ModelSettings(Group):
    """One model of the catalogue, `[models."<id>"]`. A new one needs a title and a price."""

    title: kinds.Text = Field(description="The name that people read.")
    price: kinds.Amount = Field(description="Credits for one image.")
    aliases: kinds.ModelIds = Field((), description="Other ids that mean this model.")
    max_reference_images: kinds.References = Field(
        4, description="Reference images that a task may have."
    )
    aspect_ratios: kinds.Ratios = Field(
        kinds.ALL_RATIOS, description="The ratios that it can render."
    )
    image_sizes: kinds.Sizes = Field(kinds.ALL_SIZES, description="The sizes that it can render.")
    max_n: kinds.ImageCount = Field(8, description="Images that one task may ask for.")
    result: kinds.Form = Field(
        "url", description="What a result holds: an address, or the image as a data URI."
    )
    provider: kinds.Text = Field(
        "auto",
        description="The engine that renders it: `studio`, `gemini` or `openai`; `auto` is that of "
        "the model's maker when it has a key; without one, the studio as long as no other engine "
        "is set up at all, and then none: the model is not offered. Channels that serve the model "
        "take its place.",
    )
    fallback: kinds.ModelId | None = Field(
        None,
        description="The model that renders in its place, at its price, while all its channels "
        "are out.",
    )


class PlanSettings(Group):
    """One plan, `[plans.<name>]`: what a workspace may ask for. A new one needs a title."""

    title: kinds.Text = Field(description="The name that people read.")
    price: kinds.Amount = Field(
        Credits(0), description="Money for a month, in your currency; it is shown and never taken."
    )
    submits_per_minute: kinds.Cap = Field(0, description="Tasks that may be submitted per minute.")
    submit_burst: kinds.Positive = Field(
        10, description="Tasks that may come at once when submits are limited."
    )
    concurrency: kinds.Cap = Field(0, description="Tasks that may be in flight at once.")
    depth: kinds.Cap = Field(0, description="Tasks that may wait or run at once.")
    weight: kinds.Weight = Field(
        1, description="The share of the engines when several workspaces wait for them."
    )
    retention_days: kinds.Days = Field(30, description="How long an image can be downloaded.")


class ChannelSettings(Group):
    """One way to an engine, `[channels.<name>]`. A new one needs a provider and its models.

    The channels of a model are asked by priority and weight, and one that is down or full is passed
    over. A model that no channel serves has the engine that its `provider` says.
    """

    provider: kinds.ProviderName = Field(description="The kind of engine.")
    models: kinds.Served = Field(description="The models that it serves.")
    base_url: kinds.WebAddress | None = Field(
        None, description="Where the engine is; by default `gemini.base_url` or `openai.base_url`."
    )
    key: kinds.UpstreamKey | None = Field(None, description="The engine's key, if it wants one.")
    key_env: kinds.Text | None = Field(
        None, description="The name of the variable that holds the key."
    )
    priority: kinds.Priority = Field(0, description="The highest that is free is asked.")
    weight: kinds.Weight = Field(1, description="The share among channels of one priority.")
    images_in_flight: kinds.Cap = Field(
        0, description="Images that it may render at once; at least `max_n` of its models."
    )
    images_per_minute: kinds.Cap = Field(
        0,
        description="Images that it may be sent in any sixty seconds, tasks spread evenly; at "
        "least `max_n` of its models.",
    )
    cost: kinds.Amount = Field(
        Credits(0), description="What one image costs you; kept with every attempt."
    )
    unknown: kinds.UnknownPolicy = Field(
        "auto",
        description="What becomes of a task when nobody knows whether it was rendered: `resubmit` "
        "may be charged twice; `fail_and_release` never is. `auto` is the latter where images cost "
        "something, and for Google and OpenAI.",
    )
    environment: kinds.EnvironmentName = Field(
        "live",
        description="Whose tasks it renders: those of `dk-live_` keys, or those of `dk-test_` keys "
        "(`test`), which cost nothing. What no channel serves for tests, the studio does.",
    )
    knows: kinds.KnownFields = Field(
        ("output_format",), description="openai: fields that this server takes."
    )
    image_field: kinds.Text = Field("image[]", description="openai: the name of a reference.")
    sizes: kinds.PixelSizes = Field(
        (), description="openai, diffusers: the only sizes; by default any."
    )
    per_request: kinds.PerRequest = Field(10, description="openai: images per request.")
    extra: kinds.Extra = Field(
        default_factory=dict, description="openai: fields that go into every request."
    )
    path: kinds.Folder | None = Field(
        None, description="diffusers: the folder of the pipeline; nothing is downloaded then."
    )
    pipeline: kinds.HubId | None = Field(
        None, description="diffusers: the pipeline's id on the hub, in place of a path."
    )
    device: kinds.Device = Field(
        "auto", description="diffusers: where it runs; `auto` is a GPU if there is one."
    )
    dtype: kinds.Dtype = Field(
        "auto", description="diffusers: kind of number; `auto` is bfloat16, float32 on a CPU."
    )
    offload: kinds.Offload = Field(
        "none",
        description="diffusers: what waits in the machine's memory while it is not used: whole "
        "models, or every layer, which needs the least and takes the longest.",
    )
    compile: kinds.Flag = Field(
        default=False,
        description="diffusers: compile the model; the first call of each size takes longer.",
    )
    steps: kinds.Steps | None = Field(
        None, description="diffusers: steps per image; by default the pipeline's own."
    )
    guidance: kinds.Guidance | None = Field(
        None, description="diffusers: how closely the prompt is kept to; by default its own."
    )
    batch: kinds.Batch = Field(
        1, description="diffusers: images that one call draws at most; `concurrency` bounds it too."
    )
    batch_wait: kinds.BatchWait = Field(
        0.02, description="diffusers: how long the first image of a call waits for others."
    )


DEFAULT_MODELS: Final[Mapping[str, Mapping[str, object]]] = MappingProxyType(
    {
        "google/gempix2": {
            "title": "Nano Banana image generation model",
            "price": "0.5",
            "aliases": ("google/nano-banana-2", "google/gemini-3.1-flash-image-preview"),
        },
        "google/gemini-2.5-flash-image": {
            "title": "Gemini 2.5 Flash image model",
            "price": "0.25",
            "aliases": ("google/nano-banana",),
        },
    }
)


DEFAULT_PLANS: Final[Mapping[str, Mapping[str, object]]] = MappingProxyType(
    {
        "free": {
            "title": "Free",
            "submits_per_minute": 10,
            "submit_burst": 5,
            "concurrency": 2,
            "depth": 100,
            "weight": 1,
            "retention_days": 7,
        },
        "pro": {
            "title": "Pro",
            "price": "29",
            "submits_per_minute": 120,
            "submit_burst": 30,
            "concurrency": 16,
            "depth": 2000,
            "weight": 4,
            "retention_days": 30,
        },
        "scale": {
            "title": "Scale",
            "price": "299",
            "concurrency": 1000,
            "depth": 1_000_000,
            "weight": 16,
            "retention_days": 90,
        },
    }
)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """A table of tables whose names the operator chooses."""

    entry: type[Group]
    defaults: Mapping[str, Mapping[str, object]]
    """What comes with Ketchup, by name: the fields that are not the entry's own defaults."""


CATALOGUES: Final[Mapping[str, Catalogue]] = MappingProxyType(
    {
        "models": Catalogue(ModelSettings, DEFAULT_MODELS),
        "plans": Catalogue(PlanSettings, DEFAULT_PLANS),
        "channels": Catalogue(ChannelSettings, MappingProxyType({})),
    }
)
UNKNOWN_PLAN: Final = "unknown_plan"

_Entry = TypeVar("_Entry", bound=Group)


def _delivered(
    entry: type[_Entry], defaults: Mapping[str, Mapping[str, object]]
) -> dict[str, _Entry]:
    return {name: entry.model_validate(dict(fields)) for name, fields in defaults.items()}


class Settings(BaseSettings):
    """Everything an operator can decide."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", env_prefix=PREFIX)

    host: kinds.Host = Field("127.0.0.1", description="Where to listen.")
    port: kinds.Port = Field(8000, description="The port to listen on.")
    data: kinds.Folder = Field(
        Path("ketchup-data"), description="The folder of the database, the images and the secrets."
    )
    database: kinds.DatabaseUrl | None = Field(
        None,
        description="A PostgreSQL database that several processes may share; by default a SQLite "
        "file in DATA.",
    )
    public_url: kinds.WebAddress | None = Field(
        None, description="The address that clients use; by default made from host and port."
    )
    concurrency: kinds.Count | None = Field(
        None,
        description="Tasks that render at once; by default one per core; 0 accepts without "
        "rendering.",
    )
    secret_key: kinds.SecretKey | None = Field(
        None, description="The key that protects API keys at rest; by default made in DATA."
    )
    admin_token: kinds.AdminToken | None = Field(
        None, description="The token of the admin API; by default made in DATA."
    )
    # Before what names a plan: that is checked by these.
    plans: dict[kinds.PlanName, PlanSettings] = Field(
        default_factory=lambda: _delivered(PlanSettings, DEFAULT_PLANS)
    )
    default_plan: kinds.PlanName = Field(
        "free", description="The plan of a workspace that is made without saying one."
    )
    limits: Limits = Limits()
    worker: Worker = Worker()
    storage: Storage = Storage()
    provenance: Provenance = Provenance()
    webhooks: Webhooks = Webhooks()
    egress: Egress = Egress()
    gemini: Gemini = Gemini()
    openai: OpenAI = OpenAI()
    contract: Contract = Contract()
    log: Log = Log()
    start: Start = Start()
    models: dict[kinds.ModelId, ModelSettings] = Field(
        default_factory=lambda: _delivered(ModelSettings, DEFAULT_MODELS)
    )
    # Behind the models that they serve.
    channels: dict[kinds.ChannelName, ChannelSettings] = Field(default_factory=dict)

    @classmethod
    @override
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take values from the constructor alone.

        The library's own sources forget where a value came from and let unknown variables pass;
        `sources.load` does neither.
        """
        return (init_settings,)

    @field_validator(*CATALOGUES, mode="before")
    @classmethod
    def _over_the_delivered(cls, given: object, info: ValidationInfo) -> object:
        """Lay what is given over what comes with Ketchup, field by field."""
        if not isinstance(given, Mapping):
            return given
        defaults = CATALOGUES[info.field_name or ""].defaults
        merged: dict[str, object] = {name: dict(v) for name, v in defaults.items()}
        for name, fields in given.items():
            base = defaults.get(name, {})
            merged[name] = {**base, **fields} if isinstance(fields, Mapping) else fields
        return merged

    @field_validator("models")
    @classmethod
    def _names_are_unique(cls, models: dict[str, ModelSettings]) -> dict[str, ModelSettings]:
        owners = {name: name for name in models}
        for name, model in models.items():
            for alias in model.aliases:
                if alias in owners:
                    raise ValueError(f"{alias} is an alias of {name}, but already {owners[alias]}")
                owners[alias] = name
        for name, model in models.items():
            if model.fallback is not None and (
                model.fallback not in models or model.fallback == name
            ):
                raise ValueError(f"{name}: the fallback {model.fallback} is no other model")
        return models

    @field_validator("channels")
    @classmethod
    def _served_models_exist(
        cls, channels: dict[str, ChannelSettings], info: ValidationInfo
    ) -> dict[str, ChannelSettings]:
        models = info.data.get("models")
        for name, channel in channels.items():
            for model in channel.models:
                if models is not None and model not in models:
                    raise ValueError(f"{name} serves {model}, and there is no such model")
            if fault := _fault_of(channel):
                raise ValueError(f"{name} {fault}")
        return channels

    @field_validator("default_plan")
    @classmethod
    def _default_plan_exists(cls, name: str, info: ValidationInfo) -> str:
        _insist_on_plan(name, info, ("default_plan",))
        return name

    @field_validator("start")
    @classmethod
    def _start_plan_exists(cls, start: Start, info: ValidationInfo) -> Start:
        _insist_on_plan(start.plan, info, ("start", "plan"))
        return start

    def base_url(self, bound_port: int | None = None) -> str:
        """Return the address that clients use, without a slash at its end.

        `bound_port` is the port that was really taken, where the setting is 0.
        """
        return self.public_url or self.local_url(bound_port)

    def local_url(self, bound_port: int | None = None) -> str:
        """Return the address at which this machine reaches the server, past any proxy."""
        host = _WILDCARDS.get(self.host, self.host)
        port = self.port if bound_port is None else bound_port
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _fault_of(channel: ChannelSettings) -> str | None:
    match channel.provider:
        case "studio":
            return None
        case "diffusers":
            is_one = (channel.path is None) != (channel.pipeline is None)
            return None if is_one else "needs a path or a pipeline, and not both"
        case _:
            is_open = channel.key is not None or channel.base_url is not None
            return None if is_open else "has no key; set key or key_env, or a base_url of yours"


def _insist_on_plan(name: str, info: ValidationInfo, place: tuple[str, ...]) -> None:
    plans = info.data.get("plans")
    # Where the plans themselves are at fault, that is told, and no more can be said.
    if plans is not None and name not in plans:
        context = {"place": place, "name": name, "known": ", ".join(plans)}
        raise PydanticCustomError(UNKNOWN_PLAN, "{name} is unknown; there is {known}", context)
