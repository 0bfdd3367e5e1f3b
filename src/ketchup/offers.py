"""Offers: which models there are, and which channels render each, as the settings say.

The studio never stands in for an engine: it draws everything while there is nothing else, and then
only what it is named for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

from ketchup import telemetry
from ketchup.config import ChannelSettings, ModelSettings, Settings, SettingsError
from ketchup.egress import Egress
from ketchup.engines import DIFFUSERS, GEMINI, OPENAI, STUDIO, build_engines, built_as
from ketchup.generation import Engines
from ketchup.generation.routing import Channel, Unknown
from ketchup.providers.base import Provider
from ketchup.providers.catalog import Catalog, catalog_from

log = telemetry.logger(__name__)

_AUTO: Final = "auto"
Providers: TypeAlias = Mapping[str, Provider]
_Served: TypeAlias = dict[str, list[Channel]]
_MAKERS: Final = {"google": GEMINI, "openai": OPENAI}
_KEYS: Final = {GEMINI: "GEMINI_API_KEY", OPENAI: "OPENAI_API_KEY"}
# What OpenAI's key alone adds to the catalogue: the contract's own models are all Google's.
_OPENAIS_MODELS: Final = {
    # No side above 3840 pixels, and no more than 8,294,400 of them: 4K has more in every shape.
    "openai/gpt-image-2": ModelSettings.model_validate(
        {"title": "GPT Image 2", "price": "1", "image_sizes": ["1K", "2K"]}
    )
}
# A request to Google or OpenAI that nobody knows the end of may have been paid; one to our own
# renderer costs time.
_POLICIES: Final = {
    STUDIO: Unknown.RESUBMIT,
    GEMINI: Unknown.FAIL_AND_RELEASE,
    OPENAI: Unknown.FAIL_AND_RELEASE,
}


def offers_of(
    settings: Settings, egress: Egress, providers: Providers | None, *, processes: int
) -> Engines:
    """Return what is offered, by these providers or else by all that the settings name.

    Raises SettingsError for a model whose engine there is not, and for a channel whose limits one
    task alone may be more than.
    """
    if providers is None:
        providers = build_engines(settings, egress, processes=processes)
    catalog = catalog_from(_offered(settings, providers))
    for model in catalog:
        if model.provider not in providers:
            raise SettingsError([_no_engine(model.id, model.provider, providers)])
    live = _channels_by_model(settings, catalog, providers)
    test = _serving(settings, providers, "test")
    if large := [*_too_large(catalog, live), *_too_large(catalog, test)]:
        raise SettingsError(large)
    return Engines(catalog, providers, live, test, test_provider=STUDIO)


def _offered(settings: Settings, providers: Providers) -> dict[str, ModelSettings]:
    """Return the models that something renders, each with the name of its engine.

    The studio never stands in for an engine: once there is any, it draws only what it is named for.
    """
    served = _serving(settings, providers, "live")
    is_alone = not _has_engine(settings, providers)
    offered = {}
    models = (_OPENAIS_MODELS if OPENAI in providers else {}) | dict(settings.models)
    for name, model in models.items():
        engine = _engine_of(name, model, providers)
        if engine is None and (is_alone or name in served):
            engine = STUDIO
        if engine is None:
            remedy = f'give it a channel, or set models."{name}".provider = "studio"'
            log.warning("MODEL NOT OFFERED: nothing renders it", model=name, remedy=remedy)
        else:
            offered[name] = model.model_copy(update={"provider": engine})
    return offered


def _has_engine(settings: Settings, providers: Providers) -> bool:
    """Whether any engine but the studio is set up for live tasks."""
    live = (given for given in settings.channels.values() if given.environment == "live")
    has_channel = any(given.provider != STUDIO for given in live)
    return has_channel or any(engine in providers for engine in _KEYS)


def _channels_by_model(settings: Settings, catalog: Catalog, providers: Providers) -> _Served:
    """Return who renders each model: the channels that say so, else the engine of its provider."""
    served = _serving(settings, providers, "live")
    alone = {
        model.id: [Channel(model.provider, model.provider, unknown=_POLICIES[model.provider])]
        for model in catalog
        if model.id not in served and model.provider in _POLICIES
    }
    return {**alone, **served}


def _serving(settings: Settings, providers: Providers, environment: str) -> _Served:
    """Return the channels of an environment, by the models that they serve."""
    served: _Served = {}
    for name, given in settings.channels.items():
        if given.environment == environment:
            for model in given.models:
                served.setdefault(model, []).append(_channel(name, given, providers))
    return served


def _channel(name: str, given: ChannelSettings, providers: Providers) -> Channel:
    is_ours = given.base_url is not None or given.provider in {STUDIO, DIFFUSERS}
    is_paid = given.cost or not is_ours
    by_default = Unknown.FAIL_AND_RELEASE if is_paid else Unknown.RESUBMIT
    own = built_as(name)
    return Channel(
        name=name,
        # A test brings its own engines, under the names of their kinds.
        provider=own if own in providers else given.provider,
        priority=given.priority,
        weight=given.weight,
        images_in_flight=given.images_in_flight,
        images_per_minute=given.images_per_minute,
        cost=given.cost,
        unknown=by_default if given.unknown == _AUTO else Unknown(given.unknown),
    )


def _too_large(catalog: Catalog, served: _Served) -> list[str]:
    """Return a sentence for each model whose largest task none of its channels could be sent.

    The images of a task go together. A channel that is too narrow for it takes the smaller ones.
    """
    return [
        f'models."{model.id}".max_n: no channel of it may have {model.max_count} images at once'
        f" ({', '.join(map(_limits, them))}); raise a limit, or lower max_n"
        for model in catalog
        if (them := served.get(model.id)) and not any(c.holds(model.max_count) for c in them)
    ]


def _limits(channel: Channel) -> str:
    given = {
        "images_in_flight": channel.images_in_flight,
        "images_per_minute": channel.images_per_minute,
    }
    said = ", ".join(f"{name} = {limit}" for name, limit in given.items() if limit)
    return f"channels.{channel.name}: {said}"


def _engine_of(name: str, model: ModelSettings, providers: Providers) -> str | None:
    """Return the engine that is named for a model, or its maker's; None without either."""
    if model.provider != _AUTO:
        return model.provider
    maker = _MAKERS.get(name.partition("/")[0])
    return maker if maker in providers else None


def _no_engine(model: str, provider: str, providers: Providers) -> str:
    if provider in _KEYS:
        return f"models.{model}.provider: {provider} has no key; set {_KEYS[provider]}"
    known = ", ".join(sorted(providers))
    return f"models.{model}.provider: {provider} is unknown; there is {known}"
