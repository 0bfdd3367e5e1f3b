"""Batches: pictures that wait, gathered into calls of the pipeline, and the process that is called.

One call runs at a time. The picture that has waited longest goes first and takes along those of the
same size, up to `batch`; pictures with references go alone. Steps and guidance are the channel's,
so size is all that compatible pictures must share.

- A call that does not fit is tried again in halves, and that size is remembered for later ones.
- A picture that nobody wants any more leaves the others alone; when a whole call is unwanted, the
  pipeline stops at its next step.
- A process that dies fails the pictures of its call, and nobody else's. The next call starts a new
  one; so does the second failure in a row, for a device can stay broken after an error.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from ketchup.providers.base import ProviderError, Refused, Unavailable
from ketchup.providers.local_diffusers.messages import (
    Call,
    Drawn,
    OutOfMemory,
    Picture,
    Rehearsal,
    Sketch,
    Stopped,
    Weights,
)
from ketchup.providers.local_diffusers.process import Process

CLOSED: Final = "The engine is closed."
TOO_LARGE: Final = "This model cannot draw an image of this size; a smaller one may work."
WITHHELD: Final = "The request was refused by the model's safety rules."
_FAILURES: Final = 2


@dataclass(frozen=True, slots=True)
class LocalSettings:
    """One pipeline, and how pictures are gathered for it."""

    weights: Weights | Rehearsal
    sizes: Sequence[tuple[int, int]] = ()
    """The only sizes that it draws: the nearest in shape is taken. Empty is any."""
    batch: int = 1
    """How many pictures one call draws at most."""
    batch_wait: float = 0.02
    """How long, in seconds, the first picture waits for others."""
    grace: float = 120.0
    """How long, in seconds, an unwanted call may take to its next step before it is killed."""


@dataclass(eq=False, slots=True)
class Wanted:
    """One picture that somebody waits for."""

    sketch: Sketch
    size: tuple[int, int]
    references: tuple[bytes, ...]
    told: Callable[[float], None]
    """Told how much of it is done; starts anew when its call is tried again."""
    since: float
    picture: asyncio.Future[Picture] = field(default_factory=asyncio.Future)


class Batches:
    """Everything that waits for one pipeline. Belongs to one event loop."""

    def __init__(self, settings: LocalSettings) -> None:
        self._settings = settings
        self._process = Process(settings.weights, grace=settings.grace)
        self._waiting: list[Wanted] = []
        self._changed = asyncio.Event()
        self._running: Sequence[Wanted] = ()
        self._fits: dict[tuple[int, int], int] = {}
        self._failures = 0
        self._calls = 0
        self._work: asyncio.Task[None] | None = None
        self._is_closed = False

    @property
    def pid(self) -> int | None:
        """The pipeline's process, while there is one."""
        return self._process.pid

    async def draw(self, wanted: Wanted) -> Picture:
        """Wait for the picture; a cancelled call gives it up. Raises a ProviderError."""
        if self._is_closed:
            raise Unavailable(CLOSED)
        self._waiting.append(wanted)
        self._changed.set()
        if self._work is None:
            self._work = asyncio.create_task(self._serve())
        try:
            return await wanted.picture
        finally:
            self._forget(wanted)

    async def close(self) -> None:
        """End the process and fail what waits."""
        self._is_closed = True
        if self._work is not None:
            self._work.cancel()
            await asyncio.gather(self._work, return_exceptions=True)
            self._work = None
        _fail([*self._running, *self._waiting], Unavailable(CLOSED))
        await self._process.stop()

    def _forget(self, wanted: Wanted) -> None:
        if wanted in self._waiting:
            self._waiting.remove(wanted)
            self._changed.set()
        if wanted in self._running and not _still(self._running):
            self._process.give_up()

    async def _serve(self) -> None:
        while True:
            self._running = await self._gather()
            try:
                await self._draw(self._running)
            except ProviderError as error:
                _fail(self._running, error)
            except Exception as error:  # noqa: BLE001 the top of the loop: whoever waits is told
                await self._process.stop()
                _fail(self._running, Unavailable(f"The pipeline's process: {error!r}"))
            self._running = ()

    async def _gather(self) -> Sequence[Wanted]:
        """Return the next call's pictures, as soon as there are enough or it is time."""
        now = asyncio.get_running_loop().time
        while True:
            left = None
            if self._waiting:
                first = self._waiting[0]
                most = self._most(first)
                found = [other for other in self._waiting if _go_together(first, other)][:most]
                left = first.since + self._settings.batch_wait - now()
                if len(found) == most or left <= 0:
                    self._waiting = [other for other in self._waiting if other not in found]
                    return found
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._changed.wait()

    def _most(self, first: Wanted) -> int:
        if first.references:
            return 1
        abilities = self._process.abilities
        batches = abilities is None or abilities.batches
        return min(self._settings.batch, self._fits.get(first.size, 1000)) if batches else 1

    async def _draw(self, gathered: Sequence[Wanted]) -> None:
        abilities = await self._process.ready()
        # Loading takes minutes: some may have gone, and it says how many may go together.
        wanted = _still(gathered)
        if not wanted:
            return
        if sentence := _beyond(wanted[0], abilities.references, abilities.needs_reference):
            raise Refused(sentence)
        most = self._most(wanted[0])
        self._running = wanted[:most]
        self._put_back(wanted[most:])
        await self._call(self._running)

    async def _call(self, wanted: Sequence[Wanted]) -> None:
        def step(done: float) -> None:
            for one in _still(wanted):
                one.told(done)

        self._calls += 1
        first = wanted[0]
        sketches = tuple(one.sketch for one in wanted)
        call = Call(self._calls, sketches, *first.size, references=first.references)
        answer = await self._process.call(call, step)
        match answer:
            case Drawn(pictures):
                self._failures = 0
                _hand_out(wanted, pictures)
            case OutOfMemory(error):
                self._halve(wanted, error)
            case Stopped():
                pass
            case _:
                await self._after_failure()
                raise Unavailable(f"The pipeline failed:\n{answer.error}")

    def _halve(self, wanted: Sequence[Wanted], error: str) -> None:
        first = wanted[0]
        if len(wanted) == 1:
            width, height = first.size
            raise Refused(TOO_LARGE, detail=f"out of memory at {width}x{height} alone: {error}")
        self._fits[first.size] = len(wanted) // 2
        self._put_back(_still(wanted))

    def _put_back(self, wanted: Sequence[Wanted]) -> None:
        """Let them be the next."""
        self._waiting[:0] = wanted

    async def _after_failure(self) -> None:
        self._failures += 1
        if self._failures >= _FAILURES:
            self._failures = 0
            await self._process.stop()


