"""The catalogue: found by any name, never ambiguous, and built from the settings' own defaults."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest

from ketchup.config import Settings, kinds
from ketchup.money import Credits
from ketchup.providers.base import AspectRatio, ImageSize
from ketchup.providers.catalog import Catalog, Model, ResultForm, catalog_from

MODEL = Model(
    id="acme/one",
    title="One",
    price=Credits(500_000),
    aliases=("acme/uno", "acme/eins"),
    max_reference_images=4,
    aspect_ratios=frozenset({AspectRatio.SQUARE}),
    image_sizes=frozenset({ImageSize.K1}),
    max_count=8,
    result_form=ResultForm.URL,
    provider="studio",
)


def test_a_model_is_found_by_its_id_and_by_each_alias() -> None:
    catalog = Catalog([MODEL])
    assert catalog.find("acme/one") is MODEL
    assert catalog.find("acme/uno") is MODEL
    assert catalog.find("acme/eins") is MODEL


@pytest.mark.parametrize("name", ["", "acme", "ACME/ONE", " acme/one", "acme/one ", "acme/zwei"])
def test_any_other_name_finds_nothing(name: str) -> None:
    assert Catalog([MODEL]).find(name) is None


@pytest.mark.parametrize("aliases", [("acme/one",), ("acme/eins",)])
def test_two_models_cannot_share_a_name(aliases: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="names both acme/one and acme/two"):
        Catalog([MODEL, replace(MODEL, id="acme/two", aliases=aliases)])


def test_a_model_cannot_have_one_alias_twice() -> None:
    with pytest.raises(ValueError, match="acme/uno names both"):
        Catalog([replace(MODEL, aliases=("acme/uno", "acme/uno"))])


def test_models_are_listed_in_the_order_they_were_written() -> None:
    second = replace(MODEL, id="acme/aaa", aliases=())
    assert [model.id for model in Catalog([MODEL, second])] == ["acme/one", "acme/aaa"]
    assert len(Catalog([MODEL, second])) == 2


def test_the_default_settings_make_the_two_models_of_the_contract() -> None:
    catalog = catalog_from(Settings().models)
    pro, flash = catalog
    assert (pro.id, pro.title) == ("google/gempix2", "Nano Banana image generation model")
    assert (flash.id, flash.title) == (
        "google/gemini-2.5-flash-image",
        "Gemini 2.5 Flash image model",
    )
    assert (pro.price, flash.price) == (500_000, 250_000)
    assert catalog.find("google/nano-banana-2") is pro
    assert catalog.find("google/gemini-3.1-flash-image-preview") is pro
    assert catalog.find("google/nano-banana") is flash
    for model in catalog:
        assert model.aspect_ratios == frozenset(AspectRatio)
        assert model.image_sizes == frozenset(ImageSize)
        assert (model.max_reference_images, model.max_count) == (4, 8)
        assert model.result_form is ResultForm.URL
        assert model.provider == "auto"


def test_the_settings_and_the_providers_know_the_same_words() -> None:
    assert get_args(kinds.Ratio) == tuple(AspectRatio) == kinds.ALL_RATIOS
    assert get_args(kinds.Size) == tuple(ImageSize) == kinds.ALL_SIZES
    assert get_args(kinds.ResultForm) == tuple(ResultForm)
