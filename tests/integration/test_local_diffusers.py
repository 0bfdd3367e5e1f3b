"""The engine for local weights without weights: a real process that rehearses, gathered, halved,
cancelled, killed. With weights it is asked in `tests/local`."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

import ketchup
from ketchup.providers.base import (
    AspectRatio,
    GeneratedImage,
    ImageFormat,
    ImageRequest,
    ImageSize,
    Misconfigured,
    ReferenceImage,
    Refused,
    Unavailable,
)
from ketchup.providers.local_diffusers import (
    LocalDiffusersProvider,
    LocalSettings,
    Rehearsal,
    Weights,
)
from ketchup.providers.piped import Child
from tests.support.pictures import encoded, opened, photo
from tests.support.process import until_gone

DEADLINE = 30.0
# Long enough for every picture of a test to arrive, for the last one ends the wait.
LONG = 20.0
REFERENCE = ReferenceImage(encoded(photo(), "PNG"), ImageFormat.PNG, 120, 80)
REQUEST = ImageRequest(
    "ta1", "m", "a cat", (), AspectRatio.SQUARE, ImageSize.K1, 1, 7, ImageFormat.PNG
)


class Stage:
    """A pipeline that rehearses, its notes, and the turnstile before each of its steps."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._notes = folder / "notes"
        self._turnstile = folder / "turnstile"
        os.mkfifo(self._turnstile)
        # Read and write: a pipe that is only written to would wait here for its reader.
        self._gate = os.open(self._turnstile, os.O_RDWR)
        self._built: list[LocalDiffusersProvider] = []

    def build(
        self,
        *,
        gated: bool = False,
        batch: int = 1,
        batch_wait: float = LONG,
        **rehearsal: Any,  # noqa: ANN401 a field each
    ) -> LocalDiffusersProvider:
        turnstile = str(self._turnstile) if gated else ""
        weights = Rehearsal(str(self._notes), turnstile=turnstile, **rehearsal)
        provider = LocalDiffusersProvider(
            LocalSettings(weights, sizes=[(64, 64), (96, 64)], batch=batch, batch_wait=batch_wait)
        )
        self._built.append(provider)
        return provider

    def let_through(self, steps: int) -> None:
        os.write(self._gate, b"." * steps)

    def calls(self) -> list[list[str]]:
        return [json.loads(line) for line in self._notes.read_text().splitlines()]

    async def close(self) -> None:
        for provider in self._built:
            await provider.close()
        os.close(self._gate)


@pytest_asyncio.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    built = Stage(tmp_path)
    yield built
    await built.close()


class Asked:
    """A request under way."""

    def __init__(self, provider: LocalDiffusersProvider, request: ImageRequest) -> None:
        self.told: list[float] = []
        self.cancelled = asyncio.Event()
        self._stepped = asyncio.Event()
        self.answer = asyncio.create_task(self._generate(provider, request))

    async def until_told(self, share: float) -> None:
        async with asyncio.timeout(DEADLINE):
            while not self.told or self.told[-1] < share:
                self._stepped.clear()
                await self._stepped.wait()

    async def images(self) -> Sequence[GeneratedImage]:
        async with asyncio.timeout(DEADLINE):
            return await self.answer

    def _hear(self, share: float) -> None:
        self.told.append(share)
        self._stepped.set()

    async def _generate(
        self, provider: LocalDiffusersProvider, request: ImageRequest
    ) -> Sequence[GeneratedImage]:
        return await provider.generate(request, progress=self._hear, cancelled=self.cancelled)


def ask(
    provider: LocalDiffusersProvider,
    prompt: str = "a cat",
    **changes: Any,  # noqa: ANN401 a field each
) -> Asked:
    request = dataclasses.replace(REQUEST, prompt=prompt, **changes)
    return Asked(provider, request)


async def test_pictures_of_one_size_are_drawn_in_one_call(stage: Stage) -> None:
    provider = stage.build(batch=3)
    asked = [ask(provider, prompt) for prompt in ("a", "b", "c")]
    for one in asked:
        await one.images()

    assert stage.calls() == [["a", "b", "c"]]


