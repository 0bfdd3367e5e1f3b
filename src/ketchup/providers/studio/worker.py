"""The renderer's process: reads jobs from standard input, writes pictures to standard output.

A frame (`providers/piped.py`) holds one job or one answer as MessagePack. The process holds no
secret and opens no socket.
"""

from __future__ import annotations

import traceback
from typing import BinaryIO

import msgspec

from ketchup.providers.piped import read, take_pipes, write
from ketchup.providers.studio.job import Job, Rendered
from ketchup.providers.studio.render import render


def main() -> None:
    """Serve until the input ends."""
    serve(*take_pipes())


def serve(jobs: BinaryIO, answers: BinaryIO) -> None:
    """Answer every job in order; return at the end of the input."""
    decoder, encoder = msgspec.msgpack.Decoder(Job), msgspec.msgpack.Encoder()
    while (message := read(jobs)) is not None:
        try:
            write(answers, encoder.encode(_answer(decoder.decode(message))))
        except BrokenPipeError:
            return


def _answer(job: Job) -> Rendered:
    try:
        return Rendered(image=render(job))
    except Exception:  # noqa: BLE001 - the top of the loop: the server logs it, the process goes on
        return Rendered(error=traceback.format_exc(limit=-6))


if __name__ == "__main__":
    main()
