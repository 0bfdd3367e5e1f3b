from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from PIL import Image

from ketchup.clock import SystemClock
from ketchup.egress import Egress
from ketchup.openings import parse
from ketchup.references import (
    DataReference,
    Decoder,
    Problem,
    ReferenceFailed,
    References,
    UrlReference,
)
from tests.support.loopback import answer, serving
from tests.support.pictures import encoded, photo, png

MIB = 1024 * 1024


@pytest_asyncio.fixture
async def decoder() -> AsyncIterator[Decoder]:
    decoder = Decoder(processes=1)
    yield decoder
    await decoder.close()


@pytest_asyncio.fixture
async def references(decoder: Decoder) -> AsyncIterator[References]:
    egress = Egress(SystemClock(), allow=[parse("127.0.0.2/32:1-65535")])
    yield References(egress, decoder, failures_last=0)
    await egress.close()


async def test_a_url_is_fetched_and_redrawn(references: References) -> None:
    body = encoded(photo(), "PNG") + b"<trailer>"
    async with serving(answer(body=body, content_type="image/png"), "127.0.0.2") as server:
        result = await references.load(UrlReference(f"http://127.0.0.2:{server.port}/a.png"))
    assert (result.width, result.height) == (120, 80)
    assert b"<trailer>" not in result.data


async def test_data_is_redrawn(references: References) -> None:
    assert (await references.load(DataReference(encoded(photo(), "PNG")))).width == 120


GIF = encoded(Image.new("P", (5, 5)), "GIF")


SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script/></svg>'


@pytest.mark.parametrize(
    ("status", "content_type", "body", "problem"),
    [
        (404, "image/png", b"", Problem.NOT_FETCHED),
        (200, "text/html", b"<html>", Problem.NOT_FETCHED),
        (200, "image/png", b"<html>", Problem.NOT_FETCHED),
        (200, "image/svg+xml", SVG, Problem.NOT_FETCHED),
        (200, "image/gif", GIF, Problem.NOT_FETCHED),
        (200, "image/png", b"", Problem.NOT_FETCHED),
        (200, "image/png", png(9000, 9000, rows=b""), Problem.TOO_LARGE),
        (200, "image/png", bytes(20 * MIB + 1), Problem.NOT_FETCHED),
        (200, "image/png", b"\x89PNG\r\n\x1a\nx", Problem.NOT_DECODED),
    ],
)
async def test_each_failure_has_one_fixed_sentence(
    references: References, status: int, content_type: str, body: bytes, problem: Problem
) -> None:
    handler = answer(status, body, content_type=content_type)
    async with serving(handler, "127.0.0.2") as server:
        url = f"http://127.0.0.2:{server.port}/"
        with pytest.raises(ReferenceFailed) as failed:
            await references.load(UrlReference(url))
    assert failed.value.problem is problem
    assert str(failed.value) == problem.value


async def test_an_internal_url_and_a_dead_one_fail_with_the_same_sentence(
    references: References,
) -> None:
    async with serving(answer(body=encoded(photo(), "PNG")), "127.0.0.1") as internal:
        sentences = set()
        for url in (f"http://127.0.0.1:{internal.port}/", "http://127.0.0.2:1/", "http://a..b/"):
            with pytest.raises(ReferenceFailed) as failed:
                await references.load(UrlReference(url))
            sentences.add(str(failed.value))
        assert internal.connections == 0
    assert sentences == {"a reference image could not be fetched"}
