from __future__ import annotations

import json
import shutil
import subprocess
import sys
from ipaddress import ip_address
from pathlib import Path

import pytest

from ketchup import openings
from ketchup.egress import addresses
from tests.support.hostile_urls import INTERNAL_V4, INTERNAL_V6

NOT_PUBLIC = [
    "0.0.0.0",
    "0.1.2.3",
    "10.1.1.1",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.0.9",
    "192.0.0.170",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "168.63.129.16",
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:10.0.0.1",
    "::ffff:0:127.0.0.1",
    "::127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:0:7f00:1:0:0:8000:1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fd20:ce::254",
    "fe80::1",
    "fec0::1",
    "ff02::1",
]

PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "93.184.216.34",
    "100.63.255.255",
    "100.128.0.1",
    "172.15.255.255",
    "172.32.0.1",
    "192.167.255.255",
    "198.17.255.255",
    "198.20.0.1",
    "223.255.255.255",
    "::ffff:8.8.8.8",
    "2606:4700:4700::1111",
    "2001:4860:4860::8888",
    "2a00:1450::1",
]


def test_the_table_is_whole() -> None:
    assert len(NOT_PUBLIC) == 48
    assert len(PUBLIC) == 15


@pytest.mark.parametrize("text", NOT_PUBLIC)
def test_an_internal_address_is_not_public(text: str) -> None:
    assert not addresses.is_public(ip_address(text))


@pytest.mark.parametrize("text", PUBLIC)
def test_an_address_of_the_internet_is_public(text: str) -> None:
    assert addresses.is_public(ip_address(text))


def test_a_mapped_address_is_judged_and_dialled_as_ipv4() -> None:
    assert addresses.parse("::ffff:10.0.0.1") == ip_address("10.0.0.1")


@pytest.mark.parametrize("text", ["fe80::1%eth0", "2606:4700::1%1", "localhost", "", "127.1"])
def test_a_scope_or_a_name_is_no_address(text: str) -> None:
    assert addresses.parse(text) is None


# The two modules alone, without the packages around them: those need libraries.
_JUDGE = """
import importlib.util, json, sys, types
for name, path in json.loads(sys.argv[1]):
    sys.modules.setdefault(name.rpartition(".")[0], types.ModuleType("package"))
    spec = importlib.util.spec_from_file_location(name, path)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
print(json.dumps([text for text in json.load(sys.stdin)
                  if (address := module.parse(text)) is not None and module.is_public(address)]))
"""


def _pythons() -> list[str]:
    """Return every Python of this machine that can run Ketchup, this one first."""
    names = [f"python3.{minor}" for minor in range(11, 20)]
    installed = [
        str(path) for path in sorted(Path.home().glob(".pyenv/versions/*/bin/python3.1[1-9]"))
    ]
    uv = [str(path) for path in sorted(Path.home().glob(".local/share/uv/python/*/bin/python3"))]
    found: dict[str, str] = {}
    for command in (sys.executable, *installed, *uv, *filter(None, map(shutil.which, names))):
        ran = subprocess.run(
            [
                command,
                "-c",
                "import sys; print(sys.version.split()[0], sys.version_info >= (3, 11))",
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        version, _, is_new = ran.stdout.strip().partition(" ")
        if ran.returncode == 0 and is_new == "True":
            found.setdefault(version, command)
    return list(found.values())


def _edges() -> list[str]:
    """Return the first and the last address of each network that is not for callers."""
    v4 = [str(net[place]) for net in addresses._V4_SPECIAL for place in (0, -1)]
    return v4 + [str(net[place]) for net in addresses._V6_SPECIAL for place in (0, -1)]


@pytest.mark.parametrize("python", _pythons())
def test_every_python_of_this_machine_lets_the_same_through(python: str) -> None:
    modules = [
        ("ketchup.openings", openings.__file__),
        ("ketchup.egress.addresses", addresses.__file__),
    ]
    bad = [*NOT_PUBLIC, *INTERNAL_V4, *INTERNAL_V6, *_edges()]
    ran = subprocess.run(
        [python, "-I", "-c", _JUDGE, json.dumps(modules)],
        input=json.dumps([*bad, *PUBLIC]),
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(ran.stdout) == PUBLIC
