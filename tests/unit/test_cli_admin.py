"""`ketchup admin`, against a real HTTP server on loopback that answers as it is told."""

from __future__ import annotations

import json
import os
import pty
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typing_extensions import override

from ketchup import cli
from ketchup.cli.failure import Exit

TOKEN = "dk-admin_0123456789abcdefghijABCDEFGHIJ0123456789"
OPENSSL = shutil.which("openssl")
WORKSPACES = [
    {"id": "ws_1", "number": 1, "name": "default", "status": "active"},
    {"id": "ws_2", "number": 2, "name": "twin", "status": "active"},
    {"id": "ws_3", "number": 3, "name": "twin", "status": "suspended"},
]


@dataclass
class Request:
    method: str
    path: str
    authorization: str
    body: object


@dataclass
class Answer:
    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class AdminServer:
    """Answers by (method, path) and keeps what it was asked."""

    url: str = ""
    answers: dict[tuple[str, str], Answer] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)

    def answer(self, method: str, path: str, body: object, status: int = 200) -> None:
        self.answers[method, f"/admin/v1{path}"] = Answer(status, json.dumps(body).encode())

    def raw(self, method: str, path: str, answer: Answer) -> None:
        self.answers[method, f"/admin/v1{path}"] = answer


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AdminServer]:
    """A server, its data folder as the current settings name it, and no proxy that may matter."""
    script = AdminServer()
    script.answer("GET", "/workspaces", {"items": WORKSPACES})

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _reply(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            token = self.headers.get("Authorization", "")
            script.requests.append(Request(self.command, self.path, token, body))
            missing = Answer(404, b'{"title":"Not Found","detail":"there is nothing here"}')
            answer = script.answers.get((self.command, self.path), missing)
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        do_GET = do_POST = do_PATCH = do_DELETE = _reply  # noqa: N815 the library's names

        @override
        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        script.url = f"http://127.0.0.1:{http.server_port}"
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("KETCHUP_DATA", str(tmp_path))
        monkeypatch.setenv("KETCHUP_URL", script.url)
        write_token(tmp_path)
        try:
            yield script
        finally:
            http.shutdown()
            thread.join()


def write_token(folder: Path, token: str = TOKEN) -> Path:
    path = folder / "admin.token"
    path.write_text(f"{token}\n")
    path.chmod(0o600)
    return path


def run(*arguments: str) -> int:
    try:
        cli.main(["admin", *arguments])
    except SystemExit as exited:
        return exited.code if isinstance(exited.code, int) else 0
    return 0


Said = pytest.CaptureFixture[str]


def test_workspaces_are_listed_in_columns_for_scripts(server: AdminServer, capsys: Said) -> None:
    assert run("workspace", "list") == 0
    assert capsys.readouterr().out == (
        "id\tnumber\tname\tstatus\n"
        "ws_1\t1\tdefault\tactive\n"
        "ws_2\t2\ttwin\tactive\n"
        "ws_3\t3\ttwin\tsuspended\n"
    )
    [request] = server.requests
    assert request.authorization == f"Bearer {TOKEN}"


@pytest.mark.usefixtures("server")
def test_the_answer_is_printed_as_json_on_request(capsys: Said) -> None:
    assert run("workspace", "list", "--json") == 0
    assert json.loads(capsys.readouterr().out) == WORKSPACES


def test_an_empty_list_leaves_the_output_empty(server: AdminServer, capsys: Said) -> None:
    server.answer("GET", "/workspaces", {"items": []})
    assert run("workspace", "list") == 0
    assert capsys.readouterr() == ("", "There is no workspace yet.\n")


def test_a_workspace_is_created(server: AdminServer, capsys: Said) -> None:
    server.answer("POST", "/workspaces", WORKSPACES[0], 201)
    assert run("workspace", "create", "default") == 0
    assert server.requests[0].body == {"name": "default"}
    assert capsys.readouterr().out.split() == [
        *("id", "ws_1", "number", "1"),
        *("name", "default", "status", "active"),
    ]


@pytest.mark.parametrize(("command", "status"), [("suspend", "suspended"), ("activate", "active")])
@pytest.mark.parametrize("reference", ["ws_1", "1", "default"])
def test_a_workspace_is_named_by_its_id_its_number_or_its_name(
    server: AdminServer, command: str, status: str, reference: str
) -> None:
    server.answer("PATCH", "/workspaces/ws_1", WORKSPACES[0] | {"status": status})
    assert run("workspace", command, reference) == 0
    assert server.requests[-1] == Request(
        "PATCH", "/admin/v1/workspaces/ws_1", f"Bearer {TOKEN}", {"status": status}
    )


def test_a_workspace_is_created_on_a_plan(server: AdminServer) -> None:
    server.answer("POST", "/workspaces", WORKSPACES[0], 201)
    assert run("workspace", "create", "default", "--plan", "pro") == 0
    assert server.requests[-1].body == {"name": "default", "plan": "pro"}


def test_a_workspace_is_given_another_plan(server: AdminServer, capsys: Said) -> None:
    server.answer("PATCH", "/workspaces/ws_1", {**WORKSPACES[0], "plan": "pro"})
    assert run("workspace", "plan", "default", "pro") == 0
    assert server.requests[-1].body == {"plan": "pro"}
    assert "plan    pro" in capsys.readouterr().out


def test_the_plans_are_listed(server: AdminServer, capsys: Said) -> None:
    server.answer("GET", "/plans", {"items": [{"name": "free", "depth": 100}]})
    assert run("plans") == 0
    assert capsys.readouterr().out == "name\tdepth\nfree\t100\n"


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("nobody", "there is no workspace nobody"),
        ("twin", "several workspaces are called twin; use an id"),
    ],
)
def test_a_name_that_is_not_one_workspace_changes_nothing(
    server: AdminServer, capsys: Said, reference: str, message: str
) -> None:
    assert run("workspace", "suspend", reference) == Exit.REFUSED
    assert capsys.readouterr().err == f"ketchup: {message}\n"
    assert [request.method for request in server.requests] == ["GET"]


