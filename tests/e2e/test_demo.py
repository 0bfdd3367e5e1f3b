"""`ketchup demo` as a newcomer runs it: a real process, judged by what it prints and leaves."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from PIL import Image

from ketchup.provenance.verify import State, verify

DEADLINE_SECONDS = 60


def _demo(out: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ketchup", "demo", "--out", str(out)],
        cwd=out.parent,
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )


def test_the_demo_renders_remixes_calls_back_and_exits_0(tmp_path: Path) -> None:
    done = _demo(tmp_path / "pictures")

    assert done.returncode == 0, done.stderr
    assert "signature verified" in done.stdout
    assert "98.00000000 left of 100, and the ledger adds up" in done.stdout
    assert "not an AI model" in done.stdout
    pictures = sorted((tmp_path / "pictures").iterdir())
    assert [p.stem for p in pictures] == ["basket", "boat", "bottle-pink", "bottle-teal"]
    for picture in pictures:
        with Image.open(picture) as image:
            assert image.size == (1024, 1024)
        assert verify(picture.read_bytes()).state is State.VALID


def test_the_demo_leaves_nothing_else_behind(tmp_path: Path) -> None:
    out = tmp_path / "pictures"

    done = _demo(out)

    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == [out]


def test_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "pictures").write_text("a file is in the way")

    done = _demo(tmp_path / "pictures")

    assert done.returncode == 1
    assert "cannot write to" in done.stderr
    assert "Traceback" not in done.stderr
