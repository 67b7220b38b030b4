"""README and docs/ as a program sees them: their blocks, their command lines, and their words in code."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.paths import ROOT

PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))

_BLOCK = re.compile(r"^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Block:
    """What is between two lines of three backticks."""

    language: str
    """As after the first three backticks; empty for what a command prints."""
    text: str

    @property
    def commands(self) -> list[list[str]]:
        """The words of each command line, without comments; a backslash at the end of a line continues it."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [words for line in lines if (words := shlex.split(line, comments=True))]


def blocks_of(page: Path) -> list[Block]:
    return [Block(found["language"], found["text"]) for found in _BLOCK.finditer(page.read_text(encoding="utf-8"))]


def command_lines(page: Path) -> list[list[str]]:
    """Of all blocks of shell."""
    return [words for block in blocks_of(page) if block.language == "sh" for words in block.commands]


def inline_code(page: Path) -> Iterator[str]:
    """What is between two backticks, outside blocks."""
    prose = _BLOCK.sub("", page.read_text(encoding="utf-8"))
    return (" ".join(code.split()) for code in re.findall(r"`([^`]+)`", prose))


def links(page: Path) -> Iterator[tuple[str, str]]:
    """File, relative to the page (empty for the page itself), and heading of each link that stays in the project."""
    prose = _BLOCK.sub("", page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)]+)\)", prose):
        if "://" not in target:
            file, _, anchor = target.partition("#")
            yield file, anchor


def anchors(page: Path) -> set[str]:
    """The names under which the headings of a page can be linked to."""
    prose = _BLOCK.sub("", page.read_text(encoding="utf-8"))
    titles = re.findall(r"^#+ (.*)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
