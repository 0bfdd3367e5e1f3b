from __future__ import annotations

import asyncio
import itertools
import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
import pytest_asyncio

from ketchup.clock import SystemClock
from ketchup.egress import Blocked, Egress, EgressError, Unreachable
from tests.support.guarded import FRIEND, egress_for, read, resolving
from tests.support.loopback import Request, Server, answer, response, serving

LOOPBACK = [
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "0177.0.0.1",
    "017700000001",
    "0",
    "0.0.0.0",
    "localhost",
    "LOCALHOST.",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "①②⑦.⓪.⓪.①",
    "127。0。0。1",
    "friend@127.0.0.1",
    "friend:x@127.0.0.1",
    "127.0.0.1#@friend",
    "127.0.0.1\\@friend",
]


@pytest_asyncio.fixture
async def egress() -> AsyncIterator[Egress]:
    guarded = egress_for()
    yield guarded
    await guarded.close()


@pytest_asyncio.fixture
async def canary() -> AsyncIterator[Server]:
    """The internal service: on every loopback address but the friend's."""
    async with serving(answer(body=b"SECRET"), "127.0.0.1", "::1") as server:
        yield server


@pytest.mark.parametrize("host", LOOPBACK)
async def test_no_spelling_of_loopback_reaches_an_internal_service(
    egress: Egress, canary: Server, host: str
) -> None:
    with pytest.raises(EgressError):
        await read(egress, f"http://{host}:{canary.port}/")
    with pytest.raises(EgressError):
        await egress.post(f"http://{host}:{canary.port}/", body=b"{}", headers={})
    assert canary.connections == 0


@pytest.mark.parametrize("host", LOOPBACK)
async def test_no_redirect_reaches_an_internal_service(
    egress: Egress, canary: Server, host: str
) -> None:
    location = f"http://{host}:{canary.port}/"
    redirect = answer(302, location=location.encode().decode("latin-1"))

    async def handle(request: Request, writer: asyncio.StreamWriter) -> None:
        if "/first" in request.line:
            writer.write(response(307, location="/second"))
        else:
            await redirect(request, writer)

    async with serving(handle, FRIEND) as friend:
        with pytest.raises(EgressError):
            await read(egress, f"http://{FRIEND}:{friend.port}/first")
        assert len(friend.requests) == 2
    assert canary.connections == 0


@pytest.mark.parametrize("location", ["file:///etc/passwd", "gopher://127.0.0.1/", "//", ""])
async def test_a_redirect_to_another_scheme_or_nowhere_is_refused(
    egress: Egress, location: str
) -> None:
    async with serving(answer(302, location=location), FRIEND) as friend:
        with pytest.raises(Unreachable):
            await read(egress, f"http://{FRIEND}:{friend.port}/", max_redirects=1)


async def test_a_name_that_is_rebound_between_calls_never_reaches_an_internal_service() -> None:
    flips = itertools.cycle([FRIEND, "127.0.0.1"])

    async def resolve(*_: object) -> Sequence[str]:
        return [next(flips)]

    egress = egress_for(resolve)
    outcomes = []
    async with (
        serving(answer(body=b"friend"), FRIEND) as friend,
        serving(answer(body=b"SECRET"), "127.0.0.1", port=friend.port) as internal,
    ):
        for _ in range(100):
            try:
                outcomes.append(await read(egress, f"http://rebind.test:{friend.port}/"))
            except Blocked:
                outcomes.append(b"blocked")
        assert internal.connections == 0
    assert outcomes == [b"friend", b"blocked"] * 50


async def test_a_name_is_resolved_once_per_connection() -> None:
    asked = []

    async def resolve(host: str, _: int) -> Sequence[str]:
        asked.append(host)
        return [FRIEND]

    egress = egress_for(resolve)
    async with serving(answer(), FRIEND) as friend:
        await read(egress, f"http://name.test:{friend.port}/")
    assert asked == ["name.test"]


