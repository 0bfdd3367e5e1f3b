"""Hostile pictures, by both ways in: as a caller's reference, and as an engine's answer."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import itertools
import os
import random
import resource
import signal
import struct
import zlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final, Protocol

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ketchup.clock import SystemClock
from ketchup.confined.children import Children
from ketchup.generation.finishing import Finishing
from ketchup.provenance import bare
from ketchup.provenance.finisher import Finisher, NotAPicture
from ketchup.provenance.signer import Credential, load_or_make
from ketchup.providers.base import GeneratedImage, ImageFormat, sniff
from ketchup.references import Decoder, ReferenceFailed
from tests.support.bombs import BOMBS, MIB, SCRIPT
from tests.support.pictures import encoded, noise, opened, photo, png_chunk

MOST_MEMORY: Final = 256 * MIB
MOST_CPU: Final = 10.0
# Encoding a WebP of 4K again takes more than decoding it: an encoder's own tables, not the file's.
DEAR: Final = {"webp 4096x4096 rgba": 336 * MIB, "webp 4096x4096 lossless": 336 * MIB}
FORMATS: Final = tuple(ImageFormat)
_TICKS: Final = os.sysconf("SC_CLK_TCK")


class Way(Protocol):
    """A way in: gives what would go on to an engine or be stored, or None for what is refused."""

    children: Children

    async def __call__(self, data: bytes) -> bytes | None: ...


class AsReference:
    def __init__(self, decoder: Decoder) -> None:
        self._decoder, self.children = decoder, decoder._children

    async def __call__(self, data: bytes) -> bytes | None:
        image_format = sniff(data)
        if image_format is None:
            return None
        try:
            return (await self._decoder.decode(data, image_format)).data
        except ReferenceFailed:
            return None


class AsAnswer:
    def __init__(self, finisher: Finisher) -> None:
        self._finishing, self.children = Finishing(finisher, ()), finisher._children

    async def __call__(self, data: bytes) -> bytes | None:
        image_format = sniff(data)
        if image_format is None:
            return None
        image = GeneratedImage(data, image_format, 1, 1)
        try:
            (made,) = await self._finishing.finish_all([image], image_format, "upstream", "model")
        except NotAPicture:
            return None
        assert sniff(made.image.data) is made.image.format
        return made.image.data


@pytest.fixture(scope="module")
def credential(tmp_path_factory: pytest.TempPathFactory) -> Credential:
    return load_or_make(tmp_path_factory.mktemp("data"), SystemClock())


@pytest_asyncio.fixture(params=["reference", "answer"])
async def way(request: pytest.FixtureRequest, credential: Credential) -> AsyncIterator[Way]:
    async with _way(request.param, credential) as found:
        yield found


@contextlib.asynccontextmanager
async def _way(name: str, credential: Credential) -> AsyncIterator[Way]:
    worker: Decoder | Finisher
    if name == "reference":
        decoder = worker = Decoder(processes=1)
        found: Way = AsReference(decoder)
    else:
        finisher = worker = Finisher(credential, processes=1)
        found = AsAnswer(finisher)
    try:
        await found.children.warm()
        yield found
    finally:
        await worker.close()


def peak_of(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def own_memory() -> int:
    """What this process holds, without what its allocator merely keeps."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def cpu_of(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


async def _each_is_cheap(way: Way, times: int) -> None:
    """Send bombs through one child after the other, and a picture at the end."""
    bombs = {name: make() for name, make in BOMBS.items()}
    picture = encoded(photo(), "PNG")
    assert await way(picture)
    before = own_memory()
    for name, data in itertools.islice(itertools.cycle(bombs.items()), times):
        await way.children.warm()
        (child,) = way.children._idle
        used = cpu_of(child.pid)
        await way(data)
        # The same child, or none after its last job: no bomb ends one, or takes all its time.
        assert way.children._idle in ([child], []), name
        if child.alive:
            most = DEAR.get(name, MOST_MEMORY) if isinstance(way, AsAnswer) else MOST_MEMORY
            assert peak_of(child.pid) <= most, name
            assert cpu_of(child.pid) - used <= MOST_CPU, name
        if name in DEAR:
            # The peak is for life: the next one has a child of its own.
            await way.children.close()
            way.children._closed = False
    # The server has held none of what was inside.
    assert own_memory() - before < 10 * MIB
    made = await way(picture)
    assert made is not None
    assert opened(made).size == photo().size


@pytest.mark.timeout(300)
async def test_each_bomb_stays_within_256_mebibytes_and_10_seconds(way: Way) -> None:
    await _each_is_cheap(way, len(BOMBS))


@pytest.mark.torture
@pytest.mark.timeout(1800)
async def test_a_thousand_bombs_in_a_row_stay_within_their_limits(way: Way) -> None:
    await _each_is_cheap(way, 1000)


def _png_with(secret: bytes) -> Callable[[bytes], bytes]:
    chunks = b"".join(
        png_chunk(kind, body)
        for kind, body in (
            (b"tEXt", b"a\0" + secret),
            (b"zTXt", b"a\0\0" + zlib.compress(secret, 0)),
            (b"iTXt", b"a\0\0\0\0\0" + secret),
            (b"eXIf", b"II*\0\x08\0\0\0\0\0" + secret),
            (b"iCCP", b"a\0\0" + zlib.compress(secret, 0)),
            (b"prVt", secret),
        )
    )
    return lambda data: data[:33] + chunks + data[33:] + secret


