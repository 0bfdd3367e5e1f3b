"""Engines: every provider there is, built from the settings under the names that models use.

Here alone an engine is named; everybody else is given one. Which is asked is routing's matter.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from pydantic import SecretStr

from ketchup.config import ChannelSettings, Settings
from ketchup.egress import BadUrl, Egress, EgressError
from ketchup.providers.base import AnswerLost, Provider

STUDIO: Final = "studio"
GEMINI: Final = "gemini"
OPENAI: Final = "openai"
DIFFUSERS: Final = "diffusers"
_NO_KEY: Final = "none"
"""Sent to servers that want no key: an empty one would be no header."""
_PICTURE_BYTES: Final = 64 * 1024 * 1024
_PICTURE_SECONDS: Final = 60.0


def built_as(channel: str) -> str:
    """Return the name of the engine that a channel has for itself."""
    return f"channels.{channel}"


def build_engines(settings: Settings, egress: Egress, *, processes: int) -> Mapping[str, Provider]:
    """Return every engine by its name; none has a process or a connection before it is used."""
    # Imported late: a benchmark or a test that brings its own engine does not pay for them.
    from ketchup.providers.studio import StudioProvider  # noqa: PLC0415 as above

    providers: dict[str, Provider] = {STUDIO: StudioProvider(processes=processes)}
    if key := _revealed(settings.gemini.api_key):
        from ketchup.providers.gemini import GeminiProvider, GeminiSettings  # noqa: PLC0415 as above

        gemini = settings.gemini
        providers[GEMINI] = GeminiProvider(
            GeminiSettings(key, base_url=gemini.base_url, api_version=gemini.api_version)
        )
    if key := _revealed(settings.openai.api_key):
        from ketchup.providers.openai_images import (  # noqa: PLC0415 as above
            OpenAIImagesProvider,
            OpenAISettings,
        )

        providers[OPENAI] = OpenAIImagesProvider(
            OpenAISettings(key, base_url=settings.openai.base_url),
            fetch=_fetcher(egress, settings.openai.base_url),
        )
    for name, given in settings.channels.items():
        if given.provider == STUDIO:
            providers[built_as(name)] = providers[STUDIO]
        else:
            build = {GEMINI: _google, OPENAI: _openai, DIFFUSERS: _local}[given.provider]
            providers[built_as(name)] = build(given, settings, egress)
    return providers


def _google(given: ChannelSettings, settings: Settings, _egress: Egress) -> Provider:
    from ketchup.providers.gemini import (  # noqa: PLC0415 as above
        GOOGLE_MODELS,
        GeminiProvider,
        GeminiSettings,
    )

    named = {model: names for model, names in given.models.items() if names}
    return GeminiProvider(
        GeminiSettings(
            _revealed(given.key) or _NO_KEY,
            base_url=given.base_url or settings.gemini.base_url,
            api_version=settings.gemini.api_version,
            models={**GOOGLE_MODELS, **named},
        )
    )


def _openai(given: ChannelSettings, settings: Settings, egress: Egress) -> Provider:
    from ketchup.providers.openai_images import (  # noqa: PLC0415 as above
        Knows,
        OpenAIImagesProvider,
        OpenAISettings,
    )

    base_url = given.base_url or settings.openai.base_url
    return OpenAIImagesProvider(
        OpenAISettings(
            _revealed(given.key) or _NO_KEY,
            base_url=base_url,
            models={model: names[0] for model, names in given.models.items() if names},
            knows=frozenset(Knows(word) for word in given.knows),
            image_field=given.image_field,
            sizes=_pixels(given.sizes),
            per_request=given.per_request,
            extra=given.extra,
        ),
        fetch=_fetcher(egress, base_url),
    )


def _local(given: ChannelSettings, _settings: Settings, _egress: Egress) -> Provider:
    from ketchup.providers.local_diffusers import (  # noqa: PLC0415 as above
        LocalDiffusersProvider,
        LocalSettings,
        Weights,
    )

    return LocalDiffusersProvider(
        LocalSettings(
            Weights(
                source=given.pipeline or str((given.path or Path()).absolute()),
                is_folder=given.pipeline is None,
                device=given.device,
                dtype=given.dtype,
                offload=given.offload,
                compile=given.compile,
                steps=given.steps,
                guidance=given.guidance,
            ),
            sizes=_pixels(given.sizes),
            batch=given.batch,
            batch_wait=given.batch_wait,
        )
    )


def _pixels(sizes: Sequence[str]) -> list[tuple[int, int]]:
    pairs = [size.split("x") for size in sizes]
    return [(int(width), int(height)) for width, height in pairs]


def _fetcher(egress: Egress, base_url: str) -> Callable[[str], Awaitable[bytes]]:
    """Read the pictures that an engine answers with an address for, under the guard.

    Its own origin may be private: the operator chose it.
    """
    theirs = egress
    # An address that no caller could give either has no origin to trust.
    with suppress(BadUrl):
        theirs = egress.trusting(base_url)

    async def fetch(url: str) -> bytes:
        try:
            fetched = await theirs.get(
                url, max_bytes=_PICTURE_BYTES, deadline_seconds=_PICTURE_SECONDS
            )
        except EgressError as error:
            raise AnswerLost(f"the picture cannot be fetched: {error.detail}") from error
        return fetched.data

    return fetch


def _revealed(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()
