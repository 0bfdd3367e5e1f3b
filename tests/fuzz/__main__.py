"""Let atheris think of bytes for one target: `python -m tests.fuzz url -max_total_time=60`.

What it finds is written to `tests/fuzz/corpus/<target>/`, and is a test from then on.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["ketchup", "tests.fuzz.targets"]):
    from tests.fuzz.targets import TARGETS

CORPUS = Path(__file__).with_name("corpus")
LEARNT = Path(".hypothesis", "atheris")


def main() -> None:
    """Fuzz the target that is named first; the rest is libFuzzer's."""
    name, *options = sys.argv[1:]
    target = TARGETS[name]

    def one(data: bytes) -> None:
        target(data)

    learnt, kept = LEARNT / name, CORPUS / name
    learnt.mkdir(parents=True, exist_ok=True)
    # What merely reaches new lines goes to the first folder.
    folders = [str(learnt), str(kept)]
    atheris.Setup(
        [sys.argv[0], f"-artifact_prefix={kept}/", "-max_len=4096", *options, *folders], one
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
