"""The world: everything of one simulation, from its seed to what is wrong at its end."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from structlog.testing import capture_logs

from tests.simulation.chaos import Chaos
from tests.simulation.customers import Customer, Promises
from tests.simulation.echo import Echo
from tests.simulation.hosts import Host
from tests.simulation.laws import Laws
from tests.simulation.machines import Machine
from tests.simulation.operators import Operator
from tests.simulation.outside import Engines, Receivers
from tests.simulation.plan import Faults, Plan, draw
from tests.simulation.process import PLANS
from tests.simulation.queue_laws import QueueLaws
from tests.simulation.schedule import Schedule
from tests.simulation.store import Commit, Store
from tests.simulation.trace import Trace
from tests.support.invariants import ALWAYS, AT_THE_END

_SCAN_EVERY: Final = 200
# In one instant: far more than all machines together do when they wake up.
_MOST_STEPS: Final = 100_000
# These are errors for an operator to see, and part of a bad day.
_EXPECTED_ERRORS: Final = (
    "lease lost: abandoning what runs",
    "attempt crashed",
    "CHANNEL TAKEN OUT",  # an engine says now and then that its key is wrong
    "paid images are lost",  # the image store did not take them in time
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one simulation."""

    seed: int
    complaints: Sequence[str]
    digest: str
    """The hash of everything that happened."""
    seconds: float
    """How long it lasted, in its own time."""
    commits: int
    ended: Counter[str]
    """How many tasks came to each end."""
    happened: Counter[str]
    """What else did, by its kind."""


def simulate(seed: int, days: float, show: Callable[[str], object] | None = None) -> Outcome:
    """Run the simulation of a seed until all is done or something is wrong."""
    with capture_logs() as logs:
        return World(seed, draw(seed, days), logs, show).run()


