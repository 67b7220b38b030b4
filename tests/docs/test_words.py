"""Words that were replaced by those of the glossary in CONTRIBUTING, and must not return: in pages, help or code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import PAGES
from tests.paths import ROOT

REPLACED = re.compile(r"\b(owed|anew|laid[ -]over|(is|are) said|others now|no fair ones?|to be known of|flatter\w*)\b")
"""pending, again, aligned, reported, changed, not fair, note, biased upwards."""


def sources() -> Iterator[Path]:
    yield from PAGES
    yield ROOT / "docs/notebook.ipynb"
    yield ROOT / "fda.py"
    for package in ("cli", "encoders", "pipeline", "store"):
        yield from (path for path in (ROOT / package).rglob("*.*") if path.suffix in (".py", ".html", ".toml"))


def test_replaced_words_do_not_return() -> None:
    lines = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in sources()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if REPLACED.search(line)
    ]
    assert lines == []


@pytest.mark.parametrize("text", ["2 shards owed", "drawn anew", "laid-over frames", "what is missing is said here"])
def test_such_words_are_found(text: str) -> None:
    assert REPLACED.search(text)
