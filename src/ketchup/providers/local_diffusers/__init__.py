"""Weights on this machine, by the library diffusers: an engine with a process of its own.

`provider` shares a request out into pictures, `batches` gathers pictures of several requests into
one call of the pipeline, `worker` is the process that makes the calls. It alone loads torch and
diffusers (`pipeline`), or what stands in for them in a rehearsal (`rehearsal`).
"""

from ketchup.providers.local_diffusers.batches import LocalSettings
from ketchup.providers.local_diffusers.messages import Rehearsal, Weights
from ketchup.providers.local_diffusers.provider import LocalDiffusersProvider

__all__ = ["LocalDiffusersProvider", "LocalSettings", "Rehearsal", "Weights"]