class World:
    """Who and what there is. Made for one run."""

    def __init__(
        self,
        seed: int,
        plan: Plan,
        logs: list[MutableMapping[str, Any]],
        show: Callable[[str], object] | None = None,
    ) -> None:
        self.plan = plan
        self.faults = plan.faults
        self.schedule = Schedule()
        self.trace = Trace(self.schedule, show)
        self.outside = Machine(self.schedule, "outside", plan.seed)
        self.store = Store(reverse=plan.reverse)
        self.blobs: dict[str, bytes] = {}
        self.laws = Laws(self.blobs, QueueLaws())
        self.engines = Engines(self)
        self.receivers = Receivers()
        self.promises = Promises()
        self.customers = [Customer(self, number) for number in range(1, plan.customers + 1)]
        self.apis, self.hosts = self._fleet()
        self.complaints: list[str] = []
        self._seed = seed
        self._logs = logs
        self._echo = Echo(self)
        self._commits = 0
        self._down_until = 0.0

    # -- what happens in it -----------------------------------------------------------------------

    @property
    def store_is_down(self) -> bool:
        return self.schedule.now < self._down_until

    def take_store_down(self, seconds: float) -> None:
        self.trace.note("store", f"is down for {seconds:.3f} s", "outage")
        self._down_until = self.schedule.now + seconds

    def any_api(self, random: Random) -> Host:
        """Return one of the hosts that answer requests, as a load balancer does."""
        return random.choice(self.apis)

    def ring(self) -> None:
        """Tell every process that there may be something to do; nobody relies on it."""
        for host in self.hosts:
            if self.outside.random.random() < 0.9:
                self.outside.loop.call_later(self.outside.random.expovariate(50.0), host.wake)

    async def rest(self, random: Random, times: float) -> bool:
        """Wait for what happens about so many times a day; False when today it does not again."""
        seconds = random.expovariate(times / self.plan.day)
        if self.schedule.now + seconds >= self.plan.day:
            return False
        await asyncio.sleep(seconds)
        return True

    def moment(self, machine: Machine, random: Random) -> None:
        """Let a machine have an accident at the worst moment."""
        luck = random.random()
        if luck < self.faults.mortal:
            self._host_of(machine).kill()
        elif luck < self.faults.mortal + self.faults.drowsy:
            self._host_of(machine).pause(random.uniform(0.0, 2 * self.plan.ttl))

    def committed(self, commit: Commit) -> None:
        """Judge and write down what a transaction changed."""
        self._commits += 1
        self.trace.note(commit.machine.name, "commits")
        for change in commit.changes:
            self.trace.note_change(commit.machine.name, change)
            self._echo.hear(change)
        for sentence in self.laws.judge(commit):
            self.complain(sentence)
        if self._commits % _SCAN_EVERY == 0:
            self._scan(ALWAYS)

    def told(self, url: str, name: str, body: bytes) -> None:
        """Have a receiver hear of a task's end."""
        self.trace.note("receiver", f"{url} is told {name}", "told")
        self.receivers.told[name].add(body)
        if len(self.receivers.told[name]) > 1:
            self.complain(f"{name} was told in two ways")

    def complain(self, sentence: str) -> None:
        sentence = self.trace.readable(sentence)
        self.trace.note("WRONG", sentence)
        self.complaints.append(sentence)

    # -- its course -------------------------------------------------------------------------------

    def run(self) -> Outcome:
        for customer in self.customers:
            self.store.transact(customer.open)
        self.store.take_changes()
        for host in self.hosts:
            host.start()
        living = self._begin()
        self._go_on(self.plan.day, lambda: False)
        self._calm_down()
        self._go_on(
            self.schedule.now + self.plan.patience,
            lambda: all(task.done() for task in living) and self._is_done(),
        )
        self._judge_the_drain(living)
        self._stop()
        self._close()
        return self._outcome()

    def _begin(self) -> list[asyncio.Future[None]]:
        Chaos(self).begin()
        self.outside.start(self._echo.live())
        share = self.plan.tasks / sum(customer.share for customer in self.customers)
        return [
            self.outside.run(Operator(self).live()),
            *(self.outside.run(c.live(share * c.share)) for c in self.customers),
        ]

    def _go_on(self, until: float, is_done: Callable[[], bool]) -> None:
        instant, since = self.schedule.now, self.schedule.steps
        while not self.complaints and self.schedule.now < until and not is_done():
            self.schedule.step()
            if self._logs:
                self._read_logs()
            if self.schedule.now > instant:
                instant, since = self.schedule.now, self.schedule.steps
            elif self.schedule.steps - since > _MOST_STEPS:
                self.complain("somebody does the same again and again, and time stands still")

    def _calm_down(self) -> None:
        """Let nothing go wrong any more: from here on, everything must come to its end."""
        self.trace.note("world", "calms down")
        self.faults = Faults()
        self._down_until = 0.0
        for host in self.hosts:
            host.set_clock(0.0)
            host.machine.resume()

    def _is_done(self) -> bool:
        return self.laws.open_tasks == 0 and self.laws.open_deliveries == 0

    def _judge_the_drain(self, living: Sequence[asyncio.Future[None]]) -> None:
        if self.complaints:
            return
        for life in living:
            if not life.done():
                self.complain("somebody never got an answer")
            elif error := life.exception():
                raise error
        if not self._is_done():
            self.complain(
                f"{self.laws.open_tasks} tasks and {self.laws.open_deliveries} deliveries are left"
            )
            for sql in (_OPEN_TASKS, _OPEN_DELIVERIES):
                for row in self.store.query(sql):
                    self.complain(f"never came to an end: {row}")
        self._scan({**ALWAYS, **_AT_THE_END})
        self._judge_promises()
        self._judge_shares()
        self._judge_deliveries()

    def _stop(self) -> None:
        """Stop everything in good order: nothing is left of it."""
        # Whoever has just noticed that its lease is lost takes another one first.
        self._go_on(self.schedule.now + self.plan.ttl, lambda: False)
        for host in self.hosts:
            host.retire()
        until = self.schedule.now + 10 * self.plan.ttl
        self._go_on(until, lambda: all(host.has_retired for host in self.hosts))
        if not self.complaints:
            for host in self.hosts:
                if not host.has_retired:
                    self.complain(f"{host.name} does not stop")
            for worker in self.laws.left_behind():
                self.complain(f"{worker} has stopped and left its lease behind")

    def _close(self) -> None:
        for host in self.hosts:
            host.machine.kill(self.outside.loop)
        self._go_on(self.schedule.now, lambda: False)
        self.outside.loop.end()
        self.store.close()

    def _outcome(self) -> Outcome:
        return Outcome(
            seed=self._seed,
            complaints=self.complaints,
            digest=self.trace.digest,
            seconds=self.schedule.now,
            commits=self._commits,
            ended=self.laws.ended,
            happened=self.trace.happened,
        )

    # -- judging ----------------------------------------------------------------------------------

    def _scan(self, rules: Mapping[str, str]) -> None:
        for name, sql in rules.items():
            for row in self.store.query(sql):
                self.complain(f"{name}: {row[0]}")

    def _judge_promises(self) -> None:
        for task_id in self.promises.accepted:
            if task_id not in self.laws.rows:
                self.complain(f"an acknowledged task is lost: {task_id}")
        for workspace, wish in self.promises.conflicts:
            key = self.promises.by_key.get((workspace, wish.key or ""))
            if key and key[1] == wish:
                self.complain(f"a request was said to contradict itself: {wish}")

    def _judge_shares(self) -> None:
        for workspace, name, *share in self.store.query(_SHARES):
            plan = PLANS.find(name)
            if share != [plan.concurrency, plan.weight]:
                self.complain(f"{workspace} is on {name} and has a share of {share}")

    def _judge_deliveries(self) -> None:
        # What was set aside was not given up: its receiver is disabled.
        kept = "SELECT id, state, tries FROM delivery WHERE note IS NULL"
        for name, state, tries in self.store.query(kept):
            gone = name in self.receivers.gone
            if state == "dead" and not gone and tries < len(self.plan.schedule):
                self.complain(f"{name} was given up after {tries} tries")
            if state == "delivered" and name not in self.receivers.told:
                self.complain(f"{name} counts as delivered, and nobody was told")

    def _read_logs(self) -> None:
        for line in self._logs:
            self.trace.note("log", line["event"], line["event"])
            if line["log_level"] == "error" and line["event"] not in _EXPECTED_ERRORS:
                self.complain(f"the log says: {line['event']}")
        self._logs.clear()

    def _fleet(self) -> tuple[list[Host], list[Host]]:
        if self.plan.alone:
            everything = Host(self, "serve", works=True)
            return [everything], [everything]
        apis = [Host(self, f"api{n}", works=False) for n in range(1, self.plan.apis + 1)]
        workers = [Host(self, f"worker{n}", works=True) for n in range(1, self.plan.workers + 1)]
        return apis, [*apis, *workers]

    def _host_of(self, machine: Machine) -> Host:
        name = machine.name.partition(".")[0]
        return next(host for host in self.hosts if host.name == name)


_AT_THE_END: Final = {name: sql for name, sql in AT_THE_END.items() if "given up" not in name}
_SHARES: Final = """
    SELECT t.workspace_id, w.plan, t.capacity, t.weight
    FROM turn t JOIN workspace w ON w.id = t.workspace_id"""
_OPEN_TASKS: Final = """
    SELECT id, status, queue_state, attempt, tries, worker_id FROM task
    WHERE status NOT IN ('success', 'failed')"""
_OPEN_DELIVERIES: Final = """
    SELECT id, state, attempt, tries, next_at, worker_id FROM delivery WHERE state = 'pending'"""
