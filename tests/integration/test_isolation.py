"""Whatever a key asks for, another workspace's things are as absent as what never was.

For every route and every kind of id, a foreign one and its *twin*, which differs in one character
and was never given out, are asked for by every kind of key. Status, headers and body must be the
same to the byte, but for the request's id, the date, and the id itself where it is repeated.

The list of routes is the application's own: a route that nobody has thought about fails.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

import httpx2
import pytest
import pytest_asyncio
from sqlalchemy import text

from ketchup.db import Connection
from ketchup.providers.base import Refused
from tests.support.customers import customer
from tests.support.engines import PromptedProvider
from tests.support.receiver import Answer, Receiver
from tests.support.routes import FILE, Endpoint, all_routes
from tests.support.service import DEADLINE_SECONDS, RunningService, client_of, running_service

pytestmark = pytest.mark.asyncio(loop_scope="module")

CANARY = "only-the-victim-knows"
REQUEST = {"model": "google/gempix2", "prompt": "a red boat"}


# -- what is asked ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ask:
    """How a route is asked for a thing; `{}` stands for its id."""

    kind: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    json: object = None
    is_filter: bool = False
    """What is no id may be refused by its text, before anybody looks for it."""


@dataclass(frozen=True)
class NoIds:
    """The route takes no id of anything."""

    because: str


def task(path: str, **more: Any) -> Ask:  # noqa: ANN401 the fields of Ask
    return Ask("task", path, **more)


def operators(kind: str, path: str, json: object = None) -> list[Ask]:
    return [Ask(kind, path, json=json)]


ADMIN = "/admin/v1"
ITS = f"{ADMIN}/workspaces/{{workspace_id}}"
OF = f"{ADMIN}/workspaces/{{}}"
PUBLIC = NoIds("says the same to everybody")
OWN = NoIds("what it shows follows from the key alone")
ADDRESS = NoIds("names a receiver, and every workspace has those to itself")
OPERATOR = NoIds("needs the admin token and names nothing")
SINCE = "2020-01-01T00:00:00Z"

ASKED: dict[Endpoint, list[Ask] | NoIds] = {
    ("POST", "/api/image/gen"): [
        Ask("idempotency key", "/api/image/gen", {"Idempotency-Key": "{}"}, json=REQUEST),
    ],
    ("GET", "/api/task/query"): [task("/api/task/query?task_id={}")],
    ("GET", "/api/user"): OWN,
    ("GET", FILE): [
        Ask("image", "/{}"),
        Ask("image", "/{}", {"If-None-Match": "*"}),
        Ask("image", "/{}", {"Range": "bytes=0-0"}),
    ],
    ("HEAD", FILE): [Ask("image", "/{}")],
    ("OPTIONS", FILE): [Ask("image", "/{}")],
    ("GET", "/v1/models"): OWN,
    ("GET", "/v1/tasks"): [
        task("/v1/tasks?before={}", is_filter=True),
        task("/v1/tasks?limit=1&before={}", is_filter=True),
        task("/v1/tasks?before={}&status=success&created_from=" + SINCE, is_filter=True),
    ],
    ("GET", "/v1/tasks/{task_id}"): [task("/v1/tasks/{}"), task("/v1/tasks/{}?wait=30")],
    ("DELETE", "/v1/tasks/{task_id}"): [task("/v1/tasks/{}")],
    ("POST", "/v1/tasks/{task_id}/cancel"): [task("/v1/tasks/{}/cancel")],
    ("GET", "/v1/tasks/{task_id}/events"): [
        task("/v1/tasks/{}/events"),
        task("/v1/tasks/{}/events", headers={"Last-Event-ID": "2"}),
        task("/v1/tasks/{}/events", headers={"Last-Event-ID": "5"}),
        task("/v1/tasks/{}/events", headers={"Last-Event-ID": "x"}, is_filter=True),
    ],
    ("GET", "/v1/deliveries"): [
        Ask("delivery", "/v1/deliveries?before={}", is_filter=True),
        Ask("delivery", "/v1/deliveries?limit=1&before={}", is_filter=True),
        task("/v1/deliveries?task_id={}", is_filter=True),
        task("/v1/deliveries?state=dead&task_id={}", is_filter=True),
    ],
    ("POST", "/v1/deliveries/{delivery_id}/redeliver"): [
        Ask("delivery", "/v1/deliveries/{}/redeliver")
    ],
    ("GET", "/v1/usage"): [
        Ask("key", "/v1/usage?group_by=key&key_id={}", is_filter=True),
        Ask("workspace", "/v1/usage?workspace_id={}", is_filter=True),
    ],
    ("GET", "/v1/provenance"): [task("/v1/provenance?task_id={}", is_filter=True)],
    ("POST", "/v1/provenance/verify"): NoIds("takes a picture: a test of its own, below"),
    ("POST", "/v1/keys/report-leak"): NoIds("takes a whole key, and says the same of every one"),
    ("GET", "/v1/webhooks/destinations"): OWN,
    ("POST", "/v1/webhooks/destinations/enable"): ADDRESS,
    ("POST", "/v1/webhooks/test"): ADDRESS,
    ("POST", "/v1/webhooks/secret/rotate"): OWN,
    ("GET", f"{ADMIN}/workspaces"): OPERATOR,
    ("POST", f"{ADMIN}/workspaces"): OPERATOR,
    ("GET", f"{ADMIN}/plans"): OPERATOR,
    ("GET", ITS): operators("workspace", OF),
    ("PATCH", ITS): operators("workspace", OF, {"status": "suspended"}),
    ("GET", f"{ITS}/keys"): operators("workspace", f"{OF}/keys"),
    ("POST", f"{ITS}/keys"): operators("workspace", f"{OF}/keys", {"name": "mine now"}),
    ("GET", f"{ITS}/webhook-secret"): operators("workspace", f"{OF}/webhook-secret"),
    ("POST", f"{ITS}/webhook-secret/rotate"): operators("workspace", f"{OF}/webhook-secret/rotate"),
    ("POST", f"{ITS}/credits"): operators("workspace", f"{OF}/credits", {"amount": "-1"}),
    ("GET", f"{ITS}/audit"): operators("workspace", f"{OF}/audit"),
    ("DELETE", ADMIN + "/keys/{key_id}"): operators("key", f"{ADMIN}/keys/{{}}"),
    ("POST", ADMIN + "/keys/{key_id}/rotate"): operators("key", f"{ADMIN}/keys/{{}}/rotate", {}),
    ("GET", f"{ADMIN}/provider-keys"): OPERATOR,
    ("PUT", ADMIN + "/provider-keys/{name}"): operators(
        "key", f"{ADMIN}/provider-keys/{{}}", {"key": "mine now"}
    ),
    ("DELETE", ADMIN + "/provider-keys/{name}"): operators("key", f"{ADMIN}/provider-keys/{{}}"),
    ("GET", ADMIN + "/tasks/{task_id}"): operators("task", f"{ADMIN}/tasks/{{}}"),
    ("GET", "/openapi.json"): PUBLIC,
    ("HEAD", "/openapi.json"): PUBLIC,
    ("GET", "/healthz"): PUBLIC,
    ("HEAD", "/healthz"): PUBLIC,
    ("GET", "/readyz"): PUBLIC,
    ("HEAD", "/readyz"): PUBLIC,
}
ASKS = [
    pytest.param(method, ask, id=f"{method} {ask.path} {dict(ask.headers) or ''}")
    for (method, _), asks in ASKED.items()
    if not isinstance(asks, NoIds)
    for ask in asks
]
# The admin API looks at the token before anything else, and at no id without it.
BY_ANY_ID = [one for one in ASKS if re.search(r" /(v1|api/task)/", str(one.id))]

MALFORMED = [
    # Clients leave out `.` and `..` by themselves.
    "x", "0", "-1", "null", "ta", "msg_", "ws_", "key_", "...", "%", "*", "_", "a b", "\0",
    "\n", "ta%", "' OR 1=1 --", '"', "\\", "ä", "\U0001f345", "\udcff", "x" * 40, "x" * 41,
    "x" * 300, "1e400", "{}", "[]", "ta\0",
]  # fmt: skip


# -- who asks, and whose things they are -----------------------------------------------------------


@dataclass(frozen=True)
class Victim:
    """A workspace with things in every state."""

    own: RunningService
    ids: Mapping[str, Mapping[str, str]]
    """By kind, then by state."""
    picture: bytes

    @property
    def secrets(self) -> set[str]:
        """What stands in nobody else's answer."""
        named = {one for kind in self.ids.values() for one in kind.values()}
        return {CANARY, self.own.key, *named}


