"""docs/evaluation.md: its examples are run, one after the other."""

from __future__ import annotations

import doctest

from tests.paths import ROOT

PAGE = ROOT / "docs/evaluation.md"


def test_the_examples() -> None:
    examples = doctest.DocTestParser().get_doctest(PAGE.read_text(encoding="utf-8"), {}, PAGE.name, str(PAGE), 0)
    assert len(examples.examples) > 12
    assert doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(examples).failed == 0
