"""Ids: their looks, their order and their randomness."""

from __future__ import annotations

import random
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ketchup import ids
from ketchup.clock import FrozenClock
from ketchup.ids import RequestIds, TaskId

NOW = FrozenClock().now()
TASK_ID = re.compile(r"ta[0-9a-f]{6}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def micros(year: int) -> int:
    return round(datetime(year, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000


@given(st.integers(micros(2025), micros(2038)), st.binary(min_size=10, max_size=10))
def test_a_task_id_is_a_uuid_of_version_7_behind_its_two_letters(at: int, noise: bytes) -> None:
    minted = ids.task_id(at, lambda _size: noise)

    assert TASK_ID.fullmatch(minted)
    assert len(minted) == 36
    # The two letters stand for the top byte of the milliseconds.
    whole = UUID(f"{at // 1000 >> 40:02x}{minted[2:]}")
    assert whole.version == 7
    assert whole.variant == "specified in RFC 4122"
    assert whole.int >> 80 == at // 1000
    free = ~(0xF << 76 | 0x3 << 62) & (1 << 80) - 1
    assert whole.int & free == int.from_bytes(noise, "big") & free


@given(st.lists(st.integers(micros(2025) // 1000, micros(2038) // 1000), unique=True))
def test_task_ids_sort_by_their_time(milliseconds: list[int]) -> None:
    minted = [ids.task_id(at * 1000) for at in sorted(milliseconds)]

    assert minted == sorted(minted)


def test_task_ids_of_one_moment_differ() -> None:
    assert len({ids.task_id(NOW) for _ in range(10_000)}) == 10_000


def test_request_ids_are_130_bits_and_never_come_twice() -> None:
    source = RequestIds()
    minted = [source.mint() for _ in range(1_000)]

    assert len(set(minted)) == 1_000
    assert all(re.fullmatch(r"req_[a-z2-7]{26}", one) for one in minted)


def test_request_ids_are_unique_over_threads() -> None:
    source = RequestIds()
    with ThreadPoolExecutor(8) as pool:
        minted = [one for many in pool.map(lambda _: _mint(source), range(64)) for one in many]

    assert len(set(minted)) == len(minted) == 64 * 100


def _mint(source: RequestIds) -> list[str]:
    return [source.mint() for _ in range(100)]


def test_request_ids_ask_the_system_once_for_many() -> None:
    asked: list[int] = []

    def entropy(size: int) -> bytes:
        asked.append(size)
        return random.Random(len(asked)).randbytes(size)

    source = RequestIds(entropy)
    minted = {source.mint() for _ in range(512)}

    assert len(minted) == 512
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("mint", "shape"),
    [
        (ids.workspace_id, r"ws_[a-z2-7]{16}"),
        (ids.key_id, r"key_[a-z2-7]{16}"),
        (ids.worker_id, r"wrk_[a-z2-7]{16}"),
        (ids.name_bits, r"[0-9a-f]{32}"),
    ],
)
def test_other_ids_have_their_prefix_and_fit_their_column(mint: object, shape: str) -> None:
    assert callable(mint)
    minted = {str(mint()) for _ in range(1_000)}

    assert len(minted) == 1_000
    assert all(re.fullmatch(shape, one) and len(one) <= 40 for one in minted)


def test_a_task_has_one_delivery_id_for_ever() -> None:
    task = TaskId("ta019a3c-5e1f-7c3b-9d42-3f6f1c0a7b52")

    assert ids.delivery_id(task) == ids.delivery_id(TaskId(str(task)))
    assert re.fullmatch(r"msg_ta[0-9a-f]{30}", ids.delivery_id(task))
    assert ids.delivery_id(task) != ids.delivery_id(TaskId(task.replace("52", "53")))
