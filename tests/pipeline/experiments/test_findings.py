"""What experiments say of results made by hand: something helps, harms, or no difference was found."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.experiments.findings import NO_DIFFERENCE, QUICK
from pipeline.experiments.kinds.table import KINDS
from pipeline.experiments.options import ExperimentKind
from pipeline.experiments.results import Results
from pipeline.experiments.writing import write_files
from tests.experiments import results_by_hand
from tests.stores import tree_digest

BASELINE = KINDS[ExperimentKind.BASELINE]


@pytest.mark.parametrize(("share", "said"), [(0.9, "the masks help"), (0.1, "the masks harm"), (0.51, NO_DIFFERENCE)])
def test_the_baseline_says_what_the_intervals_carry(share: float, said: str) -> None:
    found = BASELINE.findings(results_by_hand("baseline", {"paper": share, "ones": 0.5, "no-alpha": 0.5}))
    assert found.answer.count(said) == 2
    assert f"{100 * (share - 0.5):+.1f} [" in found.answer
    conditions, differences, flattery = found.tables
    assert [row[0] for row in conditions.rows] == ["the paper", "the ones", "the no-alpha"]
    assert differences.rows[0][1] == "-"  # of itself
    assert flattery.rows[-1][0] == "mean of all"
    assert flattery.rows[-1][-1].startswith("+2.0 [")


def test_the_same_results_give_the_same_files(tmp_path: Path) -> None:
    results = results_by_hand("baseline", {"paper": 0.6, "ones": 0.5, "no-alpha": 0.5}, quick=True)
    results.write(tmp_path / "results.json")
    read = Results.read(tmp_path / "results.json")
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_files(tmp_path / name, BASELINE, read, BASELINE.findings(read))
    assert tree_digest(tmp_path / "a") == tree_digest(tmp_path / "b")
    report = (tmp_path / "a/report.md").read_text()
    assert report.count(QUICK) == 1 + report.count("\n| --- ")
