"""The renderer's process: reads jobs from standard input, writes pictures to standard output.

Each message is four bytes of length, then MessagePack. The process ends when its input does, so it
cannot outlive a server that was killed: the kernel closes the pipe for it. It holds no secret and
opens no socket; `provider` gives it an empty environment.
"""

from __future__ import annotations

import os
import signal
import struct
import sys
import traceback
from typing import BinaryIO, Final

import msgspec

from ketchup.providers.studio.job import Job, Rendered
from ketchup.providers.studio.render import render

LENGTH: Final = struct.Struct(">I")
_NICENESS: Final = 5


def main() -> None:
    """Serve until the input ends."""
    # Ctrl+C reaches the whole process group, and a supervisor's stop every process of the service;
    # the server decides when its renderers stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # Pictures wait for the API and never the other way round.
    os.nice(_NICENESS)
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    # A library that prints must not break the protocol.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    serve(sys.stdin.buffer, answers)


def serve(jobs: BinaryIO, answers: BinaryIO) -> None:
    """Answer every job in order; return at the end of the input."""
    decoder, encoder = msgspec.msgpack.Decoder(Job), msgspec.msgpack.Encoder()
    while (message := _read(jobs)) is not None:
        body = encoder.encode(_answer(decoder.decode(message)))
        try:
            answers.write(LENGTH.pack(len(body)) + body)
            answers.flush()
        except BrokenPipeError:
            return


def _answer(job: Job) -> Rendered:
    try:
        return Rendered(image=render(job))
    except Exception:  # noqa: BLE001 - the top of the loop: the server logs it, the process goes on
        return Rendered(error=traceback.format_exc(limit=-6))


def _read(jobs: BinaryIO) -> bytes | None:
    head = jobs.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    (length,) = LENGTH.unpack(head)
    body = jobs.read(length)
    return body if len(body) == length else None


if __name__ == "__main__":
    main()
