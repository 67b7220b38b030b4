"""What experiments say of results made by hand: something helps, harms, or no difference was found."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from pipeline.experiments.findings import NO_DIFFERENCE, QUICK
from pipeline.experiments.kinds.table import KINDS
from pipeline.experiments.options import ExperimentKind
from pipeline.experiments.results import Results
from pipeline.experiments.writing import write_files
from tests.clips_on_disk import Commands
from tests.experiments import results_by_hand
from tests.stores import tree_digest

BASELINE = KINDS[ExperimentKind.BASELINE]


@pytest.mark.parametrize(("share", "said"), [(0.9, "the masks help"), (0.1, "the masks harm"), (0.51, NO_DIFFERENCE)])
def test_the_baseline_says_what_the_intervals_carry(share: float, said: str) -> None:
    found = BASELINE.findings(results_by_hand("baseline", {"paper": share, "ones": 0.5, "no-alpha": 0.5}))
    assert found.answer.count(said) == 2
    assert f"{100 * (share - 0.5):+.1f} [" in found.answer
    conditions, differences, bias = found.tables
    assert [row[0] for row in conditions.rows] == ["the paper", "the ones", "the no-alpha"]
    assert differences.rows[0][1] == "-"  # of itself
    assert bias.rows[-1][0] == "mean of all"
    assert bias.rows[-1][-1].startswith("+2.0 [")


def test_every_split_that_is_scored_is_shown() -> None:
    hits = {"paper": 0.6, "ones": 0.5, "no-alpha": 0.5}
    found = BASELINE.findings(results_by_hand("baseline", hits, splits=("test", "still")))
    names = [table.name for table in found.tables]
    assert names == ["conditions", "conditions-still", "differences", "differences-still", "chosen-on-test"]


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


@pytest.mark.parametrize(("share", "said"), [(0.9, "50 (+40.0 ["), (0.5, NO_DIFFERENCE)])
def test_tau_names_the_thresholds_that_differ(share: float, said: str) -> None:
    hits = {"tau-12.5": 0.5, "tau-25": 0.5, "tau-50": share, "reads-12.5": 0.49, "reads-50": 0.51}
    found = KINDS[ExperimentKind.TAU].findings(results_by_hand("tau", hits))
    assert said in found.answer.split("; ")[1]
    assert NO_DIFFERENCE in found.answer.split("; ")[2]
    (table,) = found.tables
    assert [row[0] for row in table.rows] == ["12.5", "25", "50"]
    assert [row[3] == "-" for row in table.rows] == [False, True, False]
    assert table.rows[2][1].startswith(f"{100 * share:.1f} [")


def masks_by_hand(auto: float, hard: float) -> Results:
    """`auto` against the paper's, on an easy split and on a hard one."""
    hits = {"ones": 0.5, "paper": 0.5, "auto": auto, "truth": 0.95}
    results = results_by_hand("masks", hits, splits=("test", "test-noise-strong"))
    ranks = np.where(np.arange(200) < 200 * hard, 1, 9)
    its = {"text_to_video": ranks, "video_to_text": ranks}
    cells = (
        replace(one, ranks={**one.ranks, "test-noise-strong": its}) if one.condition == "auto" else one
        for one in results.cells
    )
    return replace(results, cells=tuple(cells))


@pytest.mark.parametrize(
    ("auto", "hard", "said"),
    [
        (0.5, 0.9, "are `auto`: +20.0 ["),
        (0.9, 0.2, "worse on test-noise-strong"),
        (0.4, 0.4, "no kind of mask has a higher mean R@1 than FDA-CLIP's masks"),
        (0.505, 0.505, NO_DIFFERENCE),
    ],
)
def test_masks_names_the_best_and_where_it_is_worse(auto: float, hard: float, said: str) -> None:
    found = KINDS[ExperimentKind.MASKS].findings(masks_by_hand(auto, hard))
    assert said in found.answer
    assert "`truth`" not in found.answer  # nobody has it
    assert "hard" not in [table.name for table in found.tables]  # noise does not defeat differences
    which = next(table for table in found.tables if table.name == "which-to-use")
    assert [row[0] for row in which.rows] == ["test", "test-noise-strong"]
    assert which.rows[1][1] == ("auto" if hard > 0.5 else "paper")


