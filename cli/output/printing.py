"""What commands print: results on stdout, everything else on stderr."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Mapping
from typing import NoReturn

import click

from store.json_values import JSON

DONE, FAILED, OVER_LIMIT = 0, 1, 3
"""Exit codes; click ends with 2 where the usage is wrong."""


_COMMANDS_TO_TERMINALS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""Control characters but for line feed and tab, and those that turn the direction of writing."""


def printable(text: str) -> str:
    """The text with what would steer a terminal escaped: ids, captions and names of files come from anybody.

    >>> print(printable("\x1b[2Jgone \u202etxt.exe"))
    \\u001b[2Jgone \\u202etxt.exe
    """
    return _COMMANDS_TO_TERMINALS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def print_in_any_encoding() -> None:
    """Escape letters that stdout and stderr cannot show: a caption must not end a command half-way.

    Terminals and logs of clusters may be ASCII or Latin-1, and a name of a file may be no UTF-8 at all.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def fail(message: str) -> NoReturn:
    """End with an error message on stderr and exit code 1."""
    say(f"fda: error: {message}")
    sys.exit(FAILED)


def say(message: str) -> None:
    """Tell something that is not the result: on stderr."""
    click.echo(printable(message), err=True)


def show(message: str) -> None:
    """Print a line of the result on stdout."""
    click.echo(printable(message))


def print_json(value: Mapping[str, JSON]) -> None:
    """Print the machine-readable result; NaN is never among it."""
    # The escapes of `printable` are JSON's, and those of `print_in_any_encoding` are not.
    is_utf = (sys.stdout.encoding or "").lower().startswith("utf")
    show(json.dumps(value, indent=2, ensure_ascii=not is_utf, allow_nan=False))
