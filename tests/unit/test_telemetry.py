"""The log: one line per event, never a secret, never somebody else's line."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import re
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st
from typing_extensions import override

from ketchup import telemetry
from ketchup.clock import FrozenClock
from ketchup.signing import secret_from_bytes

LIVE_KEY = "dk-live_0123456789abcdefghijABCDEFGHIJ0123456789"
CANARIES = [
    LIVE_KEY,
    "dk-test_0123456789abcdefghijABCDEFGHIJ0123456789",
    "dk-admin_0123456789-_abcdefghijABCDEFGHIJ",
    "dk-1234567890abcdef",
    secret_from_bytes(bytes(range(32))),
    "whsk_0123456789abcdef",
    "Bearer eyJhbGciOiJIUzI1NiJ9.e30.abc_def-ghi",
    "bearer  plainoldtoken",
    # In two parts: the tree is searched for such keys.
    "AIza" + "SyA-0123456789abcdefghijABCDEFGHIJ0",
    "sk-" + "proj-0123456789abcdefghijABCDEFGHIJ0123456789",
    "postgresql://ketchup:hunter2@hunter2:x@",
    "password=0123456789abcdef",
    "password='0123 456789abcdef'",
    "https://b.example/a.png?X-Amz-Signature=0123456789abcdef",
    "https://b.example/a.png?a=b&sig=0123456789abcdef",
    "https://b.example/hook?access_token=0123456789abcdef",
    "data:image/png;base64,iVBORw0KGgo0123456789",
    "a secret of no shape at all",
]
CONFIGURED = "a secret of no shape at all"
HOSTILE = (
    'end\n{"level": "info"}\r\x00\x1b[2J\x7f\x85\x9b31m\u2028\u2029\u202e\u2066\u200f\ud800 "\\'
)


class Terminal(io.StringIO):
    @override
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """Leave the process's logging as it was found."""
    loggers = [logging.getLogger(name) for name in (None, *telemetry.UVICORN_LOGGERS)]
    before = [(each, each.level, each.handlers[:], each.propagate) for each in loggers]
    yield
    structlog.reset_defaults()
    for each, level, handlers, propagate in before:
        each.setLevel(level)
        each.handlers[:] = handlers
        each.propagate = propagate


@pytest.fixture
def out() -> io.StringIO:
    return io.StringIO()


def start(
    out: io.StringIO, level: telemetry.Level = "debug", style: telemetry.Format = "json"
) -> telemetry.Log:
    telemetry.configure(level, style, secrets=[CONFIGURED], stream=out, clock=FrozenClock())
    return telemetry.logger("ketchup.test")


def events(out: io.StringIO) -> list[dict[str, Any]]:
    text = out.getvalue()
    assert text.endswith("\n")
    return [json.loads(line) for line in text[:-1].split("\n")]


def test_an_event_is_one_json_line_with_time_level_and_fields(out: io.StringIO) -> None:
    start(out).info("task finished", task_id="ta1", images=2, seconds=0.5, ok=True, error=None)
    assert events(out) == [
        {
            "time": "2025-09-10T10:22:20.010Z",
            "level": "info",
            "event": "task finished",
            "component": "test",
            "task_id": "ta1",
            "images": 2,
            "seconds": 0.5,
            "ok": True,
            "error": None,
        }
    ]


def test_bound_ids_stand_on_every_event_of_the_block_only(out: io.StringIO) -> None:
    log = start(out)
    with telemetry.bound(request_id="req_1", task_id="ta1"):
        log.info("inside")
        logging.getLogger("library").warning("inside too")
    log.info("outside")
    inside, library, outside = events(out)
    assert (inside["request_id"], inside["task_id"]) == ("req_1", "ta1")
    assert (library["request_id"], library["task_id"]) == ("req_1", "ta1")
    assert "request_id" not in outside


async def test_a_turn_of_the_event_loop_is_written_together_and_a_warning_at_once(
    out: io.StringIO,
) -> None:
    log = start(out)
    log.info("first")
    log.debug("second")
    assert out.getvalue() == ""

    log.warning("third")
    assert [event["event"] for event in events(out)] == ["first", "second", "third"]

    log.info("fourth")
    await asyncio.to_thread(log.info, "from a thread")
    assert [event["event"] for event in events(out)[3:]] == ["fourth", "from a thread"]


