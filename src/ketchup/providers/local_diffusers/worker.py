"""The pipeline's process: loads it once, then makes one call after the other.

Two threads: one draws, the other reads, for a call has to hear that it is unwanted while it runs.
The reader also ends the process when the input ends, in the middle of a step or of loading: a
server that was killed must not leave the device's memory taken.
"""

from __future__ import annotations

import os
import threading
import traceback
from queue import SimpleQueue
from typing import BinaryIO

import msgspec

from ketchup.providers.local_diffusers.drawing import Full, NotWanted, Pipeline
from ketchup.providers.local_diffusers.messages import (
    Answer,
    Broken,
    Call,
    Drawn,
    Failed,
    Order,
    OutOfMemory,
    Ready,
    Rehearsal,
    Step,
    Stopped,
    Unwanted,
    Weights,
)
from ketchup.providers.local_diffusers.rehearsal import RehearsedPipeline
from ketchup.providers.piped import read, take_pipes, write


def main() -> None:
    """Serve until the input ends."""
    orders, answers = take_pipes()
    inbox = _Inbox()
    threading.Thread(target=inbox.fill, args=(orders,), daemon=True).start()
    try:
        _Worker(inbox, answers).serve()
    except BrokenPipeError:
        return


class _Inbox:
    """What the server wants, read by a thread of its own."""

    def __init__(self) -> None:
        self.loads: SimpleQueue[Weights | Rehearsal] = SimpleQueue()
        self.calls: SimpleQueue[Call] = SimpleQueue()
        self.unwanted = -1

    def fill(self, orders: BinaryIO) -> None:
        # Whatever ends the reading ends the process: nobody else would hear the end of the input.
        try:
            while (body := read(orders)) is not None:
                self._take(msgspec.msgpack.decode(body, type=Order))
        finally:
            os._exit(0)

    def _take(self, order: Order) -> None:
        match order:
            case Unwanted(number):
                self.unwanted = number
            case Call() as call:
                self.calls.put(call)
            case load:
                self.loads.put(load)


class _Worker:
    def __init__(self, inbox: _Inbox, answers: BinaryIO) -> None:
        self._inbox = inbox
        self._answers = answers
        self._encoder = msgspec.msgpack.Encoder()

    def serve(self) -> None:
        wanted = self._inbox.loads.get()
        try:
            pipeline = _load(wanted)
        except Exception as error:  # noqa: BLE001 a library's: whatever it is, the server must know
            self._say(Broken(_told(error), is_final=_only_mended_by_hand(wanted, error)))
            return
        self._say(Ready(pipeline.abilities))
        while True:
            self._say(self._draw(pipeline, self._inbox.calls.get()))

    def _draw(self, pipeline: Pipeline, call: Call) -> Answer:
        def stepped(done: float) -> None:
            if self._inbox.unwanted == call.number:
                raise NotWanted
            self._say(Step(done))

        try:
            return Drawn(tuple(pipeline.draw(call, stepped)))
        except NotWanted:
            return Stopped()
        except Full as error:
            return OutOfMemory(str(error))
        except BrokenPipeError:
            raise
        except Exception as error:  # noqa: BLE001 the top of the loop: the server is told, and goes on
            return Failed(_told(error))

    def _say(self, answer: Answer) -> None:
        write(self._answers, self._encoder.encode(answer))


def _load(wanted: Weights | Rehearsal) -> Pipeline:
    if isinstance(wanted, Rehearsal):
        return RehearsedPipeline(wanted)
    try:
        # Here, and in this process alone: it takes seconds and half a gigabyte.
        from ketchup.providers.local_diffusers.pipeline import (  # noqa: PLC0415 as above
            DiffusersPipeline,
        )
    except ImportError as error:
        raise ImportError(f"{error}; pip install 'ketchup[local]' torch") from error
    return DiffusersPipeline(wanted)


def _only_mended_by_hand(wanted: Weights | Rehearsal, error: Exception) -> bool:
    """Tell what is missing or wrong on this machine from a hub that cannot be reached just now."""
    return isinstance(error, ImportError) or not (
        isinstance(wanted, Weights) and not wanted.is_folder and isinstance(error, OSError)
    )


def _told(error: Exception) -> str:
    return "".join(traceback.format_exception(error, limit=-6))


if __name__ == "__main__":
    main()
