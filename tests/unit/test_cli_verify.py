"""`ketchup verify`: a report for people and for scripts, and an exit code for both."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ketchup import cli
from ketchup.clock import SystemClock
from ketchup.provenance.containers import Source
from ketchup.provenance.mark import Claim, Marker
from ketchup.provenance.signer import Credential, load_or_make
from ketchup.providers.base import ImageFormat
from tests.support.pictures import encoded, photo


@pytest.fixture
def credential(tmp_path: Path) -> Credential:
    return load_or_make(tmp_path, SystemClock(), "Acme\x1b[2J")


@pytest.fixture
def signed(tmp_path: Path, credential: Credential) -> Path:
    claim = Claim(Source.MODEL, "google/gempix2", "0.1.0")
    data = Marker(credential).sign(encoded(photo(), "PNG"), ImageFormat.PNG, claim)
    path = tmp_path / "signed.png"
    path.write_bytes(data)
    return path


@pytest.fixture
def unsigned(tmp_path: Path) -> Path:
    path = tmp_path / "unsigned.webp"
    path.write_bytes(encoded(photo(), "WEBP"))
    return path


def run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as exited:
        cli.main(["verify", *map(str, arguments)])
    code = exited.value.code
    return code if isinstance(code, int) else 0


def test_a_signed_picture_is_told_about_and_cannot_act_on_the_terminal(
    capsys: pytest.CaptureFixture[str], signed: Path
) -> None:
    assert run(signed) == 0

    said = capsys.readouterr()
    assert "google/gempix2" in said.out
    assert "Acme\\x1b[2J" in said.out
    assert "\x1b" not in said.out
    assert "Unchanged since it was signed." in said.err


def test_scripts_get_json_and_nothing_else(
    capsys: pytest.CaptureFixture[str], signed: Path
) -> None:
    assert run(signed, "--json") == 0

    said = capsys.readouterr()
    report = json.loads(said.out)
    assert (report["state"], report["model"]) == ("valid", "google/gempix2")
    assert report["source"] == report["iptc_source"] == "trainedAlgorithmicMedia"
    assert said.err == ""


def test_a_changed_picture_and_one_without_a_manifest_end_with_1(
    capsys: pytest.CaptureFixture[str], signed: Path, unsigned: Path
) -> None:
    data = bytearray(signed.read_bytes())
    data[-30] ^= 0x01
    signed.write_bytes(bytes(data))

    assert run(signed, "--json") == 1
    assert json.loads(capsys.readouterr().out)["state"] == "invalid"
    assert run(unsigned, "--json") == 1
    assert json.loads(capsys.readouterr().out)["state"] == "none"


def test_with_trusted_signers_only_theirs_count(
    capsys: pytest.CaptureFixture[str], signed: Path, credential: Credential, tmp_path: Path
) -> None:
    ours, theirs = tmp_path / "ours.pem", tmp_path / "theirs.pem"
    ours.write_text(credential.anchor)
    (tmp_path / "other").mkdir()
    theirs.write_text(load_or_make(tmp_path / "other", SystemClock()).anchor)

    assert run(signed, "--trust", theirs) == 1
    assert run(signed, "--trust", theirs, "--trust", ours, "--json") == 0
    assert '"trusted"' in capsys.readouterr().out


@pytest.mark.parametrize("anchor", ["none.pem", "signed.png"])
def test_what_cannot_be_read_is_said_in_one_line(
    capsys: pytest.CaptureFixture[str], signed: Path, tmp_path: Path, anchor: str
) -> None:
    assert run(signed, "--trust", tmp_path / anchor) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert run(tmp_path / "none.png") == 1
    assert "cannot be read: no such file" in capsys.readouterr().err


def test_a_server_has_no_parser_of_images_or_manifests_in_its_memory() -> None:
    script = (
        "import sys, ketchup.cli, ketchup.bootstrap, ketchup.provenance\n"
        "print(sorted({'c2pa', 'PIL', 'cryptography'} & set(sys.modules)))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30
    )
    assert answer.stdout == "[]\n"
