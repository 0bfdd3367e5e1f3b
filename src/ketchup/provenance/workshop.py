"""The child process that finishes and judges pictures. Run as a script, never imported.

It reads `kind, lengths, JSON, bytes` from standard input and writes the same to standard output,
until the input ends. For a signature it asks in between: it never has the key, and the certificates
come as arguments. Before the first byte is read everything that it needs was used once, and all
rights are given up.

What it imports is what a start costs: nothing of the database, nor of cryptography.
"""

from __future__ import annotations

import dataclasses
import io
import json
import signal
import struct
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

# A script that is started alone finds its own package only when it is told where that is.
sys.path.insert(0, str(Path(__file__).parents[2]))

from PIL import Image

from ketchup.confined.rights import allow_cpu, confine
from ketchup.provenance import containers, faithful, perception, verify
from ketchup.provenance.containers import Source
from ketchup.provenance.mark import Claim, File, Marker, NotSigned, Remote
from ketchup.providers.base import ImageFormat, sniff

LENGTHS: Final = struct.Struct(">cII")
SIGN: Final = b"S"
DONE: Final = b"D"
FAILED: Final = b"F"


def main(memory_bytes: int, cpu_seconds: int, algorithm: str = "", chain: str = "") -> None:
    """Give up all rights, then answer one request after the other; unsigned without a chain."""
    # A supervisor's stop reaches every process of the service; the server ends its tasks first.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    warnings.simplefilter("ignore")
    Image.MAX_IMAGE_PIXELS = perception.MAX_PIXELS
    Image.init()
    remote = Remote(chain, algorithm, _asked_for) if chain else None
    _rehearse(remote or _nobody())
    filtered = confine(memory_bytes)
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    answers.write(filtered)
    answers.flush()
    while head := requests.read(LENGTHS.size):
        _, said, length = LENGTHS.unpack(head)
        asked = json.loads(requests.read(said))
        allow_cpu(cpu_seconds)
        _answer(*_done(remote, asked, requests.read(length)))


def _rehearse(remote: Remote) -> None:
    """Do everything once in each format: what opens a file does so now or never."""
    marker = Marker(dataclasses.replace(remote, ask=_scribble))
    for image_format in ImageFormat:
        file = io.BytesIO()
        Image.new("RGB", (8, 8)).save(file, image_format.name)
        made = _encoded(
            perception.decoded(file.getvalue()),
            image_format,
            faithful.options(file.getvalue(), image_format, 64),
        )
        # A certificate that cannot sign is the pictures' business, one by one.
        with suppress(NotSigned):
            for _ in ("alone", "with a parent"):
                made = marker.sign(made, image_format, Claim(Source.RULES, "rehearsal", "0"))
        perception.fingerprint(made)
        verify.verify(made, [verify.last_certificate(remote.chain)])


def _scribble(_message: bytes) -> bytes:
    """Return what has the length of a signature: a rehearsal troubles nobody for a real one."""
    return bytes(64)


def _nobody() -> Remote:
    """Return a credential to rehearse with, for a child that will never sign."""
    from ketchup.clock import SystemClock  # noqa: PLC0415 they load what a child that signs does not need
    from ketchup.provenance.signer import rehearsal  # noqa: PLC0415 as above

    credential = rehearsal(SystemClock())
    return Remote(credential.chain.decode(), credential.algorithm, _scribble)


def _done(
    remote: Remote | None, asked: dict[str, Any], data: bytes
) -> tuple[bytes, dict[str, Any], bytes]:
    try:
        judged = asked["do"] == "judge"
        return _judged(remote, data) if judged else _finished(remote, asked, data)
    except perception.NoFingerprint as error:
        return FAILED, {"reason": str(error)}, b""


def _finished(
    remote: Remote | None, asked: dict[str, Any], data: bytes
) -> tuple[bytes, dict[str, Any], bytes]:
    """Draw a stranger's picture anew, whatever its format: none of its bytes go on.

    What is drawn by rules comes from a process of ours, and keeps its file if that is as wished.
    """
    image, wished = perception.decoded(data), ImageFormat(asked["wished"])
    made, given = data, File(data, ImageFormat(asked["format"]))
    if given.format is not wished or asked["source"] != Source.RULES:
        made = _encoded(image, wished, faithful.options(data, wished, image.width * image.height))
        if wished is not ImageFormat.PNG:
            # What was lost in encoding is not in the stored file: its pixels are others.
            del image  # it would be held beside the new one
            image = perception.decoded(made)
    width, height = image.size
    # Signing touches no pixel, so these are those of the stored file too. Nobody remembers what
    # is not signed.
    pixels = perception.of_pixels(image) if remote else None
    del image
    signed, problem = _signed(remote, asked, File(made, wished), given)
    prints = pixels and dataclasses.replace(pixels, sha256=perception.sha256(signed))
    said = {"format": wished, "width": width, "height": height}
    said["prints"] = dataclasses.asdict(prints) if prints else None
    return DONE, {**said, "signed": not problem, "problem": problem}, signed


def _signed(
    remote: Remote | None, asked: dict[str, Any], made: File, given: File
) -> tuple[bytes, str]:
    if remote is None:
        return made.data, "there is no certificate"
    claim = Claim(Source(asked["source"]), asked["model"], asked["version"])
    try:
        return Marker(remote).sign(made.data, made.format, claim, given), ""
    except NotSigned as error:
        # What can be said without a signature is said all the same.
        return containers.marked(made.data, made.format, claim.source), str(error)[:500]


def _asked_for(message: bytes) -> bytes:
    """Have the server sign. It does so a bounded number of times per picture."""
    sys.stdout.buffer.write(LENGTHS.pack(SIGN, len(message), 0) + message)
    sys.stdout.buffer.flush()
    _, length, _ = LENGTHS.unpack(sys.stdin.buffer.read(LENGTHS.size))
    return sys.stdin.buffer.read(length)


def _encoded(image: Image.Image, wished: ImageFormat, options: dict[str, int]) -> bytes:
    """Encode pixels anew. JPEG has no alpha, so it gets a white ground."""
    if wished is ImageFormat.JPEG and image.mode == "RGBA":
        ground = Image.new("RGB", image.size, "white")
        ground.paste(image, mask=image.getchannel("A"))
        image = ground
    file = io.BytesIO()
    image.save(file, wished.name, **options)
    return file.getvalue()


def _judged(remote: Remote | None, data: bytes) -> tuple[bytes, dict[str, Any], bytes]:
    anchor = [verify.last_certificate(remote.chain)] if remote else []
    report = dataclasses.asdict(verify.verify(data, anchor))
    del report["signed_at"]
    prints = None
    if sniff(data) is not None:
        try:
            prints = dataclasses.asdict(perception.fingerprint(data))
        except perception.NoFingerprint:
            prints = None
    ours = bool(anchor) and report["state"] == verify.State.TRUSTED
    return DONE, {**report, "is_ours": ours, "prints": prints}, b""


def _answer(verdict: bytes, said: dict[str, Any], data: bytes) -> None:
    head = json.dumps(said).encode()
    sys.stdout.buffer.write(LENGTHS.pack(verdict, len(head), len(data)))
    sys.stdout.buffer.write(head)
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
