"""The demo as a shell runs it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.demo.result import DemoResult
from pipeline.experiments.findings import QUICK
from tests.clips_on_disk import Commands
from tests.html_pages import ParsedPage

ANSWER = "times the best that any model could guess from single frames"


def test_the_demo_runs_everything_and_goes_on_where_it_was(
    fda: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "demo"
    ended = fda("demo", folder, "--quick", "--no-progress")  # .ci/run has it as the shell runs it
    assert ended.code == 0, ended.err
    titles = ("the paper's motion masks", "masks of whole objects", "without (alpha all ones)", "another clip's masks")
    for words in (*titles, "chance", QUICK):
        assert words in ended.out
    assert ANSWER not in ended.out
    page = folder / "demo.html"
    assert f"page: {page}" in ended.out
    assert f"search it: fda serve {folder}/store --open    (try: a red star is moving)" in ended.out
    parsed = ParsedPage(page.read_text(encoding="utf-8"))
    parsed.check()
    assert parsed.titles[:4] == ["Does the motion mask help?", "In short", "Retrieval", "Feature sets compared"]
    assert parsed.tags.count("img") > 8  # the test clips, and those of the report
    assert QUICK in parsed.text
    assert "“ a red circle is moving ”" in parsed.text
    assert f"fda encode {folder}/store --features masks --checkpoint {folder}/checkpoints/masks" in parsed.text
    assert page.stat().st_size < 5_000_000
    shown: list[DemoResult] = []
    monkeypatch.setattr("pipeline.demo.run.write_demo_page", lambda store, result, *arguments: shown.append(result))
    again = fda("demo", folder, "--quick", "--json")
    assert (again.code, [one.page for one in shown]) == (0, [page])
    result = json.loads(again.out)
    assert result["page"] == str(page)
    assert result["quick"] is True
    assert set(result["test"]) == set(result["still"]) == {"masks", "objects", "ones", "shuffled"}
    assert result["test"]["masks"]["num_videos"] == 4
    assert "nothing to do: " in again.err
    monkeypatch.setattr("fda.demo", lambda *arguments, **options: replace(shown[0], is_quick=False))
    whole = fda("demo", folder)
    assert (ANSWER in whole.out, QUICK in whole.out) == (True, False)
