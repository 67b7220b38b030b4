"""Tables and lists of pairs on stdout, for people."""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Literal

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli.output.printing import printable, show

_UNBOUNDED = 1_000_000
"""Columns of what is no terminal: a file or a pipe takes lines of any length."""
_LONGEST_WORD = 30
"""Letters: a longer one, such as a path in a reason, is folded where its column is narrow."""


class _Kind(Enum):
    """What the cells of a column are."""

    NAMES = auto()
    """Of the rows: to the left, and never wrapped."""
    NUMBERS = auto()
    """To the right, and never wrapped."""
    TEXTS = auto()
    """To the left, and wrapped where there is too little room."""


class _Look(Enum):
    """How much room there is between columns."""

    AIRY = auto()
    """Three blanks between two columns, two at the edges, and a blank line above and below."""
    DENSE = auto()
    """Two blanks between two columns: where the table does not fit otherwise."""

    def blanks(self, num_columns: int) -> int:
        """Of each line.

        >>> _Look.AIRY.blanks(2), _Look.DENSE.blanks(2)
        (7, 2)
        """
        return 3 * num_columns + 1 if self is _Look.AIRY else 2 * (num_columns - 1)


@dataclass(frozen=True, slots=True)
class _Column:
    """One column of a table, as it is printed."""

    title: str
    cells: tuple[str, ...]
    kind: _Kind

    @property
    def widest(self) -> int:
        """Where nothing is wrapped."""
        return max(map(_width, (self.title, *self.cells)))

    @property
    def narrowest(self) -> int:
        """Where everything is wrapped that may be: the title of every column, and cells of text."""
        is_text = self.kind is _Kind.TEXTS
        words = [*self.title.split(), *(word for cell in self.cells if is_text for word in cell.split())]
        longest = min(_LONGEST_WORD, max(map(_width, words), default=1))
        return longest if is_text else max([longest, *map(_width, self.cells)])


def print_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, texts: Collection[str] = ()
) -> None:
    """Print a result as a table, whose first column names the rows.

    On a terminal that is too narrow, titles and columns of text are wrapped first. Columns that still do not fit follow
    in further tables, each with the names of the rows. Where not even one column fits beside these, the cells of a row
    are listed below its name. In a file or a pipe, a table is as wide as it needs to be.

    Args:
        title: Printed above it.
        columns: Titles of the columns.
        rows: One cell a column.
        texts: Titles of the columns that are text; but for these and the first, columns are numbers, and stand to the
            right.
    """
    console = Console(width=None if sys.stdout.isatty() else _UNBOUNDED)
    titles, cells = [printable(one) for one in columns], [[printable(cell) for cell in row] for row in rows]
    first, *others = (
        _Column(name, tuple(row[place] for row in cells), kind)
        for place, (name, kind) in enumerate(zip(titles, _kinds(columns, texts), strict=True))
    )
    console.print(Text(printable(title), style="bold"), soft_wrap=True)
    for look in (_Look.AIRY, _Look.DENSE):
        parts = _parts(first, others, console.width, look)
        # The airy look only if one table holds all; otherwise the loop ends with the dense one, whatever it gives.
        if parts is not None and len(parts) == 1:
            break
    if parts is None or len(others) < 2 * len(parts) > 4:  # many tables of hardly a column each
        _print_stacked(first, others)
        return
    for part in parts:
        console.print(_table(part, console.width, look))
        if look is _Look.DENSE:
            console.print()


def print_pairs(title: str, pairs: Sequence[tuple[str, str]]) -> None:
    """Print a result as lines of a name and a value, which may be long and is never cut."""
    show(title)
    width = max(len(name) for name, _ in pairs)
    for name, value in pairs:
        show(f"  {name:{width}}  {value}")


def _kinds(columns: Sequence[str], texts: Collection[str]) -> list[_Kind]:
    return [_Kind.NAMES, *(_Kind.TEXTS if name in texts else _Kind.NUMBERS for name in columns[1:])]


def _parts(first: _Column, others: Sequence[_Column], width: int, look: _Look) -> list[list[_Column]] | None:
    """Columns dealt out to tables of at most this width; None if some column does not fit beside the first."""
    parts = [[first]]
    for column in others:
        if _widths([*parts[-1], column], width, look) is not None:
            parts[-1].append(column)
        elif _widths([first, column], width, look) is not None:
            parts.append([first, column])
        else:
            return None
    return parts


def _widths(columns: Sequence[_Column], width: int, look: _Look) -> list[int] | None:
    """The width of each column of a table, or None if the table would be too wide.

    What is left beyond the narrowest table goes to the columns that need least, so that one long text does not make all
    others wrap.
    """
    widths = [one.narrowest for one in columns]
    room = width - sum(widths) - look.blanks(len(columns))
    if room < 0:
        return None
    wanted = [max(0, one.widest - least) for one, least in zip(columns, widths, strict=True)]
    for place in sorted(range(len(columns)), key=wanted.__getitem__):
        more = min(room, wanted[place])
        widths[place] += more
        room -= more
    return widths


def _table(columns: Sequence[_Column], width: int, look: _Look) -> Table:
    widths = _widths(columns, width, look)
    assert widths is not None  # `_parts` has made sure
    is_airy = look is _Look.AIRY
    padding = (0, 1, 0, 1 if is_airy else 0)
    table = Table(box=box.SIMPLE_HEAD, padding=padding, show_edge=is_airy, pad_edge=is_airy)
    for column, wide in zip(columns, widths, strict=True):
        justify: Literal["left", "right"] = "right" if column.kind is _Kind.NUMBERS else "left"
        table.add_column(Text(column.title), justify=justify, overflow="fold", width=wide)
    for row in zip(*(column.cells for column in columns), strict=True):
        table.add_row(*map(Text, row))  # Text: an id may look like markup
    return table


def _print_stacked(first: _Column, others: Sequence[_Column]) -> None:
    width = max((_width(column.title) for column in others), default=0)
    for number, name in enumerate(first.cells):
        show(name)
        for column in others:
            show(f"  {column.title:{width}}  {column.cells[number]}")


def _width(text: str) -> int:
    """Columns of a terminal that the longest line of a text takes."""
    return max(map(cell_len, text.splitlines()), default=0)
