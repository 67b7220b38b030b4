"""The folder of an experiment: what may begin in it, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.experiments.folder import ExperimentFolder, ExperimentMismatchError


def test_where_only_the_record_lies_nothing_was_made_and_another_experiment_may_begin(tmp_path: Path) -> None:
    folder = ExperimentFolder(tmp_path)
    for asked in ({"kind": "tau"}, {"kind": "masks"}):
        folder.check(asked)
        folder.begin(asked)
        assert folder.asked() == asked
    folder.write_cell("masks.truth", {"iou": 1})
    folder.begin({"kind": "tau"})
    assert folder.asked() == {"kind": "masks"}
    folder.check({"kind": "masks"})
    with pytest.raises(ExperimentMismatchError, match="asked for otherwise"):
        folder.check({"kind": "tau"})


def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ExperimentMismatchError, match=r"'notes\.txt', and no experiment"):
        ExperimentFolder(tmp_path).check({"kind": "tau"})
