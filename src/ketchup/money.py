"""Credits: whole micro-credits inside, decimal strings outside, and never a float between.

1 credit = 1,000,000 micro-credits. The contract shows 8 decimals in answers and 6 in callbacks;
prices never need more than 6, so the two always agree.
"""

from __future__ import annotations

import re
from typing import Final, NewType

Credits = NewType("Credits", int)
"""An amount in micro-credits."""

MICRO: Final = 1_000_000
# What a 64-bit column and a sum over many rows can hold with room to spare: a million million
# credits.
MAX_CREDITS: Final = Credits(10**18)

_DECIMAL = re.compile(r"(-?)(\d{1,12})(?:\.(\d{1,8}))?", re.ASCII)


def parse(text: str) -> Credits:
    """Read a decimal such as `100.000000`.

    Raises ValueError for anything else, and for more than 6 significant decimals: money is never
    rounded silently.
    """
    match = _DECIMAL.fullmatch(text)
    if match is None:
        raise ValueError("an amount is a decimal number such as 12.500000")
    sign, whole, fraction = match.group(1), match.group(2), (match.group(3) or "").ljust(6, "0")
    if fraction[6:].strip("0"):
        raise ValueError("an amount has at most 6 decimals")
    amount = int(whole) * MICRO + int(fraction[:6])
    return Credits(-amount if sign else amount)


def decimal(amount: Credits, places: int = 6) -> str:
    """Format with `places` decimals, at least 6: `0.500000`, or `0.50000000` with 8."""
    sign = "-" if amount < 0 else ""
    whole, fraction = divmod(abs(amount), MICRO)
    return f"{sign}{whole}.{fraction:06d}{'0' * (places - 6)}"
