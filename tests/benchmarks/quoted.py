"""Figures of the benchmarks that the documents quote by name: kept with the results, and written into the documents.

A document marks each place: `<!--retrieval.square-->9.5x<!--/-->`, which a reader does not see. This fills in what a
whole run gave, and marks what missed its target in bold:

    python -m tests.benchmarks.quoted bench/results.json
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = tuple(sorted((ROOT / "docs").glob("*.md")))
MARKED = re.compile(r"<!--([a-z_]+\.[a-z0-9_.]+)-->(.*?)<!--/-->")
NAME = re.compile(r"[a-z_]+\.[a-z0-9_.]+")


@dataclass(frozen=True, slots=True)
class Figure:
    """A number with its unit, and its target if it has one."""

    value: float
    unit: str
    """`x` for a ratio, `cosine` for one; else as it is printed after the number."""
    at_least: float | None = None
    at_most: float | None = None

    @property
    def is_missed(self) -> bool:
        """Whether there is a target that the number does not reach."""
        too_low = self.at_least is not None and self.value < self.at_least
        return too_low or (self.at_most is not None and self.value > self.at_most)

    def __str__(self) -> str:
        """The number to two digits or more.

        >>> [str(Figure(value, "x")) for value in (0.966, 9.52, 14.3)]
        ['0.97x', '9.5x', '14x']
        >>> str(Figure(1526.2, "MiB")), str(Figure(0.0034, "of a core")), str(Figure(2.72, "%"))
        ('1,526 MiB', '0.0034 of a core', '2.7%')
        """
        if self.unit == "cosine":
            return f"{self.value:.5f}"
        return f"{_digits(self.value)}{'' if self.unit in {'x', '%', ''} else ' '}{self.unit}"


def _digits(value: float) -> str:
    size = abs(value)
    if size < 0.1:
        return f"{value:.2g}"
    return f"{value:,.{2 if size < 2 else 1 if size < 10 else 0}f}"


quoted: dict[str, Figure] = {}
"""Every figure that this process measured, by its name."""


def quote(
    name: str, value: float, unit: str = "x", *, at_least: float | None = None, at_most: float | None = None
) -> None:
    """Print a figure that documents quote, and keep it for the file of results.

    Args:
        name: `part.what`, where the part is that of the file that measures it.
        value: In that unit.
        unit: `x`, `%`, `s`, `ms`, `MiB` ...
        at_least: Its target, where more is better.
        at_most: Its target, where less is better.

    Raises:
        ValueError: The name is no name, or was given before.
    """
    if not NAME.fullmatch(name) or name in quoted:
        raise ValueError(f"a figure needs a name of its own such as retrieval.square, got {name!r}")
    figure = quoted[name] = Figure(value, unit, at_least, at_most)
    target = next((f" ({word} {goal:g})" for word, goal in (("at least", at_least), ("at most", at_most)) if goal), "")
    print(f"  {name}: {figure}{target}{'  MISSED' if figure.is_missed else ''}", flush=True)


def figures_of(results: Mapping[str, object]) -> dict[str, Figure]:
    """What a file of results has, by name; what `--quick` measured means nothing and is left out."""
    parts = results["parts"]
    assert isinstance(parts, dict)
    return {
        name: Figure(**fields)
        for part in parts.values()
        if not part["quick"]
        for name, fields in part["quoted"].items()
    }


def filled(text: str, figures: Mapping[str, Figure]) -> str:
    """A document with all marked places filled in; one without a figure stays as it is.

    >>> filled("<!--a.b-->8x<!--/--> and <!--a.c-->1 s<!--/-->", {"a.b": Figure(0.5, "x", at_least=1)})
    '<!--a.b-->**0.50x**<!--/--> and <!--a.c-->1 s<!--/-->'
    """

    def fill(found: re.Match[str]) -> str:
        figure = figures.get(found[1])
        if figure is None:
            return found[0]
        return f"<!--{found[1]}-->{f'**{figure}**' if figure.is_missed else figure}<!--/-->"

    return MARKED.sub(fill, text)


def main() -> None:
    """Write the figures of a run into the documents."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.quoted", description=__doc__)
    parser.add_argument("results", type=Path, help="what `make bench` wrote: bench/results.json")
    figures = figures_of(json.loads(parser.parse_args().results.read_text()))
    for document in DOCUMENTS:
        text = document.read_text()
        document.write_text(filled(text, figures))
        names = [found[1] for found in MARKED.finditer(text)]
        if names:
            print(f"{document}: {sum(name in figures for name in names)} of {len(names)} figures")
        for name in names:
            if name not in figures:
                print(f"  {name}: not measured, stays as it was")


if __name__ == "__main__":
    main()
