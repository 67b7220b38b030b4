"""docs/python.md: its examples are run, one after the other, as in a notebook beside a folder of clips."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

from tests.clips_on_disk import write_small_dataset
from tests.docs.pages import blocks_of
from tests.paths import ROOT

PAGE = ROOT / "docs/python.md"


def test_the_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_small_dataset(tmp_path, {"train": 6, "test": 4})
    (described,) = [block.text for block in blocks_of(PAGE) if block.language == "json"]
    (tmp_path / "tiny.json").write_text(described, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    text = PAGE.read_text(encoding="utf-8")
    # In this process, so that nothing of the page's workers outlives the test.
    text = text.replace(
        "fda.PreprocessOptions(image_size=32))", "fda.PreprocessOptions(image_size=32), run=fda.RunOptions(workers=0))"
    )
    examples = doctest.DocTestParser().get_doctest(text, {}, "python.md", str(PAGE), 0)
    assert len(examples.examples) > 25
    results = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(examples)
    assert results.failed == 0


def test_ten_lines_lead_from_clips_to_a_matrix() -> None:
    first = PAGE.read_text(encoding="utf-8").split("```python")[1].split("```")[0]
    assert sum(line.startswith(">>> ") for line in first.splitlines()) <= 10
