"""The log: one line per event, JSON for machines and text for people, on standard error.

Promises, kept by the processors below for every field, the exception's text included:
- never a secret: API keys, ours and the engines', webhook secrets, bearer tokens, passwords in
  addresses, what signs an address, the content of data URIs, and the secrets that `configure` is
  told are replaced by `***`;
- never a forged line or a hidden one: control characters, also the ones that turn text around, are
  written as escapes;
- never a flood: a field ends after 2 KiB, an exception keeps its last 8 KiB;
- never a prompt, except at debug: everywhere else its characters are counted.

A line that cannot be written is dropped: a full disk under the log must not fail a request.

Modules write `log = telemetry.logger(__name__)` and then `log.info("task failed", task_id=…)`: the
event is a fixed sentence, what varies is a field. Metrics are not made here.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import sys
import traceback
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Final, Literal, TextIO

import structlog
from structlog.contextvars import bound_contextvars
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger
from typing_extensions import override

from ketchup.clock import Clock, SystemClock, iso

Log = FilteringBoundLogger
Level = Literal["debug", "info", "warning", "error"]
Format = Literal["auto", "json", "pretty"]

bound = bound_contextvars
"""Adds fields, such as `request_id` and `task_id`, to every event of a `with` block."""

FIELD_BYTES: Final = 2048
EXCEPTION_BYTES: Final = 8192
UVICORN_LOGGERS: Final = ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi")
_DEPTH: Final = 4
_HIDDEN: Final = "***"

_SECRET_SHAPES: Final = re.compile(
    r"dk-(?:live|test|admin)_[\w-]+"
    r"|(?<![A-Za-z0-9])dk-[\w-]{6,}"
    r"|whs(?:ec|k)_[\w+/=-]{6,}"
    r"|(?P<scheme>bearer\s+)[\w.~+/=-]{8,}"
    # Google's and OpenAI's.
    r"|AIza[\w-]{16,}"
    r"|(?<![A-Za-z0-9])sk-[\w-]{12,}"
    # A password in an address, up to the last @ of its host; one in a line of settings.
    r"|(?P<user>://[^\s/@:\"']{0,64}:)[^\s/\"']{1,256}(?=@)"
    r"|(?P<setting>\bpassword\s?=\s?)(?:'[^']{1,256}'|[^\s&'\"]{1,256})"
    # What opens a signed address, of buckets and of others.
    r"|(?P<query>[?&](?:x-(?:amz|goog)-(?:signature|credential|security-token)|awsaccesskeyid"
    r"|(?:[a-z]{1,16}[_-])?(?:signature|sig|token|secret|key|code|auth))=)[^&\s#\"'<>]+"
    # Pictures of customers.
    r"|(?P<data>data:[\w.+-]{1,64}/[\w.+-]{1,64}[^,\s]{0,128},)[^\s\"'<>)]+",
    re.IGNORECASE | re.ASCII,
)
_SECRET_FIELDS: Final = frozenset(
    {
        "admin_token",
        "api_key",
        "authorization",
        "cookie",
        "dsn",
        "password",
        "proxy-authorization",
        "secret",
        "secret_key",
        "set-cookie",
        "token",
    }
)
# C0, DEL, C1, line and paragraph separators, what turns the direction of text, and surrogates.
_UNSEEN: Final = r"\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
_CONTROL: Final = re.compile(rf"[\x00-\x1f{_UNSEEN}]")
# Holds whatever the shapes above begin with, and all that is not plain ASCII.
_SUSPECT: Final = re.compile(
    r"[^ -~]|dk-|whs|bearer|aiza|sk-|://|password|data:|[?&]", re.IGNORECASE | re.ASCII
)
_CONTROL_BUT_NEWLINE: Final = re.compile(rf"[\x00-\x09\x0b-\x1f{_UNSEEN}]")
_LARGEST: Final = 2**63
_COLOURS: Final = {"debug": "2", "info": "32", "warning": "33", "error": "31", "critical": "31"}


def logger(component: str) -> Log:
    """Return a module's logger. Cheap and without effect until the first event."""
    log: Log = structlog.get_logger(component=component.removeprefix("ketchup."))
    return log


