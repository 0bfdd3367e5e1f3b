from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ketchup.errors import RateLimited, TooLarge, Unavailable
from ketchup.wire.body import BodyLimits, Disconnected, LargeBodies, read_body, refuse_by_length
from ketchup.wire.envelope import Message, Receive, Scope

LIMITS = BodyLimits(total=400, plain=100)
MARK = b'"data:'


class Wire:
    """What a server hands to the application: chunks, then the end or a hang-up."""

    def __init__(self, chunks: Iterable[bytes], *, hangs_up: bool = False) -> None:
        self.taken = 0
        self._chunks = list(chunks)
        self._hangs_up = hangs_up

    async def receive(self) -> Message:
        at, self.taken = self.taken, self.taken + 1
        if at >= len(self._chunks):
            return {"type": "http.disconnect"}
        last = at + 1 == len(self._chunks) and not self._hangs_up
        return {"type": "http.request", "body": self._chunks[at], "more_body": not last}


async def read(chunks: Sequence[bytes]) -> bytes | None:
    """Return the body; None when it is too large."""
    try:
        return await read_body(Wire(chunks).receive, LIMITS)
    except TooLarge:
        return None


def cut(body: bytes, places: Iterable[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(body) + 1) for place in places), len(body)]
    return [body[a:b] for a, b in pairwise(edges)]


plain = st.binary(max_size=150)
marked = st.tuples(st.binary(max_size=80), st.binary(max_size=400)).map(MARK.join)


@given(plain | marked, st.lists(st.integers(0, 600), max_size=12))
async def test_a_body_in_pieces_is_judged_like_the_whole(body: bytes, places: list[int]) -> None:
    assert await read(cut(body, places)) == await read([body])


@pytest.mark.parametrize(
    ("body", "fits"),
    [
        (b"x" * 100, True),
        (b"x" * 101, False),
        (MARK + b"x" * 394, True),
        (MARK + b"x" * 395, False),
        (b"x" * 94 + MARK, True),
        (b"x" * 95 + MARK, False),
        (b"x" * 50 + MARK + b"x" * 100 + b'"' + b"x" * 49, True),
        (b"x" * 50 + MARK + b"x" * 100 + b'"' + b"x" * 50, False),
        (MARK + b"x" * 100 + b'"' + MARK + b"x" * 100 + b'"' + b"x" * 98, True),
        (MARK + b"x" * 100 + b'"' + MARK + b"x" * 100 + b'"' + b"x" * 99, False),
        ((MARK + b'",') * 12, True),
        ((MARK + b'",') * 13, False),
        (b"", True),
    ],
    ids=[
        "plain",
        "plain + 1",
        "data",
        "data + 1",
        "mark ends",
        "mark crosses",
        "around data",
        "around data + 1",
        "behind data",
        "behind data + 1",
        "crumbs of data",
        "crumbs of data + 1",
        "empty",
    ],
)
async def test_the_limit_depends_on_whether_there_are_data_uris(body: bytes, *, fits: bool) -> None:
    assert await read([body]) == (body if fits else None)
    assert await read(cut(body, range(len(body)))) == (body if fits else None)


async def test_a_large_body_is_announced_once_and_before_it_is_read() -> None:
    wire = Wire(cut(MARK + b"x" * 390, range(10, 396, 10)))
    announced: list[int] = []
    await read_body(wire.receive, LIMITS, lambda: announced.append(wire.taken * 10))
    assert announced == [110]


async def test_a_body_within_the_plain_limit_is_not_announced() -> None:
    announced: list[None] = []
    body = MARK + b"x" * 94
    assert await read_body(Wire([body]).receive, LIMITS, lambda: announced.append(None)) == body
    assert announced == []


def test_places_for_large_bodies_are_few_and_not_for_one_alone() -> None:
    large = LargeBodies(BodyLimits(large_at_once=3, large_of_one=2))
    with ExitStack() as held:
        for owner in ("a", "a"):
            held.enter_context(large.place(owner))
        # The contract has one sentence for a 429.
        with pytest.raises(RateLimited, match=r"^rate limit exceeded$"), large.place("a"):
            pass
        held.enter_context(large.place("b"))
        with pytest.raises(Unavailable), large.place("c"):
            pass
    for owner in ("a", "a", "c"):
        held.enter_context(large.place(owner))


def endless(chunk: bytes) -> tuple[Receive, list[int]]:
    counted = [0]

    async def receive() -> Message:
        counted[0] += len(chunk)
        return {"type": "http.request", "body": chunk, "more_body": True}

    return receive, counted


@pytest.mark.parametrize(("chunk", "most"), [(b"x" * 10, 110), (MARK + b"x" * 4, 410)])
async def test_an_endless_body_is_refused_where_its_limit_is(chunk: bytes, most: int) -> None:
    receive, counted = endless(chunk)
    with pytest.raises(TooLarge, match="request body is too large"):
        await read_body(receive, LIMITS)
    assert counted[0] == most


@pytest.mark.parametrize("chunks", [[], [b"x"], [b"x"] * 50])
async def test_a_client_that_goes_away_is_noticed(chunks: list[bytes]) -> None:
    with pytest.raises(Disconnected):
        await read_body(Wire(chunks, hangs_up=True).receive, LIMITS)


def scope(*lengths: bytes) -> Scope:
    return {"headers": [(b"host", b"h"), *((b"content-length", length) for length in lengths)]}


@pytest.mark.parametrize("length", [b"401", b"0401", b"9" * 30, b"9" * 10_000])
def test_a_length_over_the_limit_is_refused_before_anything_is_read(length: bytes) -> None:
    with pytest.raises(TooLarge, match="request body is too large"):
        refuse_by_length(scope(length), LIMITS)


@pytest.mark.parametrize("lengths", [[], [b"0"], [b"400"], [b"0000000400"]])
def test_a_length_within_the_limit_passes(lengths: list[bytes]) -> None:
    refuse_by_length(scope(*lengths), LIMITS)
