"""`ketchup verify FILE`: what a picture says about itself, and whether that can be believed.

It needs no server and no network. The parsers run in this process, which is the caller's own and
ends with the answer.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from ketchup.cli.failure import Failure
from ketchup.cli.show import show_one

if TYPE_CHECKING:
    from ketchup.provenance.verify import Report

_MAX_BYTES: Final = 64 * 1024 * 1024
_MAX_ANCHOR_BYTES: Final = 1024 * 1024


def verify(
    file: Annotated[Path, typer.Argument(help="A PNG, JPEG or WebP.", show_default=False)],
    *,
    trust: Annotated[
        list[Path] | None,
        typer.Option("--trust", help="PEM certificates of a signer to trust; may be repeated."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say who signed a picture, what made it, and whether it was changed since.

    Ends with 0 if it is signed and unchanged, and with 1 if it is not; with --trust, only a signer
    among those counts.
    """
    from ketchup.provenance.verify import State
    from ketchup.provenance.verify import verify as judge

    data = _read(file, _MAX_BYTES)
    anchors = [_read(path, _MAX_ANCHOR_BYTES).decode(errors="replace") for path in trust or ()]
    for path, anchor in zip(trust or (), anchors, strict=True):
        if "-----BEGIN CERTIFICATE-----" not in anchor:
            raise Failure(f"{path} holds no PEM certificate")
    report = judge(data, anchors)
    show_one(_row(report), as_json=as_json, note=_SENTENCES[report.state])
    good = {State.TRUSTED} if anchors else {State.TRUSTED, State.VALID}
    if report.state not in good:
        raise typer.Exit(1)


_SENTENCES: Final = {
    "trusted": "Unchanged since it was signed, by a signer that you trust.",
    "valid": "Unchanged since it was signed. Anybody can sign under any name: see --trust.",
    "invalid": "Changed since it was signed, or signed in a way that proves nothing.",
    "none": "It carries no manifest: nothing is known about it.",
}


def _row(report: Report) -> dict[str, object]:
    return {
        "state": report.state.value,
        "signer": report.signer or None,
        "signed_at": report.signed_at or None,
        "generator": report.generator or None,
        "model": report.model or None,
        "source": report.source or None,
        "iptc_source": report.mark or None,
        "upstream": list(report.upstream),
        "problems": list(report.problems),
    }


def _read(path: Path, most: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise Failure(f"{path} cannot be read: {(error.strerror or str(error)).lower()}") from error
    if len(data) > most:
        raise Failure(f"{path} is larger than {most // 2**20} MB")
    return data