def _jpeg_with(secret: bytes) -> Callable[[bytes], bytes]:
    segments = b"".join(
        b"\xff" + kind + struct.pack(">H", len(body) + 2) + body
        for kind, body in (
            (b"\xfe", secret),
            (b"\xe1", b"Exif\0\0II*\0\x08\0\0\0\0\0" + secret),
            (b"\xe1", b"http://ns.adobe.com/xap/1.0/\0" + secret),
            (b"\xe2", b"ICC_PROFILE\0\1\1" + secret),
            (b"\xed", b"Photoshop 3.0\0" + secret),
            (b"\xef", secret),
        )
    )
    return lambda data: data[:2] + segments + data[2:-2] + b"\xff\xd9" + secret


def _webp_with(secret: bytes) -> Callable[[bytes], bytes]:
    parts = b"".join(
        kind + struct.pack("<I", len(secret)) + secret + bytes(len(secret) % 2)
        for kind in (b"EXIF", b"XMP ", b"prVt")
    )

    def smuggle(data: bytes) -> bytes:
        extended = encoded(opened(data), "WEBP", exif=b"Exif\0\0" + secret, icc_profile=secret)
        body = extended[8:] + parts
        return b"RIFF" + struct.pack("<I", len(body)) + body + secret

    return smuggle


SMUGGLERS: Final = {
    ImageFormat.PNG: _png_with,
    ImageFormat.JPEG: _jpeg_with,
    ImageFormat.WEBP: _webp_with,
}
# Parts of other languages, and bytes of any kind: long enough to be told from chance.
SECRETS: Final = st.builds(
    lambda start, length, seed, end: start + random.Random(seed).randbytes(length) + end,
    st.sampled_from(
        [SCRIPT, b"*/fetch('//evil.example')//", b"PK\3\4archive.zip", b"%PDF-1.7 1 0"]
    ),
    # Not bytes of Hypothesis's choice: it takes some from our own source.
    st.integers(16, 400),
    st.integers(0, 2**32),
    st.sampled_from([b"</script>", b"PK\5\6end of archive", b"%%EOF startxref"]),
)


def windows(data: bytes, length: int = 8) -> set[bytes]:
    return {data[at : at + length] for at in range(len(data) - length + 1)}


def leaked(stored: bytes, secret: bytes, innocent: bytes) -> set[bytes]:
    """What of the secret is in the file; runs of one value are in every file."""
    found = windows(secret) & windows(stored)
    return {one for one in found if len(set(one)) > 2 and one not in innocent}


async def _no_byte_leaks(way: Way, image_format: ImageFormat, secret: bytes, side: int) -> None:
    plain = encoded(noise(side, side), image_format.name)
    polyglot = SMUGGLERS[image_format](secret)(plain)
    assert secret in polyglot

    stored = await way(polyglot)

    if stored is not None:
        assert leaked(stored, secret, plain) == set()
        assert sniff(stored) is not None


POLYGLOTS: Final = given(st.sampled_from(FORMATS), SECRETS, st.integers(1, 24))


def examples(number: int) -> settings:
    return settings(
        max_examples=number,
        deadline=None,
        database=None,
        # One child for all examples: what one leaves behind must not come out with the next.
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


@examples(200)
@POLYGLOTS
async def test_no_byte_of_a_polyglot_goes_on(
    way: Way, image_format: ImageFormat, secret: bytes, side: int
) -> None:
    await _no_byte_leaks(way, image_format, secret, side)


@pytest.mark.torture
@pytest.mark.timeout(1800)
@examples(10_000)
@POLYGLOTS
async def test_no_byte_of_ten_thousand_polyglots_goes_on(
    way: Way, image_format: ImageFormat, secret: bytes, side: int
) -> None:
    await _no_byte_leaks(way, image_format, secret, side)


@examples(200)
@POLYGLOTS
def test_what_no_child_could_draw_anew_is_reduced_to_what_draws_it(
    image_format: ImageFormat, secret: bytes, side: int
) -> None:
    plain = encoded(noise(side, side), image_format.name)

    polyglot = SMUGGLERS[image_format](secret)(plain)
    stored = bare.stripped(polyglot, image_format)

    assert leaked(stored, secret, plain) == set()
    assert opened(stored).tobytes() == opened(polyglot).tobytes()


@pytest.mark.parametrize("image_format", FORMATS)
def test_half_a_picture_cannot_be_reduced(image_format: ImageFormat) -> None:
    whole = encoded(noise(64, 64), image_format.name)
    for length in range(0, len(whole) - 2, 97):
        with pytest.raises(ValueError, match=r"PNG|JPEG|WebP"):
            bare.stripped(whole[:length], image_format)


async def test_without_a_child_an_answer_is_stored_without_its_trailer(
    credential: Credential,
) -> None:
    # No such limit of memory can be set: no child ever starts.
    finisher = Finisher(credential, memory_bytes=2**70)
    way = AsAnswer(finisher)
    for image_format in FORMATS:
        plain = encoded(photo(), image_format.name)

        polyglot = SMUGGLERS[image_format](SCRIPT)(plain)
        stored = await way(polyglot)

        assert stored is not None
        assert b"<script" not in stored
        assert opened(stored).tobytes() == opened(polyglot).tobytes()
    await finisher.close()


async def test_an_answer_that_uses_up_its_time_is_not_tried_again(credential: Credential) -> None:
    finisher = Finisher(credential, processes=1)
    way = AsAnswer(finisher)
    await finisher.warm()
    (child,) = finisher._children._idle
    os.kill(child.pid, signal.SIGSTOP)
    under_way = asyncio.create_task(way(encoded(photo(), "PNG")))
    while finisher._children._idle:
        await asyncio.sleep(0)
    # What the kernel sends when the limit of CPU time is reached.
    os.kill(child.pid, signal.SIGXCPU)
    os.kill(child.pid, signal.SIGCONT)

    assert await under_way is None
    assert finisher._children._idle == []
    await finisher.close()
