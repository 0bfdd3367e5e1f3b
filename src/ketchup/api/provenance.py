"""`/v1/provenance`: what the pictures of a task are known by, and whether a picture was made here.

For customers, with an API key that may read tasks. A picture of another workspace is recognised
too, but its task is not named.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

from fastapi import APIRouter, Request, Security
from pydantic import BaseModel, Field

from ketchup.api.customers import checked
from ketchup.api.dependencies import Dependencies
from ketchup.api.forms import FIELD, FORM, file_of
from ketchup.api.keys import CustomerRoute, TaskReader, documented_scheme
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
async def task_provenance(task_id: str, caller: TaskReader, held: Dependencies) -> TaskOut:
    """Say what the pictures of a task are known by."""
    known = TaskId(checked(task_id))
    found = await held.database.read(
        lambda conn: fingerprints.list_of_task(conn, caller.workspace_id, known)
    )
    return TaskOut(task_id=task_id, images=[_picture(one.fingerprint) for one in found])


_FORM: Final[dict[str, Any]] = {
    "schema": {
        "type": "object",
        "required": [FIELD],
        "properties": {FIELD: {"type": "string", "format": "binary"}},
    }
}
_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {**{f"image/{kind}": {} for kind in ("png", "jpeg", "webp")}, FORM: _FORM},
    }
}


@routes.post("/verify", openapi_extra=_BODY)
async def verify_provenance(request: Request, caller: TaskReader, held: Dependencies) -> VerdictOut:
    """Say whether a picture was made here and not changed.

    It is the body, or the file in a form's field `file`: at most 20 MiB.
    """
    with held.verifying.place(caller.workspace_id):
        data = file_of(request.headers.get("content-type", ""), await _bounded(request))
        try:
            judged = await held.finisher.judge(data)
        except ChildLost as error:
            raise InvalidRequest("the picture cannot be read") from error
    prints = judged.fingerprint
    found = await held.database.read(lambda conn: _recognised(conn, prints)) if prints else None
    return _verdict(judged, found, caller.workspace_id)


async def _bounded(request: Request) -> bytes:
    data = bytearray()
    async for part in request.stream():
        data += part
        if len(data) > MAX_BYTES:
            raise TooLarge("a picture must not be larger than 20 MiB")
    return bytes(data)


_Match = tuple[str, int, list[Logged]]


def _recognised(conn: Connection, prints: Fingerprint) -> _Match | None:
    """Look from strict to lenient, and stop at the first that finds any."""
    if same := fingerprints.find_by_sha256(conn, prints.sha256):
        return "file", 0, same
    if same := fingerprints.find_by_pixels(conn, prints.pixels):
        return "pixels", 0, same
    near = fingerprints.find_near(conn, prints.phash)
    return ("likeness", near[0][0], [one for _, one in near]) if near else None


def _verdict(judged: Judged, found: _Match | None, workspace_id: WorkspaceId) -> VerdictOut:
    by, bits, pictures = found or (None, None, [])
    mine = next((one.task_id for one in pictures if one.workspace_id == workspace_id), None)
    return VerdictOut(
        verdict=_word(judged, found),
        matched_by=by,
        differing_bits=bits if by == "likeness" else None,
        task_id=mine,
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
