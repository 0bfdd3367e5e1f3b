"""Which channel renders a task: decided without a database."""

from __future__ import annotations

from collections import Counter
from random import Random

from ketchup.channels import FAILURES, LONGEST_PAUSE, State
from ketchup.clock import Micros
from ketchup.config import ModelSettings
from ketchup.generation.routing import (
    Channel,
    Chosen,
    Engines,
    Route,
    choose,
    gives_up_at,
    wide_enough,
)
from ketchup.money import Credits
from ketchup.providers.catalog import catalog_from
from tests.support.engines import ScriptedProvider

NOW = Micros(1_000_000_000)
SECOND = 1_000_000
ONE, TWO = Channel("one", "p"), Channel("two", "p")
OUT = State(failures=FAILURES, closed_until=NOW + SECOND)


def chosen(
    *routes: Route,
    states: dict[str, State] | None = None,
    in_flight: dict[str, int] | None = None,
    tried: tuple[str, ...] = (),
    images: int = 1,
    random: Random | None = None,
) -> tuple[str, str] | Micros:
    names = {channel.name for route in routes for channel in route.channels}
    conditions = {name: State() for name in names} | (states or {})
    found = choose(
        routes,
        conditions,
        in_flight or {},
        images,
        tried=tried,
        now=NOW,
        random=random or Random(1),
    )
    return (found.channel.name, found.model) if isinstance(found, Chosen) else found.until


def test_the_highest_priority_goes_first_and_the_next_when_it_is_out() -> None:
    first = Channel("first", "p", priority=2)
    route = Route("m", [ONE, first])

    assert chosen(route) == ("first", "m")
    assert chosen(route, states={"first": OUT}) == ("one", "m")
    assert chosen(route, tried=("first",)) == ("one", "m")


def test_equals_share_by_weight() -> None:
    heavy, random = Channel("heavy", "p", weight=3), Random(7)
    picked = Counter(chosen(Route("m", [ONE, heavy]), random=random) for _ in range(4000))

    assert 2850 < picked["heavy", "m"] < 3150


def test_a_full_channel_is_passed_over() -> None:
    small = Channel("small", "p", images_in_flight=2)

    assert chosen(Route("m", [small, TWO]), in_flight={"small": 2}) == ("two", "m")
    assert chosen(Route("m", [small]), in_flight={"small": 1}, images=2) == NOW + SECOND // 2
    assert chosen(Route("m", [small]), images=2) == ("small", "m")


def test_a_channel_that_one_task_alone_is_too_much_for_is_left_out() -> None:
    few, slow = Channel("few", "p", images_in_flight=7), Channel("slow", "p", images_per_minute=7)
    routes = [Route("m", [few, ONE, slow]), Route("other", [slow])]

    assert wide_enough(routes, 7) == routes
    assert wide_enough(routes, 8) == [Route("m", [ONE])]


def test_a_paced_channel_says_when_it_is_free() -> None:
    paced = Channel("paced", "p", images_per_minute=60)
    after_two = State().sent(2, 60, NOW)

    assert chosen(Route("m", [paced]), states={"paced": after_two}) == NOW + 2 * SECOND


def test_another_model_stands_in_only_when_all_channels_are_out_and_not_when_they_are_full() -> (
    None
):
    full = Channel("one", "p", images_in_flight=1)
    routes = Route("m", [full]), Route("other", [TWO])

    assert chosen(*routes, states={"one": OUT}) == ("two", "other")
    assert chosen(*routes, in_flight={"one": 1}) == NOW + SECOND // 2


def test_a_model_goes_to_its_own_channels_and_then_to_those_of_its_stand_in() -> None:
    models = {
        "acme/one": entry("acme/two"),
        "acme/two": entry(),
        "acme/three": entry("acme/gone"),
    }
    engines = Engines(catalog_from(models), {"p": ScriptedProvider()}, {"acme/two": [TWO]})
    alone = Channel("p", "p")

    assert engines.routes("acme/one", "live") == [
        Route("acme/one", [alone]),
        Route("acme/two", [TWO]),
    ]
    assert engines.routes("acme/two", "live") == [Route("acme/two", [TWO])]
    # A stand-in that is not offered is none.
    assert engines.routes("acme/three", "live") == [Route("acme/three", [alone])]


def entry(fallback: str | None = None) -> ModelSettings:
    return ModelSettings(title="One", price=Credits(1), provider="p", fallback=fallback)


def test_a_channel_closes_after_failures_in_a_row_and_one_probe_keeps_the_others_away() -> None:
    state = State()
    for _ in range(FAILURES - 1):
        state = state.failed(NOW, None)
    assert not state.is_out
    state = state.failed(NOW, None)
    assert (state.is_out, state.closed_until) == (True, NOW + SECOND)

    later = Micros(state.closed_until)
    probing = state.sent(1, 0, later)
    assert probing.closed_until > later
    assert probing.failed(later, None).closed_until == later + 2 * SECOND
    assert probing.succeeded() == State()


def test_a_pause_grows_to_its_bound_and_an_upstream_cannot_ask_for_more() -> None:
    state = State()
    for _ in range(100):
        state = state.failed(NOW, 1e9)
    assert state.closed_until == NOW + LONGEST_PAUSE * SECOND


def test_a_minute_has_no_room_for_one_more_by_rounding() -> None:
    state, at = State(), NOW
    for _ in range(7):
        state = state.sent(1, 7, at)
        at = Micros(state.arrival_at)

    assert at >= NOW + 60 * SECOND


def test_a_task_waits_so_long_for_channels_of_which_all_are_out() -> None:
    down, up = Route("m", [ONE]), Route("other", [TWO])
    state = State()
    for second in range(FAILURES + 3):
        state = state.failed(Micros(NOW + second * SECOND), None)
    out_since = NOW + (FAILURES - 1) * SECOND
    assert state.out_since == out_since
    states = {"one": state, "two": State()}

    assert gives_up_at([down], states, NOW, 60.0) == out_since + 60 * SECOND
    assert gives_up_at([down], states, Micros(NOW + 99 * SECOND), 60.0) == NOW + 159 * SECOND
    assert gives_up_at([down, up], states, NOW, 60.0) is None

    mended = state.misconfigured("401", Micros(NOW + 50 * SECOND))
    assert mended.out_since == out_since
    assert mended.succeeded().out_since == 0