def test_a_reference_cannot_leave_its_place_in_the_address(server: AdminServer) -> None:
    run("workspace", "suspend", "ws_1/../../keys/x?y#z")
    assert server.requests[0].path == "/admin/v1/workspaces/ws_1%2F..%2F..%2Fkeys%2Fx%3Fy%23z"


def test_a_key_is_created_and_the_warning_stays_out_of_the_output(
    server: AdminServer, capsys: Said
) -> None:
    key = "dk-test_0123456789abcdefghijABCDEFGHIJ0123456789"
    server.answer("POST", "/workspaces/ws_1/keys", {"id": "key_1", "key": key}, 201)
    wishes = ("--name", "shop", "--expires-at", "2030-01-31T00:00:00Z", "--environment", "test")
    lists = ("--scope", "generate", "--scope", "query", "--model", "google/gempix2")
    assert run("key", "create", "default", *wishes, *lists) == 0
    assert server.requests[-1].body == {
        "name": "shop",
        "expires_at": "2030-01-31T00:00:00Z",
        "environment": "test",
        "scopes": ["generate", "query"],
        "models": ["google/gempix2"],
    }
    said = capsys.readouterr()
    assert said.out.splitlines() == ["id   key_1", f"key  {key}"]
    assert said.err == "Keep the key now: it cannot be shown again.\n"


def test_what_is_not_wished_is_not_sent(server: AdminServer) -> None:
    server.answer("POST", "/workspaces/ws_1/keys", {"id": "key_1", "key": "dk-live_x"}, 201)
    assert run("key", "create", "ws_1", "--name", "shop") == 0
    assert server.requests[-1].body == {"name": "shop"}


def test_a_key_is_bound_to_what_was_wished(server: AdminServer) -> None:
    server.answer("POST", "/workspaces/ws_1/keys", {"id": "key_1", "key": "dk-live_x"}, 201)
    bounds = ["--network", "203.0.113.0/24", "--network", "::1", "--day-cap", "5"]
    assert run("key", "create", "ws_1", "--name", "shop", *bounds, "--never-expires") == 0
    assert server.requests[-1].body == {
        "name": "shop",
        "networks": ["203.0.113.0/24", "::1"],
        "day_cap": "5.000000",
        "expires_at": None,
    }


def test_a_key_cannot_end_and_never_end(server: AdminServer) -> None:
    both = ["--never-expires", "--expires-at", "2030-01-31T00:00:00Z"]
    assert run("key", "create", "ws_1", "--name", "shop", *both) == 2
    assert server.requests == []


def test_a_key_is_rotated_by_its_id(server: AdminServer, capsys: Said) -> None:
    server.answer("POST", "/keys/key_1/rotate", {"id": "key_2", "key": "dk-live_x"}, 201)
    assert run("key", "rotate", "key_1", "--overlap-hours", "1") == 0
    assert server.requests[-1].body == {"overlap_hours": 1}
    assert capsys.readouterr().err == "Keep the key now: it cannot be shown again.\n"
    assert run("key", "rotate", "dk-live_canarycanary") == Exit.REFUSED
    assert "canary" not in capsys.readouterr().err


def test_keys_are_listed(server: AdminServer, capsys: Said) -> None:
    items = [{"id": "key_1", "name": "shop", "revoked_at": None}]
    server.answer("GET", "/workspaces/ws_1/keys", {"items": items})
    assert run("key", "list", "ws_1") == 0
    assert capsys.readouterr().out == "id\tname\trevoked_at\nkey_1\tshop\t-\n"


