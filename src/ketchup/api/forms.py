"""Forms: the one file of a `multipart/form-data` body (RFC 7578), as browsers and `curl -F` send.

The body is in memory and within its limit already. A file is taken out of it as it is: nothing
else of the form is looked at, and nothing is written anywhere.
"""

from __future__ import annotations

from email import message_from_bytes
from email.message import Message
from typing import Final

from ketchup.errors import InvalidRequest

FIELD: Final = "file"
FORM: Final = "multipart/form-data"
_MAX_PARTS: Final = 16
_MAX_HEAD: Final = 4096
_MAX_BOUNDARY: Final = 70


def file_of(content_type: str, body: bytes) -> bytes:
    """Return the file in a form, or the whole body of another type. Raises InvalidRequest."""
    head = Message()
    head["Content-Type"] = content_type
    if head.get_content_type() != FORM:
        return body
    boundary = _parameter(head, "boundary", "content-type")
    if not 0 < len(boundary) <= _MAX_BOUNDARY or not boundary.isascii():
        raise InvalidRequest("the form's Content-Type names no boundary")
    files = [content for name, content in _parts(body, boundary.encode()) if name == FIELD]
    if len(files) != 1:
        raise InvalidRequest(f"the form must have one file, in a field named `{FIELD}`")
    return files[0]


def _parts(body: bytes, boundary: bytes) -> list[tuple[str, bytes]]:
    """Return the name and the content of each part. A form that is cut off is refused."""
    *parts, end = (b"\r\n" + body).split(b"\r\n--" + boundary, _MAX_PARTS + 1)[1:] or [b""]
    if not end.startswith(b"--"):
        raise InvalidRequest(f"the form is cut off, or has more than {_MAX_PARTS} parts")
    return [_part(part) for part in parts]


def _part(part: bytes) -> tuple[str, bytes]:
    # What stands behind the boundary in its own line means nothing.
    head, gap, content = part.partition(b"\r\n\r\n")
    if not gap or len(head) > _MAX_HEAD:
        raise InvalidRequest("a part of the form has no head")
    said = message_from_bytes(head.partition(b"\r\n")[2] + b"\r\n\r\n")
    return _parameter(said, "name", "content-disposition"), content


def _parameter(head: Message, name: str, field: str) -> str:
    """Return a field's parameter; empty when there is none, or one that nobody can read.

    The parser also reads those of RFC 2231, which forms do not have, and fails at odd ones in any
    way: by the codec that they name, or by the numbers of their parts.
    """
    try:
        found = head.get_param(name, "", field)
    except Exception:  # noqa: BLE001 a stranger's field may break the parser in any way
        return ""
    return found if isinstance(found, str) else ""
