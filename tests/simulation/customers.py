"""The customers, and what they were told: the promises that must be kept."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from random import Random
from typing import TYPE_CHECKING, Final

from ketchup import credits, tasks, workspaces
from ketchup.credits import InsufficientCredits
from ketchup.db import Connection
from ketchup.errors import Conflict, Unauthenticated, Unavailable
from ketchup.generation import Accepted, Decision, GenerationRequest, cancel
from ketchup.ids import KeyId, RequestId, TaskId, WorkspaceId
from ketchup.money import Credits
from ketchup.providers.catalog import Model
from ketchup.references import DataReference, Reference, UrlReference
from ketchup.spending import CapReached
from ketchup.tasks import Conflicting, Options, Priority, Status, TooDeep, TooSoon
from ketchup.workspaces import ApiKey, NewKey
from tests.simulation.hosts import Unanswered
from tests.simulation.outside import PNG
from tests.simulation.process import CATALOG, Process
from tests.support.factories import PEPPER, PRICE

if TYPE_CHECKING:
    from tests.simulation.world import World

# A revoked key stops within one second, everywhere.
_STOPS_WITHIN: Final = 1.0
_PRIORITIES: Final = ([Priority.NORMAL], [Priority.NORMAL], list(Priority), [Priority.HIGH])
# How many of the customers want a great many things at once, and all of them urgently.
_RUSHING: Final = 1 / 4
_ORDER: Final = list(Status)
_REGRETTED: Final = 1 / 6


class Told(Enum):
    """What came of a request."""

    ENOUGH = auto()
    LATER = auto()
    """Refused for now."""
    NOTHING = auto()
    """There was no answer: nobody knows whether there is a task."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a customer wants, so that it can be asked for again."""

    model: Model
    prompt: str
    images: tuple[Reference, ...]
    callback_url: str | None
    count: int
    priority: Priority
    key: str | None


@dataclass
class Promises:
    """What customers were told, and rely on."""

    accepted: dict[TaskId, WorkspaceId] = field(default_factory=dict)
    by_key: dict[tuple[WorkspaceId, str], tuple[TaskId, Wish]] = field(default_factory=dict)
    conflicts: list[tuple[WorkspaceId, Wish]] = field(default_factory=list)