def test_what_is_below_the_level_is_not_logged(out: io.StringIO) -> None:
    log = start(out, "warning")
    log.debug("no")
    log.info("no")
    log.warning("yes")
    log.error("yes")
    assert [event["level"] for event in events(out)] == ["warning", "error"]


def in_a_field(log: telemetry.Log, text: str) -> None:
    log.warning("an event", detail=f"before {text} after")


def in_the_event(log: telemetry.Log, text: str) -> None:
    log.warning("before " + text + " after")  # noqa: G003 somebody will


def in_an_argument(log: telemetry.Log, text: str) -> None:
    log.warning("before %s after", text)


def in_a_nested_field(log: telemetry.Log, text: str) -> None:
    log.warning("an event", outer={"inner": [{text: (text,)}], "deep": [[[[[text]]]]]})


def fails(text: str, cause: Exception | None = None) -> None:
    raise RuntimeError(text) from cause


def in_an_exception(log: telemetry.Log, text: str) -> None:
    try:
        fails(text, ValueError(text))
    except RuntimeError:
        log.exception("failed")


def in_an_exception_field(log: telemetry.Log, text: str) -> None:
    log.warning("failed", error=ValueError(text))


def in_a_bound_field(log: telemetry.Log, text: str) -> None:
    with telemetry.bound(request_id=text):
        log.bind(more=text).warning("an event")


def in_the_standard_library(_: telemetry.Log, text: str) -> None:
    logging.getLogger("library").warning("before %s after", text)


def in_uvicorns_traceback(_: telemetry.Log, text: str) -> None:
    try:
        fails(text)
    except RuntimeError:
        logging.getLogger("uvicorn.error").exception("Exception in ASGI application")


Way = Callable[[telemetry.Log, str], None]
WAYS: list[Way] = [
    in_a_field,
    in_the_event,
    in_an_argument,
    in_a_nested_field,
    in_an_exception,
    in_an_exception_field,
    in_a_bound_field,
    in_the_standard_library,
    in_uvicorns_traceback,
]


@pytest.mark.parametrize("style", ["json", "pretty"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("canary", CANARIES)
def test_a_secret_never_reaches_the_log(
    out: io.StringIO, way: Way, canary: str, style: telemetry.Format
) -> None:
    way(start(out, style=style), canary)
    token = canary.rsplit(" ", 1)[-1] if canary != CONFIGURED else canary
    assert "***" in out.getvalue()
    assert token not in out.getvalue()
    assert token[-12:] not in out.getvalue(), "not a part of it either"


@pytest.mark.parametrize("name", ["authorization", "Authorization", "api_key", "secret_key"])
def test_a_field_named_like_a_secret_is_hidden_whatever_it_holds(
    out: io.StringIO, name: str
) -> None:
    log = start(out)
    log.info("an event", **{name: "opensesame"})
    log.info("an event", headers={name: "opensesame"})
    first, second = events(out)
    assert (first[name], second["headers"]) == ("***", {name: "***"})


@pytest.mark.parametrize("prefix", ["", "key=", "_", "x", "?", "/", "é"])
def test_a_key_is_found_wherever_it_is_stuck_to(out: io.StringIO, prefix: str) -> None:
    start(out).info("an event", detail=f"{prefix}{LIVE_KEY}.")
    assert events(out)[0]["detail"] == f"{prefix}***."


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (
            "cannot connect to postgresql://ketchup:p@ss:w0rd@db.example:5432/ketchup?sslmode=x",
            "cannot connect to postgresql://ketchup:***@db.example:5432/ketchup?sslmode=x",
        ),
        (
            "https://s3.example/b/a.png?X-Amz-Credential=AKIA/x&X-Amz-Date=1&X-Amz-Signature=beef#a",
            "https://s3.example/b/a.png?X-Amz-Credential=***&X-Amz-Date=1&X-Amz-Signature=***#a",
        ),
        (
            '{"images":["data:image/png;base64,iVBO+/=="]}',
            '{"images":["data:image/png;base64,***"]}',
        ),
        ("host=db password=hunter2 user=k", "host=db password=*** user=k"),
        ("GET /v1?key=hunter2&page=2", "GET /v1?key=***&page=2"),
    ],
)
def test_what_is_left_says_which_secret_it_was(out: io.StringIO, text: str, left: str) -> None:
    start(out).info("an event", detail=text)
    assert events(out)[0]["detail"] == left


