"""What a caller learns of an address that is open, closed, filtered or denied: nothing."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

from ketchup.egress.connect import _CONNECT_SECONDS
from ketchup.references import FAILURES_LAST
from tests.support.loopback import Request, answer, serving
from tests.support.receiver import Receiver
from tests.support.service import running_service

_FAILURES_LAST = 1.0
_OPEN, _FILTERED, _CLOSED = "127.0.0.2", "127.0.0.3", 1


@asynccontextmanager
async def addresses() -> AsyncIterator[dict[str, str]]:
    """One URL of each kind. What is open answers as servers do that are no image servers."""

    async def banner(_: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.2p1\r\n")

    async with (
        serving(answer(200, b"<html>", content_type="text/html"), _OPEN) as page,
        serving(answer(200, b"not a picture", content_type="image/png"), _OPEN) as other,
        serving(answer(401, b"no"), _OPEN) as locked,
        serving(answer(200, bytes(30), content_length="99999999"), _OPEN) as large,
        serving(banner, _OPEN) as shell,
        serving(answer(200), "127.0.0.1") as internal,
    ):
        with ExitStack() as sockets:
            deaf = sockets.enter_context(socket.socket())
            deaf.bind((_FILTERED, 0))
            deaf.listen(0)
            # The queue is full: the kernel drops every later knock, as a firewall does.
            for _ in range(4):
                knock = sockets.enter_context(socket.socket())
                knock.settimeout(0)
                knock.connect_ex(deaf.getsockname())
            yield {
                "a page": f"http://{_OPEN}:{page.port}/",
                "no picture": f"http://{_OPEN}:{other.port}/",
                "locked": f"http://{_OPEN}:{locked.port}/",
                "too large": f"http://{_OPEN}:{large.port}/",
                "no HTTP": f"http://{_OPEN}:{shell.port}/",
                "closed": f"http://{_OPEN}:{_CLOSED}/",
                "filtered": f"http://{_FILTERED}:{deaf.getsockname()[1]}/",
                "denied": f"http://127.0.0.1:{internal.port}/",
                "denied by port": "http://93.184.216.34:22/",
                "unknown": "http://unknown.test/",
                "refused name": "http://nowhere.test/",
            }


async def _resolve(host: str, _port: int) -> Sequence[str]:
    if host == "unknown.test":
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    return ["169.254.169.254"] if host == "nowhere.test" else [host]


def _same(text: str) -> str:
    """Leave out what differs from task to task."""
    text = re.sub(r"t[a-z0-9]{7,9}-[0-9a-f-]{27}", "TASK", text)
    text = re.sub(r"\d{4}-\d\d-\d\dT[0-9:.]+Z|\b1[0-9]{9,18}\b", "TIME", text)
    return re.sub(r"req_[a-z0-9]+", "REQUEST", text)


async def test_every_cause_reads_the_same_in_the_task_in_its_callback_and_by_the_clock(
    tmp_path: Path,
) -> None:
    loop = asyncio.get_running_loop()
    bodies: dict[str, str] = {}
    seconds: dict[str, float] = {}
    async with Receiver() as receiver, addresses() as urls:
        settings = {
            "concurrency": 8,
            "egress.allow": f"127.0.0.2/31:1-65535,127.0.0.1/32:{urlsplit(receiver.url).port}",
            "egress.failures_last_seconds": _FAILURES_LAST,
        }
        async with running_service(
            tmp_path / "data", settings=settings, resolver=_resolve
        ) as service:

            async def ask(kind: str, url: str) -> None:
                began = loop.time()
                task = await service.submit(images=[url], callback_url=receiver.url)
                await service.ended(task)
                seconds[kind] = loop.time() - began
                shown = await service.client.get("/api/task/query", params={"task_id": task})
                own = await service.client.get(f"/v1/tasks/{task}")
                assert own.status_code == 200
                bodies[kind] = _same(shown.text) + _same(own.text)

            await asyncio.gather(*(ask(kind, url) for kind, url in urls.items()))
            await receiver.received(len(urls))
        told = {_same(request.body.decode()) for request in receiver.requests}

    assert len(set(bodies.values())) == 1, bodies
    assert len(told) == 1, told
    # None is told sooner than all could be. Later is the machine's own affair.
    assert min(seconds.values()) >= _FAILURES_LAST


async def test_every_cause_reads_the_same_in_the_list_of_callbacks(tmp_path: Path) -> None:
    kinds = ("no HTTP", "closed", "filtered", "denied", "denied by port", "unknown", "refused name")
    settings = {"egress.allow": "127.0.0.2/31:1-65535"}
    async with (
        addresses() as urls,
        running_service(tmp_path / "data", settings=settings, resolver=_resolve) as service,
    ):
        for kind in kinds:
            await service.submit(callback_url=urls[kind])
        async with asyncio.timeout(20):
            while True:
                items = (await service.client.get("/v1/deliveries")).json()["items"]
                if len([one for one in items if one["attempts"]]) == len(kinds):
                    break
                await asyncio.sleep(0.05)
    told = {(one["attempts"][0]["status_code"], one["attempts"][0]["error"]) for one in items}
    assert told == {(None, "the address could not be reached")}


async def test_the_default_time_of_a_failure_covers_a_port_that_swallows_packets() -> None:
    assert FAILURES_LAST > _CONNECT_SECONDS
