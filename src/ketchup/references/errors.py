"""Why a reference image cannot be used: one fixed sentence per kind.

The sentences are shown to the customer as the reason of a failed task. They say nothing about the
remote side: no status, no address, no timing.
"""

from __future__ import annotations

from enum import StrEnum


class Problem(StrEnum):
    """What is wrong, in the customer's words."""

    NOT_FETCHED = "a reference image could not be fetched"
    TOO_LARGE = "a reference image is too large"
    ANIMATED = "a reference image is animated"
    NOT_DECODED = "a reference image could not be decoded"


class ReferenceFailed(Exception):
    """The task cannot go on. `str(error)` is the sentence; `detail` is for the log alone."""

    def __init__(self, problem: Problem, detail: str = "") -> None:
        super().__init__(problem.value)
        self.problem = problem
        self.detail = detail
