"""The wire contract: the public API that clients of the original service already speak.

`requests` judges what comes in, `endpoints` does it, `envelope` writes what goes out, `app` routes.
The shapes are msgspec types in `endpoints`; features never see them.
"""

from ketchup.wire.app import Wire
from ketchup.wire.body import BodyLimits
from ketchup.wire.endpoints import Surface
from ketchup.wire.envelope import Receive, Reply, Scope, Send, respond
from ketchup.wire.openapi import describe

__all__ = [
    "BodyLimits",
    "Receive",
    "Reply",
    "Scope",
    "Send",
    "Surface",
    "Wire",
    "describe",
    "respond",
]