@dataclass
class World:
    service: RunningService
    victim: Victim
    keys: Mapping[str, httpx2.AsyncClient]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(
    tmp_path_factory: pytest.TempPathFactory, module_database_url: str | None
) -> AsyncIterator[World]:
    """Attackers with every kind of key, whose own rows stand before and behind the victim's."""
    engine = PromptedProvider()
    settings = {"webhooks.schedule": "0,3600,3600", "provenance.enabled": True}
    folder = tmp_path_factory.mktemp("tenants") / "data"
    providers = {"studio": engine}
    async with AsyncExitStack() as stack:
        service = await stack.enter_async_context(
            running_service(
                folder, database=module_database_url, providers=providers, settings=settings
            )
        )
        hook = await stack.enter_async_context(Receiver(otherwise=Answer(204)))
        attackers = [
            await stack.enter_async_context(customer(service)),
            await stack.enter_async_context(customer(service, environment="test")),
            await stack.enter_async_context(customer(service, scopes=["usage:read"])),
            await stack.enter_async_context(customer(service)),
            await stack.enter_async_context(customer(service)),
        ]
        live, test, narrow, suspended, revoked = attackers
        for one in (live, test):
            await ended_delivery(one, await one.submit(callback_url=hook.url))
        victim = await stack.enter_async_context(customer(service))
        release = asyncio.Event()
        stack.callback(release.set)
        made = await _victims_things(victim, engine, release)
        for one in (live, test):
            await one.submit(callback_url=hook.url)
        changed = {"status": "suspended"}
        await service.admin.patch(f"{ADMIN}/workspaces/{suspended.workspace_id}", json=changed)
        keys = (await service.admin.get(f"{ADMIN}/workspaces/{revoked.workspace_id}/keys")).json()
        await service.admin.delete(f"{ADMIN}/keys/{keys['items'][0]['id']}")
        clients = {
            "live": live.client,
            "test": test.client,
            "without the scope": narrow.client,
            "of a suspended workspace": suspended.client,
            "revoked": revoked.client,
            "none": await stack.enter_async_context(client_of(service.base_url, None)),
        }
        yield World(service, made, clients)
        release.set()


