"""Customers who work a server hard, remember every promise, and complain when one is broken.

They submit with and without idempotency keys, some with references that cannot be fetched, all with
a callback; they poll; and they repeat what was not answered, as the contract lets them.

A task must look the same at all times and addresses: give a server that changes its own address a
public one that stays.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

import httpx2

from tests.support.invariants import TERMINAL, Promises

CUSTOMERS: Final = 4
_POLLS_PER_SUBMIT: Final = 3
_PATIENCE_SECONDS: Final = 60.0
_ORDER: Final = {"pending": 0, "submitted": 1, "in_progress": 2, "success": 3, "failed": 3}
# Nothing listens on the discard port: the task ends without an engine's work.
UNREACHABLE: Final = "http://127.0.0.1:9/reference.png"


@dataclass(frozen=True)
class Order:
    """A request that may have to be sent again."""

    body: dict[str, Any]
    key: str | None


@dataclass
class Customers:
    """All of them together; they share one API key and one memory."""

    api_key: str
    callback_url: str
    random: Random
    pictures: int
    """How many tasks may need the engine; all others fail at their reference."""
    most: int = 1_000
    """How many tasks they want in all; then they only ask and repeat."""
    refusals: frozenset[int] = frozenset()
    """Statuses by which a server may say: not now. Nobody complains, and asks again."""
    promises: Promises = field(default_factory=Promises)
    owed: set[str] = field(default_factory=set)
    """The ids of accepted tasks that asked for a callback."""
    ended: dict[str, dict[str, Any]] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)
    complained: asyncio.Event = field(default_factory=asyncio.Event)
    _seen: dict[str, int] = field(default_factory=dict)
    _unanswered: list[Order] = field(default_factory=list)
    _repeatable: list[Order] = field(default_factory=list)
    _submitted: int = 0

    @asynccontextmanager
    async def at_work(self, *addresses: str) -> AsyncIterator[None]:
        """Have them work at these addresses; one that is down is left for the next, and met again."""
        async with self._client(addresses[0]) as client:
            # Somebody is the first of all.
            await self._send(client, self._new())
        working = [
            asyncio.create_task(self._work(number, addresses)) for number in range(CUSTOMERS)
        ]
        try:
            yield
        finally:
            for work in working:
                work.cancel()
            for ended in await asyncio.gather(*working, return_exceptions=True):
                if isinstance(ended, Exception):
                    self._complain(f"a customer gave up: {ended!r}")

    async def accept_more(self, count: int) -> None:
        """Let them work until so many more tasks are accepted, or somebody complains."""
        goal = min(len(self.promises.accepted) + count, self.most)
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while len(self.promises.accepted) < goal and not self.complaints:
                await asyncio.sleep(0.02)

    async def submit_all(self, base_url: str, orders: Sequence[Order]) -> None:
        """Send these orders, one after the other, as long as there is a server."""
        async with self._client(base_url) as client:
            with suppress(httpx2.TransportError):
                for order in orders:
                    await self._send(client, order)

    async def poll_all(self, base_url: str) -> None:
        """Ask for every accepted task once."""
        async with self._client(base_url) as client:
            for task_id in sorted(self.promises.accepted):
                await self._poll(client, task_id)

    async def settle(self, base_url: str, seconds: float) -> None:
        """Repeat what was not answered, and wait until every accepted task has ended."""
        # A slow disk may hold up an answer: the whole has its time, and no single one.
        async with asyncio.timeout(seconds), self._client(base_url, None) as client:
            while self._unanswered:
                await self._send(client, self._unanswered.pop(0))
                await asyncio.sleep(0.01)
            while waiting := self.promises.accepted - self.ended.keys():
                for task_id in sorted(waiting):
                    await self._poll(client, task_id)
                await asyncio.sleep(0.05)

    def _client(self, base_url: str, timeout: float | None = 5.0) -> httpx2.AsyncClient:
        headers = {"Authorization": f"Bearer {self.api_key}"}
        return httpx2.AsyncClient(
            base_url=base_url, headers=headers, trust_env=False, timeout=timeout
        )

    async def _work(self, turn: int, addresses: Sequence[str]) -> None:
        while True:
            async with self._client(addresses[turn % len(addresses)]) as client:
                with suppress(httpx2.TransportError):
                    await self._submit_and_poll(client)
            await asyncio.sleep(0.05)
            turn += 1

    async def _submit_and_poll(self, client: httpx2.AsyncClient) -> None:
        while True:
            if order := self._next():
                await self._send(client, order)
            for _ in range(_POLLS_PER_SUBMIT):
                await self._poll(client, self._any_task())

    def _next(self) -> Order | None:
        if self._unanswered:
            return self._unanswered.pop()
        is_spent = self._submitted >= self.most
        if self._repeatable and (is_spent or self.random.random() < 0.2):
            return self.random.choice(self._repeatable)
        return None if is_spent else self._new()

    def _new(self) -> Order:
        self._submitted += 1
        body: dict[str, Any] = {
            "model": "google/gemini-2.5-flash-image",
            "prompt": f"a red boat, number {self._submitted}",
            "callback_url": self.callback_url,
        }
        if self.pictures and self.random.random() < 0.2:
            self.pictures -= 1
        else:
            body["images"] = [UNREACHABLE]
        key = f"order-{self._submitted}" if self.random.random() < 0.5 else None
        return Order(body, key)

    async def _send(self, client: httpx2.AsyncClient, order: Order) -> None:
        headers = {"Idempotency-Key": order.key} if order.key else {}
        is_accepted = False
        try:
            answer = await client.post("/api/image/gen", json=order.body, headers=headers)
            is_accepted = self._accepted(order, answer)
        finally:
            # Nobody knows what became of it. Only a key makes it repeatable.
            if order.key:
                (self._repeatable if is_accepted else self._unanswered).append(order)

    def _accepted(self, order: Order, answer: httpx2.Response) -> bool:
        if answer.status_code in self.refusals:
            return False
        if answer.status_code != httpx2.codes.OK:
            self._complain(f"a task was not accepted: {answer.status_code} {answer.text}")
            return False
        task_id = answer.json()["data"]["task_id"]
        self.promises.acknowledge(task_id, order.key)
        if "callback_url" in order.body:
            self.owed.add(task_id)
        return True

    def _any_task(self) -> str | None:
        return self.random.choice(list(self.promises.accepted)) if self.promises.accepted else None

    async def _poll(self, client: httpx2.AsyncClient, task_id: str | None) -> None:
        if task_id is None:
            return
        answer = await client.get("/api/task/query", params={"task_id": task_id})
        if answer.status_code in self.refusals:
            return
        if answer.status_code != httpx2.codes.OK:
            self._complain(f"{task_id} was acknowledged, but: {answer.status_code} {answer.text}")
            return
        self._judge(task_id, answer.json()["data"])

    def _judge(self, task_id: str, data: dict[str, Any]) -> None:
        status = data["status"]
        before = self._seen.get(task_id, 0)
        if _ORDER[status] < before:
            self._complain(f"{task_id} went back to {status}")
        self._seen[task_id] = max(before, _ORDER[status])
        if status not in TERMINAL:
            return
        if self.ended.setdefault(task_id, data) != data:
            self._complain(f"{task_id} changed after its end: {self.ended[task_id]} to {data}")

    def _complain(self, sentence: str) -> None:
        self.complaints.append(sentence)
        self.complained.set()
