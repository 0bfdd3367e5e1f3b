"""Outcomes: what one attempt came to, and what an error says about the task and its charge.

Nothing here reads or writes. What a channel's error means depends on whether it proves that nothing
was rendered and charged, and on whether the channel may be asked twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from ketchup.errors import Unavailable
from ketchup.generation.finish import failed_end
from ketchup.generation.routing import GivenUp, Unknown, Wait
from ketchup.generation.start import Sent
from ketchup.providers.base import (
    AnswerLost,
    GeneratedImage,
    Misconfigured,
    NotServed,
    ProviderError,
    RateLimited,
    Refused,
)
from ketchup.providers.base import Unavailable as EngineUnavailable
from ketchup.references import ReferenceFailed, sniff
from ketchup.tasks import End, Lease

CHANNELS_OUT: Final = "The model is out of order; nothing was charged. Please try again later."
NO_ANSWER: Final = "The engine did not answer; nothing was charged. Please try again."
NO_IMAGES: Final = "The model returned no image."
NOT_STORED: Final = "The image could not be stored; nothing was charged. Please try again."


@dataclass(frozen=True, slots=True)
class Succeeded:
    """There are images, and somebody rendered them."""

    images: Sequence[GeneratedImage]
    provider: str
    model: str
    """That rendered them: another than was asked for where one stood in."""
    policy: Unknown
    """Whether the task may be sent again when the images come to nothing."""


@dataclass(frozen=True, slots=True)
class Failed:
    """Final; `reason` is for the customer."""

    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Retry:
    """Another attempt could end better."""

    detail: str
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class Gone:
    """The lease was lost; nothing may be written."""


@dataclass(frozen=True, slots=True)
class NobodyKnows:
    """It may have been rendered and charged, and its channel is never asked twice."""

    detail: str


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Nothing was rendered or charged, and another channel may be asked at once."""

    detail: str


Outcome = Succeeded | Failed | Retry | Gone | NobodyKnows | Elsewhere | Wait

EXPECTED: Final = (ReferenceFailed, ProviderError, Unavailable, TimeoutError)
FREE: Final = (EngineUnavailable, RateLimited, Misconfigured)
"""What proves that nothing was rendered and charged."""


def not_sent(decided: Wait | GivenUp | None) -> Outcome:
    """Say what becomes of a task that was not given a channel; None is for a lost lease."""
    match decided:
        case None:
            return Gone()
        case GivenUp(detail):
            return Failed(CHANNELS_OUT, detail)
        case Wait():
            return decided


def delivered(images: Sequence[GeneratedImage], wanted: int, sent: Sent) -> Succeeded | Failed:
    """Say whether a provider kept its promise, as far as it costs nothing to see."""
    if len(images) != wanted:
        return Failed(NO_IMAGES, f"{len(images)} images instead of {wanted}")
    if any(sniff(image.data) is not image.format for image in images):
        return Failed(NO_IMAGES, "what was returned is not in the format that it is said to be")
    channel = sent.chosen.channel
    return Succeeded(images, channel.provider, sent.chosen.model, channel.unknown)


def after(sent: Sent, error: Exception) -> Outcome:
    """Say what becomes of a task whose channel raised this."""
    if is_out(error) or _may_move(sent, error):
        return Elsewhere(f"{type(error).__name__}: {error}")
    outcome = judged(error)
    is_settled = isinstance(error, (*FREE, Refused))
    if is_settled or sent.chosen.channel.unknown is Unknown.RESUBMIT:
        return outcome
    return NobodyKnows(f"{type(error).__name__}: {error}")


def is_out(error: Exception) -> bool:
    """Whether an error is about its whole channel, until an operator acts."""
    return isinstance(error, Misconfigured) and not isinstance(error, NotServed)


def _may_move(sent: Sent, error: Exception) -> bool:
    # The channels of a stand-in are asked when its model's own are out, which one task's absence
    # from one of them does not make them.
    others = sent.has_peers if isinstance(error, NotServed) else sent.has_others
    return others and isinstance(error, FREE)


def judged(error: Exception) -> Failed | Retry:
    """Say what an exception means for the task: whether another attempt could end better."""
    match error:
        case ReferenceFailed():
            return Failed(str(error), f"{error.problem.name}: {error.detail}")
        case Refused():
            return Failed(error.reason, f"refused by the engine: {error}")
        case NotServed(reason=str() as reason):
            return Failed(reason, f"not served by the engine: {error}")
        case RateLimited():
            return Retry(f"rate limited: {error}", error.retry_after)
        case _:
            return Retry(f"{type(error).__name__}: {error}", pause_of(error))


def pause_of(error: Exception) -> float | None:
    """Return how long an engine asked us to stay away, in seconds."""
    return error.retry_after if isinstance(error, (RateLimited, AnswerLost)) else None


def wasted(outcome: Outcome, detail: str) -> Failed | Retry:
    """Say what becomes of a task whose end did not work out.

    What was rendered was charged: a channel that is never asked twice does not render it again.
    """
    if isinstance(outcome, Succeeded) and outcome.policy is Unknown.FAIL_AND_RELEASE:
        return Failed(NOT_STORED, detail)
    return Retry(detail)


def unknown_end(lease: Lease, detail: str) -> End:
    """Return the end of a task of which nobody knows whether it was charged; it is free."""
    return replace(failed_end(lease, NO_ANSWER, detail), is_unknown=True)