async def test_what_waits_goes_alone_when_nobody_comes(stage: Stage) -> None:
    provider = stage.build(batch=3, batch_wait=0.0)
    await ask(provider, "a").images()

    assert stage.calls() == [["a"]]


async def test_another_size_is_another_call_and_the_oldest_goes_first(stage: Stage) -> None:
    provider = stage.build(batch=2, batch_wait=0.0, gated=True)
    first = ask(provider, "first")
    stage.let_through(1)
    await first.until_told(0.5)
    wide = {"aspect_ratio": AspectRatio.R3_2}
    others = [
        ask(provider, "wide 1", **wide),
        ask(provider, "square"),
        ask(provider, "wide 2", **wide),
        ask(provider, "wide 3", **wide),
    ]
    await asyncio.sleep(0)
    stage.let_through(100)
    for one in (first, *others):
        await one.images()

    assert stage.calls() == [["first"], ["wide 1", "wide 2"], ["square"], ["wide 3"]]


async def test_a_picture_is_the_same_alone_and_in_company(stage: Stage) -> None:
    (alone,) = await ask(stage.build(), "a", seed=9).images()
    provider = stage.build(batch=2)
    await asyncio.gather(ask(provider, "b").images(), (a := ask(provider, "a", seed=9)).images())

    assert list(await a.images()) == [alone]
    assert opened(alone.data).size == (64, 64)


async def test_the_pictures_of_a_task_share_a_call_and_have_seeds_of_their_own(
    stage: Stage,
) -> None:
    asked = ask(stage.build(batch=4, gated=True), "a", count=4)
    stage.let_through(2)

    assert len({image.data for image in await asked.images()}) == 4
    assert stage.calls() == [["a"] * 4]
    assert asked.told == sorted(asked.told)
    assert 0.5 in asked.told
    assert asked.told[-1] == 1.0


async def test_edits_go_singly(stage: Stage) -> None:
    provider = stage.build(batch=4, batch_wait=0.0)
    plain = ask(provider, "plain")
    await ask(provider, "edit", count=2, references=(REFERENCE,)).images()
    await plain.images()

    assert stage.calls() == [["plain"], ["edit"], ["edit"]]


async def test_a_call_that_does_not_fit_is_halved_and_that_is_remembered(stage: Stage) -> None:
    provider = stage.build(batch=4, fits=2)
    await ask(provider, "a", count=4).images()
    await ask(provider, "b", count=4).images()

    assert [len(call) for call in stage.calls()] == [4, 2, 2, 2, 2]


async def test_a_picture_that_does_not_fit_alone_is_refused_with_a_sentence(stage: Stage) -> None:
    provider = stage.build(batch=2, fits=0)
    with pytest.raises(Refused, match="out of memory at 64x64 alone") as caught:
        await ask(provider, "a", count=2).images()

    assert "smaller" in caught.value.reason


async def test_a_member_that_is_cancelled_leaves_the_others_alone(stage: Stage) -> None:
    provider = stage.build(batch=2, gated=True, steps=20)
    gone, kept = ask(provider, "gone"), ask(provider, "kept")
    stage.let_through(1)
    await kept.until_told(0.05)
    gone.cancelled.set()
    with pytest.raises(Unavailable, match="cancelled"):
        await gone.images()
    for step in range(2, 21):
        stage.let_through(1)
        await kept.until_told(step / 20)

    assert len(await kept.images()) == 1
    assert gone.told == [0.05]
    assert stage.calls() == [["gone", "kept"]]


async def test_a_call_that_nobody_wants_stops_at_its_next_step(stage: Stage) -> None:
    provider = stage.build(batch=2, gated=True, steps=1000)
    asked = [ask(provider, "a"), ask(provider, "b")]
    stage.let_through(1)
    await asked[1].until_told(0.001)
    pid = provider.pid
    for one in asked:
        one.answer.cancel()
        with pytest.raises(asyncio.CancelledError):
            await one.images()
    next_one = ask(provider, "c", count=2)
    let_through = 0
    async with asyncio.timeout(DEADLINE):
        while len(stage.calls()) == 1:
            stage.let_through(1)
            let_through += 1
            await asyncio.sleep(0.005)
    stage.let_through(1000)

    # Drawn to its end, the first call would have taken a thousand.
    assert let_through < 500
    assert len(await next_one.images()) == 2
    assert provider.pid == pid


