"""The customers' API over HTTP: what a key sees of its models and its workspace's tasks."""

from __future__ import annotations

from pathlib import Path

import pytest

from ketchup.clock import FrozenClock, iso
from ketchup.providers.base import Unavailable
from tests.support.customers import customer
from tests.support.engines import ScriptedProvider
from tests.support.service import RunningService, client_of, running_service

pytestmark = pytest.mark.asyncio(loop_scope="module")

PROBLEM = "application/problem+json"
SCOPED = [
    ("GET", "/v1/tasks", "task:read"),
    ("GET", "/v1/tasks/ta1", "task:read"),
    ("POST", "/v1/tasks/ta1/cancel", "task:write"),
    ("DELETE", "/v1/tasks/ta1", "task:write"),
    ("GET", "/v1/tasks/ta1/events", "task:read"),
    ("GET", "/v1/usage", "usage:read"),
    ("GET", "/v1/provenance?task_id=ta1", "task:read"),
    ("POST", "/v1/provenance/verify", "task:read"),
]


async def ids_of(service: RunningService, **params: str | int) -> list[str]:
    answer = await service.client.get("/v1/tasks", params=params)
    assert answer.status_code == 200, answer.text
    return [one["id"] for one in answer.json()["items"]]


async def test_nobody_without_a_key_learns_anything(service: RunningService) -> None:
    async with client_of(service.base_url, None) as stranger:
        for path in (
            "/v1/models",
            "/v1/tasks",
            "/v1/tasks/ta1",
            "/v1/tasks/ta1/events",
            "/v1/usage",
            "/v1/deliveries",
        ):
            answer = await stranger.get(path)
            assert answer.status_code == 401
            assert answer.headers["Content-Type"] == PROBLEM
            assert answer.headers["Cache-Control"] == "no-store"
    # Nor does the operator's token open it.
    assert (await service.admin.get("/v1/tasks")).status_code == 401


@pytest.mark.parametrize(("method", "path", "scope"), SCOPED)
async def test_a_key_without_the_scope_is_refused(
    shared: RunningService, method: str, path: str, scope: str
) -> None:
    async with customer(shared, scopes=["image:create"]) as limited:
        answer = await limited.client.request(method, path)
        assert (answer.status_code, answer.headers["Content-Type"]) == (403, PROBLEM)
        assert answer.json()["detail"] == f"the API key lacks the scope {scope}"


@pytest.mark.parametrize("task_id", ["%00", "ä", "x" * 300, "%F0"])
async def test_what_is_no_tasks_id_has_no_pictures(service: RunningService, task_id: str) -> None:
    answer = await service.client.get(f"/v1/provenance?task_id={task_id}")

    assert (answer.status_code, answer.headers["Content-Type"]) == (404, PROBLEM), answer.text


async def test_a_key_sees_the_models_that_it_may_use(shared: RunningService) -> None:
    async with customer(shared, models=["google/gempix2"]) as limited:
        [model] = (await limited.client.get("/v1/models")).json()["items"]
    assert model["id"] == "google/gempix2"
    assert model["price"] == "0.500000"
    assert "google/nano-banana-2" in model["aliases"]
    assert model["max_n"] == 8
    async with customer(shared) as unlimited:
        assert len((await unlimited.client.get("/v1/models")).json()["items"]) == 2


async def test_a_task_is_shown_with_all_that_happened_to_it(service: RunningService) -> None:
    task_id = await service.submit(prompt="a blue boat", n=2, image_size="2k")
    polled = await service.ended(task_id)

    task = (await service.client.get(f"/v1/tasks/{task_id}")).json()

    assert task["result"] == [one["image"] for one in polled["result"]]
    assert (task["status"], task["reason"]) == ("success", None)
    assert (task["price"], task["consumed"]) == ("1.000000", "1.000000")
    assert (task["prompt"], task["n"], task["image_size"]) == ("a blue boat", 2, "2K")
    [attempt] = task["attempts"]
    assert (attempt["number"], attempt["outcome"]) == (1, "success")
    assert set(attempt) == {"number", "sent_at", "finished_at", "outcome"}
    times = [task[f"{name}_at"] for name in ("created", "submitted", "started", "finished")]
    assert times == sorted(times)


async def test_what_is_for_the_operator_is_not_shown(
    tmp_path: Path, database_url: str | None
) -> None:
    broken = {"studio": ScriptedProvider(Unavailable("the secret host is down"))}
    one_try = {"worker.max_tries": 1}
    service = running_service(
        tmp_path / "data", providers=broken, database=database_url, settings=one_try
    )
    async with service as failing:
        task_id = await failing.submit()
        await failing.ended(task_id)
        answer = await failing.client.get(f"/v1/tasks/{task_id}")
    assert answer.json()["status"] == "failed"
    assert answer.json()["attempts"][0]["outcome"] == "failed"
    assert "secret host" not in answer.text
    assert "wrk_" not in answer.text


async def test_another_workspaces_task_is_as_absent_as_one_that_never_was(
    shared: RunningService, service: RunningService
) -> None:
    task_id = await service.submit()
    await service.ended(task_id)
    async with customer(shared) as other:
        answers = [
            await other.client.get(f"/v1/tasks/{one}")
            for one in (task_id, "ta" + "0" * 34, "%00", "ä", "x" * 300)
        ]
        assert {answer.status_code for answer in answers} == {404}
        assert {answer.json()["detail"] for answer in answers} == {"task not found"}
        assert await ids_of(other) == []


