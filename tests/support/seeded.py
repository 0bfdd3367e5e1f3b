"""The product with a bug in it: what shows that a test would notice."""

from __future__ import annotations

import shutil
from pathlib import Path

import ketchup


def seeded(folder: Path, module: str, old: str, new: str) -> Path:
    """Copy the package, put `new` for `old` in one module, and return the folder to import from."""
    copy = folder / "seeded"
    if not copy.exists():
        shutil.copytree(Path(ketchup.__file__).parent, copy / "ketchup")
    file = copy / "ketchup" / module
    text = file.read_text()
    assert text.count(old) == 1, f"the seeded bug no longer fits into {module}"
    file.write_text(text.replace(old, new))
    return copy