def _still(wanted: Sequence[Wanted]) -> list[Wanted]:
    """Return those that somebody still waits for."""
    return [one for one in wanted if not one.picture.done()]


def _fail(wanted: Sequence[Wanted], error: ProviderError) -> None:
    for one in _still(wanted):
        one.picture.set_exception(error)


def _go_together(first: Wanted, other: Wanted) -> bool:
    return first is other or (
        first.size == other.size and not first.references and not other.references
    )


def _beyond(wanted: Wanted, most: int, needs_reference: bool) -> str | None:
    """Say what a pipeline cannot do of what is wanted, for the customer."""
    if needs_reference and not wanted.references:
        return "This model needs a reference image."
    if len(wanted.references) <= most:
        return None
    return f"This model takes {f'{most} reference image' if most else 'no reference images'}."


def _hand_out(wanted: Sequence[Wanted], pictures: Sequence[Picture]) -> None:
    if len(pictures) != len(wanted):
        raise msgspec.ValidationError(f"{len(pictures)} pictures instead of {len(wanted)}")
    for one, picture in zip(wanted, pictures, strict=True):
        if one.picture.done():
            continue
        if picture.is_flagged:
            one.picture.set_exception(Refused(WITHHELD, detail="the pipeline's safety checker"))
        else:
            one.picture.set_result(picture)
