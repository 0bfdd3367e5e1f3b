"""The command line: parsing, wiring and printing. What the commands do lives elsewhere.

Each command has its own file and imports what it needs when it runs: `ketchup --help` loads typer
and nothing else. Adding a command is one line below: `app.command("serve")(serve.serve)`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Final

import typer

from ketchup import __version__
from ketchup.cli import admin, configuration, demo, fake_upstream, rotate, serve, verify
from ketchup.cli.failure import Failure, failure_of
from ketchup.cli.show import printable

app: Final = typer.Typer(
    name="ketchup",
    help="The image-generation API that you run yourself.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("serve")(serve.serve)
app.command("api")(serve.api)
app.command("worker")(serve.worker)
app.command("demo")(demo.demo)
app.command("fake-upstream")(fake_upstream.fake_upstream)
app.command("migrate")(serve.migrate)
app.command("rotate-secret-key")(rotate.rotate_secret_key)
app.command("verify")(verify.verify)
app.add_typer(admin.app, name="admin")
app.add_typer(configuration.app, name="config")


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"ketchup {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    pass


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command, that of the process by default, and exit by its code: see `failure.Exit`."""
    try:
        app(arguments, prog_name="ketchup")
    except Exception as error:
        failure = failure_of(error)
        if failure is None:
            raise
        _fail(failure)


def _fail(failure: Failure) -> None:
    for line in str(failure).split("\n"):
        print(f"ketchup: {printable(line)}", file=sys.stderr)
    sys.exit(failure.exit)
