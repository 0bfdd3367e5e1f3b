"""The parts of a picture's file: IPTC's digital source type in its XMP, and whether it is signed.

The first is the mark for readers that know no C2PA. XMP stands in an iTXt chunk of PNG, an APP1
segment of JPEG and the `XMP ` chunk of WebP (XMP specification, part 3). Only the container is read
here, never a pixel; a structure that does not add up is left as it is. XMP that a picture brings
along is kept, and the mark added to it.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from enum import StrEnum
from typing import Final

from ketchup.providers.base import ImageFormat

SCHEMA: Final = b"http://cv.iptc.org/newscodes/digitalsourcetype/"
_SOURCE: Final = re.compile(rb"DigitalSourceType[\"'=>\s]{1,9}" + SCHEMA + rb"(\w{1,64})")
_PNG_KEYWORD: Final = b"XML:com.adobe.xmp\0"
_JPEG_HEADER: Final = b"http://ns.adobe.com/xap/1.0/\0"
_END: Final = b"</rdf:RDF>"
_MAX_SEGMENT: Final = 65_533
_PNG_HEAD: Final = 33
_RIFF_HEAD: Final = 12
_XMP_FLAG, _ALPHA_FLAG = 0x04, 0x10

# The parts that hold manifests: of PNG, of JPEG (APP11), of WebP.
_MANIFESTS: Final = {b"caBX", b"\xff\xeb", b"C2PA"}
# Where a part begins and ends in the file, and what kind it is.
_Part = tuple[int, int, bytes]


class Source(StrEnum):
    """How a picture came to be, in IPTC's words."""

    MODEL = "trainedAlgorithmicMedia"
    """By a model that was trained on data."""
    RULES = "algorithmicMedia"
    """By rules alone, as the studio engine draws."""


def marked(data: bytes, image_format: ImageFormat, source: Source) -> bytes:
    """Return the picture with that digital source type, or as it is if it has one already."""
    if read_mark(data, image_format):
        return data
    return _WRITERS[image_format](data, source)


def read_mark(data: bytes, image_format: ImageFormat) -> str:
    """Return the last word of the picture's digital source type; empty if it says nothing."""
    part = _xmp_part(data, image_format)
    found = _SOURCE.search(data, part[0], part[1]) if part else None
    return found[1].decode() if found else ""


def has_manifest(data: bytes, image_format: ImageFormat) -> bool:
    """Whether there is a part that holds a C2PA manifest, be it good or not."""
    return any(kind in _MANIFESTS for _, _, kind in _PARTS[image_format](data))


def parts(data: bytes, image_format: ImageFormat) -> Iterator[_Part]:
    """Go through the parts of a picture's file: where each begins and ends, and its kind.

    Of a JPEG only those before the pixels. It ends where the structure does not add up.
    """
    return _PARTS[image_format](data)


def is_lossless_webp(data: bytes) -> bool:
    """Whether the first picture in a WebP was compressed without loss."""
    return any(kind == b"VP8L" for _, _, kind in _webp_parts(data))


def _xmp_part(data: bytes, image_format: ImageFormat) -> _Part | None:
    return next((part for part in _PARTS[image_format](data) if part[2] == b"XMP "), None)


def _packet(source: Source) -> bytes:
    return (
        b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/">'
        b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        + _description(source)
        + b'</rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    )


def _description(source: Source) -> bytes:
    return (
        b'<rdf:Description rdf:about=""'
        b' xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"'
        b' Iptc4xmpExt:DigitalSourceType="' + SCHEMA + source.encode() + b'"/>'
    )


def _extended(packet: bytes, source: Source) -> bytes | None:
    """Add the mark to a packet that is there; None for one in other words than everybody's."""
    before, end, after = packet.rpartition(_END)
    return before + _description(source) + end + after if end else None


def _in_png(data: bytes, source: Source) -> bytes:
    found = _xmp_part(data, ImageFormat.PNG)
    if found is None:
        return data[:_PNG_HEAD] + _png_chunk(_packet(source)) + data[_PNG_HEAD:]
    start, end, _ = found
    body = data[start + 8 : end - 4]
    flags, rest = body[len(_PNG_KEYWORD) :][:2], body[len(_PNG_KEYWORD) :][2:]
    packet = rest.split(b"\0", 2)[-1]
    longer = _extended(packet, source) if flags == b"\0\0" else None
    return data if longer is None else data[:start] + _png_chunk(longer) + data[end:]


def _png_chunk(packet: bytes) -> bytes:
    body = b"iTXt" + _PNG_KEYWORD + b"\0\0\0\0" + packet
    return struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))


