"""The command line's frame: fast help, one line per failure, exit codes, settings with sources."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ketchup import __version__, cli
from ketchup.cli.failure import Exit, Failure, failure_of
from ketchup.clock import FrozenClock
from ketchup.data_folder import DataFolder, DataFolderError, DataFolderInUse


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as exited:
        cli.main(arguments)
    code = exited.value.code
    return code if isinstance(code, int) else 0


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out == f"ketchup {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--help",), ["admin", "config"]),
        (("admin", "--help"), ["workspace", "key", "credits", "webhook-secret"]),
        (("admin", "workspace", "-h"), ["create", "list", "suspend", "activate"]),
        (("admin", "key", "--help"), ["create", "list", "revoke"]),
        (("admin", "key", "create", "--help"), ["--name", "--expires-at", "--scope", "--url"]),
        (("admin", "credits", "--help"), ["grant", "audit"]),
        (("config", "show", "--help"), ["--config", "--json"]),
    ],
)
def test_help_names_what_there_is(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: list[str]
) -> None:
    assert run(*arguments) == 0
    out = capsys.readouterr().out
    assert all(word in out for word in words)


def test_the_module_runs_as_a_command_and_help_loads_nothing_heavy() -> None:
    script = (
        "import sys, runpy\n"
        "sys.argv = ['ketchup', '--help']\n"
        "try: runpy.run_module('ketchup', run_name='__main__')\n"
        "except SystemExit as e: print('exit', e.code)\n"
        "heavy = {'pydantic', 'httpx2', 'rich', 'sqlalchemy', 'fastapi', 'structlog', 'asyncio'}\n"
        "print('loaded', sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30
    )
    assert "Usage: ketchup [OPTIONS] COMMAND" in done.stdout
    assert done.stdout.endswith("exit 0\nloaded []\n")


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("serv",), "No such command"),
        (("admin", "workspace", "lst"), "list"),
        (("admin", "workspace", "create"), "Missing argument"),
        (("admin", "key", "create", "ws_1"), "--name"),
        (("admin", "workspace", "list", "--jsno"), "--json"),
    ],
)
def test_wrong_usage_exits_2_and_says_what_was_meant(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], hint: str
) -> None:
    assert run(*arguments) == 2
    assert hint in capsys.readouterr().err


def test_settings_that_cannot_be_used_exit_2_with_a_line_each(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KETCHUP_PROT", "1")
    monkeypatch.setenv("KETCHUP_PORT", "x")
    assert run("config", "show") == Exit.SETTINGS
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == (
        "ketchup: environment: KETCHUP_PROT: unknown setting; did you mean KETCHUP_PORT?\n"
        'ketchup: environment: KETCHUP_PORT: "x" is not accepted; '
        "expected a port, 0 to 65535; 0 takes a free one\n"
    )


def test_config_show_tells_each_value_with_its_source_and_masks_secrets(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "ketchup.toml").write_text("[log]\nlevel = 'debug'\n")
    monkeypatch.setenv("KETCHUP_ADMIN_TOKEN", "canary" * 8)
    monkeypatch.setenv("KETCHUP_PORT", "8123")
    assert run("config", "show") == 0
    lines = capsys.readouterr().out.splitlines()
    assert "setting\tvalue\tsource" in lines
    assert "port\t8123\tenvironment KETCHUP_PORT" in lines
    assert 'log.level\t"debug"\tfile ketchup.toml' in lines
    assert "admin_token\t***\tenvironment KETCHUP_ADMIN_TOKEN" in lines
    assert 'host\t"127.0.0.1"\tdefault' in lines


def test_config_show_as_json_can_be_read_back(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    other = tmp_path / "other.toml"
    other.write_text("port = 8124")
    assert run("config", "show", "--config", str(other), "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert {"setting": "port", "value": "8124", "source": f"file {other}"} in rows


def test_a_folder_in_use_is_a_failure_with_exit_3(tmp_path: Path) -> None:
    with DataFolder.open(tmp_path, FrozenClock()), pytest.raises(DataFolderInUse) as caught:
        DataFolder.open(tmp_path, FrozenClock())
    failure = failure_of(caught.value)
    assert failure is not None
    assert (failure.exit, str(failure)) == (3, str(caught.value))


def test_known_errors_are_failures_and_others_are_bugs() -> None:
    failure = failure_of(DataFolderError("no"))
    assert failure is not None
    assert failure.exit is Exit.DATA_FOLDER
    refused = Failure("no")
    assert failure_of(refused) is refused
    assert failure_of(KeyError("a bug")) is None
