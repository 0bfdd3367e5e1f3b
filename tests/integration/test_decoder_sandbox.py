from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
import sys
import zlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from PIL import Image

from ketchup.confined import children as children_of
from ketchup.confined.children import Children
from ketchup.errors import Unavailable
from ketchup.references import Decoder, Problem
from ketchup.references import decoder as sandbox_of
from ketchup.references.decoder import MEMORY_BYTES
from tests.support.decoding import decode, problem_with
from tests.support.pictures import encoded, noise, photo, png, png_chunk

MIB = 1024 * 1024


@pytest_asyncio.fixture
async def decoder() -> AsyncIterator[Decoder]:
    decoder = Decoder(processes=1)
    yield decoder
    await decoder.close()


def child_of(decoder: Decoder) -> int:
    (child,) = decoder._children._idle
    return child.pid


def is_there(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def peak_of(pid: int) -> int:
    """The most memory the process ever had in RAM, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def _text_bomb() -> bytes:
    return png(30, 20, extra=png_chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(200 * MIB))))


@pytest.mark.parametrize(
    ("bomb", "problem"),
    [
        (lambda: png(60_000, 60_000, bits=1, color=0, rows=b""), Problem.TOO_LARGE),
        (lambda: png(20_000, 20_000, color=6, rows=b""), Problem.TOO_LARGE),
        (lambda: png(8193, 1, rows=b""), Problem.TOO_LARGE),
        (lambda: png(8192, 4883, rows=b""), Problem.TOO_LARGE),
        (lambda: encoded(Image.new("L", (9000, 9000)), "JPEG"), Problem.TOO_LARGE),
        (lambda: encoded(Image.new("L", (4136, 4136)), "WEBP"), Problem.TOO_LARGE),
        (_text_bomb, Problem.NOT_DECODED),
        (lambda: png(100, 100, rows=zlib.compress(b"")), Problem.NOT_DECODED),
        (lambda: png(0, 10, rows=b""), Problem.NOT_DECODED),
        (lambda: encoded(photo(), "PNG")[:-40], Problem.NOT_DECODED),
        (lambda: encoded(noise(200, 200), "JPEG")[:-9000], Problem.NOT_DECODED),
        (lambda: encoded(noise(200, 200), "WEBP")[:-9000], Problem.NOT_DECODED),
        (lambda: b"\xff\xd8\xff" + b"\xff" * 100_000, Problem.NOT_DECODED),
        (lambda: b"\x89PNG\r\n\x1a\n", Problem.NOT_DECODED),
    ],
)
async def test_a_bomb_is_refused_and_costs_little(
    decoder: Decoder, bomb: Callable[[], bytes], problem: Problem
) -> None:
    await decode(decoder, encoded(photo(), "PNG"))
    child = child_of(decoder)
    assert await problem_with(decoder, bomb()) is problem
    assert child_of(decoder) == child
    assert peak_of(child) < 64 * MIB


@pytest.mark.parametrize(
    ("accepted", "mebibytes"),
    [
        (lambda: png(8192, 4882, color=6), 256),
        (lambda: encoded(Image.new("RGB", (8192, 4882)), "JPEG"), 256),
        (lambda: encoded(Image.new("RGBA", (4096, 4096)), "WEBP"), 256),
    ],
)
async def test_the_largest_image_of_each_format_stays_within_its_memory(
    decoder: Decoder, accepted: Callable[[], bytes], mebibytes: int
) -> None:
    result = await decode(decoder, accepted())
    assert max(result.width, result.height) == 2048
    assert peak_of(child_of(decoder)) < mebibytes * MIB


async def test_a_child_has_no_environment_and_may_open_nothing(
    decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KETCHUP_SECRET", "canary")
    await decode(decoder, encoded(photo(), "PNG"))
    proc = Path(f"/proc/{child_of(decoder)}")
    limits = {
        line[:25].strip(): line[25:].split()[:2]
        for line in (proc / "limits").read_text().splitlines()
    }
    assert (proc / "environ").read_bytes() == b""
    assert limits["Max open files"] == ["0", "0"]
    assert limits["Max file size"] == ["0", "0"]
    assert limits["Max core file size"] == ["0", "0"]
    assert limits["Max address space"] == [str(MEMORY_BYTES)] * 2
    assert 10 <= int(limits["Max cpu time"][0]) <= 13
    assert sorted(fd.name for fd in (proc / "fd").iterdir()) == ["0", "1", "2"]


# What code would do that had taken a child over. Each line prints 1 where the kernel let it.
TAKEN_OVER = """
import ctypes, importlib.util, os, resource, socket, sys, threading
spec = importlib.util.spec_from_file_location("sandbox", sys.argv[1])
sandbox = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sandbox)
server, victim, library = os.getppid(), sys.argv[2], ctypes.CDLL(None)
sandbox.confine(2**29)