def configure(
    level: Level = "info",
    style: Format = "auto",
    *,
    secrets: Sequence[str] = (),
    stream: TextIO | None = None,
    clock: Clock | None = None,
) -> None:
    """Send every event of this process, the standard library's and uvicorn's too, to one stream.

    `secrets` are hidden wherever they appear, whatever their shape. May be called again. uvicorn
    must be run with `log_config=None`; its access log appears at debug only.
    """
    out = sys.stderr if stream is None else stream
    sink = _Sink(out)
    pretty = style == "pretty" or (style == "auto" and out.isatty())
    threshold = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=_processors(clock or SystemClock(), _Sanitizer(secrets), pretty, out.isatty()),
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=lambda *_: sink,
        cache_logger_on_first_use=False,
    )
    _route_standard_logging(threshold)


def quiet() -> None:
    """Log warnings and worse only: for commands whose output is for people."""
    configure("warning")


def _processors(clock: Clock, sanitize: _Sanitizer, pretty: bool, colour: bool) -> list[Processor]:
    def stamp(_: WrappedLogger, level: str, event: EventDict) -> EventDict:
        first = {"time": iso(clock.now()), "level": _level_name(level), "event": event.pop("event")}
        return {**first, **event}

    return [
        structlog.contextvars.merge_contextvars,
        stamp,
        _count_prompt,
        _exception_text,
        sanitize,
        _Pretty(colour) if pretty else _json,
    ]


def _level_name(method: str) -> str:
    return {"warn": "warning", "exception": "error", "fatal": "critical"}.get(method, method)


