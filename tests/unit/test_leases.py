"""A worker's own view of its lease: it lets go before anybody else may take over."""

from __future__ import annotations

import pytest

from ketchup.clock import FrozenClock
from ketchup.leases import Terms, Trust


def test_an_unconfirmed_lease_is_not_trusted() -> None:
    assert Trust(Terms(), FrozenClock()).remaining <= 0


def test_trust_ends_before_the_lease_does() -> None:
    clock = FrozenClock()
    trust = Trust(Terms(ttl=15.0), clock)
    trust.renewed(clock.monotonic())

    clock.advance(11.9)
    assert trust.remaining == pytest.approx(0.1)
    clock.advance(0.2)
    assert trust.remaining < 0


def test_trust_counts_from_when_the_renewal_was_sent_not_from_its_answer() -> None:
    clock = FrozenClock()
    trust = Trust(Terms(ttl=15.0), clock)
    sent = clock.monotonic()
    clock.advance(10.0)  # a store that took its time

    trust.renewed(sent)

    assert trust.remaining == pytest.approx(2.0)


def test_the_wall_clock_does_not_matter_to_trust() -> None:
    clock = FrozenClock()
    trust = Trust(Terms(ttl=15.0), clock)
    trust.renewed(clock.monotonic())

    clock.at = type(clock.at)(clock.at + 3_600_000_000)

    assert trust.remaining == pytest.approx(12.0)


def test_two_renewals_may_be_lost_before_trust_ends() -> None:
    terms = Terms(ttl=15.0)

    assert terms.renew_every * 2 < terms.trusted_for < terms.ttl
