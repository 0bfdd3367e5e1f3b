from __future__ import annotations

import json
from random import Random

import pytest

from ketchup.ids import TaskId
from ketchup.money import Credits
from ketchup.webhooks import (
    SCHEDULE,
    Again,
    Answered,
    Dead,
    Delivered,
    Unanswered,
    callback_body,
    decide,
    origin_of,
)
from ketchup.webhooks.decision import Decision, Outcome

LAST = len(SCHEDULE)
TASK = TaskId("ta5c9705-b8ae-4cb9-aa6f-97c4fee88c8d")


def decided(outcome: Outcome, tries: int = 1) -> Decision:
    return decide(outcome, tries, SCHEDULE, Random(5))


def delay_of(decision: Decision) -> float:
    assert isinstance(decision, Again)
    return decision.delay


@pytest.mark.parametrize("status", [200, 201, 202, 204, 226, 299])
@pytest.mark.parametrize("tries", [1, LAST])
def test_any_2xx_is_delivered(status: int, tries: int) -> None:
    assert decided(Answered(status), tries) == Delivered()


@pytest.mark.parametrize("tries", [1, LAST])
def test_gone_ends_the_attempts(tries: int) -> None:
    assert decided(Answered(410, retry_after=5.0), tries) == Dead()


FAILURES = [
    *(Answered(status) for status in (100, 199, 300, 301, 302, 304, 307, 308, 400, 401, 403, 404)),
    *(Answered(status) for status in (409, 411, 422, 429, 500, 502, 503, 504, 599, 0, 999)),
    Unanswered("refused"),
    Unanswered("blocked"),
    Unanswered("too slow"),
]


@pytest.mark.parametrize("failure", FAILURES, ids=str)
def test_everything_else_is_tried_again_by_the_schedule_and_then_dead(failure: Outcome) -> None:
    for tries in range(1, LAST):
        delay = delay_of(decided(failure, tries))
        assert SCHEDULE[tries] * 0.8 <= delay <= SCHEDULE[tries] * 1.2
    assert decided(failure, LAST) == Dead()


@pytest.mark.parametrize(("wish", "delay"), [(600.0, 600.0), (86_400.0, 86_400.0), (1e9, 86_400.0)])
def test_a_wish_for_a_longer_pause_is_granted_up_to_a_day(wish: float, delay: float) -> None:
    for status in (503, 429, 302):
        assert decided(Answered(status, retry_after=wish)) == Again(delay)


@pytest.mark.parametrize("wish", [0.0, -5.0, 3.9])
def test_a_wish_for_a_shorter_pause_is_not(wish: float) -> None:
    assert decided(Answered(503, retry_after=wish)) == decided(Answered(503))


def test_the_schedule_has_ten_attempts_in_75_hours_and_35_minutes() -> None:
    assert len(SCHEDULE) == 10
    assert SCHEDULE[0] == 0
    assert sum(SCHEDULE) == (75 * 60 + 35) * 60 + 5


def test_a_success_reads_as_the_contract_shows_it() -> None:
    body = callback_body(TASK, "success", ["https://host/a.png"], Credits(500_000), None)
    assert body == (
        b'{"result":[{"image":"https://host/a.png"}],"status":"success",'
        b'"task_id":"ta5c9705-b8ae-4cb9-aa6f-97c4fee88c8d","consumed":"0.500000",'
        b'"status_reason":{"message":null}}'
    )


def test_a_failure_has_no_result_costs_nothing_and_says_why() -> None:
    body = callback_body(TASK, "failed", None, Credits(0), 'the "engine" refused: zu süß')
    assert (
        body
        == (
            '{"result":null,"status":"failed",'
            '"task_id":"ta5c9705-b8ae-4cb9-aa6f-97c4fee88c8d","consumed":"0.000000",'
            '"status_reason":{"message":"the \\"engine\\" refused: zu süß"}}'
        ).encode()
    )


def test_every_image_of_a_task_is_in_its_callback_in_order() -> None:
    images = [f"https://host/{number}.png" for number in range(8)]
    body = json.loads(callback_body(TASK, "success", images, Credits(4_000_000), None))
    assert body["result"] == [{"image": image} for image in images]
    assert body["consumed"] == "4.000000"


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://host.example/hook?x=1#y", "https://host.example:443"),
        ("http://host.example", "http://host.example:80"),
        ("https://host.example:8443/hook", "https://host.example:8443"),
        ("HTTPS://Host.Example./hook", "https://host.example:443"),
        ("https://user:secret@host.example/hook", "https://host.example:443"),
        ("http://[2001:DB8::1]/hook", "http://[2001:db8::1]:80"),
        ("http://[2001:db8::1]:8080/hook", "http://[2001:db8::1]:8080"),
    ],
)
def test_an_origin_is_scheme_host_and_port(url: str, origin: str) -> None:
    assert origin_of(url) == origin


@pytest.mark.parametrize("url", ["", "host/hook", "ftp://host/", "http://host:port/", "http://[x"])
def test_what_is_no_web_address_is_its_own_origin(url: str) -> None:
    assert origin_of(url) == url