def _count_prompt(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Keep prompts out of everything above debug: they are the customers' words."""
    if "prompt" in event and event["level"] != "debug":
        event["prompt"] = f"({len(str(event['prompt']))} characters)"
    return event


def _exception_text(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Turn `exc_info` into text. Local variables are left out: they hold keys and images."""
    info = event.pop("exc_info", None)
    error = sys.exception() if info is True else info[1] if isinstance(info, tuple) else info
    if isinstance(error, BaseException):
        event["exception"] = "".join(traceback.format_exception(error)).rstrip()
    return event


class _Sanitizer:
    """Makes every field safe to write: hidden, escaped, capped, in this order.

    Hiding comes first because a cut or an escape inside a secret would spoil its shape and let the
    rest of it through.
    """

    def __init__(self, secrets: Sequence[str]) -> None:
        # Longest first: one secret may begin another.
        known = sorted((s for s in secrets if s), key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, known))) if known else None

    def __call__(self, _: WrappedLogger, __: str, event: EventDict) -> EventDict:
        if self._is_safe(event):
            return event
        return {self._text(str(name)): self._field(str(name), v) for name, v in event.items()}

    def _is_safe(self, event: EventDict) -> bool:
        """Whether nothing has to be done, as for nearly every event."""
        words = []
        for name, value in event.items():
            words.append(name)
            if type(value) is str:
                words.append(value)
            elif type(value) is not int or not -_LARGEST <= value < _LARGEST:
                return False
        together = " ".join(words)
        return (
            len(together) <= FIELD_BYTES
            and _SECRET_FIELDS.isdisjoint(map(str.lower, event))
            and not _SUSPECT.search(together)
            and (self._known is None or not self._known.search(together))
        )

    def _field(self, name: str, value: object, depth: int = 0) -> object:
        if name.lower() in _SECRET_FIELDS:
            return _HIDDEN
        if name == "exception" and isinstance(value, str):
            safe = _CONTROL_BUT_NEWLINE.sub(_escape, self._hide(value))
            return _capped(safe, EXCEPTION_BYTES, from_end=True)
        return self._value(value, depth)

    def _value(self, value: object, depth: int) -> object:
        match value:
            case Mapping() if depth < _DEPTH:
                return {
                    self._text(str(k)): self._field(str(k), v, depth + 1) for k, v in value.items()
                }
            case list() | tuple() | set() | frozenset() if depth < _DEPTH:
                return [self._value(item, depth + 1) for item in value]
            # Neither a NaN nor a number of a million digits has a place in JSON.
            case None | bool():
                return value
            case int() | float() if -_LARGEST <= value < _LARGEST:
                return value
            case _:
                return self._text(_words(value))

    def _text(self, text: str) -> str:
        return _capped(_CONTROL.sub(_escape, self._hide(text)), FIELD_BYTES)

    def _hide(self, text: str) -> str:
        if self._known is not None:
            text = self._known.sub(_HIDDEN, text)
        return _SECRET_SHAPES.sub(_hidden, text)


def _hidden(match: re.Match[str]) -> str:
    """Leave what says which kind of secret it was."""
    return (match[match.lastgroup] if match.lastgroup else "") + _HIDDEN


def _words(value: object) -> str:
    match value:
        case bytes() | bytearray() | memoryview():
            return f"({len(value)} bytes)"
        case BaseException():
            return f"{type(value).__name__}: {value}"
        case int():
            return "(a large number)"
        case _:
            return str(value)


def _escape(match: re.Match[str]) -> str:
    return f"\\u{ord(match.group()):04x}"


def _capped(text: str, limit: int, *, from_end: bool = False) -> str:
    raw = text.encode()
    if len(raw) <= limit:
        return text
    kept = (raw[-limit:] if from_end else raw[:limit]).decode(errors="ignore")
    return f"… {kept}" if from_end else f"{kept} …"


def _json(_: WrappedLogger, __: str, event: EventDict) -> str:
    return _ENCODE(event)


# ASCII only: the line survives every terminal, locale and collector.
_ENCODE: Final = json.JSONEncoder(default=str).encode


class _Pretty:
    """`10:22:20.010 info    task failed  task_id=ta…`, and an exception indented below."""

    def __init__(self, colour: bool) -> None:
        self._colour = colour

    def __call__(self, _: WrappedLogger, __: str, event: EventDict) -> str:
        time, level = str(event.pop("time")), str(event.pop("level"))
        name, exception = str(event.pop("event", "")), event.pop("exception", None)
        fields = "".join(f"  {key}={_shown(value)}" for key, value in event.items())
        line = f"{time[11:23]} {self._painted(level)} {name}{fields}"
        if exception is None:
            return line
        # The bar shows what belongs to the exception: its text may hold lines that look like ours.
        return "\n".join([line, *(f"  │ {text}" for text in str(exception).split("\n"))])

    def _painted(self, level: str) -> str:
        padded = f"{level:<8}"
        return f"\x1b[{_COLOURS.get(level, '0')}m{padded}\x1b[0m" if self._colour else padded


def _shown(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
    return json.dumps(text, ensure_ascii=False) if " " in text or not text else text


class _Sink:
    """Writes whole lines, and never raises.

    What is said in one turn of an event loop is written together at its end: a write of its own for
    each line would cost as much as all else about it. A warning waits for nothing, and takes with
    it what was said before.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._waiting: deque[str] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None  # the one that will write

    def msg(self, line: str) -> None:
        self._waiting.append(line)
        self._write()

    def info(self, line: str) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.msg(line)
            return
        self._waiting.append(line)
        if self._loop is not loop:
            self._loop = loop
            loop.call_soon(self._write)

    def _write(self) -> None:
        self._loop = None
        lines = []
        with suppress(IndexError):  # other threads write as well
            while True:
                lines.append(self._waiting.popleft())
        try:
            self._stream.write("".join(f"{line}\n" for line in lines))
            self._stream.flush()
        except (OSError, ValueError):
            # A full disk, a closed pipe or a closed stream: there is nowhere left to say so.
            return

    debug = info
    warning = error = critical = msg


class _Bridge(logging.Handler):
    """Hands what the standard library logs to the same processors."""

    @override
    def emit(self, record: logging.LogRecord) -> None:
        log = logger(record.name)
        try:
            message = record.getMessage()
        except (TypeError, ValueError):
            message = str(record.msg)
        log.log(record.levelno, "%s", message, exc_info=_error_of(record.exc_info))


_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]


def _error_of(info: _ExcInfo | tuple[None, None, None] | None) -> BaseException | None:
    return None if info is None else info[1]


def _route_standard_logging(threshold: int) -> None:
    root = logging.getLogger()
    for handler in [h for h in root.handlers if isinstance(h, _Bridge)]:
        root.removeHandler(handler)
    root.addHandler(_Bridge())
    # Libraries tell more than they should at info and debug, request headers among it.
    root.setLevel(max(threshold, logging.WARNING))
    chatter = logging.INFO if threshold <= logging.DEBUG else max(threshold, logging.WARNING)
    for name in UVICORN_LOGGERS:
        library = logging.getLogger(name)
        library.handlers.clear()
        library.propagate = True
        library.setLevel(chatter)
