"""The settings themselves: names, kinds, defaults and meanings, and nothing about where they live.

A `Settings` is exactly what it is given and never looks around: `Settings()` is the defaults on
every machine. `sources.load` is what reads flags, variables and the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from typing_extensions import override

from ketchup.config import kinds
from ketchup.config.catalogues import (
    CATALOGUES,
    DEFAULT_MODELS,
    DEFAULT_PLANS,
    ChannelSettings,
    ModelSettings,
    PlanSettings,
    delivered,
    fault_of,
)
from ketchup.config.groups import (
    Contract,
    Egress,
    Gemini,
    Keys,
    Limits,
    Log,
    OpenAI,
    Provenance,
    Server,
    Start,
    Storage,
    Webhooks,
    Worker,
)

PREFIX: Final = "KETCHUP_"
_WILDCARDS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 compared with, not bound to


UNKNOWN_PLAN: Final = "unknown_plan"


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
        default_factory=lambda: delivered(PlanSettings, DEFAULT_PLANS)
    )
    default_plan: kinds.PlanName = Field(
        "free", description="The plan of a workspace that is made without saying one."
    )
    server: Server = Server()
    keys: Keys = Keys()
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
        default_factory=lambda: delivered(ModelSettings, DEFAULT_MODELS)
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
    def _over_thedelivered(cls, given: object, info: ValidationInfo) -> object:
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
            if fault := fault_of(channel):
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

    def with_keys(self, keys: Mapping[str, SecretStr]) -> Settings:
        """Return these with keys by the name of engine or channel, where they have none."""
        update: dict[str, object] = {
            name: group.model_copy(update={"api_key": keys[name]})
            for name, group in (("gemini", self.gemini), ("openai", self.openai))
            if name in keys and group.api_key is None
        }
        update["channels"] = {
            name: channel.model_copy(update={"key": keys[name]})
            if name in keys and channel.key is None
            else channel
            for name, channel in self.channels.items()
        }
        return self.model_copy(update=update)

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


def _insist_on_plan(name: str, info: ValidationInfo, place: tuple[str, ...]) -> None:
    plans = info.data.get("plans")
    # Where the plans themselves are at fault, that is told, and no more can be said.
    if plans is not None and name not in plans:
        context = {"place": place, "name": name, "known": ", ".join(plans)}
        raise PydanticCustomError(UNKNOWN_PLAN, "{name} is unknown; there is {known}", context)
