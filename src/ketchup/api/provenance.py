"""`/v1/provenance`: what the pictures of a task are known by, and whether a picture was made here.

For customers, with an API key that may read tasks. A picture of another workspace is recognised
too, but its task is not named.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Literal

from fastapi import APIRouter, Request, Security
from pydantic import BaseModel, Field

from ketchup.api.customers import checked
from ketchup.api.dependencies import Dependencies
from ketchup.api.forms import FIELD, FORM, file_of
from ketchup.api.keys import CustomerRoute, TaskReader, documented_scheme, tell_limit
from ketchup.api.problems import DOCUMENTED
from ketchup.confined.children import ChildLost
from ketchup.db import Connection
from ketchup.errors import InvalidRequest, TooLarge
from ketchup.ids import TaskId, WorkspaceId
from ketchup.provenance import Fingerprint
from ketchup.provenance import log as fingerprints
from ketchup.provenance.finisher import Judged
from ketchup.provenance.log import Logged

MAX_BYTES: Final = 20 * 1024 * 1024

routes: Final = APIRouter(
    prefix="/v1/provenance",
    tags=["provenance"],
    route_class=CustomerRoute,
    dependencies=[Security(documented_scheme)],
    responses=DOCUMENTED,
)


class Verdict(StrEnum):
    """What is known about a picture."""

    OURS = "ours"
    SOMEBODY_ELSES = "somebody_elses"
    CHANGED = "changed"
    RECOGNISED = "recognised"
    UNKNOWN = "unknown"


class PictureOut(BaseModel):
    """A picture that a task made, and what it is known by."""

    sha256: str
    pixels_sha256: str
    phash: str = Field(description="64 bits of what it looks like, hexadecimal.")


class TaskOut(BaseModel):
    """The pictures of a task; none for a task of another workspace."""

    task_id: str
    images: list[PictureOut]


class VerdictOut(BaseModel):
    """What a picture says about itself, and whether it is known here."""

    verdict: Verdict
    matched_by: str | None = Field(description="`file`, `pixels` or `likeness`.")
    differing_bits: int | None = Field(description="Of 64, for a likeness.")
    task_id: str | None = Field(description="Named to the workspace alone that made the picture.")
    signer: str
    model: str
    source: str
    upstream: list[str]
    problems: list[str]


@routes.get("")
async def task_provenance(task_id: str, caller: TaskReader, api: Dependencies) -> TaskOut:
    """Say what the pictures of a task are known by."""
    known = TaskId(checked(task_id))
    found = await api.database.read(
        lambda conn: fingerprints.list_of_task(conn, caller.workspace_id, known)
    )
    return TaskOut(task_id=task_id, images=[_picture(one.fingerprint) for one in found])


_PICTURE: Final = {"type": "string", "format": "binary", "minLength": 1}
_FORM: Final[dict[str, Any]] = {
    "schema": {
        "type": "object",
        "required": [FIELD],
        "properties": {FIELD: _PICTURE},
    }
}
_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            **{f"image/{kind}": {"schema": _PICTURE} for kind in ("png", "jpeg", "webp")},
            FORM: _FORM,
        },
    }
}


@routes.post("/verify", openapi_extra=_BODY)
async def verify_provenance(request: Request, caller: TaskReader, api: Dependencies) -> VerdictOut:
    """Say whether a picture was made here and not changed.

    It is the body, or the file in a form's field `file`: at most 20 MiB.
    """
    # Before the body is read.
    with api.verifying.place(caller.workspace_id):
        if api.check_verifying is not None:
            tell_limit(request, api.check_verifying(caller.workspace_id))
        data = file_of(request.headers.get("content-type", ""), await _bounded(request))
        if not data:
            raise InvalidRequest("a picture is required")
        try:
            judged = await api.finisher.judge(data)
        except ChildLost as error:
            raise InvalidRequest("the picture cannot be read") from error
    found, prints, mine = None, judged.fingerprint, caller.workspace_id
    if prints is not None:
        found = await api.database.read(lambda conn: _recognised(conn, mine, prints))
    return _verdict(judged, found, mine)


async def _bounded(request: Request) -> bytes:
    data = bytearray()
    async for part in request.stream():
        data += part
        if len(data) > MAX_BYTES:
            raise TooLarge("a picture must not be larger than 20 MiB")
    return bytes(data)


@dataclass(frozen=True, slots=True)
class _Match:
    """A picture in the log, and how it was found."""

    by: Literal["file", "pixels", "likeness"]
    bits: int
    picture: Logged


def _recognised(conn: Connection, workspace_id: WorkspaceId, prints: Fingerprint) -> _Match | None:
    """Look from strict to lenient, and stop at the first that finds any: the caller's own first."""
    if same := fingerprints.find_by_sha256(conn, workspace_id, prints.sha256):
        return _Match("file", 0, same[0])
    if same := fingerprints.find_by_pixels(conn, workspace_id, prints.pixels):
        return _Match("pixels", 0, same[0])
    near = fingerprints.find_near(conn, workspace_id, prints.phash)
    own = (pair for pair in near if pair[1].workspace_id == workspace_id)
    return _Match("likeness", *next(own, near[0])) if near else None


def _verdict(judged: Judged, found: _Match | None, workspace_id: WorkspaceId) -> VerdictOut:
    is_own = found is not None and found.picture.workspace_id == workspace_id
    return VerdictOut(
        verdict=_word(judged, found),
        matched_by=found and found.by,
        differing_bits=found.bits if found and found.by == "likeness" else None,
        task_id=found.picture.task_id if found and is_own else None,
        signer=judged.signer,
        model=judged.model,
        source=judged.source,
        upstream=judged.upstream,
        problems=judged.problems,
    )


def _word(judged: Judged, found: _Match | None) -> Verdict:
    match judged.state:
        case "invalid":
            return Verdict.CHANGED
        case "none":
            return Verdict.RECOGNISED if found else Verdict.UNKNOWN
        case _:
            return Verdict.OURS if judged.is_ours else Verdict.SOMEBODY_ELSES


def _picture(prints: Fingerprint) -> PictureOut:
    return PictureOut(
        sha256=prints.sha256, pixels_sha256=prints.pixels, phash=f"{prints.phash:016x}"
    )
