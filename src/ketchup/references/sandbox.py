"""The child process that decodes strangers' images. Run as a script, never imported.

It reads `format, length, bytes` from standard input and writes `verdict, width, height, length,
bytes` to standard output, until the input ends: when its parent dies, so does it. Before the first
byte is read it gives up every right it can: see `ketchup.confined.rights`.

What comes out was drawn anew from pixels: orientation applied, at most 2048 pixels on the long
side, and not a byte of the input's metadata or trailer.

It imports Pillow, the standard library and the giving up of rights, so that nothing of the server
is in its memory. The words of the pipe are repeated in `decoder`.
"""

from __future__ import annotations

import io
import signal
import struct
import sys
import warnings
from pathlib import Path
from typing import BinaryIO, Final

from PIL import (
    Image,
    JpegImagePlugin,
    MpoImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

# A script that is started alone finds its own package only when it is told where that is.
sys.path.insert(0, str(Path(__file__).parents[2]))

from ketchup.confined import pictures
from ketchup.confined.rights import allow_cpu, confine

REQUEST: Final = struct.Struct(">cI")
ANSWER: Final = struct.Struct(">cIII")

# Formats, in requests and in answers.
PNG: Final = b"P"
JPEG: Final = b"J"
WEBP: Final = b"W"
# Refusals, in answers.
TOO_LARGE: Final = b"L"
ANIMATED: Final = b"A"
UNDECODABLE: Final = b"U"

MAX_PIXELS: Final = 40_000_000
MAX_SIDE: Final = 8192
MAX_SIDE_OUT: Final = 2048
# Upstreams take 7 MB for a reference.
MAX_BYTES_OUT: Final = 7_000_000

_NAMES: Final = {PNG: "PNG", JPEG: "JPEG", WEBP: "WEBP"}
_STRIP_ROWS: Final = 64
_JPEG_QUALITY: Final = 92
# Level 6, the default, takes four times as long for a few per cent.
_PNG_LEVEL: Final = 3
_EXIF_ORIENTATION: Final = 0x0112
# Pillow imports these when it first needs them. By then nothing can be opened any more.
_NEEDED_LATER: Final = (
    JpegImagePlugin,
    MpoImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)


class Refusal(Exception):
    """The image breaks a limit; carries the verdict."""

    def __init__(self, verdict: bytes) -> None:
        super().__init__(verdict)
        self.verdict = verdict


def main(memory_bytes: int, cpu_seconds: int) -> None:
    """Give up all rights, then answer one request after the other."""
    # A supervisor's stop reaches every process of the service; the server ends its tasks first.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS
    warnings.simplefilter("ignore")
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    _rehearse()
    said = confine(memory_bytes)
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    answers.write(said)
    answers.flush()
    while head := requests.read(REQUEST.size):
        code, length = REQUEST.unpack(head)
        allow_cpu(cpu_seconds)
        _answer(answers, *_judge(code, requests.read(length)))


def _rehearse() -> None:
    """Decode and encode once in each format, so that every lazy import has happened."""
    for name in _NAMES.values():
        file = io.BytesIO()
        Image.new("RGB", (8, 8)).save(file, name, exif=_tagged())
        redraw(file.getvalue(), name)


def _tagged() -> bytes:
    exif = Image.Exif()
    exif[_EXIF_ORIENTATION] = 6
    return exif.tobytes()


def _judge(code: bytes, data: bytes) -> tuple[bytes, int, int, bytes]:
    try:
        return redraw(data, _NAMES[code])
    except Refusal as refusal:
        return refusal.verdict, 0, 0, b""
    except (pictures.TooDear, Image.DecompressionBombError, Image.DecompressionBombWarning):
        return TOO_LARGE, 0, 0, b""
    except Exception:  # noqa: BLE001 a decoder may raise anything, and it all means the same
        return UNDECODABLE, 0, 0, b""


def _answer(answers: BinaryIO, verdict: bytes, width: int, height: int, data: bytes) -> None:
    answers.write(ANSWER.pack(verdict, width, height, len(data)))
    answers.write(data)
    answers.flush()


def redraw(data: bytes, name: str) -> tuple[bytes, int, int, bytes]:
    """Decode, shrink and encode. Returns the format, width, height and bytes."""
    image, turn = _opened(data, name)
    image.thumbnail((MAX_SIDE_OUT, MAX_SIDE_OUT))
    if turn is not None:
        image = image.transpose(turn)
    return _encode(image, lossless=name == "PNG")


def _opened(data: bytes, name: str) -> tuple[Image.Image, Image.Transpose | None]:
    """Return the pixels, not yet at their final size, and how to turn them upright."""
    with Image.open(io.BytesIO(data), formats=(name,)) as source:
        _check(source, name, data)
        source.load()
        return _pixels(source), pictures.turn(source)


def _check(source: Image.Image, name: str, data: bytes) -> None:
    """Judge by the header alone: nothing has been decoded yet."""
    size = source.size
    if max(size) > MAX_SIDE:
        raise Refusal(TOO_LARGE)
    pictures.check(source, data, max_pixels=MAX_PIXELS, shrunk_to=MAX_SIDE_OUT)
    # Phones store a depth or gain map as the second frame of an MPO: those are still photographs.
    if name != "JPEG" and getattr(source, "n_frames", 1) > 1:
        raise Refusal(ANIMATED)


def _pixels(source: Image.Image) -> Image.Image:
    """Copy to RGB or RGBA, averaging down to less than twice the final size on the way.

    The copy begins as an empty picture, so that comments and profiles, which Pillow's writers would
    pass on, stay behind. It is made in strips: two whole images of 40 million pixels do not fit.
    """
    mode = "RGBA" if source.has_transparency_data else "RGB"
    factor = max(1, max(source.size) // MAX_SIDE_OUT)
    width, height = source.size
    target = Image.new(mode, (-(-width // factor), -(-height // factor)))
    step = factor * _STRIP_ROWS
    for top in range(0, height, step):
        strip = pictures.in_mode(source.crop((0, top, width, min(top + step, height))), mode)
        target.paste(strip.reduce(factor), (0, top // factor))
    if mode == "RGBA" and target.getchannel("A").getextrema() == (255, 255):
        return target.convert("RGB")
    return target


def _encode(image: Image.Image, *, lossless: bool) -> tuple[bytes, int, int, bytes]:
    """Keep lossless pictures and transparency in PNG while they fit; else JPEG, or smaller."""
    transparent = image.mode == "RGBA"
    while lossless or transparent:
        data = _save(image, "PNG", compress_level=_PNG_LEVEL)
        if len(data) <= MAX_BYTES_OUT:
            return PNG, *image.size, data
        if not transparent:
            break
        image = image.resize((max(1, image.width * 3 // 4), max(1, image.height * 3 // 4)))
    return JPEG, *image.size, _save(image, "JPEG", quality=_JPEG_QUALITY)


def _save(image: Image.Image, name: str, **options: int) -> bytes:
    file = io.BytesIO()
    image.save(file, name, **options)
    return file.getvalue()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
