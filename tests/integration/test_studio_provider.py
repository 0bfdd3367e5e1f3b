import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Sequence
from io import BytesIO
from pathlib import Path

import pytest
import pytest_asyncio
from PIL import Image

import ketchup
from ketchup.providers.base import (
    AspectRatio,
    GeneratedImage,
    ImageFormat,
    ImageRequest,
    ImageSize,
    ReferenceImage,
    TimedOut,
    Unavailable,
)
from ketchup.providers.studio import StudioProvider
from tests.support.process import until_gone

DEADLINE = 30.0


@pytest_asyncio.fixture
async def studio() -> AsyncIterator[StudioProvider]:
    provider = StudioProvider(processes=2)
    yield provider
    await provider.close()


def _request(
    prompt: str = "a cat",
    *,
    count: int = 1,
    ratio: AspectRatio | None = None,
    size: ImageSize = ImageSize.K1,
    references: tuple[ReferenceImage, ...] = (),
    image_format: ImageFormat = ImageFormat.JPEG,
) -> ImageRequest:
    return ImageRequest("ta1", "studio", prompt, references, ratio, size, count, 7, image_format)


def _quiet(_done: float) -> None:
    pass


async def _render(studio: StudioProvider, request: ImageRequest) -> list[bytes]:
    images = await asyncio.wait_for(
        studio.generate(request, progress=_quiet, cancelled=asyncio.Event()), DEADLINE
    )
    return [image.data for image in images]


def _begin(
    studio: StudioProvider, cancelled: asyncio.Event | None = None
) -> tuple[asyncio.Event, asyncio.Task[Sequence[GeneratedImage]]]:
    """Ask for three pictures; the event is set when one is done and the next is being drawn."""
    under_way = asyncio.Event()
    work = studio.generate(
        _request(count=3),
        progress=lambda _done: under_way.set(),
        cancelled=cancelled or asyncio.Event(),
    )
    return under_way, asyncio.create_task(work)


async def test_it_renders_as_many_different_pictures_as_asked(studio: StudioProvider) -> None:
    seen: list[float] = []
    images = await studio.generate(
        _request("a boat", count=3), progress=seen.append, cancelled=asyncio.Event()
    )
    assert len({image.data for image in images}) == 3
    assert seen == pytest.approx([1 / 3, 2 / 3, 1.0])
    for image in images:
        assert (image.width, image.height) == (1024, 1024)
        assert Image.open(BytesIO(image.data)).format == "JPEG"


async def test_image_i_is_drawn_from_seed_plus_i(studio: StudioProvider) -> None:
    both = await _render(studio, _request("a boat", count=2))
    second = ImageRequest("ta2", "studio", "a boat", (), None, ImageSize.K1, 1, 8, ImageFormat.JPEG)
    assert await _render(studio, second) == both[1:]


async def test_no_process_runs_before_the_first_request_or_after_close() -> None:
    studio = StudioProvider(processes=2)
    assert studio.pids() == []
    await _render(studio, _request())
    (pid,) = studio.pids()
    await studio.close()
    await studio.close()
    assert not _alive(pid)
    with pytest.raises(Unavailable):
        await _render(studio, _request())


async def test_auto_takes_the_shape_of_the_first_reference(studio: StudioProvider) -> None:
    out = BytesIO()
    Image.new("RGB", (900, 500), "teal").save(out, "PNG")
    reference = ReferenceImage(out.getvalue(), ImageFormat.PNG, 900, 500)
    (data,) = await _render(studio, _request(references=(reference,)))
    assert Image.open(BytesIO(data)).size == (1376, 768)


async def test_4k_is_rendered(studio: StudioProvider) -> None:
    request = _request("the sea", ratio=AspectRatio.R21_9, size=ImageSize.K4)
    (data,) = await _render(studio, request)
    assert Image.open(BytesIO(data)).size == (6336, 2688)


async def test_a_process_that_dies_fails_one_call_and_is_replaced() -> None:
    studio = StudioProvider(processes=1)
    under_way, work = _begin(studio)
    await under_way.wait()
    (pid,) = studio.pids()
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(Unavailable):
        await work
    assert len(await _render(studio, _request())) == 1
    assert pid not in studio.pids()
    await studio.close()