async def test_what_is_cancelled_while_the_weights_are_loaded_is_never_drawn(
    stage: Stage,
) -> None:
    provider = stage.build(batch=2)
    gone, kept = ask(provider, "gone"), ask(provider, "kept")
    async with asyncio.timeout(DEADLINE):
        while provider.pid is None:
            await asyncio.sleep(0.001)
    gone.answer.cancel()
    await kept.images()

    assert stage.calls() == [["kept"]]


async def test_what_is_cancelled_while_it_waits_takes_nobodys_place(stage: Stage) -> None:
    provider = stage.build(batch=2, batch_wait=0.0, gated=True)
    first = ask(provider, "first")
    stage.let_through(1)
    await first.until_told(0.5)
    gone, others = ask(provider, "gone"), [ask(provider, "a"), ask(provider, "b")]
    await asyncio.sleep(0)
    gone.cancelled.set()
    with pytest.raises(Unavailable, match="cancelled"):
        await gone.images()
    stage.let_through(100)
    for one in (first, *others):
        await one.images()

    assert stage.calls() == [["first"], ["a", "b"]]


async def test_a_process_that_dies_fails_its_call_and_is_replaced(stage: Stage) -> None:
    provider = stage.build(batch_wait=0.0, gated=True)
    first, waits = ask(provider, "first"), ask(provider, "waits")
    stage.let_through(1)
    await first.until_told(0.5)
    assert provider.pid is not None
    os.kill(provider.pid, signal.SIGKILL)
    with pytest.raises(Unavailable, match="died"):
        await first.images()
    stage.let_through(100)

    assert len(await waits.images()) == 1


async def test_a_process_that_died_while_idle_is_not_noticed(stage: Stage) -> None:
    provider = stage.build(batch_wait=0.0)
    first = await ask(provider).images()
    assert provider.pid is not None
    os.kill(provider.pid, signal.SIGKILL)
    await until_gone(provider.pid)

    assert await ask(provider).images() == first


async def test_an_unwanted_call_that_does_not_stop_is_killed(stage: Stage, tmp_path: Path) -> None:
    weights = Rehearsal(str(tmp_path / "notes"), turnstile=str(tmp_path / "turnstile"))
    provider = LocalDiffusersProvider(LocalSettings(weights, batch_wait=0.0, grace=0.05))
    hangs = ask(provider, "hangs")
    stage.let_through(1)
    await hangs.until_told(0.5)
    pid = provider.pid
    assert pid is not None
    hangs.cancelled.set()
    await until_gone(pid)
    with pytest.raises(Unavailable):
        await hangs.images()
    stage.let_through(10)

    assert len(await ask(provider, "next").images()) == 1
    await provider.close()


async def test_a_failure_is_told_and_the_second_in_a_row_replaces_the_process(
    stage: Stage,
) -> None:
    provider = stage.build(batch_wait=0.0)
    await ask(provider).images()
    pid = provider.pid
    with pytest.raises(Unavailable, match="this prompt fails"):
        await ask(provider, "fail").images()
    assert provider.pid == pid
    with pytest.raises(Unavailable, match="this prompt fails"):
        await ask(provider, "fail").images()

    assert len(await ask(provider).images()) == 1
    assert provider.pid != pid


async def test_a_withheld_picture_is_a_refusal_of_that_one_alone(stage: Stage) -> None:
    provider = stage.build(batch=2)
    unsafe, other = ask(provider, "unsafe"), ask(provider, "other")
    with pytest.raises(Refused) as caught:
        await unsafe.images()

    assert "safety rules" in caught.value.reason
    assert len(await other.images()) == 1