def test_masks_tells_apart_the_splits_that_defeat_differences_of_neighbours() -> None:
    splits = ("test", "test-pan-strong", "test-pan-mild", "test-speed-slow", "test-speed-fast")
    results = results_by_hand("masks", {"paper": 0.5, "auto": 0.6}, splits=splits)
    hits, misses = (np.full(200, rank) for rank in (1, 9))
    cells = []
    for cell in results.cells:
        ranks = dict(cell.ranks)
        for split in ("test-pan-strong", "test-speed-slow"):
            its = hits if cell.condition == "auto" else misses
            ranks[split] = {"text_to_video": its, "video_to_text": its}
        cells.append(replace(cell, ranks=ranks))
    tables = {
        table.name: table for table in KINDS[ExperimentKind.MASKS].findings(replace(results, cells=tuple(cells))).tables
    }
    assert "2 test splits" in tables["hard"].title
    r1 = {row[0]: row[1].split(" ")[0] for row in tables["hard"].rows}
    assert sorted(r1.values()) == ["0.0", "100.0"]
    gains = [row[2] for row in tables["hard"].rows if row[2] != "-"]
    assert gains == ["+100.0 [+99.0, +100.0]"]
    assert [row[1].split(" ")[0] for row in tables["together"].rows] == ["30.0", "76.0"]


@pytest.mark.parametrize(("masks", "said"), [(0.2, "that much is lost"), (0.5, NO_DIFFERENCE)])
def test_static_says_what_is_lost_and_what_repairs_it(masks: float, said: str) -> None:
    hits = {"ones": 0.5, "paper": masks, "soft": masks, "paper-mix": 0.6}
    conditions = {
        name: {"title": name, "masks": "paper", "alpha": "masks", "mixed": ["a", "b"] if "mix" in name else None}
        for name in hits
    }
    results = results_by_hand("static", hits, splits=("test", "test-static"), conditions=conditions)
    more = {"weight": 0.7, "chosen_on": ["val", "val-static"]}
    cells = tuple(replace(one, more=more) if one.condition == "paper-mix" else one for one in results.cells)
    found = KINDS[ExperimentKind.STATIC].findings(replace(results, cells=cells))
    assert f"({said})" in found.answer
    assert "`paper-mix`" in found.answer
    assert found.tables[1].rows == (("paper-mix", "0.7", "0.7", "0.7"),)
    assert found.tables[1].notes == ("Chosen by mean T2V R@1 on val, val-static.",)


SOME = {
    ExperimentKind.BASELINE: ("no-alpha", "ones", "paper", "shuffled", "auto", "truth"),
    ExperimentKind.MASKS: ("ones", "paper", "auto", "soft", "truth"),
    ExperimentKind.STATIC: ("ones", "paper", "soft", "auto", "paper-mix"),
}


@pytest.mark.parametrize("kind", list(SOME))
def test_any_conditions_alone_give_an_answer_and_tables(kind: ExperimentKind, tmp_path: Path) -> None:
    names = SOME[kind]
    for number, chosen in enumerate(some for size in range(1, 6) for some in combinations(names, size)):
        conditions = {name: condition_by_hand(name) for name in chosen}
        hits = {name: 0.3 + 0.1 * names.index(name) for name in chosen}
        results = results_by_hand(
            str(kind), hits, num_videos=20, splits=("test", "test-static"), conditions=conditions, quick=True
        )
        cells = tuple(replace(one, more={"weight": 0.7, "chosen_on": []}) for one in results.cells)
        found = KINDS[kind].findings(replace(results, cells=cells))
        for table in found.tables:
            assert {len(row) for row in table.rows} == {len(table.columns)}, (chosen, table.name)
            for words, name in (("paper's masks", "paper"), ("all ones", "ones")):
                assert name in chosen or not any(words in column for column in table.columns), (chosen, table.name)
        is_answered = "points" in found.answer or "no kind of mask has a higher" in found.answer
        assert is_answered != ("No answer: it needs" in found.answer), (chosen, found.answer)
        assert is_answered or not {"paper", "ones"} <= {*chosen}, chosen
        if number % 16 == 0:
            write_files(tmp_path, KINDS[kind], results, found)


def condition_by_hand(name: str) -> dict[str, object]:
    alpha = {"ones": "ones", "no-alpha": "ones", "shuffled": "shuffled"}.get(name, "masks")
    mixed = ["a", "b"] if name.endswith("-mix") else None
    return {"title": f"the {name}", "masks": name, "alpha": alpha, "mixed": mixed}


@pytest.mark.parametrize("kind", list(ExperimentKind))
def test_every_experiment_is_in_the_table_and_in_the_help(kind: ExperimentKind, fda: Commands) -> None:
    assert KINDS[kind].name is kind
    assert f"  {kind} " in fda("experiment", "--help").out


def test_the_best_of_several_has_a_wider_interval() -> None:
    results = results_by_hand("masks", {"paper": 0.5, "auto": 0.6})
    alone, best = (results.gain("auto", "paper", "test", among=number).interval for number in (1, 5))
    assert best.low < alone.low < alone.high < best.high
    assert (alone.level, best.level) == (0.95, 0.99)
