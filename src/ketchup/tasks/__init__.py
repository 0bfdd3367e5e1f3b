"""Tasks: one accepted generation and its result, from the queue to its end.

    pending ──claim──▶ submitted ──start──▶ in_progress ──finish──▶ success
       ▲                   │                     │       └─finish──▶ failed
       └─── retry / lease lost / handed back ────┘   (in the queue; the status stays where it was)

The *status* is what the client sees; it only moves forward. The *queue state* says who may take the
task: `waiting` ones have to wait for others of their workspace, `ready` ones anybody may have,
`delayed` ones nobody yet, `leased` ones belong to one worker, `done` ones are over. A task that
must run again goes back to `ready`, after a pause as `delayed` where it failed, and keeps the
furthest status it had shown. One that is *signalled* goes back no more: its customer has cancelled
it while an engine that charges was at work on it.

Every arrow is one function, and a conditional update that names the task, the attempt and the
worker: zero rows means that the task is not ours any more. There is no way to set a status.

`table` has the rows, `admission` lets tasks in, `fairness` and `turns` say whose are next, `queue`
moves them in the words of `lease`, `recovery` brings back what was lost or is due, `in_flight`
counts what engines may be drawing, `withdraw` takes them out or signals them, `erase` empties them,
`queries` reads them, `history` for whoever looks back, `journal` for the operator.
"""

from ketchup.tasks.admission import (
    Conflicting,
    Fingerprint,
    IdempotencyKey,
    NewTask,
    enqueue,
    find_keys,
    forget_keys,
    remember_keys,
)
from ketchup.tasks.erase import Erasure, doom, erase, forget_doomed, list_doomed
from ketchup.tasks.fairness import UNLIMITED, Allowance, Priority, RateLimit, TooDeep, TooSoon
from ketchup.tasks.history import (
    History,
    Page,
    Summary,
    Try,
    Wanted,
    find_history,
    find_summaries,
    list_page,
)
from ketchup.tasks.in_flight import images_in_flight, let_go, let_go_of_all, make_room
from ketchup.tasks.journal import Journal, find_journal
from ketchup.tasks.lease import Attempt, End, Lease, LeaseLost, Sending
from ketchup.tasks.queries import Task, get_many
from ketchup.tasks.queue import (
    change_channel,
    claim,
    finish,
    forget_cost,
    hand_back,
    list_ended_for,
    postpone,
    retry,
    sent_before,
    start,
    was_ended,
)
from ketchup.tasks.recovery import (
    find_never_twice,
    list_holders,
    list_leases,
    promote_due,
    requeue_lost,
)
from ketchup.tasks.table import Options, Status
from ketchup.tasks.turns import Turns, fill, find_refusal, lock_turns, set_share
from ketchup.tasks.withdraw import (
    Withdrawn,
    lock_leased,
    lock_signalled,
    may_be_charged,
    signal,
    withdraw,
)

__all__ = [
    "UNLIMITED",
    "Allowance",
    "Attempt",
    "Conflicting",
    "End",
    "Erasure",
    "Fingerprint",
    "History",
    "IdempotencyKey",
    "Journal",
    "Lease",
    "LeaseLost",
    "NewTask",
    "Options",
    "Page",
    "Priority",
    "RateLimit",
    "Sending",
    "Status",
    "Summary",
    "Task",
    "TooDeep",
    "TooSoon",
    "Try",
    "Turns",
    "Wanted",
    "Withdrawn",
    "change_channel",
    "claim",
    "doom",
    "enqueue",
    "erase",
    "fill",
    "find_history",
    "find_journal",
    "find_keys",
    "find_never_twice",
    "find_refusal",
    "find_summaries",
    "finish",
    "forget_cost",
    "forget_doomed",
    "forget_keys",
    "get_many",
    "hand_back",
    "images_in_flight",
    "let_go",
    "let_go_of_all",
    "list_doomed",
    "list_ended_for",
    "list_holders",
    "list_leases",
    "list_page",
    "lock_leased",
    "lock_signalled",
    "lock_turns",
    "make_room",
    "may_be_charged",
    "postpone",
    "promote_due",
    "remember_keys",
    "requeue_lost",
    "retry",
    "sent_before",
    "set_share",
    "signal",
    "start",
    "was_ended",
    "withdraw",
]