def test_a_long_hostile_text_is_searched_in_time_that_grows_with_its_length(
    out: io.StringIO,
) -> None:
    log = start(out)
    hostile = [piece * 50_000 for piece in ("://a:", "data:a/", "?sig", "sk-", "password =")]
    began = time.perf_counter()
    for text in hostile:
        log.info("an event", detail=text)
    # Each is a quarter of a megabyte: a search that looks back over all of it takes minutes.
    assert time.perf_counter() - began < 10


@pytest.mark.parametrize(
    "text",
    [
        "sdk-python-client",
        "the bearer of news",
        "a dk-1 thing",
        "a task-oriented-scheduler",
        "no password",
        "https://h.example/a?b=c&d",
        "10:22://",
        "data: none",
    ],
)
def test_ordinary_words_are_left_alone(out: io.StringIO, text: str) -> None:
    start(out).info("an event", detail=text)
    assert events(out)[0]["detail"] == text


@pytest.mark.parametrize("way", WAYS)
def test_hostile_characters_cannot_make_a_second_json_line(out: io.StringIO, way: Way) -> None:
    way(start(out), HOSTILE)
    assert len(events(out)) == 1
    # Nor can they act once a reader has decoded the line; only tracebacks have line ends.
    [event] = events(out)
    event.pop("exception", None)
    assert not re.search("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066]", repr(event).encode().decode())
    assert "\\u001b" in json.dumps(events(out)[0])


@pytest.mark.parametrize("way", WAYS)
def test_hostile_characters_cannot_make_a_pretty_line_look_like_ours(
    out: io.StringIO, way: Way
) -> None:
    way(start(out, style="pretty"), HOSTILE)
    first, *others = out.getvalue()[:-1].split("\n")
    assert first.startswith("10:22:20.010 ")
    assert all(line.startswith("  │ ") for line in others)
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066]", out.getvalue())


@settings(max_examples=50)
@given(st.text(max_size=200))
def test_any_text_is_one_line_of_valid_json(text: str) -> None:
    out = io.StringIO()
    start(out).info("an event", detail=text)
    [event] = events(out)
    assert event["event"] == "an event"


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), pytest.param(10**5000, id="huge"), {1, 2}, object(), 1 + 2j],
)
def test_any_value_is_one_line_of_valid_json(out: io.StringIO, value: object) -> None:
    start(out).info("an event", value=value)
    assert "value" in json.loads(out.getvalue(), parse_constant=pytest.fail)


def test_image_bytes_are_counted_not_written(out: io.StringIO) -> None:
    start(out).info("an event", body=b"\x89PNG and more")
    assert events(out)[0]["body"] == "(13 bytes)"


@pytest.mark.parametrize("text", ["x" * 100_000, "é" * 100_000, "\x00" * 100_000])
def test_a_field_ends_after_two_kibibytes(out: io.StringIO, text: str) -> None:
    start(out).info("an event", detail=text)
    detail = events(out)[0]["detail"]
    assert 2000 < len(detail.encode()) <= 2048 + len(" …".encode())
    assert detail.endswith(" …")


def test_a_long_exception_keeps_its_end(out: io.StringIO) -> None:
    try:
        fails("x" * 100_000 + "the end")
    except RuntimeError:
        start(out).exception("failed")
    exception = events(out)[0]["exception"]
    assert len(exception.encode()) < 8300
    assert exception.endswith("the end")


def test_a_secret_at_the_cut_is_hidden_before_it_is_cut(out: io.StringIO) -> None:
    start(out).info("an event", detail="x" * 2030 + CONFIGURED)
    assert "a secret" not in out.getvalue()


