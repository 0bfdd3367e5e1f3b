"""The catalogue: which models there are, what they cost, and what they can do.

Every price, limit, ratio and alias is an operator's setting; this module gives them types and finds
a model by any of its names. It does not say which engines are running: that is routing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from ketchup.money import Credits
from ketchup.providers.base import AspectRatio, ImageSize


class ResultForm(StrEnum):
    """What `result[].image` holds: an address, or the image itself as a data URI."""

    URL = "url"
    DATA = "data"


@dataclass(frozen=True, slots=True)
class Model:
    """One model that callers can ask for."""

    id: str
    title: str
    price: Credits
    """For one image; a task costs this times its count."""
    aliases: tuple[str, ...]
    max_reference_images: int
    aspect_ratios: frozenset[AspectRatio]
    image_sizes: frozenset[ImageSize]
    max_count: int
    """Images that one task may ask for."""
    result_form: ResultForm
    provider: str
    """The name of the engine that renders it where no channel serves it."""
    fallback: str | None = None
    """The id of the model that renders in its place, at its price, when its channels are out."""


class Catalog:
    """The models, in the order in which they were written. Never changes once built."""

    def __init__(self, models: Iterable[Model]) -> None:
        self._models = tuple(models)
        self._by_name: dict[str, Model] = {}
        for model in self._models:
            for name in (model.id, *model.aliases):
                # Two models under one name would make a price depend on their order.
                if name in self._by_name:
                    raise ValueError(f"{name} names both {self._by_name[name].id} and {model.id}")
                self._by_name[name] = model

    def find(self, name: str) -> Model | None:
        """Return the model with this id or alias, exactly as written, or None."""
        return self._by_name.get(name)

    def __iter__(self) -> Iterator[Model]:
        return iter(self._models)

    def __len__(self) -> int:
        return len(self._models)


class ModelEntry(Protocol):
    """One model as plain values: what a table of the settings holds."""

    @property
    def title(self) -> str: ...  # noqa: D102 the attributes of Model
    @property
    def price(self) -> Credits: ...  # noqa: D102 as above
    @property
    def aliases(self) -> Sequence[str]: ...  # noqa: D102 as above
    @property
    def max_reference_images(self) -> int: ...  # noqa: D102 as above
    @property
    def aspect_ratios(self) -> Sequence[str]: ...  # noqa: D102 as above
    @property
    def image_sizes(self) -> Sequence[str]: ...  # noqa: D102 as above
    @property
    def max_n(self) -> int: ...  # noqa: D102 as above
    @property
    def result(self) -> str: ...  # noqa: D102 as above
    @property
    def provider(self) -> str: ...  # noqa: D102 as above
    @property
    def fallback(self) -> str | None: ...  # noqa: D102 as above


def catalog_from(entries: Mapping[str, ModelEntry]) -> Catalog:
    """Build the catalogue from the settings' models, by id.

    Raises ValueError for a name that two models share and for an unknown ratio, size or form; the
    settings have refused those before.
    """
    return Catalog(_model(name, entry) for name, entry in entries.items())


def _model(name: str, entry: ModelEntry) -> Model:
    return Model(
        id=name,
        title=entry.title,
        price=entry.price,
        aliases=tuple(entry.aliases),
        max_reference_images=entry.max_reference_images,
        aspect_ratios=frozenset(AspectRatio(ratio) for ratio in entry.aspect_ratios),
        image_sizes=frozenset(ImageSize(size) for size in entry.image_sizes),
        max_count=entry.max_n,
        result_form=ResultForm(entry.result),
        provider=entry.provider,
        fallback=entry.fallback,
    )
