"""The load: keep-alive connections that each send the next request when the answer is there.

Runs as a process of its own, on a core of its own: a job as JSON on standard input, its outcome as
JSON on standard output. It must never be what is measured, so requests are bytes made beforehand,
an answer is looked at with one regular expression, and the outcome says how busy this process was.

Every answer is checked: its status is counted, and a 200 must carry a task id; a poll's the one
that was asked for. At the end of its time each connection waits for its last answer, so what the
server has acknowledged is known to the last request.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import sys
import time
from array import array
from collections import Counter
from collections.abc import Iterator
from typing import Final, cast

import msgspec
import uvloop
from typing_extensions import override

BODY: Final = msgspec.json.encode(
    {
        "model": "google/gempix2",
        "prompt": "Put them in a basket, soft light, 35mm",
        "images": ["https://cdn.example.com/body-lotion.png"],
        "callback_url": "https://example.com/webhooks/images",
        "aspect_ratio": "1:1",
    }
)
_ANSWER: Final = re.compile(
    rb"HTTP/1\.1 (\d{3}) .*?\r\ncontent-length: (\d+)\r\n.*?\r\n\r\n", re.DOTALL | re.IGNORECASE
)
_TASK_ID: Final = re.compile(rb'"task_id":"(ta[0-9a-f-]{34})"')
_HURRY_SECONDS: Final = 20.0


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What to send. Without `ids` it creates tasks, with them it asks for them in turn."""

    port: int
    key: str
    connections: int
    warm_up: float
    seconds: float
    ids: list[str] = []
    body: str = BODY.decode()
    """What creates a task."""
    core: int | None = None


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came back. Rates and times are those after the warm-up; `statuses` counts everything.

    A time is None when no answer came after the warm-up.
    """

    per_second: float
    p50_ms: float | None
    p99_ms: float | None
    statuses: dict[int, int]
    ids: list[str]
    """The tasks created, warm-up included."""
    wrong: int
    """Answers of status 200 without the task id that they had to carry."""
    busy: float
    """The share of the time for which this process used its core."""

    def without_ids(self) -> Outcome:
        """Return the same figures alone."""
        return msgspec.structs.replace(self, ids=[])


def main() -> None:
    """Do the job on standard input."""
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)
    if job.core is not None:
        os.sched_setaffinity(0, {job.core})
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        outcome = runner.run(_run(job))
    sys.stdout.buffer.write(msgspec.json.encode(outcome))
    sys.stdout.buffer.flush()


async def _run(job: Job) -> Outcome:
    tally = _Tally(job)
    loop = asyncio.get_running_loop()
    busy_from = time.process_time()
    clients = [_Client(tally) for _ in range(job.connections)]
    for client in clients:
        await loop.create_connection(client.itself, "127.0.0.1", job.port)
    async with asyncio.timeout(job.warm_up + job.seconds + _HURRY_SECONDS):
        await asyncio.gather(*(client.ended for client in clients))
    busy = (time.process_time() - busy_from) / (job.warm_up + job.seconds)
    return tally.outcome(busy)


class _Tally:
    """What all connections share: the requests to send, and what came back."""

    def __init__(self, job: Job) -> None:
        self.requests = _requests(job)
        self.counted_from = time.perf_counter() + job.warm_up
        self.until = self.counted_from + job.seconds
        self.creates = not job.ids
        self.ids: list[bytes] = []
        self.statuses: Counter[bytes] = Counter()
        self.wrong = 0
        self.times = array("d")
        self._seconds = job.seconds

    def outcome(self, busy: float) -> Outcome:
        times = sorted(self.times)
        return Outcome(
            per_second=len(times) / self._seconds,
            p50_ms=_quantile_ms(times, 0.5),
            p99_ms=_quantile_ms(times, 0.99),
            statuses={int(status): count for status, count in self.statuses.items()},
            ids=[task_id.decode() for task_id in self.ids],
            wrong=self.wrong,
            busy=busy,
        )


class _Client(asyncio.Protocol):
    """One connection with one request under way."""

    def __init__(self, tally: _Tally) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._tally = tally
        self._answer = b""
        self._began = 0.0
        self._asked: bytes | None = None

    def itself(self) -> _Client:
        return self

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods of asyncio.Transport, but not its class.
        self._transport = cast("asyncio.Transport", transport)
        self._send(time.perf_counter())

    @override
    def data_received(self, data: bytes) -> None:
        answer = self._answer + data if self._answer else data
        head = _ANSWER.match(answer)
        if head is None or len(answer) < head.end() + int(head[2]):
            self._answer = answer
            return
        self._answer = b""
        now = time.perf_counter()
        self._count(head[1], answer, now)
        if now < self._tally.until:
            self._send(now)
        else:
            self._transport.close()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        if self.ended.done():
            return
        if exc is None and self._transport.is_closing():
            self.ended.set_result(None)
        else:
            self.ended.set_exception(ConnectionError(f"the server closed a connection: {exc}"))

    def _send(self, now: float) -> None:
        self._began = now
        request, self._asked = next(self._tally.requests)
        self._transport.write(request)

    def _count(self, status: bytes, answer: bytes, now: float) -> None:
        tally = self._tally
        tally.statuses[status] += 1
        if tally.counted_from <= now <= tally.until:
            tally.times.append(now - self._began)
        if status != b"200":
            return
        found = _TASK_ID.search(answer)
        if found is None or (self._asked is not None and found[1] != self._asked):
            tally.wrong += 1
        elif tally.creates:
            tally.ids.append(found[1])


def _requests(job: Job) -> Iterator[tuple[bytes, bytes | None]]:
    headers = f"Host: 127.0.0.1:{job.port}\r\nAuthorization: Bearer {job.key}\r\n".encode()
    if job.ids:
        asked = [task_id.encode() for task_id in job.ids]
        line = b"GET /api/task/query?task_id=%b HTTP/1.1\r\n%b\r\n"
        return itertools.cycle([(line % (task_id, headers), task_id) for task_id in asked])
    line = b"POST /api/image/gen HTTP/1.1\r\n%b"
    body = job.body.encode()
    rest = b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    return itertools.repeat((line % headers + rest, None))


def _quantile_ms(ordered: list[float], share: float) -> float | None:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1e3 if ordered else None


if __name__ == "__main__":
    main()