def test_a_key_is_revoked_by_its_id(server: AdminServer, capsys: Said) -> None:
    server.raw("DELETE", "/keys/key_1", Answer(204, b""))
    assert run("key", "revoke", "key_1") == 0
    assert capsys.readouterr().out == "key_1 is revoked.\n"


def test_a_key_itself_is_neither_sent_nor_repeated(server: AdminServer, capsys: Said) -> None:
    assert run("key", "revoke", "dk-live_canarycanary") == Exit.REFUSED
    assert server.requests == []
    assert "canary" not in capsys.readouterr().err


@pytest.mark.parametrize(("given", "sent"), [("100", "100.000000"), ("0.5", "0.500000")])
def test_credits_are_granted_as_the_decimals_that_the_ledger_keeps(
    server: AdminServer, given: str, sent: str
) -> None:
    server.answer("POST", "/workspaces/ws_1/credits", {"balance": sent})
    assert run("credits", "grant", "ws_1", given, "--note", "a gift") == 0
    assert server.requests[-1].body == {"amount": sent, "note": "a gift"}


@pytest.mark.parametrize("amount", ["lots", "1e3", "0.1234567", "1,5"])
def test_an_amount_that_is_none_is_not_sent(server: AdminServer, amount: str) -> None:
    assert run("credits", "grant", "ws_1", amount) == 2
    assert server.requests == []


@pytest.mark.parametrize(("consistent", "code"), [(True, 0), (False, 1), ("yes", 1)])
def test_an_audit_that_fails_exits_1(
    server: AdminServer, capsys: Said, consistent: object, code: int
) -> None:
    server.answer("GET", "/workspaces/ws_1/audit", {"balance": "1", "consistent": consistent})
    assert run("credits", "audit", "ws_1") == code
    said = capsys.readouterr()
    assert "balance     1" in said.out
    assert ("the ledger of ws_1 is not consistent" in said.err) == (code == 1)


def test_the_webhook_secret_is_shown(server: AdminServer, capsys: Said) -> None:
    server.answer("GET", "/workspaces/ws_1/webhook-secret", {"secret": "whsec_abc"})
    assert run("webhook-secret", "show", "default") == 0
    assert capsys.readouterr().out == "secret  whsec_abc\n"


# What goes wrong ───────────────────────────────────────────────────────────────────────────────


def test_without_a_server_the_failure_says_how_to_start_one(
    server: AdminServer, capsys: Said
) -> None:
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        assert run("workspace", "list", "--url", url) == Exit.UNREACHABLE
    assert capsys.readouterr().err == (
        f"ketchup: no server answers at {url}; start one with `ketchup serve`, "
        "or name another with --url\n"
    )
    assert server.requests == []


