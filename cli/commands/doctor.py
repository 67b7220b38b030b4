"""`fda doctor`."""

from __future__ import annotations

import click

import fda
from cli.options.files import Place
from cli.options.shared import progress_option, shared_options
from cli.output.doctor import print_checks
from cli.output.printing import DONE, FAILED, print_json
from cli.output.progress import progress_listener

PATIENCE_SECONDS = 3.0
"""Before a bar appears: packages on a slow file system."""


@click.command("doctor")
@click.argument("place", metavar="[STORE_OR_FOLDER]", required=False, type=Place(path_type=str))
@progress_option
@shared_options
def command(place: str | None, as_json: bool, progress: bool) -> None:
    """Look at this machine: what is installed, what a run would use, and what to do about what is missing.

    \b
    ok        is there and works
    warning   works less well than it could, or for some commands only
    optional  is not there, and only those who want it need it
    missing   is not there or does not work, and every run needs it: exit code 1

    Versions, codecs, CPU, GPUs, memory and limits, batch systems, S3, and the disk of the folder given (else the
    current one), which is tried with a file without a name. Of a store: whether it opens, and who writes into it.
    Changes nothing, and prints no secret.
    """
    with progress_listener("doctor", progress, after_seconds=PATIENCE_SECONDS) as listener:
        result = fda.doctor(place, listener=listener)
    print_json(result.to_dict()) if as_json else print_checks(result)
    # After the output: a script may read the JSON and the code.
    click.get_current_context().exit(DONE if result.is_fit else FAILED)
