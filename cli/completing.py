"""What a shell asks when its user types Tab: an answer on stdout, or none; never a message between what is typed."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import click

VARIABLE = "_FDA_COMPLETE"
"""Set by the scripts of `fda completion` when they ask."""


def answer(command: click.Command) -> NoReturn:
    """Answer a shell, and end the process."""
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123 (no path of ours)
        os.dup2(nowhere.fileno(), 2)  # also for libraries that print by themselves
    try:
        # click answers and exits inside `main`.
        command.main(prog_name="fda", complete_var=VARIABLE, standalone_mode=False)
    except SystemExit:
        pass
    except BaseException:
        sys.exit(1)
    # Here, so that a reader who has gone ends the process and prints nothing.
    sys.stdout.flush()
    sys.exit(0)