async def test_a_process_that_died_while_idle_is_not_noticed(studio: StudioProvider) -> None:
    first = await _render(studio, _request())
    (pid,) = studio.pids()
    os.kill(pid, signal.SIGKILL)
    await until_gone(pid)
    again = await _render(studio, _request())
    assert again == first


async def test_a_reference_that_cannot_be_read_is_reported_and_the_process_goes_on(
    studio: StudioProvider,
) -> None:
    broken = ReferenceImage(b"not an image", ImageFormat.PNG, 10, 10)
    with pytest.raises(Unavailable, match="UnidentifiedImageError"):
        await _render(studio, _request(references=(broken,)))
    (pid,) = studio.pids()
    await _render(studio, _request())
    assert studio.pids() == [pid]


async def test_a_picture_that_takes_too_long_is_given_up_and_its_process_ended() -> None:
    studio = StudioProvider(processes=1, deadline=0.2)
    with pytest.raises(TimedOut):
        await _render(studio, _request(size=ImageSize.K4))
    assert studio.pids() == []
    await studio.close()


async def test_a_lone_surrogate_crosses_to_the_renderer(studio: StudioProvider) -> None:
    assert len(await _render(studio, _request("a cat \udc80 \x00 <&>"))) == 1


async def test_the_cancelled_event_stops_a_picture_in_the_making() -> None:
    studio, cancelled = StudioProvider(processes=1), asyncio.Event()
    under_way, work = _begin(studio, cancelled)
    await under_way.wait()
    cancelled.set()
    with pytest.raises(Unavailable):
        await asyncio.wait_for(work, DEADLINE)
    assert studio.pids() == []
    assert len(await _render(studio, _request())) == 1
    await studio.close()


async def test_cancelling_the_awaiting_task_stops_its_process() -> None:
    studio = StudioProvider(processes=1)
    under_way, work = _begin(studio)
    await under_way.wait()
    (pid,) = studio.pids()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert studio.pids() == []
    assert not _alive(pid)
    await studio.close()


async def test_a_renderer_gets_none_of_the_servers_environment(
    studio: StudioProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KETCHUP_SECRET_FOR_TEST", "hidden")
    await _render(studio, _request())
    (pid,) = studio.pids()
    assert b"KETCHUP" not in _environment_of(pid)


async def test_a_renderer_loads_nothing_of_the_server(studio: StudioProvider) -> None:
    del studio
    source = (
        "import sys, ketchup.providers.studio.worker\n"
        "print([n for n in sys.modules if n.partition('.')[0] in ('fastapi', 'sqlalchemy', 'uvicorn')"
        " or n.startswith(('ketchup.cli', 'ketchup.server', 'ketchup.config'))])"
    )
    done = subprocess.run(  # noqa: ASYNC221 - alone in its loop; our own interpreter
        [sys.executable, "-c", source],
        env=_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


def test_no_renderer_outlives_a_server_killed_with_9(tmp_path: Path) -> None:
    # A program with a main module of its own, as a console script is: renderers must not run it.
    program = tmp_path / "program"
    program.write_text(
        textwrap.dedent(
            """
            import asyncio
            from ketchup.providers.base import ImageFormat, ImageRequest, ImageSize
            from ketchup.providers.studio import StudioProvider

            print("main", flush=True)

            async def main():
                studio = StudioProvider(processes=1)
                request = ImageRequest(
                    "t", "studio", "a cat", (), None, ImageSize.K1, 1, 1, ImageFormat.JPEG
                )
                await studio.generate(request, progress=lambda _: None, cancelled=asyncio.Event())
                print(*studio.pids(), flush=True)
                await asyncio.Event().wait()

            asyncio.run(main())
            """
        )
    )
    server = subprocess.Popen(
        [sys.executable, str(program)], stdout=subprocess.PIPE, text=True, env=_environment()
    )
    assert server.stdout is not None
    with server, server.stdout as output:
        assert output.readline() == "main\n"
        pid = int(output.readline())
        assert _alive(pid)
        server.kill()
        server.wait()
        asyncio.run(until_gone(pid))


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(ketchup.__file__).parents[1])}


def _environment_of(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()


def _alive(pid: int) -> bool:
    """Say whether the process runs; one that only waits to be reaped has ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
