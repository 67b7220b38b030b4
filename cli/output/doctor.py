"""The rows of `fda doctor`, group by group, wrapped at the width of the terminal."""

from __future__ import annotations

import sys
from collections import Counter
from itertools import groupby
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.console import Console
from rich.containers import Lines
from rich.text import Text

from cli.output.printing import printable, show
from pipeline.doctor.checks import Check, State

if TYPE_CHECKING:
    from pipeline.doctor.run import DoctorResult

_STYLES = {State.OK: "green", State.WARNING: "yellow", State.OPTIONAL: "dim", State.MISSING: "bold red"}
_STATE = max(map(len, State))
_WIDEST_NAME, _LEAST_TEXT = 16, 30
"""Columns: a longer name has its text below it, and so has everything on a terminal that is narrower."""


def print_checks(result: DoctorResult) -> None:
    """Print what was found, group by group."""
    console, is_terminal = Console(), sys.stdout.isatty()
    widest = min(_WIDEST_NAME, max(cell_len(one.name) for one in result.checks))
    for group, checks in groupby(result.checks, key=lambda one: one.group):
        console.print(Text(group, style="bold"))
        for one in checks:
            for line in _lines(one, widest, console) if is_terminal else [_line(one, widest)]:
                # Lines are wrapped here already, with an indent: rich would wrap them again without.
                console.print(line, soft_wrap=True)
    counts = Counter(one.state for one in result.checks)
    show(f"{', '.join(f'{counts[state]} {state}' for state in State if counts[state])} in {result.seconds:.1f} s")


def _texts(check: Check) -> list[str]:
    used = [f"used: {check.used}"] if check.used else []
    remedy = [f"remedy: {check.remedy}"] if check.remedy else []
    return [printable(text) for text in (check.found, *used, *remedy)]


def _line(check: Check, widest: int) -> Text:
    """In a file or a pipe, a row is one line."""
    return Text.assemble(*_head(check, widest), "; ".join(_texts(check)))


def _lines(check: Check, widest: int, console: Console) -> list[Text]:
    """On a terminal, texts are wrapped in a column of their own, and remedies begin a line."""
    head = Text.assemble(*_head(check, widest))
    short = Text.assemble(*_head(check, 0))
    room = console.width - cell_len(head.plain)
    texts = Lines() if room >= _LEAST_TEXT else Lines([short])
    indent = " " * (cell_len(head.plain) if room >= _LEAST_TEXT else 4)
    for text in _texts(check):
        for wrapped in Text(text, overflow="fold").wrap(console, console.width - len(indent)):
            wrapped.rstrip()
            texts.append(Text.assemble(head if not texts else indent, wrapped))
    return list(texts)


def _head(check: Check, widest: int) -> tuple[str | Text, ...]:
    name = printable(check.name)
    blanks = " " * max(0, widest - cell_len(name))
    return "  ", Text(f"{check.state:{_STATE}}", style=_STYLES[check.state]), f"  {name}{blanks}  "
