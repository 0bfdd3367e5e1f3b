"""The laws: what every single commit must respect, whoever made it.

Said anew, from the promises and not from the product's code: a mistake there cannot hide here. Each
function yields one sentence per breach.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from ketchup.generation import CANCELLED
from tests.simulation.machines import Machine
from tests.simulation.queue_laws import QueueLaws
from tests.simulation.store import Change, Commit, Row

ENDED: Final = ("success", "failed")
_RANK: Final = {"pending": 0, "submitted": 1, "in_progress": 2, "success": 3, "failed": 3}
_MOVES: Final = frozenset(
    {
        ("waiting", "ready"),
        ("ready", "waiting"),
        ("ready", "leased"),
        ("leased", "leased"),
        ("leased", "ready"),
        ("leased", "delayed"),
        ("leased", "done"),
        ("delayed", "ready"),
        # Cancelled.
        ("waiting", "done"),
        ("ready", "done"),
        ("delayed", "done"),
    }
)
_SIGNALLED: Final = ("leased", "done")
_AGREED: Final = [
    "workspace_id",
    "key_id",
    "request_id",
    "model",
    "prompt",
    "images",
    "callback_url",
    "options",
    "price",
    "created_at",
]
_OWED: Final = ["workspace_id", "task_id", "url", "origin", "body", "created_at"]
# A key is promised for 48 hours. Two clocks may be wrong by one each.
_KEY_SECONDS: Final = 46 * 3600.0


@dataclass
class Laws:
    """Judges each commit by what it changed, and remembers what the later ones need."""

    blobs: Mapping[str, bytes]
    queue: QueueLaws
    open_tasks: int = 0
    open_deliveries: int = 0
    ended: Counter[str] = field(default_factory=Counter)
    """How many tasks came to each end."""
    kept_blobs: set[str] = field(default_factory=set)
    """The images of every success."""
    _owners: dict[str, Machine] = field(default_factory=dict)
    _registered: set[str] = field(default_factory=set)
    _trusted_until: dict[str, float] = field(default_factory=dict)
    rows: dict[str, Row] = field(default_factory=dict)
    """Every task and delivery as it is now, by its id."""
    _keys: dict[tuple[str, str], float] = field(default_factory=dict)
    _charged: set[str] = field(default_factory=set)
    """The tasks that an engine has which charges."""

    def judge(self, commit: Commit) -> Iterator[str]:
        """Yield what this commit broke."""
        yield from self._workers(commit)
        for change in commit.of("task"):
            yield from self._task(commit, change)
        yield from self._money(commit)
        yield from _accounts(commit)
        yield from self._deliveries(commit)
        yield from self._journal(commit)
        yield from self._idempotency(commit)
        yield from self.queue.judge(commit)

    def left_behind(self) -> list[str]:
        """Return the latest lease of each living machine, as far as it is there.

        A worker that stops in good order ends its lease. One that it had lost before is reaped.
        """
        latest = {owner.name: worker for worker, owner in self._owners.items() if owner.alive}
        return sorted(self._registered.intersection(latest.values()))

    # -- leases -----------------------------------------------------------------------------------

    def _workers(self, commit: Commit) -> Iterator[str]:
        for change in commit.of("worker"):
            worker = str((change.new or change.old or {})["id"])
            if change.old is None:
                self._owners[worker] = commit.machine
                self._registered.add(worker)
            owner = self._owners[worker]
            if change.new is None:
                self._registered.discard(worker)
                if owner is not commit.machine and owner.alive:
                    left = self._trusted_until[worker] - commit.at
                    if left > 0:
                        yield f"{worker} of {owner.name} was reaped and trusts itself for {left:.3f} s"
                continue
            if owner is not commit.machine:
                yield f"the lease of {owner.name} was renewed by {commit.machine.name}"
            self._trusted_until[worker] = commit.asked_at + commit.machine.terms.trusted_for

    def _lease(self, commit: Commit, old: Row, new: Row) -> Iterator[str]:
        """Only the holder writes what it holds, or anybody once its lease is gone."""
        holder, taker = old["worker_id"], new["worker_id"]
        owner = self._owners.get(holder)
        if (
            holder in self._registered
            and owner is not commit.machine
            and not self._cancels(old, new)
        ):
            yield f"{new['id']} of {self._owners[holder].name} was written by {commit.machine.name}"
        if taker is not None and holder is None:
            if self._owners[taker] is not commit.machine:
                yield f"{commit.machine.name} gave {new['id']} to {taker}"
            if taker not in self._registered:
                yield f"{new['id']} was given to {taker}, which has no lease"

    def _cancels(self, old: Row, new: Row) -> bool:
        """Whether this is what a customer may do: signal what is charged for, end the rest."""
        changed = _differences(old, new)
        if changed.keys() == {"cancel_requested_at"}:
            return old["id"] in self._charged
        return changed.get("reason") == CANCELLED and old["id"] not in self._charged

    # -- tasks ------------------------------------------------------------------------------------

    def _task(self, commit: Commit, change: Change) -> Iterator[str]:
        if change.new is None:
            yield f"a task was removed: {change.old}"
            return
        task_id = change.new["id"]
        self.rows[task_id] = change.new
        if change.old is None:
            self.open_tasks += 1
            if (change.new["status"], change.new["attempt"]) != ("pending", 0):
                yield f"{task_id} did not begin at the beginning"
            return
        yield from (f"{task_id} {why}" for why in _step(change.old, change.new))
        yield from self._lease(commit, change.old, change.new)
        if change.old["cancel_requested_at"] and change.new["queue_state"] not in _SIGNALLED:
            yield f"{task_id} was signalled and is {change.new['queue_state']}"
        if change.new["status"] in ENDED:
            yield from self._end(change.new)

    def _end(self, row: Row) -> Iterator[str]:
        self.open_tasks -= 1
        self.ended[row["status"]] += 1
        images = json.loads(row["result"] or "[]")
        self.kept_blobs.update(images)
        for image in images:
            if image not in self.blobs:
                yield f"{row['id']} succeeded without its image {image}"
        wanted = json.loads(row["options"]).get("n", 1) if row["status"] == "success" else 0
        if len(images) != wanted:
            yield f"{row['id']} has {len(images)} images instead of {wanted}"

    def _journal(self, commit: Commit) -> Iterator[str]:
        """An attempt ends once. That it cost nothing may be heard later, when it was given up."""
        for change in commit.of("attempt"):
            if change.new is None:
                yield "an attempt was removed from the journal"
                continue
            row, task = change.new, self.rows[change.new["task_id"]]
            self._keep_charged(row)
            if change.old is None and task["cancel_requested_at"] is not None:
                yield f"{row['task_id']} was signalled and is sent again"
            if change.old is None:
                current = (task["attempt"], task["worker_id"], task["status"])
                if current != (row["number"], row["worker_id"], "in_progress"):
                    yield f"{row['task_id']} was sent under {row['number']} and is at {current}"
            elif is_vacated(change):
                continue
            elif change.old["outcome"] is not None and not _is_cheaper(change.old, row):
                yield f"attempt {row['number']} of {row['task_id']} ended twice"

    def _keep_charged(self, attempt: Row) -> None:
        charges = attempt["cost"] or attempt["on_unknown"] == "fail_and_release"
        if attempt["outcome"] is None and charges:
            self._charged.add(attempt["task_id"])
        else:
            self._charged.discard(attempt["task_id"])

    # -- money ------------------------------------------------------------------------------------

    def _money(self, commit: Commit) -> Iterator[str]:
        tasks = [(c.old, c.new) for c in commit.of("task") if c.new]
        begun = {new["id"]: new["price"] for old, new in tasks if old is None}
        ended = {new["id"]: new for _, new in tasks if new["status"] in ENDED}
        holds = commit.of("hold")
        held = {c.new["task_id"]: c.new["amount"] for c in holds if c.new}
        released = {c.old["task_id"]: c.old["amount"] for c in holds if c.new is None and c.old}
        if held != begun:
            yield f"tasks began at {begun}, and {held} was held"
        if released != {id_: row["price"] for id_, row in ended.items()}:
            yield f"tasks ended: {sorted(ended)}, and {released} was released"
        yield from _captures(commit, ended)

    # -- webhooks ---------------------------------------------------------------------------------

    def _deliveries(self, commit: Commit) -> Iterator[str]:
        changes = commit.of("delivery")
        ended = [c.new for c in commit.of("task") if c.new and c.new["status"] in ENDED]
        due = {row["id"]: row["callback_url"] for row in ended if row["callback_url"]}
        owed = {c.new["task_id"]: c.new["url"] for c in changes if c.old is None and c.new}
        # What is owed to a receiver that is disabled is set aside at once.
        self.open_deliveries += sum(
            c.old is None and c.new is not None and c.new["state"] == "pending" for c in changes
        )
        if owed != due:
            yield f"tasks ended with callbacks {due}, and {owed} is owed"
        for change in changes:
            yield from self._delivery(commit, change)

    def _delivery(self, commit: Commit, change: Change) -> Iterator[str]:
        old, new = change.old, change.new
        if new is None:
            yield f"a delivery was removed: {old}"
            return
        self.rows[new["id"]] = new
        if old is None:
            yield from _body(new, self.rows[new["task_id"]])
            return
        yield from (f"{new['id']} {why}" for why in _try(old, new))
        yield from self._lease(commit, old, new)
        self.open_deliveries -= new["state"] != "pending"

    # -- idempotency ------------------------------------------------------------------------------

    def _idempotency(self, commit: Commit) -> Iterator[str]:
        for change in commit.of("idempotency"):
            row = change.new or change.old or {}
            name = (row["workspace_id"], row["key"])
            if change.old is not None and commit.at - self._keys[name] < _KEY_SECONDS:
                yield f"the key {row['key']} was forgotten or changed before its time"
            if change.new is not None:
                self._keys[name] = commit.at


def _step(old: Row, new: Row) -> Iterator[str]:
    """Judge one step of a task."""
    if old["status"] in ENDED:
        yield f"was changed after its end: {_differences(old, new)}"
    if _RANK[new["status"]] < _RANK[old["status"]]:
        yield f"went back from {old['status']} to {new['status']}"
    move = (old["queue_state"], new["queue_state"])
    if move not in _MOVES:
        yield f"went from {move[0]} to {move[1]}"
    claimed = move == ("ready", "leased")
    if new["attempt"] != old["attempt"] + claimed:
        yield f"went from attempt {old['attempt']} to {new['attempt']} as {move}"
    if move == ("leased", "leased") and old["worker_id"] != new["worker_id"]:
        yield f"went from {old['worker_id']} to {new['worker_id']} without coming back first"
    if new["tries"] < old["tries"] or new["losses"] < old["losses"]:
        yield "forgot a try"
    if changed := [column for column in _AGREED if old[column] != new[column]]:
        yield f"changed what was agreed: {changed}"


def _try(old: Row, new: Row) -> Iterator[str]:
    """Judge one step of a delivery."""
    if old["state"] != "pending":
        yield f"was changed after its end: {_differences(old, new)}"
    claimed = old["worker_id"] is None and new["worker_id"] is not None
    if new["attempt"] != old["attempt"] + claimed:
        yield f"went from attempt {old['attempt']} to {new['attempt']}"
    if not 0 <= new["tries"] - old["tries"] <= 1:
        yield f"went from try {old['tries']} to {new['tries']}"
    if changed := [column for column in _OWED if old[column] != new[column]]:
        yield f"changed what is owed: {changed}"


def _captures(commit: Commit, ended: Mapping[str, Row]) -> Iterator[str]:
    """Every success was paid in full by this commit, and nothing else was."""
    entries = [change for change in commit.of("entry") if change.new]
    if any(change.old for change in commit.of("entry")):
        yield "an entry of the ledger was changed"
    paid = sorted(
        (c.new["task_id"], c.new["kind"], c.new["amount"])
        for c in entries
        if c.new and c.new["task_id"]
    )
    due = sorted(
        (id_, "capture", -row["price"])
        for id_, row in ended.items()
        if row["status"] == "success" and row["price"]
    )
    if paid != due:
        yield f"due was {due}, and paid was {paid}"
    for id_, row in ended.items():
        if row["consumed"] != (row["price"] if row["status"] == "success" else 0):
            yield f"{id_} ended as {row['status']} and consumed {row['consumed']}"


def _accounts(commit: Commit) -> Iterator[str]:
    """What an account gains is what its entries say, and what it holds is in its holds."""
    for amount, table, part in (("balance", "entry", "amount"), ("held", "hold", "amount")):
        off = _grown(commit.of("account"), amount)
        off.subtract(_grown(commit.of(table), part))
        if any(off.values()):
            yield f"accounts do not add up: {amount} is off by {dict(off)}"


def _grown(changes: Sequence[Change], column: str) -> Counter[str]:
    """Return by how much a column grew, for each workspace."""
    grown: Counter[str] = Counter()
    for change in changes:
        for row, sign in ((change.old, -1), (change.new, 1)):
            if row:
                grown[row["workspace_id"]] += sign * row[column]
    return grown


def _body(delivery: Row, task: Row) -> Iterator[str]:
    """Judge what a callback says, against the row of its task."""
    said: dict[str, Any] = json.loads(delivery["body"])
    shown = said["result"] or []
    images = json.loads(task["result"] or "[]")
    told = (said["task_id"], said["status"], len(shown))
    if told != (task["id"], task["status"], len(images)):
        yield f"the callback of {task['id']} says {told}"


def _differences(old: Row, new: Row) -> dict[str, Any]:
    return {column: value for column, value in new.items() if old[column] != value}


def is_vacated(change: Change) -> bool:
    """Whether an attempt takes no more room on its channel, and all else is as it was."""
    old, new = change.old, change.new
    if change.table != "attempt" or old is None or new is None:
        return False
    return dict(new) == {**old, "occupies_until": None}


def _is_cheaper(old: Row, new: Row) -> bool:
    return {**old, "cost": new["cost"]} == new and new["cost"] <= old["cost"]