@pytest.mark.parametrize("answers", [(FRIEND, "127.0.0.1"), ("127.0.0.1", FRIEND)])
async def test_one_bad_answer_refuses_the_whole_name(answers: tuple[str, str]) -> None:
    egress = egress_for(resolving(*answers))
    async with serving(answer(), FRIEND) as friend:
        with pytest.raises(Blocked):
            await read(egress, f"http://mixed.test:{friend.port}/")
        assert friend.connections == 0


async def test_the_next_address_is_tried_when_the_first_does_not_answer() -> None:
    egress = egress_for(resolving("127.0.0.3", FRIEND), allow=("127.0.0.2/31",))
    async with serving(answer(body=b"second"), FRIEND) as friend:
        assert await read(egress, f"http://two.test:{friend.port}/") == b"second"


async def test_a_public_address_is_opened_at_the_web_ports_only() -> None:
    # The address is not dialled: the port is judged first.
    egress = Egress(SystemClock(), resolver=resolving("93.184.216.34"))
    with pytest.raises(Blocked) as blocked:
        await read(egress, "http://public.test:22/")
    assert "22" in blocked.value.detail


@pytest.mark.parametrize("ports", [":{port}", ":1-65535"])
async def test_the_allow_list_opens_a_network_at_the_stated_ports(
    canary: Server, ports: str
) -> None:
    stated = ports.format(port=canary.port)
    egress = egress_for(allow=(f"127.0.0.0/8{stated}", f"::1/128{stated}"), ports=[80, 443])
    assert await read(egress, f"http://127.0.0.1:{canary.port}/") == b"SECRET"
    assert await read(egress, f"http://[::1]:{canary.port}/") == b"SECRET"
    assert canary.requests[1].headers["host"] == f"[::1]:{canary.port}"


@pytest.mark.parametrize("allow", ["127.0.0.0/8", "127.0.0.0/8:1-{below}", "127.0.0.0/8:{above}"])
async def test_the_allow_list_opens_no_other_port(canary: Server, allow: str) -> None:
    stated = allow.format(below=canary.port - 1, above=canary.port + 1)
    egress = egress_for(allow=[stated], ports=[80, 443])
    with pytest.raises(Blocked):
        await read(egress, f"http://127.0.0.1:{canary.port}/")
    assert canary.connections == 0


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.9", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "localhost"]
)
async def test_where_the_service_listens_is_closed_whatever_is_allowed(
    canary: Server, host: str
) -> None:
    egress = egress_for(allow=("0.0.0.0/0:1-65535", "::/0:1-65535"), own_ports=[canary.port])
    with pytest.raises(EgressError):
        await read(egress, f"http://{host}:{canary.port}/")
    with pytest.raises(EgressError):
        await egress.post(f"http://{host}:{canary.port}/", body=b"{}", headers={})
    assert canary.connections == 0


@pytest.mark.parametrize(
    "host", ["images.test", "IMAGES.test.", "images。test", "images.test:80", "images.test:443"]
)
async def test_the_name_of_the_service_is_closed_and_not_even_looked_up(host: str) -> None:
    asked = []

    async def resolve(name: str, _: int) -> Sequence[str]:
        asked.append(name)
        return [FRIEND]

    egress = egress_for(resolve, own_url="https://Images.test/")
    with pytest.raises(Blocked):
        await read(egress, f"https://{host}/")
    assert asked == []


async def test_a_redirect_to_the_service_itself_is_not_followed(canary: Server) -> None:
    location = f"http://127.0.0.1:{canary.port}/"
    egress = egress_for(allow=["127.0.0.0/8:1-65535"], own_ports=[canary.port])
    async with serving(answer(302, location=location), FRIEND) as friend:
        with pytest.raises(Blocked):
            await read(egress, f"http://{FRIEND}:{friend.port}/")
    assert canary.connections == 0


