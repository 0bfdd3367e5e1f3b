"""The child process that finishes and judges pictures. Run as a script, never imported.

It reads `kind, lengths, JSON, bytes` from standard input and writes the same to standard output,
until the input ends. For a signature it asks in between: it never has the key. Before the first
byte is read everything that it needs was used once, and all rights are given up.
"""

from __future__ import annotations

import dataclasses
import io
import json
import signal
import struct
import sys
import warnings
from pathlib import Path
from typing import Any, Final

# A script that is started alone finds its own package only when it is told where that is.
sys.path.insert(0, str(Path(__file__).parents[2]))

from PIL import Image

from ketchup.clock import SystemClock
from ketchup.confined.rights import allow_cpu, confine
from ketchup.provenance import perception, verify
from ketchup.provenance.mark import Claim, Marker, NotSigned, Source
from ketchup.provenance.signer import rehearsal
from ketchup.providers.base import ImageFormat, sniff

LENGTHS: Final = struct.Struct(">cII")
READY: Final = b"+"
SIGN: Final = b"S"
DONE: Final = b"D"
FAILED: Final = b"F"

_OPTIONS: Final[dict[ImageFormat, dict[str, int]]] = {
    # Level 6, the default, takes four times as long for a few per cent.
    ImageFormat.PNG: {"compress_level": 3},
    ImageFormat.JPEG: {"quality": 92},
    ImageFormat.WEBP: {"quality": 90},
}


def main(memory_bytes: int, cpu_seconds: int) -> None:
    """Give up all rights, then answer one request after the other."""
    # A supervisor's stop reaches every process of the service; the server ends its tasks first.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    warnings.simplefilter("ignore")
    Image.MAX_IMAGE_PIXELS = perception.MAX_PIXELS
    Image.init()
    _rehearse()
    confine(memory_bytes)
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    answers.write(READY)
    answers.flush()
    while head := requests.read(LENGTHS.size):
        _, said, length = LENGTHS.unpack(head)
        asked = json.loads(requests.read(said))
        allow_cpu(cpu_seconds)
        _answer(*_done(asked, requests.read(length)))


def _rehearse() -> None:
    """Do everything once in each format: what opens a file does so now or never."""
    held = rehearsal(SystemClock())
    for image_format in ImageFormat:
        file = io.BytesIO()
        Image.new("RGBA", (8, 8)).convert("RGB").save(file, image_format.name)
        for wished in ImageFormat:
            claim = Claim(Source.RULES, "rehearsal", "0")
            made = _encoded(perception.decoded(file.getvalue()), wished)
            signed = Marker(held.credential, held.sign).sign(made, wished, claim)
            Marker(held.credential, held.sign).sign(signed, wished, claim)
            perception.fingerprint(signed)
            verify.verify(signed, [held.credential.anchor])


def _done(asked: dict[str, Any], data: bytes) -> tuple[bytes, dict[str, Any], bytes]:
    try:
        return _judged(asked, data) if asked["do"] == "judge" else _finished(asked, data)
    except perception.NoFingerprint as error:
        return FAILED, {"reason": str(error)}, b""


def _finished(asked: dict[str, Any], data: bytes) -> tuple[bytes, dict[str, Any], bytes]:
    image, wished = perception.decoded(data), ImageFormat(asked["wished"])
    made = data
    if ImageFormat(asked["format"]) is not wished:
        made = _encoded(image, wished)
        image = perception.decoded(made)
    width, height = image.size
    # Signing touches no pixel, so these are those of the stored file too.
    pixels = perception.of_pixels(image)
    del image
    signed, problem = _signed(asked, made, wished)
    prints = dataclasses.asdict(dataclasses.replace(pixels, sha256=perception.sha256(signed)))
    said = {"format": wished, "width": width, "height": height, "prints": prints}
    return DONE, {**said, "signed": signed is not made, "problem": problem}, signed


def _signed(asked: dict[str, Any], data: bytes, image_format: ImageFormat) -> tuple[bytes, str]:
    if "chain" not in asked:
        return data, "there is no certificate"
    claim = Claim(Source(asked["source"]), asked["model"], asked["version"])
    marker = Marker.remote(asked["chain"], asked["algorithm"], _asked_for)
    try:
        return marker.sign(data, image_format, claim), ""
    except NotSigned as error:
        return data, str(error)[:500]


def _asked_for(message: bytes) -> bytes:
    """Have the server sign. It does so a bounded number of times per picture."""
    sys.stdout.buffer.write(LENGTHS.pack(SIGN, len(message), 0) + message)
    sys.stdout.buffer.flush()
    _, length, _ = LENGTHS.unpack(sys.stdin.buffer.read(LENGTHS.size))
    return sys.stdin.buffer.read(length)


def _encoded(image: Image.Image, wished: ImageFormat) -> bytes:
    """Encode pixels anew: no metadata comes along. JPEG has no alpha, so it gets a white ground."""
    if wished is ImageFormat.JPEG and image.mode == "RGBA":
        ground = Image.new("RGB", image.size, "white")
        ground.paste(image, mask=image.getchannel("A"))
        image = ground
    bare, file = Image.new(image.mode, image.size), io.BytesIO()
    bare.paste(image)
    bare.save(file, wished.name, **_OPTIONS[wished])
    return file.getvalue()


def _judged(asked: dict[str, Any], data: bytes) -> tuple[bytes, dict[str, Any], bytes]:
    anchor = [verify.last_certificate(asked["chain"])] if "chain" in asked else []
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
    main(int(sys.argv[1]), int(sys.argv[2]))
