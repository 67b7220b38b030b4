"""`fda experiment long`: what it says of results made by hand, and that it runs on a store of a few clips."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.experiments.findings import NO_DIFFERENCE, Table
from pipeline.experiments.kinds.long import AVERAGE, WAYS
from pipeline.experiments.kinds.table import KINDS
from pipeline.experiments.options import ExperimentKind
from pipeline.experiments.results import Results
from pipeline.experiments.writing import write_files
from tests.clips_on_disk import Commands
from tests.experiments import results_by_hand, write_small_store

LONG = KINDS[ExperimentKind.LONG]
SPLITS = ("test-events-1", "test-events-8")
NUM_VIDEOS = 200


def results_of(shares: Mapping[str, float], *, knows_seconds: bool = True) -> Results:
    """Each way finds so large a share of the videos of each split, which last 1, 2, 3, ... s."""
    results = results_by_hand("long", {"paper": shares[AVERAGE]}, num_videos=NUM_VIDEOS, splits=SPLITS)
    cells = []
    for cell in results.cells:
        order = np.random.default_rng((cell.seed, 7)).permutation(NUM_VIDEOS)
        ranks = dict(cell.ranks)
        for way, share in shares.items():
            found = np.where(order < share * NUM_VIDEOS, 1, 9)
            both = {"text_to_video": found, "video_to_text": found}
            ranks |= {split if way == AVERAGE else f"{split}/{way}": both for split in SPLITS}
        seconds = [float(row) if knows_seconds else None for row in range(1, NUM_VIDEOS + 1)]
        more = {"chosen": {"attention": "attention (temperature 0.1)"}, "seconds": dict.fromkeys(SPLITS, seconds)}
        cells.append(replace(cell, ranks=ranks, more=more))
    return replace(results, cells=tuple(cells))


def row_of(table: Table, name: str) -> tuple[str, ...]:
    return next(row for row in table.rows if row[0] == name)


@pytest.mark.parametrize(("share", "said"), [(0.8, "better"), (0.2, "worse"), (0.5, NO_DIFFERENCE)])
def test_it_says_what_the_intervals_carry(share: float, said: str) -> None:
    found = LONG.findings(results_of({AVERAGE: 0.5, "attention": share}))
    assert f"attention over frames {100 * (share - 0.5):+.1f} [" in found.answer
    assert f"({said})" in found.answer
    assert "captions of 1 event first, and" in found.answer
    splits, durations, chosen = found.tables
    assert splits.columns == ("pooling", "1 event", "8 events", "all")
    assert [row[0] for row in splits.rows] == ["average pooling", "attention over frames", "  over average pooling"]
    assert row_of(splits, "average pooling")[1].startswith("50.0 [")
    assert durations.columns[1:] == ("1.0 to 67.0 s", "67.0 to 134.0 s", "134.0 to 200.0 s", "all")
    assert row_of(durations, "average pooling")[-1] == row_of(splits, "average pooling")[-1]
    assert row_of(chosen, "attention over frames")[1:] == ("attention (temperature 0.1)",) * 3
    assert [one.name for one in found.drawings] == ["long-events", "long-duration"]


def test_durations_that_are_not_known_have_no_table(tmp_path: Path) -> None:
    results = results_of(dict.fromkeys(WAYS, 0.4), knows_seconds=False)
    found = LONG.findings(results)
    assert [table.name for table in found.tables] == ["splits", "chosen"]
    paths = write_files(tmp_path, LONG, results, found)
    assert {path.name for path in paths} >= {"report.md", "long-events.png"}
    assert "long-duration" not in (tmp_path / "report.md").read_text()


def test_it_runs_on_any_store(fda: Commands, tmp_path: Path) -> None:
    write_small_store(tmp_path)
    flags = ("--store", tmp_path / "store", "--preset", tmp_path / "tiny.toml", "--quick")
    ended = fda("experiment", "long", tmp_path / "out", *flags, "--json")
    assert ended.code == 0, ended.err
    found = json.loads(ended.out)
    assert set(found["tables"]) >= {"splits", "chosen"}
    results = Results.read(tmp_path / "out/results.json")
    assert {cell.seed for cell in results.cells} == {0, 1}
    for cell in results.cells:
        assert set(cell.ranks) == {"test", *(f"test/{way}" for way in WAYS if way != AVERAGE)}
        assert len(cell.more["seconds"]["test"]) == 3
    lines = [shlex.split(line) for line in (tmp_path / "out/commands.sh").read_text().splitlines()[5:]]
    for words in [words for words in lines if words[1] == "pool" or "--pooling" in words][:4]:
        assert fda(*words[1:]).code == 0, words
    shutil.rmtree(tmp_path / "out/store", ignore_errors=True)
    again = fda("experiment", "long", tmp_path / "out", *flags)
    assert "nothing to do" in again.err
    assert "QUICK RUN" in again.out
