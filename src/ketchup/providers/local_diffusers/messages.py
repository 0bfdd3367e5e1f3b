"""What the server and the pipeline's process say to each other, as MessagePack in frames.

```
Weights | Rehearsal ▶                      once, first
                    ◀ Ready | Broken       the process ends after Broken
Call                ▶
Unwanted            ▶                      at any time: stop that call at its next step
                    ◀ Step                 any number of them
                    ◀ Drawn | Stopped | OutOfMemory | Failed
```
"""

from __future__ import annotations

import msgspec


class Weights(msgspec.Struct, frozen=True, tag=True):
    """Which pipeline to load, and how it is called. `None` leaves it to the pipeline."""

    source: str
    """A folder, or the id of a pipeline on the hub."""
    is_folder: bool
    device: str = "auto"
    dtype: str = "auto"
    offload: str = "none"
    compile: bool = False
    steps: int | None = None
    guidance: float | None = None


class Rehearsal(msgspec.Struct, frozen=True, tag=True):
    """What stands in for weights where only the way to them is tried: see `rehearsal`."""

    notes: str
    """A file that is told of every call: a line of JSON with its prompts."""
    steps: int = 2
    turnstile: str = ""
    """A named pipe: each byte in it lets one step begin. Empty lets all."""
    fits: int = 1000
    """How many pictures of one call have room in its memory."""
    references: int = 4
    needs_reference: bool = False
    is_missing: bool = False
    """Whether it cannot be loaded."""


class Sketch(msgspec.Struct, frozen=True):
    """One picture of a call."""

    prompt: str
    seed: int
    format: str


class Call(msgspec.Struct, frozen=True, tag=True):
    """One call of the pipeline: pictures of one size. With references it is one picture."""

    number: int
    sketches: tuple[Sketch, ...]
    width: int
    height: int
    references: tuple[bytes, ...] = ()


class Unwanted(msgspec.Struct, frozen=True, tag=True):
    """Nobody waits for the pictures of that call any more."""

    number: int


class Abilities(msgspec.Struct, frozen=True):
    """What a pipeline can do, by its signature."""

    references: int
    """How many reference images one picture may have; 0 for none."""
    needs_reference: bool
    batches: bool
    """Whether one call draws several pictures, each from a seed of its own."""


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The pipeline is loaded."""

    abilities: Abilities


class Broken(msgspec.Struct, frozen=True, tag=True):
    """The pipeline cannot be loaded. `is_final` when only an operator can mend that."""

    error: str
    is_final: bool


class Step(msgspec.Struct, frozen=True, tag=True):
    """How much of the call is done, from 0.0 to 1.0."""

    done: float


class Picture(msgspec.Struct, frozen=True):
    """One drawn picture, in the size that it really has."""

    data: bytes
    width: int
    height: int
    is_flagged: bool = False
    """Whether the pipeline's own safety checker withheld it."""


class Drawn(msgspec.Struct, frozen=True, tag=True):
    """The pictures of a call, in its order."""

    pictures: tuple[Picture, ...]


class Stopped(msgspec.Struct, frozen=True, tag=True):
    """The call ended half-way, because it was unwanted."""


class OutOfMemory(msgspec.Struct, frozen=True, tag=True):
    """The call did not fit. What it held is free again."""

    error: str


class Failed(msgspec.Struct, frozen=True, tag=True):
    """The call failed otherwise."""

    error: str


Order = Weights | Rehearsal | Call | Unwanted
Answer = Ready | Broken | Step | Drawn | Stopped | OutOfMemory | Failed
