"""The settings in tables whose names the operator chooses: models, plans, and channels to engines.

`CATALOGUES` says of each what an entry is, and which come with Ketchup.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, TypeVar

from pydantic import Field

from ketchup.config import kinds
from ketchup.config.groups import Group
from ketchup.money import Credits


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
        0,
        description="Images that it may render at once; a task of more goes to another channel.",
    )
    images_per_minute: kinds.Cap = Field(
        0,
        description="Images that it may be sent in any sixty seconds, tasks spread evenly; a task "
        "of more goes to another channel.",
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

_Entry = TypeVar("_Entry", bound=Group)


def delivered(
    entry: type[_Entry], defaults: Mapping[str, Mapping[str, object]]
) -> dict[str, _Entry]:
    """Return the entries that come with Ketchup."""
    return {name: entry.model_validate(dict(fields)) for name, fields in defaults.items()}


def fault_of(channel: ChannelSettings) -> str | None:
    """Say what a channel lacks, behind its name; None when it can be built."""
    match channel.provider:
        case "studio":
            return None
        case "diffusers":
            is_one = (channel.path is None) != (channel.pipeline is None)
            return None if is_one else "needs a path or a pipeline, and not both"
        case _:
            is_open = channel.key is not None or channel.base_url is not None
            return None if is_open else "has no key; set key or key_env, or a base_url of yours"