@pytest.mark.parametrize(
    ("abilities", "references", "sentence"),
    [
        ({"references": 0}, 1, "This model takes no reference images."),
        ({"references": 1}, 2, "This model takes 1 reference image."),
        ({"needs_reference": True}, 0, "This model needs a reference image."),
    ],
)
async def test_what_a_pipeline_cannot_do_is_a_refusal(
    stage: Stage, abilities: dict[str, Any], references: int, sentence: str
) -> None:
    provider = stage.build(batch_wait=0.0, **abilities)
    with pytest.raises(Refused) as caught:
        await ask(provider, references=(REFERENCE,) * references).images()

    assert caught.value.reason == sentence


async def test_a_pipeline_that_cannot_be_loaded_is_misconfigured(stage: Stage) -> None:
    provider = stage.build(batch_wait=0.0, is_missing=True)
    for _ in range(2):
        with pytest.raises(Misconfigured, match="there are no weights"):
            await ask(provider).images()


@pytest.mark.skipif(find_spec("torch") is not None, reason="torch is installed")
async def test_without_torch_an_operator_must_act(tmp_path: Path) -> None:
    weights = Weights(str(tmp_path), is_folder=True)
    provider = LocalDiffusersProvider(LocalSettings(weights, batch_wait=0.0))
    with pytest.raises(Misconfigured, match="pip install"):
        await ask(provider).images()
    await provider.close()


async def test_closing_fails_what_waits_and_ends_the_process(stage: Stage) -> None:
    provider = stage.build(batch_wait=0.0, gated=True)
    first, waits = ask(provider, "first"), ask(provider, "waits")
    stage.let_through(1)
    await first.until_told(0.5)
    pid = provider.pid
    assert pid is not None
    await provider.close()
    await provider.close()

    await until_gone(pid)
    for one in (first, waits, ask(provider, "late")):
        with pytest.raises(Unavailable, match="closed"):
            await one.images()


async def test_the_process_is_given_no_secret(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("KETCHUP_SECRET_KEY", "GEMINI_API_KEY", "HF_TOKEN"):
        monkeypatch.setenv(name, "hush")
    provider = stage.build(batch_wait=0.0)
    await ask(provider).images()

    environment = Path(f"/proc/{provider.pid}/environ").read_bytes()
    assert b"hush" not in environment
    # Nor does it look for the token that somebody logged in to the hub with, at home.
    assert b"HF_HUB_DISABLE_IMPLICIT_TOKEN=1" in environment.split(b"\0")


async def test_a_process_that_cannot_read_what_it_is_told_ends() -> None:
    child = await Child.start("the process", "ketchup.providers.local_diffusers.worker")
    try:
        await child.send(b"\xc1")
        with pytest.raises(Unavailable, match="died"):
            async with asyncio.timeout(DEADLINE):
                await child.receive()
    finally:
        await child.stop()


def test_the_process_does_not_outlive_a_server_killed_with_9(
    tmp_path: Path,
) -> None:
    # In the middle of a step: the thread that draws hangs in the turnstile.
    os.mkfifo(tmp_path / "turnstile")
    gate = os.open(tmp_path / "turnstile", os.O_RDWR)
    program = textwrap.dedent(
        f"""
        import asyncio
        from ketchup.providers.base import ImageFormat, ImageRequest, ImageSize
        from ketchup.providers.local_diffusers import (
            LocalDiffusersProvider, LocalSettings, Rehearsal
        )

        async def main():
            weights = Rehearsal({str(tmp_path / "notes")!r}, turnstile={str(tmp_path / "turnstile")!r})
            provider = LocalDiffusersProvider(LocalSettings(weights))
            request = ImageRequest("t", "m", "a", (), None, ImageSize.K1, 1, 1, ImageFormat.PNG)
            await provider.generate(
                request,
                progress=lambda _: print(provider.pid, flush=True),
                cancelled=asyncio.Event(),
            )

        asyncio.run(main())
        """
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(ketchup.__file__).parents[1])}
    server = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert server.stdout is not None
    os.write(gate, b".")
    with server, server.stdout as output:
        pid = int(output.readline())
        server.kill()
        server.wait()
        asyncio.run(until_gone(pid))
    os.close(gate)