async def _victims_things(
    own: RunningService, engine: PromptedProvider, release: asyncio.Event
) -> Victim:
    tasks: dict[str, str] = {}
    deliveries: dict[str, str] = {}
    answers = {"delivered": 204, "dead": 410, "owed": 500, "emptied": 204}
    for state, status in answers.items():
        async with Receiver(otherwise=Answer(status)) as hook:
            tasks[state] = await own.submit(prompt=CANARY, callback_url=hook.url)
            await ended_delivery(own, tasks[state])
            deliveries[state] = (await deliveries_of(own, tasks[state]))[0]["id"]
    shown = (await own.query(tasks["delivered"]))["result"][0]["image"]
    path = urlsplit(shown).path[1:]
    picture = (await own.client.get(f"/{path}")).content
    await own.client.delete(f"/v1/tasks/{tasks['emptied']}")
    engine.script(f"{CANARY} refused", Refused("refused"))
    tasks["failed"] = await own.submit(prompt=f"{CANARY} refused")
    await own.ended(tasks["failed"])
    held = [engine.script(f"{CANARY} {place}", release) for place in range(2)]
    tasks["in progress"], tasks["in progress too"] = [
        await own.submit(prompt=f"{CANARY} {place}") for place in range(2)
    ]
    async with asyncio.timeout(DEADLINE_SECONDS):
        for one in held:
            await one.started.wait()
    idempotent = {"Idempotency-Key": f"{CANARY}-once"}
    body = {"model": "google/gempix2", "prompt": CANARY}
    answer = await own.client.post("/api/image/gen", json=body, headers=idempotent)
    tasks["pending"] = answer.json()["data"]["task_id"]
    keys = (await own.admin.get(f"{ADMIN}/workspaces/{own.workspace_id}/keys")).json()["items"]
    ids = {
        "task": tasks,
        "delivery": deliveries,
        "image": {"kept": path},
        "workspace": {"active": own.workspace_id},
        "key": {"active": keys[0]["id"]},
        "idempotency key": idempotent,
    }
    return Victim(own, ids, picture)


async def deliveries_of(own: RunningService, task_id: str) -> list[dict[str, Any]]:
    answer = await own.client.get("/v1/deliveries", params={"task_id": task_id})
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


