"""`ketchup demo`: see `tour` for what it does."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ketchup.cli.failure import Failure


def demo(
    out: Annotated[Path, typer.Option(help="Where the pictures go.")] = Path("demo-output"),
) -> None:
    """Run the whole service once in a temporary folder and save the pictures."""
    from ketchup import telemetry
    from ketchup.cli import tour
    from ketchup.service import event_loop_runner

    telemetry.quiet()
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Failure(f"cannot write to {out}: {error.strerror}") from error
    with event_loop_runner() as runner:
        runner.run(tour.run(out))