def tried(act):
    try:
        return int(act() in (None, 0))
    except OSError:
        return 0

def fork():
    if os.fork() == 0:
        os._exit(0)

vector = (ctypes.c_size_t * 2)(0, 0)
print(tried(lambda: os.kill(server, 0)))
print(tried(lambda: library.process_vm_readv(server, vector, 1, vector, 1, 0)))
print(tried(lambda: library.process_vm_writev(server, vector, 1, vector, 1, 0)))
print(tried(lambda: library.prlimit(server, resource.RLIMIT_CPU, None, None)))
print(tried(fork))
print(tried(lambda: os.execv("/bin/true", ["true"])))
print(tried(lambda: os.rename(victim, victim + ".gone")))
print(tried(lambda: os.chmod(victim, 0o777)))
print(tried(lambda: os.unlink(victim)))
print(tried(lambda: os.symlink("/", victim + ".link")))
print(tried(lambda: os.close(os.open(victim, os.O_RDONLY))))
print(tried(lambda: os.close(os.open("/etc/passwd", os.O_RDONLY))))
print(tried(lambda: socket.socket().close()))
print(tried(lambda: socket.socket(socket.AF_UNIX).close()))
print(tried(lambda: socket.socketpair()[0].close()))
print(tried(lambda: os.close(os.dup(1))))
print(tried(lambda: os.close(os.pipe()[0])))
thread = threading.Thread(target=print, args=("a thread",))
thread.start()
thread.join()
"""


@pytest.mark.skipif(
    sys.platform != "linux" or os.uname().machine not in {"x86_64", "aarch64"},
    reason="needs Linux on x86_64 or aarch64 for its filter of system calls",
)
def test_a_child_that_was_taken_over_can_touch_no_process_and_no_file(tmp_path: Path) -> None:
    victim = tmp_path / "ketchup.db"
    victim.touch()
    script = Path(sandbox_of.__file__).with_name("sandbox.py")
    done = subprocess.run(
        [sys.executable, "-I", "-c", TAKEN_OVER, str(script), str(victim)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout.split("\n"), done.stderr) == (["0"] * 17 + ["a thread", ""], "")
    assert list(tmp_path.iterdir()) == [victim]


async def test_the_memory_limit_holds() -> None:
    decoder = Decoder(processes=1, memory_bytes=96 * MIB)
    assert await problem_with(decoder, png(8192, 4882, color=6)) is Problem.NOT_DECODED
    assert (await decode(decoder, encoded(photo(), "PNG"))).width == 120
    assert peak_of(child_of(decoder)) < 96 * MIB
    await decoder.close()


async def test_a_job_that_takes_too_long_is_killed_and_the_next_one_runs() -> None:
    decoder = Decoder(processes=1, seconds=0.5)
    await decode(decoder, encoded(photo(), "PNG"))
    stopped = child_of(decoder)
    os.kill(stopped, signal.SIGSTOP)
    assert await problem_with(decoder, encoded(photo(), "PNG")) is Problem.NOT_DECODED
    assert not is_there(stopped)
    assert (await decode(decoder, encoded(photo(), "PNG"))).width == 120
    await decoder.close()


async def test_a_child_that_dies_takes_only_its_own_job_with_it(decoder: Decoder) -> None:
    await decode(decoder, encoded(photo(), "PNG"))
    first = child_of(decoder)
    os.kill(first, signal.SIGSTOP)
    job = asyncio.create_task(problem_with(decoder, encoded(photo(), "PNG")))
    os.kill(first, signal.SIGKILL)
    assert await job is Problem.NOT_DECODED
    assert (await decode(decoder, encoded(photo(), "PNG"))).width == 120
    assert child_of(decoder) != first


async def test_a_child_that_died_while_idle_costs_no_job(decoder: Decoder) -> None:
    await decode(decoder, encoded(photo(), "PNG"))
    (child,) = decoder._children._idle
    os.kill(child.pid, signal.SIGKILL)
    await child._process.wait()
    assert (await decode(decoder, encoded(photo(), "PNG"))).width == 120


async def test_a_cancelled_job_leaves_no_answer_for_the_next(decoder: Decoder) -> None:
    await decode(decoder, encoded(photo(), "PNG"))
    first = child_of(decoder)
    os.kill(first, signal.SIGSTOP)
    job = asyncio.create_task(decode(decoder, encoded(photo(), "PNG")))
    await asyncio.sleep(0)  # the job takes the child, and writes to it
    assert decoder._children._idle == []
    job.cancel()
    with pytest.raises(asyncio.CancelledError):
        await job
    assert not is_there(first)
    assert (await decode(decoder, encoded(photo(60, 50), "PNG"))).width == 60


async def test_a_child_is_replaced_after_its_jobs() -> None:
    decoder = Decoder(processes=1, jobs_per_process=2)
    children = []
    for _ in range(3):
        await decode(decoder, encoded(photo(), "PNG"))
        children.append(child_of(decoder) if decoder._children._idle else None)
    assert children[1] is None
    assert children[0] != children[2]
    await decoder.close()


async def test_many_jobs_share_few_children() -> None:
    decoder = Decoder(processes=2)
    data = encoded(photo(), "PNG")
    results = await asyncio.gather(*(decode(decoder, data) for _ in range(12)))
    assert {result.width for result in results} == {120}
    assert len(decoder._children._idle) == 2
    await decoder.close()
    assert decoder._children._idle == []


async def test_a_job_under_way_ends_its_child_after_the_decoder_is_closed() -> None:
    decoder = Decoder(processes=1)
    job = asyncio.create_task(decode(decoder, encoded(photo(), "PNG")))
    await asyncio.sleep(0)
    await decoder.close()
    assert (await job).width == 120
    assert decoder._children._idle == []


SERVER = """
import asyncio, sys
from ketchup.references import Decoder, sniff

