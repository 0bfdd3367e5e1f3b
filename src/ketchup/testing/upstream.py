"""The fake engine: a server on loopback that draws, counts, and fails by a script or by chance."""

from __future__ import annotations

import asyncio
import base64
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from random import Random
from types import TracebackType
from typing import Any, Final, Self

from ketchup.testing import pictures
from ketchup.testing.asked import Asked, Dialect
from ketchup.testing.faults import RENDERED, Fault, Held, Limited, Slow, Step
from ketchup.testing.gemini import Gemini
from ketchup.testing.http import Answer, Request, json_answer, read_request, reset
from ketchup.testing.openai import OpenAI

HUGE_BYTES: Final = 300_000_000
_BLOCK: Final = b" " * 65_536
_TRICKLE_SECONDS: Final = 0.05
_LIMIT: Final = 64 * 1024
# What a real engine does on a bad day. Those that ask for an operator are not among them.
BY_CHANCE: Final[Sequence[Step]] = (
    Fault.BROKEN,
    Fault.OVERLOADED,
    Fault.HTML,
    Fault.RESET_BEFORE_RENDERING,
    Fault.RESET_AFTER_RENDERING,
    Fault.TRUNCATED,
    Fault.HALF_BASE64,
    Fault.GATEWAY_TIMEOUT,
    Fault.PROMPT_BLOCKED,
    Fault.DUPLICATE,
    Fault.HUGE,
    Fault.WRONG_TYPE,
    Limited(header="1", retry_info="1s"),
    Slow(1.0),
)


