"""What the customers' API answers with, as JSON: money is a decimal string, a time RFC 3339."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from pydantic import BaseModel, Field

from ketchup.api.shapes import AmountOut, TimeOut
from ketchup.clock import Micros
from ketchup.providers.base import AspectRatio, ImageSize
from ketchup.providers.catalog import Model
from ketchup.tasks import History, Page, Status, Summary, Try
from ketchup.workspaces import Environment


class ModelView(BaseModel):
    """A model, with its price and its limits."""

    id: str
    title: str
    aliases: list[str] = Field(description="Other names that mean the same model.")
    price: AmountOut = Field(description="For one image; a task costs this times its `n`.")
    max_n: int = Field(description="Images that one task may ask for.")
    max_reference_images: int
    aspect_ratios: list[str]
    image_sizes: list[str]

    @classmethod
    def of(cls, model: Model) -> Self:
        """Show a model."""
        return cls(
            id=model.id,
            title=model.title,
            aliases=list(model.aliases),
            price=model.price,
            max_n=model.max_count,
            max_reference_images=model.max_reference_images,
            aspect_ratios=[ratio.value for ratio in AspectRatio if ratio in model.aspect_ratios],
            image_sizes=[size.value for size in ImageSize if size in model.image_sizes],
        )


class ModelList(BaseModel):
    """The models that the key may use, in the operator's order."""

    items: list[ModelView]


class TaskSummary(BaseModel):
    """A task in a list: when it first came to each status, and what it costs."""

    id: str
    model: str
    status: Status
    price: AmountOut = Field(description="What is held for it until it ends.")
    consumed: AmountOut = Field(description="What it has cost: the price after success, or 0.")
    reason: str | None = Field(description="Why it failed, in one sentence.")
    created_at: TimeOut
    submitted_at: TimeOut | None = Field(description="When a worker first took it.")
    started_at: TimeOut | None = Field(description="When it was first sent to an engine.")
    finished_at: TimeOut | None
    cancel_requested_at: TimeOut | None = Field(
        description="When its cancel was asked for, if an engine that charges was at work on it."
    )
    environment: Environment = Field(description="Of its key: a test costs nothing.")

    @classmethod
    def of(cls, summary: Summary) -> Self:
        """Show a task of a list."""
        return cls.model_validate(summary, from_attributes=True)


class TaskPage(BaseModel):
    """Some tasks, newest first. It may have fewer than `limit`, even none, while others follow."""

    items: list[TaskSummary]
    next: str | None = Field(description="Give it as `before` for the next page; null at the end.")

    @classmethod
    def of(cls, page: Page) -> Self:
        """Show a page."""
        return cls(items=[TaskSummary.of(one) for one in page.tasks], next=page.following)


class AttemptView(BaseModel):
    """One time that a task was sent to an engine."""

    number: int = Field(description="Grows, and can leave numbers out.")
    sent_at: TimeOut
    finished_at: TimeOut | None
    outcome: str | None = Field(
        description="`success`, `failed`, `retry`, `interrupted` or `unknown`; null while it runs."
    )

    @classmethod
    def of(cls, one: Try) -> Self:
        """Show an attempt."""
        return cls.model_validate(one, from_attributes=True)


class TaskDetail(TaskSummary):
    """A task with what was asked for, what came of it, and its attempts."""

    prompt: str
    n: int
    aspect_ratio: str | None
    image_size: str | None
    seed: int | None
    output_format: str | None
    references: int = Field(description="How many images came in with it.")
    callback_url: str | None
    result: list[str] | None = Field(description="The images; null before success.")
    expires_at: TimeOut | None = Field(
        description="When its images go, as the plan says today; null without images."
    )
    attempts: list[AttemptView] = Field(description="Oldest first.")

    @classmethod
    def showing(
        cls, history: History, images: Sequence[str] | None, expires_at: Micros | None
    ) -> Self:
        """Show a task; `images` as its model shows them, until `expires_at`."""
        options = history.options
        return cls(
            **TaskSummary.of(history.summary).__dict__,
            prompt=history.prompt,
            n=options.n,
            aspect_ratio=options.aspect_ratio,
            image_size=options.image_size,
            seed=options.seed,
            output_format=options.output_format,
            references=history.references,
            callback_url=history.callback_url,
            result=None if images is None else list(images),
            expires_at=expires_at,
            attempts=[AttemptView.of(one) for one in history.attempts],
        )
