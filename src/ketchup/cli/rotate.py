"""`ketchup rotate-secret-key`: another secret key, and all that is sealed is sealed anew."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ketchup.cli.failure import Failure
from ketchup.cli.serve import ConfigOption, DatabaseOption, DataOption, open_for_work

if TYPE_CHECKING:
    from ketchup.key_rotation import Outcome


def rotate_secret_key(
    *,
    new_key: Annotated[
        Path | None,
        typer.Option("--new-key", help="The file of the new key, where the key is configured."),
    ] = None,
    finish: Annotated[
        bool, typer.Option("--finish", help="End the last rotation: the key before is void.")
    ] = False,
    data: DataOption = None,
    database: DatabaseOption = None,
    config: ConfigOption = None,
) -> None:
    """Replace the secret key. API keys go on working, and callbacks are signed as before."""
    from ketchup.clock import SystemClock
    from ketchup.data_folder import read_secret_key
    from ketchup.key_rotation import finish_rotation, rotate_secret_key

    with open_for_work({"data": data, "database": database}, config) as (settings, folder):
        if finish:
            ended = finish_rotation(settings, folder)
            typer.echo("The key before is void." if ended else "There was nothing to finish.")
            return
        try:
            given = None if new_key is None else read_secret_key(new_key)
        except OSError as error:
            raise Failure(f"{new_key} cannot be read: {error.strerror}") from error
        _tell(rotate_secret_key(settings, folder, given, SystemClock()))


def _tell(outcome: Outcome) -> None:
    done = outcome.rotated
    if done is None:
        typer.echo("An earlier rotation was gone on with.")
    else:
        typer.echo(
            f"Sealed anew: {done.webhook_secrets} webhook secrets,"
            f" {done.provider_keys} provider keys."
        )
        if done.keys_under_older_peppers:
            typer.echo(
                f"{done.keys_under_older_peppers} API keys work by what an older secret key made."
                " If that is known to others, make them anew."
            )
    typer.echo("The key before is void." if outcome.finished else _NEXT)


_NEXT = (
    "Both keys work now. Start every process with the new one, then run"
    " `ketchup rotate-secret-key --finish`."
)