def test_a_refused_token_names_where_it_came_from_but_not_itself(
    server: AdminServer, capsys: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answer("GET", "/workspaces", {"title": "Unauthorized", "status": 401}, 401)
    assert run("workspace", "list") == Exit.REFUSED
    by_file = capsys.readouterr().err
    assert by_file == (
        f"ketchup: {server.url} does not accept the admin token from {tmp_path / 'admin.token'}\n"
    )
    monkeypatch.setenv("KETCHUP_ADMIN_TOKEN", "canary" * 8)
    assert run("workspace", "list") == Exit.REFUSED
    by_variable = capsys.readouterr().err
    assert "from the settings (KETCHUP_ADMIN_TOKEN)" in by_variable
    assert TOKEN not in by_file
    assert "canary" not in by_variable


def test_the_token_of_the_settings_wins_over_the_file(
    server: AdminServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    secret = tmp_path / "mounted"
    secret.write_text("m" * 40)
    monkeypatch.setenv("KETCHUP_ADMIN_TOKEN_FILE", str(secret))
    assert run("workspace", "list") == 0
    assert server.requests[0].authorization == f"Bearer {'m' * 40}"


def test_without_a_token_the_failure_says_where_one_is_looked_for(
    server: AdminServer, capsys: Said, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    assert run("workspace", "list", "--data", str(other)) == Exit.REFUSED
    assert capsys.readouterr().err == (
        f"ketchup: there is no admin token at {other / 'admin.token'}; name the server's data "
        "folder with --data, or set KETCHUP_ADMIN_TOKEN\n"
    )
    assert server.requests == []


def test_a_token_that_others_may_read_is_not_used(
    server: AdminServer, capsys: Said, tmp_path: Path
) -> None:
    write_token(tmp_path).chmod(0o644)
    assert run("workspace", "list") == Exit.DATA_FOLDER
    assert "can be read by others" in capsys.readouterr().err
    assert server.requests == []


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (409, b'{"title":"Conflict","detail":"the name is taken"}', "the name is taken"),
        (404, b'{"title":"Not Found","status":404}', "Not Found"),
        (500, b'{"code":1,"message":"internal server error"}', "internal server error"),
        (502, b"<html>", "{url} does not answer like a Ketchup server (status 502)"),
        (301, b"", "{url} does not answer like a Ketchup server (status 301)"),
        (200, b"<html>", "{url} does not answer like a Ketchup server"),
        (200, b"[]", "{url} does not answer like a Ketchup server"),
        (200, b'{"items": 1}', "{url} does not answer like a Ketchup server"),
        (200, b'{"items": [1]}', "{url} does not answer like a Ketchup server"),
    ],
)
def test_a_refusal_is_one_clear_line(
    server: AdminServer, capsys: Said, status: int, body: bytes, message: str
) -> None:
    server.raw("GET", "/workspaces", Answer(status, body, {"Location": f"{server.url}/x"}))
    assert run("workspace", "list") == Exit.REFUSED
    assert capsys.readouterr().err == f"ketchup: {message.format(url=server.url)}\n"
    assert len(server.requests) == 1, "a redirect is not followed"


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://127.0.0.1", "http://", "http://["])
def test_an_address_that_is_none_is_one_clear_line(
    server: AdminServer, capsys: Said, url: str
) -> None:
    assert run("workspace", "list", "--url", url) == Exit.SETTINGS
    assert capsys.readouterr().err == f"ketchup: {url} is not an http or https address\n"
    assert server.requests == []


def test_the_token_does_not_pass_through_a_proxy_of_the_environment(
    server: AdminServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as proxy:
        proxy.bind(("127.0.0.1", 0))
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.getsockname()[1]}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        assert run("workspace", "list") == 0
    assert len(server.requests) == 1


def self_signed(folder: Path) -> Path:
    """Make a certificate for 127.0.0.1 that no authority vouches for."""
    pem = folder / "self-signed.pem"
    wishes = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=127.0.0.1"
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(pem), "-out", str(pem)]
    assert OPENSSL is not None
    command = [OPENSSL, "req", "-x509", *wishes.split(), *names]
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    return pem


@pytest.mark.skipif(OPENSSL is None, reason="openssl is not installed: it makes the certificate")
def test_over_tls_an_unknown_certificate_is_refused_before_the_token_is_sent(
    server: AdminServer, capsys: Said, tmp_path: Path
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(self_signed(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        received: list[str] = []

        def serve_once() -> None:
            connection, _ = listener.accept()
            try:
                with context.wrap_socket(connection, server_side=True) as secure:
                    received.append(secure.recv(1000).decode())
            except ssl.SSLError:
                received.append("")

        thread = threading.Thread(target=serve_once)
        thread.start()
        code = run("workspace", "list", "--url", url)
        thread.join(10)
    assert code == Exit.UNREACHABLE
    assert capsys.readouterr().err.startswith(
        f"ketchup: the certificate of {url} is not trusted: self"
    )
    assert received == [""]
    assert server.requests == []


HOSTILE = "\x1b[2J\x9b\u202eevil\n\tname"


def test_what_a_terminal_would_act_on_is_escaped(server: AdminServer, capsys: Said) -> None:
    server.answer("GET", "/workspaces", {"items": [{"id": "ws_1", HOSTILE: HOSTILE}]})
    server.answer("POST", "/workspaces", {"name": HOSTILE, "more": {"a": [HOSTILE]}})
    server.answer("PATCH", "/workspaces/ws_9", {"detail": HOSTILE}, 409)
    assert run("workspace", "list") == 0
    assert run("workspace", "create", "x") == 0
    assert run("workspace", "suspend", "ws_9") == 1
    said = "".join(capsys.readouterr())
    assert not set(said) & set("\x1b\x9b\u202e")
    assert said.count("\n") == 2 + 2 + 1


def test_a_terminal_gets_a_table_whose_ids_can_be_copied_whole(server: AdminServer) -> None:
    long_id = "ws_" + "x" * 40
    server.answer("GET", "/workspaces", {"items": [{"id": long_id, "name": "[bold]n[/bold]"}]})
    ours, theirs = pty.openpty()
    try:
        done = subprocess.run(
            [sys.executable, "-m", "ketchup", "admin", "workspace", "list"],
            stdout=theirs,
            stdin=subprocess.DEVNULL,
            env=os.environ | {"TERM": "xterm", "COLUMNS": "80"},
            check=True,
            timeout=30,
        )
        assert done.returncode == 0
        shown = os.read(ours, 10_000).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert "\x1b[1m" in shown, "the head is bold"
    assert long_id in shown
    assert "[bold]n[/bold]" in shown, "a name is text, not markup"
