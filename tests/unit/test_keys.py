"""API keys as text: their form, their checksum, and what is kept of them."""

from __future__ import annotations

import re
import string
from collections import Counter
from pathlib import Path

import pytest

from ketchup.clock import Micros
from ketchup.ids import KeyId, WorkspaceId
from ketchup.workspaces import (
    Caller,
    Environment,
    Pepper,
    Scope,
    digest,
    is_well_formed,
    keys,
    mint_secret,
)

BASE62 = string.digits + string.ascii_letters
PEPPER = Pepper(b"one pepper, thirty-two bytes lon")


@pytest.mark.parametrize("environment", list(Environment))
def test_a_key_names_its_environment_and_has_46_characters(environment: Environment) -> None:
    secret = mint_secret(environment)

    assert re.fullmatch(rf"dk-{environment}_[0-9A-Za-z]{{38}}", secret)
    assert len(secret) == 46
    assert is_well_formed(secret)


def test_keys_use_the_whole_alphabet_and_never_come_twice() -> None:
    minted = {mint_secret(Environment.LIVE) for _ in range(2_000)}
    letters = Counter("".join(secret[8:40] for secret in minted))

    assert len(minted) == 2_000
    assert set(letters) == set(BASE62)
    # 64,000 letters over 62: each about 1,032 times, with a deviation of 32.
    assert max(letters.values()) < 1_250
    assert min(letters.values()) > 820


def test_no_typo_of_one_character_looks_like_a_key() -> None:
    for environment in Environment:
        secret = mint_secret(environment)
        for place in range(len(secret)):
            for letter in BASE62 + "-_ ":
                typo = secret[:place] + letter + secret[place + 1 :]
                assert is_well_formed(typo) == (typo == secret), typo


def test_no_two_neighbours_can_be_swapped() -> None:
    secret = mint_secret(Environment.LIVE)
    for place in range(len(secret) - 1):
        swapped = secret[:place] + secret[place + 1] + secret[place] + secret[place + 2 :]
        assert is_well_formed(swapped) == (swapped == secret)


@pytest.mark.parametrize(
    "text",
    [
        "dk-1234567890abcdef",  # the sample in the published guides
        "",
        "dk-live_",
        "dk-live_" + "0" * 38,
        "dk-prod_" + "0" * 38,
        "sk-live_" + "0" * 38,
        "dk-live_" + "٣" * 38,
    ],
)
def test_what_we_never_minted_is_refused_by_its_looks(text: str) -> None:
    assert not is_well_formed(text)


def test_a_longer_text_with_a_right_checksum_is_no_key() -> None:
    head = "dk-live_" + "0" * 40

    assert not is_well_formed(head + keys._checksum(head))


def test_a_key_with_anything_around_it_is_refused() -> None:
    secret = mint_secret(Environment.TEST)

    for text in (
        f"{secret}\n",
        f" {secret}",
        f"{secret} ",
        f"{secret}0",
        secret[:-1],
        secret.upper(),
    ):
        assert not is_well_formed(text)


def test_every_key_in_the_documents_is_one_that_never_works() -> None:
    root = Path(__file__).parents[2]
    pages = [*root.glob("*.md"), *root.glob("docs/**/*.md")]
    shown = {key for page in pages for key in _SHOWN.findall(page.read_text())}

    assert "dk-1234567890abcdef" in shown
    assert shown <= keys.EXAMPLES
    assert not any(is_well_formed(example) for example in keys.EXAMPLES)


_SHOWN = re.compile(r"dk-(?:(?:live|test)_[0-9A-Za-z]{38}|[0-9a-f]{16})(?![0-9A-Za-z])")


def test_what_is_kept_of_a_key_depends_on_the_pepper_and_on_every_letter() -> None:
    secret = mint_secret(Environment.LIVE)
    kept = digest(PEPPER, secret)

    assert kept == digest(PEPPER, secret)
    assert len(kept) == 32
    assert kept != digest(Pepper(b"another pepper of 32 bytes.....!"), secret)
    assert kept != digest(PEPPER, secret[:-1] + ("0" if secret[-1] != "0" else "1"))


def caller(scopes: frozenset[str] | None, models: frozenset[str] | None) -> Caller:
    workspace, key = WorkspaceId("ws_one"), KeyId("key_one")
    return Caller(workspace, key, Environment.LIVE, scopes, models, Micros(1), "free")


def test_a_key_without_lists_may_do_everything() -> None:
    anyone = caller(None, None)

    assert all(anyone.may(scope) for scope in Scope)
    assert anyone.may_use("google/gempix2")


def test_a_key_with_lists_may_do_only_what_they_name() -> None:
    reader = caller(frozenset({"task:read"}), frozenset({"google/gempix2"}))

    assert [scope for scope in Scope if reader.may(scope)] == [Scope.READ_TASKS]
    assert reader.may_use("google/gempix2")
    assert not reader.may_use("google/gemini-2.5-flash-image")


def test_an_empty_list_allows_nothing() -> None:
    nobody = caller(frozenset(), frozenset())

    assert not any(nobody.may(scope) for scope in Scope)
    assert not nobody.may_use("google/gempix2")
