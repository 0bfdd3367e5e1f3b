"""Money: decimal strings outside, whole micro-credits inside, nothing rounded on the way."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ketchup.money import MAX_CREDITS, MICRO, Credits, decimal, parse

amounts = st.integers(-(10**18) + 1, 10**18 - 1).map(Credits)


@given(amounts, st.sampled_from([6, 8]))
def test_what_is_written_reads_back_the_same(amount: Credits, places: int) -> None:
    text = decimal(amount, places)

    assert parse(text) == amount
    assert Decimal(text) * MICRO == amount
    assert len(text.partition(".")[2]) == places


@given(st.from_regex(r"-?[0-9]{1,12}(\.[0-9]{1,6}0{0,2})?", fullmatch=True))
def test_every_decimal_of_six_places_is_read_exactly(text: str) -> None:
    assert parse(text) == Decimal(text) * MICRO


@given(st.text(alphabet="0123456789.-+eE _,٣", max_size=24))
def test_anything_else_is_refused_and_never_rounded(text: str) -> None:
    try:
        amount = parse(text)
    except ValueError:
        return
    assert Decimal(text) * MICRO == amount


@pytest.mark.parametrize(
    ("amount", "places", "text"),
    [
        (500_000, 6, "0.500000"),
        (500_000, 8, "0.50000000"),
        (0, 8, "0.00000000"),
        (100_500_000, 8, "100.50000000"),
        (1, 6, "0.000001"),
        (-1, 6, "-0.000001"),
        (-1_500_000, 6, "-1.500000"),
        (MAX_CREDITS, 6, "1000000000000.000000"),
    ],
)
def test_amounts_look_as_the_contract_shows_them(amount: int, places: int, text: str) -> None:
    assert decimal(Credits(amount), places) == text


@pytest.mark.parametrize(
    "text",
    [
        "", " ", ".", "-", ".5", "5.", "1e3", "+1", " 1", "1 ", "1\n", "1,000", "1_000", "0x10",
        "nan", "inf", "--1", "1.2.3", "1.000000000", "1000000000000", "٣", "1\x00",
    ],
)  # fmt: skip
def test_what_is_not_a_plain_decimal_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="decimal number"):
        parse(text)


@pytest.mark.parametrize("text", ["0.0000001", "1.00000010", "0.00000001"])
def test_a_seventh_decimal_is_refused_instead_of_rounded(text: str) -> None:
    with pytest.raises(ValueError, match="at most 6 decimals"):
        parse(text)


def test_zeros_behind_the_sixth_decimal_are_harmless() -> None:
    assert parse("0.50000000") == 500_000


def test_the_largest_amount_fits_the_database_many_times_over() -> None:
    assert parse("999999999999.999999") < MAX_CREDITS
    assert MAX_CREDITS * 9 < 2**63