class FakeUpstream:
    """Use it as `async with FakeUpstream() as upstream`; it listens at `upstream.url`.

    `chance` of the requests that no script is for meet a fault, by `seed`. `seconds` is how long a
    picture takes. One may be used again after it was left, also by another event loop.

    What breaks the fake itself is raised when it is left: a client would take it for an engine's
    fault, and a test for what it wants to see.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        chance: float = 0.0,
        seed: int = 0,
        seconds: float = 0.0,
        dialects: Sequence[Dialect] | None = None,
    ) -> None:
        self.asked: list[Asked] = []
        """Every request that was understood, in the order in which they came."""
        self.rendered: Counter[str] = Counter()
        """How many pictures were drawn for a prompt: what would have been charged."""
        self.most_at_once = 0
        """How many pictures were drawn at the same time, at most."""
        self._drawing = 0
        self._dialects = dialects if dialects is not None else (Gemini(), OpenAI())
        self._port = port
        self._chance = chance
        self._seconds = seconds
        self._random = Random(seed)
        self._script: deque[Step] = deque()
        self._changed = asyncio.Condition()
        self._connections: set[asyncio.Task[Any]] = set()
        self._broken: list[Exception] = []
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        # It belongs to the first loop that waits for it.
        self._changed = asyncio.Condition()
        self._server = await asyncio.start_server(
            self._accept, "127.0.0.1", self._port, limit=_LIMIT
        )
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._server is not None:
            self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        broken, self._broken = self._broken, []
        if broken and error is None:
            raise broken[0]

    @property
    def url(self) -> str:
        """The address to give a provider, without a path."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def in_flight(self) -> int:
        """How many connections are open."""
        return len(self._connections)

    def script(self, *steps: Step) -> None:
        """Say what becomes of the next requests, in order; those after them are answered."""
        self._script.extend(steps)

    async def until_asked(self, count: int) -> None:
        """Return once so many requests have come in whole."""
        async with self._changed:
            await self._changed.wait_for(lambda: len(self.asked) >= count)

    async def until_left(self) -> None:
        """Return once every connection is closed."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self._connections)

    # -- one connection ---------------------------------------------------------------------------

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A task of our own: asyncio's would log that it was cancelled.
        self._connections.add(asyncio.ensure_future(self._converse(reader, writer)))

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, ValueError):
                await self._serve(reader, writer)
        except Exception as error:  # noqa: BLE001 raised at the end
            self._broken.append(error)
        finally:
            writer.close()
            if task := asyncio.current_task():
                self._connections.discard(task)
            async with self._changed:
                self._changed.notify_all()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.read(1)
        while first:
            request = await read_request(first, reader)
            answering = asyncio.ensure_future(self._answer(request, writer))
            # The first byte of the next request, or at once its absence: the other side left.
            ahead = asyncio.ensure_future(reader.read(1))
            try:
                await asyncio.wait({answering, ahead}, return_when=asyncio.FIRST_COMPLETED)
                if not answering.done() and not ahead.result():
                    return
                if not await answering:
                    return
                first = await ahead
            finally:
                answering.cancel()
                ahead.cancel()
                await asyncio.gather(answering, ahead, return_exceptions=True)

    async def _answer(self, request: Request, writer: asyncio.StreamWriter) -> bool:
        """Answer one request, and say whether the connection can take another."""
        dialect = next((d for d in self._dialects if d.understands(request)), None)
        if dialect is None:
            files = (found for d in self._dialects if (found := d.file(request)))
            return await _send(writer, next(files, Answer(404, b"not found", "text/plain")))
        try:
            asked = dialect.read(request)
        except (ValueError, KeyError, TypeError) as error:
            return await _send(writer, dialect.malformed(repr(error)))
        self.asked.append(asked)
        async with self._changed:
            self._changed.notify_all()
        self._drawing += asked.count
        self.most_at_once = max(self.most_at_once, self._drawing)
        try:
            return await self._act(self._next_step(), dialect, asked, writer)
        finally:
            self._drawing -= asked.count

    def _next_step(self) -> Step:
        if self._script:
            return self._script.popleft()
        if self._random.random() < self._chance:
            return self._random.choice(BY_CHANCE)
        return None

    async def _act(
        self, step: Step, dialect: Dialect, asked: Asked, writer: asyncio.StreamWriter
    ) -> bool:
        match step:
            case Limited():
                send = _send_half if step.is_cut else _send
                return await send(writer, dialect.limited(step))
            case Fault():
                return await self._fail(step, dialect, asked, writer)
            case Slow(seconds):
                await asyncio.sleep(seconds)
            case Held(until):
                await (until or asyncio.Event()).wait()
            case None:
                await asyncio.sleep(self._seconds)
        return await _send(writer, dialect.pictures(asked, self._render(asked)))

    def _render(self, asked: Asked) -> list[str]:
        self.rendered[asked.prompt] += asked.count
        drawn = (
            pictures.picture(asked.size, asked.format, asked.seed + place)
            for place in range(asked.count)
        )
        return [base64.b64encode(data).decode() for data in drawn]

    # -- faults -----------------------------------------------------------------------------------

    async def _fail(
        self, fault: Fault, dialect: Dialect, asked: Asked, writer: asyncio.StreamWriter
    ) -> bool:
        encoded = self._render(asked) if fault in RENDERED else []
        answer = dialect.failure(fault, asked) or _replaced(fault, dialect, asked, encoded)
        if answer is not None:
            return await _send(writer, answer)
        match fault:
            case Fault.TRUNCATED:
                await _send_half(writer, dialect.pictures(asked, encoded))
            case Fault.DUPLICATE:
                right = dialect.pictures(asked, encoded)
                await _send(writer, right)
                return await _send(writer, right)
            case Fault.TRICKLE:
                await _trickle(writer, dialect.pictures(asked, encoded))
            case Fault.HUGE:
                await _flood(writer)
            case _:
                reset(writer)
        return False


_REPLACEMENTS: Final[Mapping[Fault, Callable[[str], str]]] = {
    Fault.HALF_BASE64: lambda text: text[: len(text) // 8 * 4],
    Fault.NOT_BASE64: lambda text: "!" + text[1:],
    Fault.NOT_AN_IMAGE: lambda _: base64.b64encode(b"no image at all").decode(),
    Fault.SVG: lambda _: base64.b64encode(pictures.SVG).decode(),
    Fault.BOMB: lambda _: base64.b64encode(pictures.bomb()).decode(),
}


def _replaced(
    fault: Fault, dialect: Dialect, asked: Asked, encoded: Sequence[str]
) -> Answer | None:
    """Return an answer that is right in form and wrong in content; None for other faults."""
    match fault:
        case Fault.HTML:
            return Answer(200, b"<!doctype html><title>Sign in</title>", "text/html")
        case Fault.REDIRECT:
            location = f"{asked.request.path}?key={asked.key}"
            return Answer(307, b"", headers={"location": location})
        case Fault.ECHO:
            return json_answer(500, {"error": {"message": f"cannot serve {asked.key}"}})
        case Fault.WRONG_TYPE:
            right = dialect.pictures(asked, encoded)
            return Answer(right.status, right.body, "text/plain")
        case _ if fault in _REPLACEMENTS:
            return dialect.pictures(asked, [_REPLACEMENTS[fault](text) for text in encoded])
        case _:
            return None


async def _send(writer: asyncio.StreamWriter, answer: Answer) -> bool:
    writer.write(answer.head() + answer.body)
    await writer.drain()
    return True


async def _send_half(writer: asyncio.StreamWriter, whole: Answer) -> bool:
    writer.write(whole.head() + whole.body[: len(whole.body) // 2])
    await writer.drain()
    return False


async def _trickle(writer: asyncio.StreamWriter, answer: Answer) -> None:
    writer.write(answer.head())
    for place in range(len(answer.body)):
        writer.write(answer.body[place : place + 1])
        await writer.drain()
        await asyncio.sleep(_TRICKLE_SECONDS)


async def _flood(writer: asyncio.StreamWriter) -> None:
    writer.write(Answer(200, b"").head(HUGE_BYTES))
    for _ in range(HUGE_BYTES // len(_BLOCK)):
        writer.write(_BLOCK)
        await writer.drain()
