"""Webhooks: the callback that is owed when a task ends, and every attempt to bring it.

A delivery is written in the transaction that ends its task, so it is owed exactly when the task is
terminal. From there it moves through these stages, each a type:

    NewDelivery ─enqueue→ (due) ─claim→ Pending ─post, decide→ Attempted ─record→ delivered
                            ↑                                                   │ dead
                            └──────────────── again, later ─────────────────────┘

Promises:

- at least once: until a receiver answers 2xx, every attempt of the schedule is made; a crash can
  repeat an attempt, never lose one;
- the id and the bytes are the same in every attempt, the timestamp and signature are fresh;
- attempt numbers only grow, and a record that names an old attempt or another worker writes
  nothing;
- a slow receiver fills its own places, not everybody's: attempts in flight are bounded per origin;
- a receiver that fails for five days, or says that it is gone, is left alone: see `destinations`;
- no transaction is open during a post.

What customers see of their callbacks, and sending one again, is in `history`. The signing secrets
and the guard against inner addresses are not here: secrets and the poster are passed in.
"""

from __future__ import annotations

from ketchup.webhooks.body import callback_body
from ketchup.webhooks.decision import (
    SCHEDULE,
    Again,
    Answered,
    Dead,
    Delivered,
    HandedBack,
    Unanswered,
    decide,
)
from ketchup.webhooks.deliveries import (
    DeliveryState,
    NewDelivery,
    delivery,
    delivery_attempt,
    enqueue,
    enqueue_test,
    forget,
    origin_of,
)
from ketchup.webhooks.destinations import (
    Reason,
    ShownDestination,
    enable,
    list_destinations,
)
from ketchup.webhooks.history import (
    REST_SECONDS,
    Redelivery,
    Shown,
    Wanted,
    find,
    list_page,
    redeliver,
)
from ketchup.webhooks.queue import (
    Attempted,
    Lease,
    Pending,
    Recording,
    bring_forward,
    claim,
    list_holders,
    next_due,
    record,
    requeue_lost,
)
from ketchup.webhooks.sender import Poster, Reply, Secrets, Sender, SenderSettings, Tally

__all__ = [
    "REST_SECONDS",
    "SCHEDULE",
    "Again",
    "Answered",
    "Attempted",
    "Dead",
    "Delivered",
    "DeliveryState",
    "HandedBack",
    "Lease",
    "NewDelivery",
    "Pending",
    "Poster",
    "Reason",
    "Recording",
    "Redelivery",
    "Reply",
    "Secrets",
    "Sender",
    "SenderSettings",
    "Shown",
    "ShownDestination",
    "Tally",
    "Unanswered",
    "Wanted",
    "bring_forward",
    "callback_body",
    "claim",
    "decide",
    "delivery",
    "delivery_attempt",
    "enable",
    "enqueue",
    "enqueue_test",
    "find",
    "forget",
    "list_destinations",
    "list_holders",
    "list_page",
    "next_due",
    "origin_of",
    "record",
    "redeliver",
    "requeue_lost",
]