async def test_a_denied_a_closed_and_an_unknown_address_look_alike(canary: Server) -> None:
    async def nothing(*_: object) -> Sequence[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    sentences = set()
    for egress, url in (
        (egress_for(), f"http://127.0.0.1:{canary.port}/"),
        (egress_for(), f"http://{FRIEND}:1/"),
        (egress_for(nothing), "http://unknown.test/"),
        (egress_for(resolving()), "http://empty.test/"),
        (egress_for(resolving("fe80::1%eth0")), "http://scoped.test/"),
    ):
        with pytest.raises(EgressError) as error:
            await read(egress, url)
        sentences.add(str(error.value))
    assert sentences == {EgressError.SENTENCE}


async def test_redirects_are_followed_without_cookies_up_to_the_limit(egress: Egress) -> None:
    async def handle(request: Request, writer: asyncio.StreamWriter) -> None:
        step = int(request.line.split()[1].strip("/"))
        if step == 3:
            writer.write(response(body=b"there"))
        else:
            writer.write(response(301, location=f"/{step + 1}", set_cookie="a=b"))

    async with serving(handle, FRIEND) as friend:
        url = f"http://{FRIEND}:{friend.port}/0"
        assert await read(egress, url, max_redirects=3) == b"there"
        assert not any("cookie" in request.headers for request in friend.requests)
        with pytest.raises(Unreachable):
            await read(egress, url, max_redirects=2)


async def test_a_message_does_not_follow_a_redirect(egress: Egress, canary: Server) -> None:
    location = f"http://127.0.0.1:{canary.port}/"
    async with serving(answer(307, location=location), FRIEND) as friend:
        reply = await egress.post(f"http://{FRIEND}:{friend.port}/", body=b"{}", headers={})
    assert reply.status == 307
    assert canary.connections == 0


def _certificate(folder: Path, name: str) -> Path:
    file = folder / "server.pem"
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
        f" -subj /CN={name} -addext subjectAltName=DNS:{name}"
        f" -keyout {file} -out {folder / 'cert.pem'}"
    )
    subprocess.run(command.split(), check=True, capture_output=True)
    with file.open("a") as key:
        key.write((folder / "cert.pem").read_text())
    return file


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command")
async def test_tls_verifies_the_name_of_the_url_not_the_address(tmp_path: Path) -> None:
    certificate = _certificate(tmp_path, "right.test")
    server_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_tls.load_cert_chain(certificate)
    client_tls = ssl.create_default_context(cafile=str(certificate))
    egress = egress_for(resolving(FRIEND), tls=client_tls)
    unknowing = egress_for(resolving(FRIEND))
    async with serving(answer(body=b"private"), FRIEND, tls=server_tls) as friend:
        assert await read(egress, f"https://right.test:{friend.port}/") == b"private"
        with pytest.raises(Unreachable, match=EgressError.SENTENCE) as wrong_name:
            await read(egress, f"https://wrong.test:{friend.port}/")
        with pytest.raises(Unreachable) as unknown_issuer:
            await read(unknowing, f"https://right.test:{friend.port}/")
    assert "hostname mismatch" in wrong_name.value.detail.lower()
    assert "self-signed certificate" in unknown_issuer.value.detail.lower()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command")
async def test_a_redirect_from_https_to_http_is_refused(tmp_path: Path) -> None:
    certificate = _certificate(tmp_path, "right.test")
    server_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_tls.load_cert_chain(certificate)
    tls = ssl.create_default_context(cafile=str(certificate))
    egress = egress_for(resolving(FRIEND), tls=tls)
    async with serving(answer(), FRIEND) as plain:
        downgrade = answer(302, location=f"http://right.test:{plain.port}/")
        async with serving(downgrade, FRIEND, tls=server_tls) as secure:
            with pytest.raises(Unreachable):
                await read(egress, f"https://right.test:{secure.port}/")
        assert plain.connections == 0
