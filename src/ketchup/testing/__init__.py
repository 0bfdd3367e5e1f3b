"""What a test or a rehearsal needs in place of the outside world, and that comes with Ketchup.

`FakeUpstream` is a server that speaks as Google's and OpenAI's image engines do, draws real
pictures, counts what it would have charged for, and fails in the ways that they fail.
"""

from ketchup.testing.asked import Asked, Dialect
from ketchup.testing.faults import Fault, Held, Limited, Slow, Step, script_of
from ketchup.testing.upstream import FakeUpstream

__all__ = [
    "Asked",
    "Dialect",
    "FakeUpstream",
    "Fault",
    "Held",
    "Limited",
    "Slow",
    "Step",
    "script_of",
]
