"""What commands print: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import NoReturn

import click
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from store.arrays import JSON

DONE, FAILED, OVER_LIMIT = 0, 1, 3
"""Exit codes; click ends with 2 where the usage is wrong."""


def fail(message: str) -> NoReturn:
    """End with an error message on stderr and exit code 1."""
    click.echo(f"fda: error: {message}", err=True)
    sys.exit(FAILED)


def say(message: str) -> None:
    """Tell something that is not the result: on stderr."""
    click.echo(message, err=True)


def print_json(value: Mapping[str, JSON]) -> None:
    """Print the machine-readable result; NaN is never among it."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a result as a table. The first column is text; the others are numbers and stand to the right."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, title_style="bold")
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left", no_wrap=index > 0)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))  # Text: an id may look like markup
    Console(soft_wrap=not sys.stdout.isatty(), width=None if sys.stdout.isatty() else 120).print(table)


def plural(number: int, noun: str) -> str:
    """Count something in words.

    >>> plural(1, "video"), plural(1200, "video")
    ('1 video', '1,200 videos')
    """
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
