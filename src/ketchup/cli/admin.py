"""`ketchup admin …`: workspaces, plans, keys, credits of the running server, over its admin API."""

from __future__ import annotations

from contextlib import AbstractContextManager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from ketchup.cli.failure import Failure
from ketchup.cli.show import show_list, show_one

if TYPE_CHECKING:
    from ketchup.cli.admin_api import AdminApi

Workspace = Annotated[str, typer.Argument(help="Its id, number or name.")]
Url = Annotated[
    str | None,
    typer.Option("--url", help="The server; else KETCHUP_URL, else host and port of the settings."),
]
Data = Annotated[
    Path | None, typer.Option("--data", help="The server's data folder, for its admin token.")
]
Json = Annotated[bool, typer.Option("--json", help="Print the server's answer as JSON.")]


class Environment(StrEnum):
    """What a key is for: its prefix says so."""

    LIVE = "live"
    TEST = "test"


def _group(help_text: str) -> typer.Typer:
    return typer.Typer(help=help_text, no_args_is_help=True, rich_markup_mode=None)


app: Final = _group("Manage the running server: workspaces, plans, keys and credits.")
workspace: Final = _group("Workspaces: who uses the server.")
key: Final = _group("API keys of a workspace.")
credit: Final = _group("Credits of a workspace.")
provider_key: Final = _group("Keys of providers that all processes share, sealed in the database.")
webhook_secret: Final = _group("The secret that signs a workspace's callbacks.")
app.add_typer(workspace, name="workspace")
app.add_typer(key, name="key")
app.add_typer(credit, name="credits")
app.add_typer(webhook_secret, name="webhook-secret")
app.add_typer(provider_key, name="provider-key")