async def test_pages_hold_every_task_once_newest_first(service: RunningService) -> None:
    submitted = [await service.submit() for _ in range(5)]
    seen: list[str] = []
    following: dict[str, str] = {}
    for size in (2, 2, 1):
        answer = await service.client.get("/v1/tasks", params={"limit": 2, **following})
        page = answer.json()
        assert len(page["items"]) == size
        seen += [one["id"] for one in page["items"]]
        following = {"before": page["next"]}
    assert following == {"before": None}
    # Those of one millisecond have no order that a customer could know.
    assert seen == sorted(submitted, reverse=True)


async def test_a_list_can_be_narrowed(service: RunningService) -> None:
    first = await service.submit(model="google/nano-banana")
    await service.ended(first)
    second = await service.submit(model="google/gempix2")
    await service.ended(second)

    assert await ids_of(service, model="google/nano-banana") == [first]
    assert await ids_of(service, status="success") == [second, first]
    assert await ids_of(service, status="failed") == []
    at = (await service.client.get(f"/v1/tasks/{second}")).json()["created_at"]
    assert await ids_of(service, created_from=at) == [second]
    assert await ids_of(service, created_before=at) == [first]
    assert await ids_of(service, created_from=iso(FrozenClock().now())) == [second, first]


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=many", "limit"),
        ("status=gone", "status"),
        ("created_from=yesterday", "created_from"),
        ("model=%00", "model"),
        ("before=" + "x" * 41, "before"),
    ],
)
async def test_what_a_list_cannot_be_narrowed_by_is_named(
    service: RunningService, query: str, param: str
) -> None:
    answer = await service.client.get(f"/v1/tasks?{query}")
    assert (answer.status_code, answer.headers["Content-Type"]) == (400, PROBLEM)
    assert [one["param"] for one in answer.json()["errors"]] == [param]


async def test_the_document_names_the_key_and_both_kinds_of_paths(service: RunningService) -> None:
    document = (await service.client.get("/openapi.json")).json()
    assert document["openapi"].startswith("3.1")
    assert {"/api/image/gen", "/api/task/query", "/v1/tasks/{task_id}"} <= set(document["paths"])
    for path, item in document["paths"].items():
        if path.startswith("/v1/"):
            # Who reports a leaked key needs none of their own.
            needed: list[dict[str, list[str]]] = (
                [] if path == "/v1/keys/report-leak" else [{"ApiKey": []}]
            )
            assert all(one["security"] == needed for one in item.values())


@pytest.mark.parametrize(
    ("method", "path", "statuses"),
    [
        ("get", "/v1/tasks/{task_id}", {"404", "410", "429"}),
        ("post", "/v1/tasks/{task_id}/cancel", {"404", "409"}),
        ("delete", "/v1/tasks/{task_id}", {"404", "409"}),
        ("get", "/v1/tasks/{task_id}/events", {"404", "410", "429"}),
        ("post", "/v1/deliveries/{delivery_id}/redeliver", {"404", "409", "410", "429"}),
    ],
)
async def test_the_document_names_each_refusal_that_an_operation_has(
    service: RunningService, method: str, path: str, statuses: set[str]
) -> None:
    document = (await service.client.get("/openapi.json")).json()
    responses = document["paths"][path][method]["responses"]
    assert statuses == {status for status in responses if status.isdigit() and status >= "400"}
    for status in statuses:
        assert list(responses[status]["content"]) == [PROBLEM]
        assert ("Retry-After" in responses[status].get("headers", {})) == (status == "429")


async def test_every_link_of_the_document_leads_to_an_operation_and_its_parameter(
    service: RunningService,
) -> None:
    document = (await service.client.get("/openapi.json")).json()
    operations = [one for path in document["paths"].values() for one in path.values()]
    parameters = {
        one["operationId"]: {named["name"] for named in one.get("parameters", [])}
        for one in operations
    }
    links = {
        (one["operationId"], link["operationId"]): set(link["parameters"])
        for one in operations
        for response in one["responses"].values()
        for link in response.get("links", {}).values()
    }
    assert len(links) == 8
    for (_, leads_to), given in links.items():
        assert given <= parameters[leads_to]


@pytest.mark.parametrize(
    "path",
    [
        "/v1/usage?to=0",
        "/v1/usage?from=1795300000",
        "/v1/usage?from=2026-11-01T00:00:00",
        "/v1/deliveries?before=%F0%9F%8D%85",
        "/v1/deliveries?task_id=a%20b",
        "/v1/tasks?model=%C3%A4",
    ],
)
async def test_what_is_not_described_is_not_accepted(service: RunningService, path: str) -> None:
    assert (await service.client.get(path)).status_code == 400


async def test_no_picture_is_no_question(service: RunningService) -> None:
    answer = await service.client.post("/v1/provenance/verify", content=b"")
    assert (answer.status_code, answer.json()["detail"]) == (400, "a picture is required")


@pytest.mark.parametrize(
    ("hours", "status"), [(16, 200), (16.0, 200), (16.5, 400), (True, 400), ("16", 400)]
)
async def test_a_whole_number_is_whole_however_it_is_written(
    service: RunningService, hours: object, status: int
) -> None:
    path = f"/admin/v1/workspaces/{service.workspace_id}/webhook-secret/rotate"
    answer = await service.admin.post(path, json={"overlap_hours": hours})
    assert answer.status_code == status