async def main():
    data = sys.stdin.buffer.read()
    decoder = Decoder(processes=2)
    await asyncio.gather(*(decoder.decode(data, sniff(data)) for _ in range(2)))
    print(*(child.pid for child in decoder._children._idle), flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def test_a_server_that_is_killed_leaves_no_child_behind() -> None:
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with server:
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write(encoded(photo(), "PNG"))
        server.stdin.close()
        children = [int(pid) for pid in server.stdout.readline().split()]
        ends = [os.pidfd_open(pid) for pid in children]
        server.kill()
    assert len(ends) == 2
    for end in ends:
        assert select.select([end], [], [], 10)[0] == [end]
        os.close(end)


async def test_a_decoder_that_cannot_start_is_our_problem_not_the_customers() -> None:
    decoder = Decoder(memory_bytes=2**70)  # no such limit can be set
    with pytest.raises(Unavailable):
        await decode(decoder, encoded(photo(), "PNG"))


def test_a_kernel_that_filters_nothing_is_noticed() -> None:
    # Once confined, a process may install no second filter: as on a kernel that has none.
    code = (
        "from ketchup.confined import rights\n"
        "kernel = rights._KERNELS[rights.os.uname().machine]\n"
        "first = rights.confine(2**30)\n"
        "print(first, rights._filter_calls(*kernel))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["b'+'", "False"]


async def test_the_operator_is_told_once_that_a_child_is_not_filtered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    children_of._tell_once.cache_clear()
    script = tmp_path / "unfiltered.py"
    script.write_text("import sys\nsys.stdout.write('-'); sys.stdout.flush(); sys.stdin.read()\n")
    children = Children(script, processes=2, jobs_per_process=1, memory_bytes=1, cpu_seconds=1)
    for _ in range(2):
        await children.warm()
        await children._idle.pop().end()
    assert capsys.readouterr().out.count("NOT FULLY CONFINED") == 1