class Customer:
    """One workspace, its habits, and its one developer who believes every answer."""

    def __init__(self, world: World, number: int) -> None:
        self.name = f"customer-{number}"
        self.workspace = WorkspaceId("")
        self.secret = ""
        self.key_id = KeyId("")
        self.stopped: dict[str, float] = {}
        """Since when a secret must be refused."""
        self.doubtful: set[str] = set()
        """Secrets that an operator has begun to revoke."""
        self.may_be_refused = False
        """Whether it was ever suspended: an order that hangs may be carried out at any time."""
        self._world = world
        self._random = Random(f"{world.plan.seed}/{self.name}")
        self._keyed = self._random.random()
        self._called_back = self._random.random()
        self._priorities = self._random.choice(_PRIORITIES)
        self._counts: Sequence[int] = (1, 1, 1, 2, 4)
        self._burst = self._random.choice((1, 1, 4, 12))
        """How many tasks it submits at once, at most."""
        self._wishes: list[Wish] = []
        self.plan = self._random.choice(("free", "pro", "scale", "scale"))
        self.share = self._random.choice((0.2, 1.0, 1.0, 3.0))
        """How busy this customer is beside the others."""
        self._regrets = Random(f"{world.plan.seed}/{self.name}/regrets")
        self._keys = 0
        if Random(f"{world.plan.seed}/{self.name}/rush").random() < _RUSHING:
            self.plan, self.share, self._burst, self._counts = "scale", 3.0, 60, (1,)
            self._priorities = [Priority.HIGH]

    def open(self, conn: Connection) -> None:
        """Get a workspace, some credits and a key: the day's first hour did not begin yet."""
        now = self._world.outside.clock.now()
        self.workspace = workspaces.create(conn, self.name, self.plan, now).id
        self._world.trace.alias(self.workspace, self.name)
        granted = self._random.choice((0, 3, 20, 200, 2000, 2000))
        if granted:
            credits.grant(conn, self.workspace, Credits(granted * PRICE), None, now)
        self.take(self.new_key(conn))

    def new_key(self, conn: Connection) -> tuple[ApiKey, str]:
        now = self._world.outside.clock.now()
        return workspaces.create_key(conn, PEPPER, self.workspace, NewKey(self.name), now)

    def take(self, made: tuple[ApiKey, str]) -> None:
        """Use this key from now on."""
        key, self.secret = made
        self._keys += 1
        self._world.trace.alias(key.id, f"{self.name}-key-{self._keys}")
        self.key_id = key.id

    async def live(self, tasks_wanted: float) -> None:
        """Submit so many tasks over the day, some of them in bursts."""
        burst = self._burst
        async with asyncio.TaskGroup() as group:
            while await self._world.rest(self._random, 2 * tasks_wanted / (1 + burst)):
                for _ in range(self._random.randint(1, burst)):
                    wish = self._wish()
                    for _ in range(self._random.choice((1, 1, 1, 1, 2))):
                        group.create_task(self._submit(wish))

    # -- one task ---------------------------------------------------------------------------------

    def _wish(self) -> Wish:
        """Make something up, or ask again for something from before."""
        random = self._random
        if self._wishes and random.random() < 0.1:
            return random.choice(self._wishes)
        number = len(self._wishes)
        key = f"{self.name}/{number}" if random.random() < self._keyed else None
        if key and number and random.random() < 0.05:
            key = random.choice(self._wishes).key  # a mistake: the key of another request
        wish = Wish(
            model=random.choice(list(CATALOG)),
            prompt=f"prompt {number}",
            images=random.choice(
                ((), (), (), (DataReference(PNG),), (UrlReference("https://example.com/a.png"),))
            ),
            callback_url=self._callback_url(),
            count=random.choice(self._counts),
            priority=self._random.choice(self._priorities),
            key=key,
        )
        self._wishes.append(wish)
        return wish

    def _callback_url(self) -> str | None:
        if self._random.random() > self._called_back:
            return None
        return f"https://{self.name}.example/{self._random.randint(1, 3)}"

    async def _submit(self, wish: Wish) -> None:
        """Ask until there is an answer; without a key, that may make more than one task."""
        patience = self._random.randint(1, 6)
        while patience:
            told = await self._try(wish)
            if told is Told.ENOUGH or (told is Told.NOTHING and self._gives_up(wish)):
                return
            patience -= told is Told.LATER
            await asyncio.sleep(self._random.expovariate(1 / self._world.plan.poll))

    async def _try(self, wish: Wish) -> Told:
        asked_at, secret = self._world.schedule.now, self.secret
        try:
            decision = await self._ask(wish, secret)
        except (Unanswered, Unavailable) as error:
            kind = type(error).__name__
            self._world.trace.note(self.name, f"{wish.prompt}: {kind}", kind)
            return Told.NOTHING
        except Unauthenticated:
            self._world.trace.note(self.name, f"{wish.prompt}: refused", "refused")
            if not self.may_be_refused and secret not in self.doubtful:
                self._world.complain(f"a good key of {self.name} was refused")
            return Told.LATER
        if asked_at > self.stopped.get(secret, asked_at) + _STOPS_WITHIN:
            self._world.complain(f"{self.name} was served with a key that had been revoked")
        return self._hear(decision, wish)

    def _gives_up(self, wish: Wish) -> bool:
        return wish.key is None and self._random.random() < 0.5

    async def _ask(self, wish: Wish, secret: str) -> Decision:
        async def work(process: Process) -> Decision:
            caller = await process.authenticator.authenticate([f"Bearer {secret}".encode()])
            return await process.submitter.submit(
                GenerationRequest(
                    caller=caller,
                    request_id=RequestId(f"req_{self.name}"),
                    model=wish.model,
                    prompt=wish.prompt,
                    images=wish.images,
                    callback_url=wish.callback_url,
                    options=Options(n=wish.count),
                    idempotency_key=wish.key,
                    priority=wish.priority,
                )
            )

        return await self._world.any_api(self._random).ask(work)

    def _hear(self, decision: Decision, wish: Wish) -> Told:
        """Believe an answer."""
        replayed = isinstance(decision, Accepted) and decision.replayed
        kind = "replayed" if replayed else type(decision).__name__
        self._world.trace.note(self.name, f"{wish.prompt}: {decision}", kind)
        match decision:
            case Accepted(task_id):
                self._accepted(task_id, wish)
            case Conflicting():
                self._world.promises.conflicts.append((self.workspace, wish))
            case TooSoon() | TooDeep():
                return Told.LATER
            case InsufficientCredits() | CapReached():
                return Told.LATER if self._random.random() < 0.5 else Told.ENOUGH
        return Told.ENOUGH

    def _accepted(self, task_id: TaskId, wish: Wish) -> None:
        promises = self._world.promises
        promises.accepted[task_id] = self.workspace
        if wish.key is not None:
            first = promises.by_key.setdefault((self.workspace, wish.key), (task_id, wish))
            if first != (task_id, wish):
                self._world.complain(f"the key {wish.key} stands for {first} and for {task_id}")
        if self._random.random() < 0.3:
            self._world.outside.start(self._poll(task_id))
        if self._regrets.random() < _REGRETTED:
            self._world.outside.start(self._cancel(task_id))

    async def _cancel(self, task_id: TaskId) -> None:
        """Ask for a task's end until there is an answer: at any time, or just when it runs."""
        told = "no answer"
        await asyncio.sleep(self._regrets.expovariate(1 / self._world.plan.poll))
        if self._regrets.random() < 0.5:
            while self._world.laws.rows[task_id]["status"] in {"pending", "submitted"}:
                await asyncio.sleep(self._world.plan.poll / 20)
        while told == "no answer":
            try:
                told = await self._world.any_api(self._regrets).ask(self._end(task_id))
            except Conflict:
                told = "too late"
            except (Unanswered, Unavailable):
                await asyncio.sleep(self._regrets.expovariate(1 / self._world.plan.poll))
        self._world.trace.note(self.name, f"cancels {task_id}: {told}", told)

    def _end(self, task_id: TaskId) -> Callable[[Process], Awaitable[str]]:
        async def work(process: Process) -> str:
            def write(conn: Connection) -> str:
                cancel(conn, self.workspace, task_id, process.machine.clock.now())
                (task,) = tasks.find_summaries(conn, [(self.workspace, task_id)])
                return "cancelled" if task and task.finished_at is not None else "signalled"

            told = await process.database.write(write)
            process.ended()
            return told

        return work

    async def _poll(self, task_id: TaskId) -> None:
        """Look at a task now and then: what it shows only goes forward."""
        shown = Status.PENDING
        while shown not in (Status.SUCCESS, Status.FAILED):
            await asyncio.sleep(self._random.expovariate(0.5 / self._world.plan.poll))
            try:
                task = await self._world.any_api(self._random).ask(self._look(task_id))
            except (Unanswered, Unavailable):
                continue
            if task is None:
                self._world.complain(f"{task_id} was acknowledged and cannot be found")
                return
            if _ORDER.index(task.status) < _ORDER.index(shown):
                self._world.complain(f"{task_id} was {shown} and is {task.status}")
            shown = task.status

    def _look(self, task_id: TaskId) -> Callable[[Process], Awaitable[tasks.Task | None]]:
        async def work(process: Process) -> tasks.Task | None:
            wanted = [(self.workspace, task_id)]
            (task,) = await process.database.read(lambda conn: tasks.get_many(conn, wanted))
            return task

        return work
