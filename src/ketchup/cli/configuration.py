"""`ketchup config …`: what the settings are, and where each came from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from ketchup.cli.show import show_list

app: Final = typer.Typer(
    help="The settings of this machine.", no_args_is_help=True, rich_markup_mode=None
)


@app.callback()
def _group() -> None:
    pass


@app.command("show")
def show(
    *,
    config: Annotated[
        Path | None, typer.Option("--config", help="The file; else KETCHUP_CONFIG.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show every setting with its source. Secrets are masked."""
    import os

    from ketchup.config.sources import load, shown

    rows = [
        {"setting": key, "value": value, "source": source}
        for key, value, source in shown(load(os.environ, config=config))
    ]
    show_list(rows, as_json=as_json, empty="")