def _png_parts(data: bytes) -> Iterator[_Part]:
    at = 8
    while at + 12 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        kind = data[at + 4 : at + 8]
        is_xmp = kind == b"iTXt" and data.startswith(_PNG_KEYWORD, at + 8)
        if end > len(data):
            return
        yield at, end, b"XMP " if is_xmp else kind
        at = end


def _in_jpeg(data: bytes, source: Source) -> bytes:
    found = _xmp_part(data, ImageFormat.JPEG)
    if found is not None:
        start, end, _ = found
        longer = _extended(data[start + 4 + len(_JPEG_HEADER) : end], source)
        fits = longer is not None and len(longer) + len(_JPEG_HEADER) <= _MAX_SEGMENT
        return data[:start] + _jpeg_segment(longer) + data[end:] if longer and fits else data
    at = 2
    # JFIF's and Exif's own segments want to be the first.
    for _, end, kind in _jpeg_parts(data):
        if kind not in {b"\xff\xe0", b"\xff\xe1"}:
            break
        at = end
    return data[:at] + _jpeg_segment(_packet(source)) + data[at:]


def _jpeg_segment(packet: bytes) -> bytes:
    body = _JPEG_HEADER + packet
    return b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body


def _jpeg_parts(data: bytes) -> Iterator[_Part]:
    """Go through the segments before the pixels."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xDA:  # noqa: PLR2004 a marker; start of scan
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        is_xmp = data[at + 1] == 0xE1 and data.startswith(_JPEG_HEADER, at + 4)  # noqa: PLR2004 an application's segment
        if not at + 4 <= end <= len(data):
            return
        yield at, end, b"XMP " if is_xmp else data[at : at + 2]
        at = end


def _in_webp(data: bytes, source: Source) -> bytes:
    parts = list(_webp_parts(data))
    found = next((part for part in parts if part[2] == b"XMP "), None)
    packet: bytes | None = _packet(source)
    if found is not None:
        packet = _extended(data[found[0] + 8 : found[1]].rstrip(b"\0"), source)
    head = _extended_head(data, parts)
    if packet is None or head is None:
        return data
    kept = [data[start:end] for start, end, kind in parts if kind not in {b"VP8X", b"XMP "}]
    body = b"WEBP" + head + b"".join(kept) + _webp_chunk(b"XMP ", packet)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _extended_head(data: bytes, parts: list[_Part]) -> bytes | None:
    """Return the VP8X chunk that says that there is XMP, made anew for a simple file."""
    if not parts:
        return None
    start, end, kind = parts[0]
    body = data[start + 8 : end]
    if kind == b"VP8X" and len(body) >= 10:  # noqa: PLR2004 its length
        return _webp_chunk(b"VP8X", bytes([body[0] | _XMP_FLAG]) + body[1:10])
    flags, width, height = _XMP_FLAG, 0, 0
    if kind == b"VP8L" and body[:1] == b"\x2f":
        bits = int.from_bytes(body[1:5], "little")
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        flags |= _ALPHA_FLAG if bits >> 28 & 1 else 0
    elif kind == b"VP8 " and body[3:6] == b"\x9d\x01\x2a":
        width, height = (int.from_bytes(body[i : i + 2], "little") & 0x3FFF for i in (6, 8))
    if not width or not height:
        return None
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return _webp_chunk(b"VP8X", bytes([flags, 0, 0, 0]) + sides)


def _webp_chunk(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def _webp_parts(data: bytes) -> Iterator[_Part]:
    at = _RIFF_HEAD
    while at + 8 <= len(data):
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        end = at + 8 + length + length % 2
        if end > len(data):
            return
        yield at, end, data[at : at + 4]
        at = end


_PARTS: Final = {
    ImageFormat.PNG: _png_parts,
    ImageFormat.JPEG: _jpeg_parts,
    ImageFormat.WEBP: _webp_parts,
}
_WRITERS: Final = {
    ImageFormat.PNG: _in_png,
    ImageFormat.JPEG: _in_jpeg,
    ImageFormat.WEBP: _in_webp,
}