async def ended_delivery(own: RunningService, task_id: str) -> None:
    """Wait until a task's callback was tried."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            found = await deliveries_of(own, task_id)
            if found and found[0]["attempts"]:
                return
            await asyncio.sleep(0.01)


def twin_of(one: str) -> str:
    """Return an id that was never given out: the same but for one random character."""
    stem, dot, suffix = one.rpartition(".") if "/" in one else (one, "", "")
    return f"{stem[:-1]}{'a' if stem[-1] != 'a' else 'b'}{dot}{suffix}"


# -- what is told ----------------------------------------------------------------------------------


Told = tuple[int, tuple[tuple[str, str], ...], bytes]
_VARYING = {"date", "x-request-id", "ratelimit"}
_REQUEST_ID = re.compile(rb"req_[a-z2-7]{26}")
_NEW_TASK = re.compile(rb"ta[0-9a-f]{6}-[0-9a-f-]{27}")


async def tell(client: httpx2.AsyncClient, method: str, ask: Ask, one: str) -> Told:
    """Ask for a thing and return the whole answer, with `{id}` where it repeats the id."""
    safe = "/" if ask.kind == "image" else ""
    path = ask.path.replace("{}", quote(one, safe, errors="surrogateescape"))
    headers = {name: value.replace("{}", one) for name, value in ask.headers.items()}
    answer = await client.request(method, path, headers=headers, json=ask.json)
    body = _REQUEST_ID.sub(b"req_", answer.content)
    body = body.replace(b'"%b"' % one.encode(errors="replace"), b'"{id}"')
    if ask.kind == "idempotency key":
        # What it makes is the caller's own, and new each time.
        body = _NEW_TASK.sub(b"{task}", body)
    shown = [
        # The repeated id has a length of its own.
        (name, str(len(body)) if name == "content-length" and body else value)
        for name, value in answer.headers.multi_items()
        if name not in _VARYING
    ]
    return answer.status_code, tuple(shown), body


def pairs(world: World, kind: str) -> list[tuple[str, str]]:
    """Return what is foreign, each beside what never was."""
    found = world.victim.ids[kind].values()
    if kind != "image":
        return [(one, twin_of(one)) for one in found]
    # The address is the permission. What can be guessed is all of it but its random bits.
    guessed = [
        guess
        for one in found
        for guess in (twin_of(one), one.replace(".png", ".jpg"), f"{one[:-4]}0.png")
    ]
    never = f"fileSystem/response_images/{10**9}/2026/11/20/1763596800000000000_{'0' * 32}.png"
    return [(guess, never) for guess in guessed]


def assert_silent(world: World, told: Told) -> None:
    seen = repr(told)
    assert not [secret for secret in world.victim.secrets if secret in seen]


async def kept(world: World) -> dict[str, object]:
    """Return everything that is kept for the victim."""
    workspace = {"workspace": world.victim.own.workspace_id}

    def read(conn: Connection) -> dict[str, object]:
        found = {
            table: conn.execute(
                text(f"SELECT {shown} FROM {table} WHERE {column} = :workspace"),  # noqa: S608 ours
                workspace,
            )
            for table, column, shown in _KEPT
        }
        return {table: sorted(map(str, rows)) for table, rows in found.items()}

    runtime = world.service.runtime
    rows = await runtime.database.read(read)
    assert all(rows.values()), "a table that has nothing of the victim's proves nothing"
    blobs = await world.victim.own.client.get(f"/{world.victim.ids['image']['kept']}")
    return {**rows, "picture": blobs.content}


_KEPT = [
    *(
        (table, "workspace_id", "*")
        for table in (
            "task", "delivery", "hold", "account", "entry", "idempotency", "turn", "usage",
            "fingerprint",
        )
    ),
    # When it was last used is written whenever there is time.
    ("api_key", "workspace_id", "id, digest, scopes, revoked_at"),
    ("workspace", "id", "*"),
]  # fmt: skip


# -- the matrix ------------------------------------------------------------------------------------


async def test_every_route_has_a_case_and_every_id_in_a_path_is_asked_for(world: World) -> None:
    routes = await all_routes(world.service.runtime)
    assert routes == set(ASKED)
    named = {route for route in routes if "{" in route[1]}
    assert not [route for route in named if isinstance(ASKED[route], NoIds)]


@pytest.mark.parametrize(("method", "ask"), ASKS)
async def test_what_is_foreign_is_told_as_what_never_was(
    world: World, method: str, ask: Ask
) -> None:
    before = await kept(world)
    for who, client in world.keys.items():
        for foreign, absent in pairs(world, ask.kind):
            theirs = await tell(client, method, ask, foreign)
            assert theirs == await tell(client, method, ask, absent), who
            assert theirs[0] < 500
            assert_silent(world, theirs)
    assert await kept(world) == before


@pytest.mark.parametrize(("method", "ask"), BY_ANY_ID)
async def test_an_id_of_another_kind_or_of_none_is_told_as_one_that_never_was(
    world: World, method: str, ask: Ask
) -> None:
    others = [
        one.rpartition("/")[2]
        for kind, ids in world.victim.ids.items()
        if kind != ask.kind
        for one in ids.values()
    ]
    absent = twin_of(next(iter(world.victim.ids[ask.kind].values())))
    odd = [*others, *MALFORMED]
    # So many callbacks may be sent again at once, and a workspace's pace is not what is tested.
    for portion in (odd[start : start + 15] for start in range(0, len(odd), 15)):
        async with customer(world.service) as asker:
            expected = await tell(asker.client, method, ask, absent)
            for one in portion:
                told = await tell(asker.client, method, ask, one)
                assert told == expected or (ask.is_filter and told[0] in {200, 400, 404}), one
                assert_silent(world, told)


@pytest.mark.parametrize(
    ("method", "path", "state"),
    [
        ("GET", "/api/task/query?task_id={}", "delivered"),
        ("GET", "/v1/tasks/{}", "delivered"),
        ("GET", "/v1/tasks/{}/events", "delivered"),
        ("GET", "/v1/deliveries?task_id={}", "delivered"),
        ("GET", "/v1/provenance?task_id={}", "delivered"),
        ("POST", "/v1/tasks/{}/cancel", "failed"),
        ("DELETE", "/v1/tasks/{}", "in progress"),
    ],
)
async def test_the_owner_is_told_something_else(
    world: World, method: str, path: str, state: str
) -> None:
    """Otherwise the comparison above would compare two nothings."""
    one = world.victim.ids["task"][state]
    own = await tell(world.victim.own.client, method, task(path), one)
    assert own != await tell(world.victim.own.client, method, task(path), twin_of(one))


# -- what has no id to ask by ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/api/user", "/v1/models", "/v1/tasks?limit=100", "/v1/deliveries?limit=100",
        "/v1/usage?group_by=day,model,key,status", "/v1/usage?group_by=key&format=csv",
        "/admin/v1/workspaces", "/admin/v1/plans", "/openapi.json", "/healthz", "/readyz",
    ],
)  # fmt: skip
async def test_no_list_shows_what_is_foreign(world: World, path: str) -> None:
    for client in world.keys.values():
        answer = await client.get(path)
        assert_silent(world, (answer.status_code, tuple(answer.headers.items()), answer.content))


async def test_following_a_foreign_cursor_to_its_end_shows_only_ones_own(world: World) -> None:
    for path, kind in (("/v1/tasks", "task"), ("/v1/deliveries", "delivery")):
        own = await _all_pages(world.keys["live"], path, None)
        for cursor in world.victim.ids[kind].values():
            assert await _all_pages(world.keys["live"], path, cursor) <= own


async def _all_pages(client: httpx2.AsyncClient, path: str, before: str | None) -> set[str]:
    seen: set[str] = set()
    while True:
        params = {"limit": "1"} if before is None else {"limit": "1", "before": before}
        page = (await client.get(path, params=params)).json()
        seen |= {one["id"] for one in page["items"]}
        before = page["next"]
        if before is None:
            return seen


async def test_a_foreign_idempotency_key_names_a_request_of_ones_own(world: World) -> None:
    """Two workspaces with the same key and the same body have two tasks."""
    headers = dict(world.victim.ids["idempotency key"])
    body = {"model": "google/gempix2", "prompt": CANARY}
    async with customer(world.service) as other:
        answers = [
            await other.client.post("/api/image/gen", json=body, headers=headers) for _ in range(2)
        ]
    made = {one.json()["data"]["task_id"] for one in answers}
    assert len(made) == 1
    assert not made & set(world.victim.ids["task"].values())
    assert ["idempotency-replayed" in one.headers for one in answers] == [False, True]


async def test_a_foreign_picture_names_neither_its_task_nor_its_workspace(world: World) -> None:
    answer = await world.keys["live"].post("/v1/provenance/verify", content=world.victim.picture)
    assert answer.json()["task_id"] is None
    assert_silent(world, (answer.status_code, tuple(answer.headers.items()), answer.content))
