"""The admin API as the commands see it: one connection, and every answer or a clear failure.

The token is sent to the server alone: proxies of the environment are not used and redirects are not
followed.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import httpx2

from ketchup import config, data_folder
from ketchup.cli.failure import Exit, Failure
from ketchup.cli.show import printable
from ketchup.config.kinds import web_address
from ketchup.config.sources import URL_VARIABLE

JsonObject = dict[str, object]
_Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]

_TIMEOUT_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Token:
    """The admin token, and where it was found: a refusal names the place."""

    value: str
    source: str


class AdminApi:
    """Calls of the admin API. Every method raises Failure."""

    def __init__(self, client: httpx2.Client, url: str, token: Token) -> None:
        self._client = client
        self._url = url
        self._token = token

    def call(self, method: _Method, path: str, body: JsonObject | None = None) -> JsonObject:
        """Send one request and return the object that it answers; `{}` where there is none."""
        try:
            response = self._client.request(method, f"/admin/v1{path}", json=body)
        except httpx2.TimeoutException as error:
            raise Failure(f"{self._url} does not answer in time", Exit.UNREACHABLE) from error
        except httpx2.TransportError as error:
            raise Failure(_unreachable(self._url, error), Exit.UNREACHABLE) from error
        if response.is_success:
            return self._object(response) if response.content else {}
        raise Failure(self._refusal(response))

    def items(self, path: str) -> list[JsonObject]:
        """Return a list resource's items."""
        found = self.call("GET", path).get("items")
        if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
            raise Failure(self._strange())
        return found

    def workspace(self, reference: str) -> str:
        """Return the id of a workspace that is named by its id, its number or its name."""
        if reference.startswith("ws_"):
            return reference
        every = self.items("/workspaces")
        wanted = [w for w in every if reference in (str(w.get("number")), w.get("name"))]
        match wanted:
            case [{"id": str(found)}]:
                return found
            case []:
                raise Failure(f"there is no workspace {reference}")
            case _:
                raise Failure(f"several workspaces are called {reference}; use an id")

    def _object(self, response: httpx2.Response) -> JsonObject:
        try:
            answer = response.json()
        except ValueError as error:
            raise Failure(self._strange()) from error
        if not isinstance(answer, dict):
            raise Failure(self._strange())
        return answer

    def _refusal(self, response: httpx2.Response) -> str:
        if response.status_code == httpx2.codes.UNAUTHORIZED:
            return f"{self._url} does not accept the admin token from {self._token.source}"
        try:
            problem = response.json()
        except ValueError:
            problem = None
        if isinstance(problem, dict):
            for member in ("detail", "title", "message"):
                if isinstance(text := problem.get(member), str) and text:
                    return printable(text)
        return f"{self._strange()} (status {response.status_code})"

    def _strange(self) -> str:
        return f"{self._url} does not answer like a Ketchup server"


def _unreachable(url: str, error: BaseException) -> str:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"the certificate of {url} is not trusted: {cause.verify_message}"
        cause = cause.__cause__ or cause.__context__
    return f"no server answers at {url}; start one with `ketchup serve`, or name another with --url"


@contextmanager
def connect(url: str | None, data: Path | None) -> Iterator[AdminApi]:
    """Open the admin API of the server that the flags, variables and settings name.

    Raises Failure, SettingsError and DataFolderError.
    """
    settings = config.load(os.environ, flags={"data": data}).settings
    address = _address(url or os.environ.get(URL_VARIABLE) or settings.local_url())
    token = _token(settings)
    with httpx2.Client(
        base_url=address,
        headers={"Authorization": f"Bearer {token.value}"},
        timeout=_TIMEOUT_SECONDS,
        trust_env=False,
        # Without TLS, and with redirects refused, there is no certificate to check: loading the
        # authorities would take longer than the call.
        verify=address.startswith("https:"),
    ) as client:
        yield AdminApi(client, address, token)


def _address(url: str) -> str:
    try:
        return web_address(url)
    except ValueError as error:
        raise Failure(f"{url} is not an http or https address", Exit.SETTINGS) from error


def _token(settings: config.Settings) -> Token:
    if settings.admin_token is not None:
        return Token(settings.admin_token.get_secret_value(), "the settings (KETCHUP_ADMIN_TOKEN)")
    path = data_folder.paths(settings.data).admin_token
    try:
        return Token(data_folder.read_secret(path), str(path))
    except FileNotFoundError as error:
        raise Failure(
            f"there is no admin token at {path}; name the server's data folder with --data, "
            "or set KETCHUP_ADMIN_TOKEN"
        ) from error
    except OSError as error:
        raise Failure(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error
