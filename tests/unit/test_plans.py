"""Plans: found by name, the default one in place of a deleted one, built from the settings."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from ketchup.config import Settings
from ketchup.errors import InvalidRequest
from ketchup.money import MICRO
from ketchup.workspaces import Plans, plans_from
from tests.support.factories import plan_of

FREE, GOLD = plan_of("free"), plan_of("gold", retention_days=2)


def book() -> Plans:
    return Plans([FREE, GOLD], "free")


def test_a_plan_is_found_by_its_name() -> None:
    assert book().find("gold") is book().get("gold") is GOLD
    assert book().default is FREE
    assert list(book()) == [FREE, GOLD]
    assert "gold" in book()
    assert "silver" not in book()


def test_a_plan_keeps_images_for_its_days() -> None:
    assert GOLD.retention_seconds == 2 * 86_400


def test_the_default_plan_stands_in_for_a_deleted_one_which_is_told_once() -> None:
    plans = book()
    with capture_logs() as told:
        assert [plans.find(name) for name in ("silver", "silver", "iron", "gold")] == [
            *(FREE, FREE, FREE),
            GOLD,
        ]
    assert [(line["log_level"], line["plan"], line["instead"]) for line in told] == [
        ("warning", "silver", "free"),
        ("warning", "iron", "free"),
    ]


def test_who_asks_for_an_unknown_plan_is_told_the_known_ones() -> None:
    with pytest.raises(InvalidRequest, match=r"^plan must be one of free, gold$"):
        book().get("silver")


def test_the_default_plan_has_to_be_there() -> None:
    with pytest.raises(ValueError, match="default plan silver"):
        Plans([FREE], "silver")


def test_the_default_settings_make_the_three_plans() -> None:
    plans = plans_from(Settings().plans, Settings().default_plan)
    free, pro, scale = plans
    assert plans.default is free
    assert [(p.name, p.title, p.price) for p in plans] == [
        ("free", "Free", 0),
        ("pro", "Pro", 29 * MICRO),
        ("scale", "Scale", 299 * MICRO),
    ]
    assert (free.submits_per_minute, free.submit_burst) == (10, 5)
    assert (free.concurrency, free.depth, free.weight, free.retention_days) == (2, 100, 1, 7)
    assert (pro.submits_per_minute, pro.submit_burst) == (120, 30)
    assert (pro.concurrency, pro.depth, pro.weight, pro.retention_days) == (16, 2_000, 4, 30)
    assert scale.submits_per_minute == 0
    assert (scale.concurrency, scale.depth, scale.weight) == (1_000, 1_000_000, 16)
    assert (scale.retention_days, Settings().start.plan) == (90, "scale")
