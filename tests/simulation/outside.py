"""The world around the service, as unreliable as it is: image store, engines and receivers."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Final

from typing_extensions import override

from ketchup.clock import Micros
from ketchup.errors import Unavailable
from ketchup.providers import base
from ketchup.providers.base import GeneratedImage, ImageRequest, Progress, ReferenceImage
from ketchup.references import Problem, Reference, ReferenceFailed, References, UrlReference
from ketchup.storage import BlobNotFound, DiskStorage
from tests.simulation.machines import Machine

if TYPE_CHECKING:
    from tests.simulation.world import World

PNG: Final = b"\x89PNG\r\n\x1a\n"
_MOMENT: Final = 0.01
_OK: Final = 200
_GONE: Final = 410


class SimulatedStorage(DiskStorage):
    """Blobs that all machines share, as one of them reaches them."""

    def __init__(self, world: World, machine: Machine) -> None:
        self._world = world
        self._machine = machine
        self._random = Random(f"{world.plan.seed}/{machine.name}/storage")

    @override
    async def put(self, key: str, data: bytes) -> None:
        await self._reach()
        self._world.blobs[key] = data
        self._world.moment(self._machine, self._random)

    @override
    async def get(self, key: str) -> bytes:
        await self._reach()
        if key not in self._world.blobs:
            raise BlobNotFound("not found")
        return self._world.blobs[key]

    @override
    async def delete(self, key: str) -> None:
        await self._reach()
        self._world.blobs.pop(key, None)
        self._world.trace.note(self._machine.name, f"removes {key}")
        if key in self._world.laws.kept_blobs:
            self._world.complain(f"{self._machine.name} removed the image of a success: {key}")

    @override
    async def sweep(self, folder: str, before: Micros, *, limit: int = 500) -> int:
        """Find nothing: no image and no reference is that old on the day that is simulated."""
        return 0

    async def _reach(self) -> None:
        await asyncio.sleep(self._random.expovariate(100.0))
        if not self._machine.alive:
            await asyncio.Event().wait()
        if self._random.random() < self._world.faults.blobs:
            raise Unavailable("the image store is unavailable")


class SimulatedReferences(References):
    """References that are fetched and decoded in no time, or cannot be."""

    def __init__(self, random: Random) -> None:
        self._random = random

    @override
    async def load(self, reference: Reference, workspace: str = "") -> ReferenceImage:
        if isinstance(reference, UrlReference) and self._random.random() < 0.2:
            raise ReferenceFailed(Problem.NOT_FETCHED, "no such host")
        return ReferenceImage(PNG, base.ImageFormat.PNG, 8, 8)


@dataclass
class Engines:
    """What renders, and for whom right now: no task is rendered twice at the same time.

    A machine that wakes up from a long pause goes on where it was, and only then looks at its
    lease: it has a moment for that.
    """

    world: World
    running: dict[str, list[Machine]] = field(default_factory=lambda: defaultdict(list))

    def begin(self, task_id: str, machine: Machine) -> None:
        self.running[task_id].append(machine)
        if len(self.running[task_id]) > 1:
            self.world.outside.loop.call_later(_MOMENT, self._look, task_id)

    def end(self, task_id: str, machine: Machine) -> None:
        self.running[task_id].remove(machine)

    def _look(self, task_id: str) -> None:
        awake = [machine.name for machine in self.running[task_id] if machine.awake]
        if len(awake) > 1:
            self.world.complain(f"{task_id} is rendered at the same time by {awake}")


class SimulatedEngine:
    """One machine's way to the engines."""

    def __init__(self, world: World, machine: Machine) -> None:
        self._world = world
        self._machine = machine
        self._random = Random(f"{world.plan.seed}/{machine.name}/engine")

    async def generate(
        self,
        request: ImageRequest,
        *,
        progress: Progress,
        cancelled: asyncio.Event,  # noqa: ARG002 a simulated engine ends with its caller
    ) -> Sequence[GeneratedImage]:
        engines, random = self._world.engines, self._random
        engines.begin(request.task_id, self._machine)
        self._world.trace.note(self._machine.name, f"renders {request.task_id}")
        try:
            hangs = random.random() < self._world.faults.hangs
            seconds = 1e6 if hangs else random.expovariate(1 / self._world.plan.render)
            await asyncio.sleep(seconds)
        finally:
            engines.end(request.task_id, self._machine)
        self._world.moment(self._machine, random)
        if random.random() < self._world.faults.engine:
            trouble = _trouble(random)
            self._world.trace.note("engine", f"{request.task_id}: {trouble!r}", "trouble")
            raise trouble
        progress(1.0)
        count = request.count
        if random.random() < self._world.faults.engine / 10:
            count -= 1
        return [GeneratedImage(PNG, base.ImageFormat.PNG, 8, 8)] * count

    async def close(self) -> None:
        pass


def _trouble(random: Random) -> Exception:
    return random.choice(
        (
            base.Refused("The prompt was refused."),
            base.RateLimited("slow down", retry_after=random.uniform(0.0, 30.0)),
            base.RateLimited("slow down"),
            base.Unavailable("overloaded"),
            base.TimedOut("too slow"),
            base.Misconfigured("no key"),
            base.NotServed("no such model"),
            base.NotServed("no such path", reason="The model takes no reference images."),
            ValueError("a mistake in the adapter"),
        )
    )


class NoAnswer(Exception):
    """The receiver did not answer."""


@dataclass(frozen=True, slots=True)
class SimulatedReply:
    status: int
    retry_after: float | None = None


@dataclass
class Receivers:
    """The customers' receivers, and what they were told."""

    told: dict[str, set[bytes]] = field(default_factory=lambda: defaultdict(set))
    """The bodies under each id that a receiver said yes to."""
    gone: set[str] = field(default_factory=set)
    """The ids that a receiver said 410 to."""


class SimulatedPoster:
    """One machine's way to the receivers."""

    def __init__(self, world: World, machine: Machine) -> None:
        self._world = world
        self._machine = machine
        self._random = Random(f"{world.plan.seed}/{machine.name}/poster")

    async def post(self, url: str, *, body: bytes, headers: Mapping[str, str]) -> SimulatedReply:
        faults, random = self._world.faults, self._random
        await asyncio.sleep(random.expovariate(2.0))
        if not self._machine.alive:
            await asyncio.Event().wait()
        name = headers["webhook-id"]
        if random.random() < faults.receivers:
            return self._fail(name)
        if random.random() < faults.gone:
            self._world.trace.note("receiver", f"{name}: gone", "gone")
            self._world.receivers.gone.add(name)
            return SimulatedReply(_GONE)
        self._world.told(url, name, body)
        self._world.moment(self._machine, random)
        if random.random() < faults.receivers / 4:
            raise NoAnswer("the connection broke before the answer")
        return SimulatedReply(_OK)

    def _fail(self, name: str) -> SimulatedReply:
        self._world.trace.note("receiver", f"{name}: failure", "failure")
        if self._random.random() < 0.5:
            raise NoAnswer("refused")
        wish = self._random.choice((None, self._random.uniform(0.0, self._world.plan.ttl)))
        return SimulatedReply(self._random.choice((302, 404, 500, 503)), wish)
