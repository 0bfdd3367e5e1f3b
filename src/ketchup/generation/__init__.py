"""The one use case: a request becomes a task, the task becomes images, the images are paid for.

Read `submit`, `run` and `finish` in this order. Here alone features meet, and here alone are the
transactions opened that span them:

    submit    idempotency, turn, hold, task         one transaction for many requests
    start     the journal, before anything is sent  the claim's, else one for many
    finish    task, credits, webhook                one for many
    cancel    the same, because a customer says so  one
    erase     task and callback, then the blobs     one each
    recover   what dead workers left behind         one for all of it

No transaction is open while something is fetched, rendered or stored. Running a task is at least
once; paying for it is exactly once, because only the attempt that still holds the lease can finish.
"""

import ketchup.provenance.log  # noqa: F401 its tables are part of the schema
from ketchup.generation.cancel import cancel
from ketchup.generation.chores import Chores
from ketchup.generation.erase import Eraser
from ketchup.generation.finish import CANCELLED, Ending, recover
from ketchup.generation.finishing import Finishing
from ketchup.generation.inputs import Inputs
from ketchup.generation.places import Places
from ketchup.generation.plans import allowance_of, set_plan
from ketchup.generation.results import Results, expires_at
from ketchup.generation.routing import Engines
from ketchup.generation.run import Claimed, Runner, RunRules
from ketchup.generation.submit import Accepted, Decision, GenerationRequest, Submitter
from ketchup.generation.wakeup import Wakeup

__all__ = [
    "CANCELLED",
    "Accepted",
    "Chores",
    "Claimed",
    "Decision",
    "Ending",
    "Engines",
    "Eraser",
    "Finishing",
    "GenerationRequest",
    "Inputs",
    "Places",
    "Results",
    "RunRules",
    "Runner",
    "Submitter",
    "Wakeup",
    "allowance_of",
    "cancel",
    "expires_at",
    "recover",
    "set_plan",
]
