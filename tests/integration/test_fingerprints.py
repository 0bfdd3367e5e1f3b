"""Fingerprints: a picture is known again by its bytes, its pixels and its looks."""

from __future__ import annotations

import itertools
import random
import struct
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from sqlalchemy import Connection, func, select

from ketchup.clock import Micros, SystemClock
from ketchup.db import Location
from ketchup.ids import TaskId, WorkspaceId
from ketchup.provenance import NEAR, Fingerprint, PerceptualHash, distance
from ketchup.provenance.containers import Source
from ketchup.provenance.log import (
    PAGE,
    Logged,
    find_by_pixels,
    find_by_sha256,
    find_near,
    fingerprint_band,
    list_of_task,
    record,
)
from ketchup.provenance.mark import Claim, Marker
from ketchup.provenance.perception import NoFingerprint, fingerprint, perceptual_hash
from ketchup.provenance.signer import load_or_make
from ketchup.providers.base import ImageFormat
from tests.support.database import open_engine
from tests.support.pictures import encoded, opened, photo, png
from tests.support.plans import recorded_plans

GALLERY = sorted((Path(__file__).parents[2] / "docs" / "gallery").glob("*.webp"))
ACME, OTHER = WorkspaceId("ws_acme"), WorkspaceId("ws_other")
TASK = TaskId("ta000000-0000-7000-8000-000000000001")


@pytest.fixture
def conn(location: Location) -> Iterator[Connection]:
    with open_engine(location) as engine, engine.begin() as conn:
        yield conn


def logged(phash: int, number: int = 0, **changes: object) -> Logged:
    prints = Fingerprint(f"{number:064x}", f"{number + 1_000_000:064x}", PerceptualHash(phash))
    made = Logged(f"100/{number}.png", TASK, ACME, prints, Micros(number))
    return replace(made, **changes)  # type: ignore[arg-type]  # by name


def flipped(phash: int, *bits: int) -> PerceptualHash:
    for bit in bits:
        phash ^= 1 << bit
    return PerceptualHash(phash)


# -- taken ----------------------------------------------------------------------------------------


def _again(name: str, **options: object) -> Callable[[Image.Image], Image.Image]:
    return lambda image: opened(encoded(image, name, **options)).convert("RGB")


def _half(image: Image.Image) -> Image.Image:
    return image.resize((image.width // 2, image.height // 2))


@pytest.mark.parametrize(
    "change",
    [_again("JPEG", quality=60), _half, _again("WEBP", quality=50), _again("JPEG", quality=20)],
    ids=["jpeg", "half", "webp", "poor jpeg"],
)
def test_a_picture_that_was_encoded_again_still_looks_the_same(
    change: Callable[[Image.Image], Image.Image],
) -> None:
    pictures = [Image.open(path).convert("RGB") for path in GALLERY]

    far = [distance(perceptual_hash(it), perceptual_hash(change(it))) for it in pictures]

    assert len(far) == 32
    assert max(far) <= 2


def test_no_two_pictures_of_the_gallery_look_the_same() -> None:
    hashes = [fingerprint(path.read_bytes()).phash for path in GALLERY]

    assert min(itertools.starmap(distance, itertools.combinations(hashes, 2))) > NEAR


@pytest.mark.parametrize("image_format", list(ImageFormat))
def test_a_signed_picture_that_was_stripped_still_has_its_pixels(
    image_format: ImageFormat, tmp_path: Path
) -> None:
    unsigned = encoded(photo(), image_format.name)
    marker = Marker(load_or_make(tmp_path, SystemClock()))
    stored = marker.sign(unsigned, image_format, Claim(Source.MODEL, "model", "0.1.0"))

    kept, stripped = fingerprint(stored), fingerprint(unsigned)

    assert kept.sha256 != stripped.sha256
    assert (kept.pixels, kept.phash) == (stripped.pixels, stripped.phash)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GIF89a",
        png(30, 20)[:-30],
        encoded(Image.new("1", (8_000, 8_000)), "PNG"),
        b"RIFF" + struct.pack("<I", 9),
    ],
    ids=["empty", "gif", "cut", "bomb", "webp"],
)
def test_what_cannot_be_decoded_has_no_fingerprint(data: bytes) -> None:
    with pytest.raises(NoFingerprint):
        fingerprint(data)


# -- remembered -----------------------------------------------------------------------------------