@workspace.command("create")
def create_workspace(
    name: Annotated[str, typer.Argument(help="What people call it.")],
    *,
    plan: Annotated[
        str | None, typer.Option("--plan", help="Its plan; else the default one.")
    ] = None,
    url: Url = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Make a workspace, without credits and keys."""
    body: dict[str, object] = {"name": name}
    if plan is not None:
        body["plan"] = plan
    with _connect(url, data) as api:
        show_one(api.call("POST", "/workspaces", body), as_json=as_json)


@workspace.command("list")
def list_workspaces(*, url: Url = None, data: Data = None, as_json: Json = False) -> None:
    """List all workspaces."""
    with _connect(url, data) as api:
        show_list(api.items("/workspaces"), as_json=as_json, empty="There is no workspace yet.")


@workspace.command("suspend")
def suspend_workspace(
    workspace: Workspace, *, url: Url = None, data: Data = None, as_json: Json = False
) -> None:
    """Refuse a workspace's keys, within a second, until it is activated again."""
    with _connect(url, data) as api:
        answer = api.call("PATCH", _path(api, workspace), {"status": "suspended"})
        show_one(answer, as_json=as_json)


@workspace.command("activate")
def activate_workspace(
    workspace: Workspace, *, url: Url = None, data: Data = None, as_json: Json = False
) -> None:
    """Accept a suspended workspace's keys again."""
    with _connect(url, data) as api:
        show_one(api.call("PATCH", _path(api, workspace), {"status": "active"}), as_json=as_json)


@workspace.command("plan")
def change_plan(
    workspace: Workspace,
    plan: Annotated[str, typer.Argument(help="The plan; `ketchup admin plans` lists them.")],
    *,
    url: Url = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Give a workspace another plan, within a second, for the images that it has too."""
    with _connect(url, data) as api:
        show_one(api.call("PATCH", _path(api, workspace), {"plan": plan}), as_json=as_json)


@app.command("plans")
def list_plans(*, url: Url = None, data: Data = None, as_json: Json = False) -> None:
    """List the plans that a workspace can have; 0 is no limit."""
    with _connect(url, data) as api:
        show_list(api.items("/plans"), as_json=as_json, empty="There is no plan.")


@key.command("create")
def create_key(
    workspace: Workspace,
    *,
    name: Annotated[str, typer.Option("--name", help="What the key is for.")],
    expires_at: Annotated[
        str | None, typer.Option("--expires-at", help="When it ends, such as 2030-01-31T00:00:00Z.")
    ] = None,
    environment: Annotated[
        Environment | None, typer.Option("--environment", help="What the key is for.")
    ] = None,
    scopes: Annotated[
        list[str] | None, typer.Option("--scope", help="What it may do; repeat for more.")
    ] = None,
    models: Annotated[
        list[str] | None, typer.Option("--model", help="A model it may use; repeat for more.")
    ] = None,
    networks: Annotated[
        list[str] | None,
        typer.Option("--network", help="Where it may be used, as 203.0.113.0/24; repeat for more."),
    ] = None,
    never_expires: Annotated[
        bool, typer.Option("--never-expires", help="Do not end it after the settings' days.")
    ] = False,
    day_cap: Annotated[
        str | None, typer.Option("--day-cap", help="Credits that it may spend in a day.")
    ] = None,
    month_cap: Annotated[
        str | None, typer.Option("--month-cap", help="Credits that it may spend in a month.")
    ] = None,
    url: Url = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Make an API key. It is shown this once and cannot be shown again."""
    if never_expires and expires_at:
        raise typer.BadParameter("it cannot end and never end", param_hint="--never-expires")
    wishes: dict[str, object] = {
        "name": name,
        "expires_at": expires_at,
        "environment": environment,
        "scopes": scopes,
        "models": models,
        "networks": networks,
        "day_cap": None if day_cap is None else _decimal(day_cap, "--day-cap"),
        "month_cap": None if month_cap is None else _decimal(month_cap, "--month-cap"),
    }
    body = {field: wish for field, wish in wishes.items() if wish}
    if never_expires:
        body["expires_at"] = None
    with _connect(url, data) as api:
        answer = api.call("POST", f"{_path(api, workspace)}/keys", body)
        show_one(answer, as_json=as_json, note="Keep the key now: it cannot be shown again.")


@key.command("list")
def list_keys(
    workspace: Workspace, *, url: Url = None, data: Data = None, as_json: Json = False
) -> None:
    """List a workspace's keys, without the keys themselves."""
    with _connect(url, data) as api:
        keys = api.items(f"{_path(api, workspace)}/keys")
        show_list(keys, as_json=as_json, empty="The workspace has no key.")


@key.command("revoke")
def revoke_key(
    key_id: Annotated[str, typer.Argument(help="The key's id, key_…; not the key.")],
    *,
    url: Url = None,
    data: Data = None,
) -> None:
    """End a key for good, within a second."""
    _insist_on_id(key_id, "revoked")
    with _connect(url, data) as api:
        api.call("DELETE", f"/keys/{key_id}")
        typer.echo(f"{key_id} is revoked.")


@key.command("rotate")
def rotate_key(
    key_id: Annotated[str, typer.Argument(help="The key's id, key_…; not the key.")],
    *,
    overlap_hours: Annotated[
        int, typer.Option("--overlap-hours", help="How long both work: 0, 1, 24 or 168.")
    ] = 24,
    url: Url = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Make a key's successor, with the same rights. It is shown this once."""
    _insist_on_id(key_id, "rotated")
    with _connect(url, data) as api:
        answer = api.call("POST", f"/keys/{key_id}/rotate", {"overlap_hours": overlap_hours})
        show_one(answer, as_json=as_json, note="Keep the key now: it cannot be shown again.")


@credit.command("grant")
def grant_credits(
    workspace: Workspace,
    amount: Annotated[str, typer.Argument(help="Credits, such as 100 or 12.5.")],
    *,
    note: Annotated[str | None, typer.Option("--note", help="Why, for the ledger.")] = None,
    url: Url = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Give a workspace credits."""
    body: dict[str, object] = {"amount": _decimal(amount, "AMOUNT")}
    if note:
        body["note"] = note
    with _connect(url, data) as api:
        answer = api.call("POST", f"{_path(api, workspace)}/credits", body)
        show_one(answer, as_json=as_json)


@credit.command("audit")
def audit_credits(
    workspace: Workspace, *, url: Url = None, data: Data = None, as_json: Json = False
) -> None:
    """Prove that a workspace's balance is the sum of its ledger. Exits 1 where it is not."""
    with _connect(url, data) as api:
        answer = api.call("GET", f"{_path(api, workspace)}/audit")
        show_one(answer, as_json=as_json)
        if answer.get("consistent") is not True:
            raise Failure(f"the ledger of {workspace} is not consistent")


@webhook_secret.command("show")
def show_webhook_secret(
    workspace: Workspace, *, url: Url = None, data: Data = None, as_json: Json = False
) -> None:
    """Show the secret by which a receiver checks a workspace's callbacks."""
    with _connect(url, data) as api:
        show_one(api.call("GET", f"{_path(api, workspace)}/webhook-secret"), as_json=as_json)


Provider = Annotated[str, typer.Argument(help="gemini, openai, or a channel's name.")]


@provider_key.command("set")
def set_provider_key(
    name: Provider, *, url: Url = None, data: Data = None, as_json: Json = False
) -> None:
    """Keep a provider's key, read from standard input. Processes take it up when they start."""
    import getpass
    import sys

    given = getpass.getpass("Key: ") if sys.stdin.isatty() else sys.stdin.readline()
    if not given.strip():
        raise Failure("no key came on standard input")
    with _connect(url, data) as api:
        answer = api.call("PUT", _provider_path(name), {"key": given.strip()})
        show_one(answer, as_json=as_json, note="Restart the processes that use it.")


@provider_key.command("list")
def list_provider_keys(*, url: Url = None, data: Data = None, as_json: Json = False) -> None:
    """List which keys are kept, without the keys themselves."""
    with _connect(url, data) as api:
        show_list(api.items("/provider-keys"), as_json=as_json, empty="No key is kept.")


@provider_key.command("remove")
def remove_provider_key(name: Provider, *, url: Url = None, data: Data = None) -> None:
    """Forget a provider's key. Processes that run keep it until they end."""
    with _connect(url, data) as api:
        api.call("DELETE", _provider_path(name))
        typer.echo(f"The key of {name} is forgotten.")


def _provider_path(name: str) -> str:
    from urllib.parse import quote

    return f"/provider-keys/{quote(name, safe='')}"


def _connect(url: str | None, data: Path | None) -> AbstractContextManager[AdminApi]:
    from ketchup.cli.admin_api import connect

    return connect(url, data)


def _insist_on_id(key_id: str, done: str) -> None:
    if not key_id.isascii() or not key_id.removeprefix("key_").isalnum():
        # Not repeated: it may well be the key.
        raise Failure(f"a key is {done} by its id, key_…; `ketchup admin key list` shows it")


def _decimal(amount: str, hint: str) -> str:
    from ketchup import money

    try:
        return money.decimal(money.parse(amount))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=hint) from error


def _path(api: AdminApi, workspace: str) -> str:
    from urllib.parse import quote

    return f"/workspaces/{quote(api.workspace(workspace), safe='')}"