def test_an_exception_is_told_without_local_variables(out: io.StringIO) -> None:
    local = "open" + "sesame"
    try:
        fails(f"{len(local)} characters")
    except RuntimeError:
        start(out).exception("failed")
    event = events(out)[0]
    assert event["level"] == "error"
    assert event["exception"].endswith("RuntimeError: 10 characters")
    assert "in fails" in event["exception"]
    assert local not in event["exception"]


def test_a_prompt_is_written_at_debug_and_counted_above(out: io.StringIO) -> None:
    log = start(out)
    log.debug("task accepted", prompt="a red bicycle")
    log.info("task accepted", prompt="a red bicycle")
    log.error("task accepted", prompt="a red bicycle")
    assert [event["prompt"] for event in events(out)] == [
        "a red bicycle",
        "(13 characters)",
        "(13 characters)",
    ]


@pytest.mark.parametrize(("level", "count"), [("info", 0), ("debug", 1)])
def test_the_access_log_appears_at_debug_only(
    out: io.StringIO, level: telemetry.Level, count: int
) -> None:
    start(out, level)
    logging.getLogger("uvicorn.access").info('%s - "%s" %d', "127.0.0.1", "GET / HTTP/1.1", 200)
    assert out.getvalue().count("GET / HTTP/1.1") == count


def test_uvicorns_errors_appear_as_events(out: io.StringIO) -> None:
    elsewhere = io.StringIO()
    logging.getLogger("uvicorn").addHandler(logging.StreamHandler(elsewhere))  # as it does itself
    start(out, "info")
    logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")
    [event] = events(out)
    assert event["event"] == "Invalid HTTP request received."
    assert (event["level"], event["component"]) == ("warning", "uvicorn.error")
    assert elsewhere.getvalue() == ""


def test_a_librarys_debug_lines_never_appear(out: io.StringIO) -> None:
    start(out, "debug")
    logging.getLogger("httpcore2.http11").debug("send_request_headers %s", "authorization")
    assert out.getvalue() == ""


def test_configuring_again_does_not_write_lines_twice(out: io.StringIO) -> None:
    start(io.StringIO())
    start(out)
    logging.getLogger("library").warning("once")
    assert len(events(out)) == 1


def test_a_record_with_wrong_arguments_is_still_one_event(out: io.StringIO) -> None:
    start(out)
    record = logging.makeLogRecord(
        {"name": "library", "msg": "%d of %d", "args": ("one",), "levelno": logging.ERROR}
    )
    # Straight to our handler: pytest's own raises what a server has to bear.
    [bridge] = [h for h in logging.getLogger().handlers if isinstance(h, telemetry._Bridge)]
    bridge.handle(record)
    assert events(out)[0]["event"] == "%d of %d"


def test_auto_is_pretty_and_coloured_on_a_terminal_and_json_elsewhere(out: io.StringIO) -> None:
    terminal = Terminal()
    start(terminal, style="auto").info("task finished", note="two words", none="")
    start(out, style="auto").info("task finished")
    assert terminal.getvalue() == (
        "10:22:20.010 \x1b[32minfo    \x1b[0m task finished"
        '  component=test  note="two words"  none=""\n'
    )
    assert events(out)[0]["event"] == "task finished"


class FullDisk(io.StringIO):
    @override
    def write(self, text: str, /) -> int:
        raise OSError(28, "No space left on device", text)


def test_a_line_that_cannot_be_written_is_dropped() -> None:
    log = start(FullDisk())
    log.error("nobody hears this")
    closed = io.StringIO()
    log = start(closed)
    closed.close()
    log.error("nor this")
    logging.getLogger("library").error("nor this")


def test_importing_and_naming_a_logger_has_no_effect(capsys: pytest.CaptureFixture[str]) -> None:
    before = logging.getLogger().handlers[:]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        telemetry.logger("ketchup.elsewhere")
    assert logging.getLogger().handlers == before
    assert capsys.readouterr() == ("", "")


def test_quiet_leaves_warnings_and_worse(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.quiet()
    log = telemetry.logger("ketchup.test")
    log.info("not this")
    log.warning("but this")
    said = capsys.readouterr().err
    assert "not this" not in said
    assert "but this" in said
