"""What is installed is locked and audited, and no secret stands in the tree."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest

from ketchup.workspaces import keys

ROOT = Path(__file__).parents[2]
LOCKS = sorted((ROOT / "requirements").glob("*.lock*"))
AUDIT = ROOT / ".venv-audit"
_PACKAGE = re.compile(r"^([a-z0-9][a-z0-9._-]*)(?:\[[^]]*\])?==\S+", re.MULTILINE)

SECRETS: Final = {
    "ketchup": re.compile(r"dk-(?:live|test)_[0-9A-Za-z]{38}"),
    "webhook": re.compile(r"whsec_[A-Za-z0-9+/]{32,}"),
    "google": re.compile(r"AIza[0-9A-Za-z_-]{35}"),
    "openai": re.compile(r"(?<![A-Za-z0-9])sk-[A-Za-z0-9_-]{20,}"),
    "aws": re.compile(r"(?:AKIA|ASIA)[0-9A-Z]{16}"),
    "github": re.compile(r"gh[pousr]_[A-Za-z0-9]{36}"),
    "private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----\s+[A-Za-z0-9+/=\s]{40,}"),
}


def found_in(text: str) -> list[str]:
    """Name the kinds of secret in a text. A key of ours with a wrong sum is an example."""
    return [
        kind
        for kind, pattern in SECRETS.items()
        for match in pattern.finditer(text)
        if kind != "ketchup" or keys.is_well_formed(match[0])
    ]


def tracked() -> list[Path]:
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        return [path for part in ("src", "tests", "docs") for path in (ROOT / part).rglob("*.*")]
    listed = subprocess.run([git, "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    return [ROOT / name for name in listed.stdout.decode().split("\0") if name]


def test_no_secret_stands_in_the_tree() -> None:
    files = [path for path in tracked() if path.is_file()]
    assert len(files) > 300

    found = {
        str(path.relative_to(ROOT)): kinds
        for path in files
        if (kinds := found_in(path.read_bytes().decode("latin-1")))
    }

    assert found == {}


@pytest.mark.parametrize(
    ("begin", "length", "kind"),
    [
        ("whsec" + "_", 44, "webhook"),
        ("AI" + "za", 35, "google"),
        ("s" + "k-", 48, "openai"),
        ("AK" + "IA", 16, "aws"),
        ("gh" + "p_", 36, "github"),
        ("-----BEGIN " + "PRIVATE KEY-----\n", 64, "private key"),
    ],
)
def test_a_secret_of_each_kind_is_found(begin: str, length: int, kind: str) -> None:
    assert found_in(f"x = '{begin}{'A1B2' * (length // 4 + 1)}'"[: 5 + len(begin) + length]) == [
        kind
    ]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_locked_package_has_its_hashes_and_no_lock_names_a_host(lock: Path) -> None:
    text = lock.read_text()
    packages = [part for part in re.split(r"\n(?=\S)", text) if _PACKAGE.match(part)]

    assert packages
    assert [part.split(" ")[0] for part in packages if "--hash=sha256:" not in part] == []
    assert "://" not in text


def _judge() -> Any:  # noqa: ANN401 a script that is no module
    spec = importlib.util.spec_from_file_location("audit", ROOT / "requirements" / "audit.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.judge


ASKED: Final = {"name": "one", "version": "1", "vulns": []}
SKIPPED: Final = {"name": "two", "skip_reason": "not reached"}
KNOWN: Final = {"name": "three", "version": "3", "vulns": [{"id": "CVE-1"}]}


@pytest.mark.parametrize(
    ("packages", "required", "status", "said"),
    [
        ([ASKED], False, 0, "1 packages audited"),
        ([SKIPPED], False, 0, "SKIPPED pip-audit"),
        ([SKIPPED], True, 1, "SKIPPED pip-audit"),
        ([], False, 1, "SKIPPED pip-audit"),
        ([ASKED, SKIPPED], False, 1, "but not two"),
        ([ASKED, KNOWN], False, 1, "three 3: CVE-1"),
    ],
)
def test_an_audit_counts_what_was_asked_about(
    packages: list[dict[str, Any]], required: bool, status: int, said: str
) -> None:
    found, told = _judge()({"dependencies": packages}, required=required)

    assert found == status
    assert said in told


@pytest.mark.skipif(
    not (AUDIT / "bin" / "cyclonedx-py").exists(),
    reason="needs .venv-audit, which `make audit` and `make sbom` install",
)
def test_the_bill_of_materials_is_valid_and_names_every_locked_package(tmp_path: Path) -> None:
    lock, out = ROOT / "requirements" / "runtime.lock", tmp_path / "sbom.json"
    asked = ["requirements", "--spec-version", "1.6", "--output-format", "JSON", "--validate"]
    asked += ["--pyproject", str(ROOT / "pyproject.toml"), "--output-file", str(out), str(lock)]

    subprocess.run([str(AUDIT / "bin" / "cyclonedx-py"), *asked], check=True, capture_output=True)

    made = json.loads(out.read_text())
    assert (made["bomFormat"], made["specVersion"]) == ("CycloneDX", "1.6")
    named = {component["name"] for component in made["components"]}
    assert named == set(_PACKAGE.findall(lock.read_text()))
    assert all(component["externalReferences"] for component in made["components"])
