"""Verifying: few pictures at once, of one workspace fewer."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from ketchup.api.verifying import AT_ONCE, OF_ONE_WORKSPACE, Verifying
from ketchup.errors import RateLimited, Unavailable


def test_one_workspace_cannot_take_all_the_places() -> None:
    verifying = Verifying()
    with ExitStack() as held:
        for _ in range(OF_ONE_WORKSPACE):
            held.enter_context(verifying.place("one"))
        with pytest.raises(RateLimited):
            held.enter_context(verifying.place("one"))
        with verifying.place("another"):
            pass
    with verifying.place("one"):
        pass


def test_when_all_places_are_taken_nobody_waits() -> None:
    verifying = Verifying()
    with ExitStack() as held:
        for number in range(AT_ONCE):
            held.enter_context(verifying.place(number))
        with pytest.raises(Unavailable):
            held.enter_context(verifying.place("one more"))


def test_a_place_is_given_back_when_the_work_fails() -> None:
    verifying = Verifying()
    for _ in range(AT_ONCE + 1):
        with pytest.raises(EOFError), verifying.place("one"):
            raise EOFError