def test_a_picture_is_found_by_its_bytes_its_pixels_and_its_task(conn: Connection) -> None:
    mine, other = logged(2**64 - 1, 1), logged(0, 2)
    record(conn, [mine, other])

    assert find_by_sha256(conn, ACME, mine.fingerprint.sha256) == [mine]
    assert find_by_pixels(conn, ACME, mine.fingerprint.pixels) == [mine]
    assert list_of_task(conn, ACME, TASK) == [mine, other]
    assert list_of_task(conn, OTHER, TASK) == []
    assert find_by_sha256(conn, ACME, "none") == []


def test_what_is_recorded_twice_is_there_once(conn: Connection) -> None:
    record(conn, [logged(5, 1)])
    record(conn, [logged(5, 1)])

    assert len(find_near(conn, ACME, PerceptualHash(5))) == 1


@pytest.mark.parametrize("phash", [0, 2**64 - 1, 2**63, 0x0123_4567_89AB_CDEF])
def test_whatever_differs_in_seven_bits_is_found_and_in_eight_not(
    conn: Connection, phash: int
) -> None:
    record(conn, [logged(phash)])
    chance = random.Random(phash)

    for _ in range(60):
        near = flipped(phash, *chance.sample(range(64), 7))
        assert [bits for bits, _ in find_near(conn, ACME, near)] == [7]
        assert find_near(conn, ACME, near, 6) == []
        assert find_near(conn, ACME, flipped(phash, *chance.sample(range(64), 8))) == []


def test_the_nearest_comes_first_and_then_the_newest(conn: Connection) -> None:
    record(conn, [logged(0b111, 1), logged(0b1, 2), logged(0b1, 3), logged(2**40 - 1, 4)])

    found = find_near(conn, ACME, PerceptualHash(0))

    assert [(bits, it.created_at) for bits, it in found] == [(1, 3), (1, 2), (3, 1)]


def test_the_same_picture_made_very_often_does_not_bury_another(conn: Connection) -> None:
    record(conn, [logged(0, number) for number in range(3 * PAGE)])
    record(conn, [logged(0b11, 5_000)])

    assert find_near(conn, ACME, PerceptualHash(0b11))[0][1].created_at == 5_000
    assert len(find_near(conn, ACME, PerceptualHash(0))) == PAGE
    assert conn.scalar(select(func.count()).select_from(fingerprint_band)) == 2 * 4


def test_what_others_made_very_often_does_not_bury_ones_own(conn: Connection) -> None:
    mine = logged(0, 0)
    same = mine.fingerprint
    theirs = [
        logged(0, number, fingerprint=same, workspace_id=OTHER) for number in range(1, 2 * PAGE)
    ]
    record(conn, [mine, *theirs])

    assert find_by_sha256(conn, ACME, same.sha256)[0] == mine
    assert find_by_pixels(conn, ACME, same.pixels)[0] == mine
    assert (0, mine) in find_near(conn, ACME, same.phash)
    assert find_by_pixels(conn, OTHER, same.pixels)[0] == theirs[-1]


def test_a_tasks_pictures_are_in_the_order_in_which_it_had_them(conn: Connection) -> None:
    at = Micros(1_757_499_740_010_000)
    keys = [f"100/{at}00{place}_{'f0a3'[place]}.png" for place in range(4)]
    made = [logged(place, place, key=key, created_at=at) for place, key in enumerate(keys)]
    record(conn, made[::-1])

    assert list_of_task(conn, ACME, TASK) == made


def test_a_distance_that_could_not_be_searched_in_full_is_refused(conn: Connection) -> None:
    with pytest.raises(ValueError, match="at most 7 bits"):
        find_near(conn, ACME, PerceptualHash(0), 8)


def test_nothing_reads_the_whole_log(conn: Connection) -> None:
    record(conn, [logged(number * 2**44 + number, number) for number in range(300)])

    with recorded_plans(conn) as near:
        assert find_near(conn, ACME, PerceptualHash(0))
    assert near.scans == set()
    assert near.indexes == {"fingerprint_by_phash"}

    with recorded_plans(conn) as exact:
        find_by_sha256(conn, ACME, "a")
        find_by_pixels(conn, ACME, "b")
        list_of_task(conn, ACME, TASK)
        record(conn, [logged(1, 1)])
    assert exact.scans == set()
    assert exact.indexes >= {
        "fingerprint_by_sha256",
        "fingerprint_by_pixels",
        "fingerprint_of_task",
    }
