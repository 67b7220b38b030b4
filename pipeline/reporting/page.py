"""The page as values: sections, each with what its template shows, and how they become one file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Self

import jinja2
from markupsafe import Markup, escape

from pipeline.pages.environment import script_source, templates_of
from pipeline.pages.texts import visible
from pipeline.run.words import cut, listed, percent, plural, setting

MAX_TEXT = 240
"""Characters of a caption, a reason or a path in the page: one may have thousands."""


@dataclass(frozen=True, slots=True)
class Section:
    """One section of the page."""

    anchor: str
    """Its name in links: letters and dashes."""
    title: str
    html: Markup

    @classmethod
    def of(cls, anchor: str, title: str, values: object) -> Self:
        """A section from the template of this wing that is called like it.

        Args:
            anchor: Also the name of the template.
            title: Of the section.
            values: What the template shows, as `it`.
        """
        return cls(anchor, title, rendered(f"{anchor}.html", it=values))


@dataclass(frozen=True, slots=True)
class Page:
    """All that the page shows."""

    title: str
    subtitle: str
    """Where the store is."""
    sections: tuple[Section, ...]
    made_by: str
    """The program and its version."""

    def html(self) -> str:
        """The page as one file."""
        script = files("pipeline.pages").joinpath("templates/sort.js").read_text(encoding="utf-8")
        policy = script_source(script)
        return str(rendered("report.html", page=self, script=Markup(script), policy=policy))


def rendered(template: str, **values: Any) -> Markup:
    """A template of this wing, filled in."""
    return Markup(templates().get_template(template).render(**values))


@cache
def templates() -> jinja2.Environment:
    """The templates of this wing, with the ways in which they write numbers and texts."""
    environment = templates_of("pipeline.reporting")
    environment.filters.update(
        number=lambda value: "-" if value is None else f"{value:,}",
        percent=percent,
        one=lambda value: "-" if value is None else f"{value:,.1f}",
        signed=lambda value: f"{value:+.1f}",
        cosine=lambda value: f"{value:.3f}",
        mib=lambda value: f"{value / 2**20:,.1f}",
        seconds=duration,
        cut=lambda text, length=MAX_TEXT: cut(text, length),
        prose=prose,
        setting=lambda value: cut(setting(value), MAX_TEXT),
        plural=plural,
        listed=lambda names: listed(list(names)),
    )
    return environment


def duration(seconds: float) -> str:
    """A time as people read it.

    >>> duration(4.71), duration(95), duration(7384)
    ('4.7 s', '1 min 35 s', '2 h 3 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60:,} h {minutes % 60} min"


def prose(text: str) -> Markup:
    """A sentence of a message, with what is between two backticks as code.

    >>> str(prose("run `fda encode <x>` again"))
    'run <code>fda encode &lt;x&gt;</code> again'
    """
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(visible(text)))))


def first_of(items: Sequence[Any], most: int) -> tuple[tuple[Any, ...], int]:
    """The first items, and how many more there are.

    >>> first_of("abc", 2)
    (('a', 'b'), 1)
    """
    return tuple(items[:most]), max(0, len(items) - most)
