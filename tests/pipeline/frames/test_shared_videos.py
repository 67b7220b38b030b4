"""The same file in two splits is told when it is decoded, under whatever name; parts of one file are not the same."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import fda
from tests.clips_on_disk import SMALL, record, write_clip, write_manifest

HERE = fda.RunOptions(workers=0)


def warnings_of(folder: Path, records: list[dict[str, object]]) -> list[str]:
    result = fda.preprocess(write_manifest(folder, records), folder / "store", SMALL, run=HERE)
    return [sentence for sentence in result.warnings if "by the contents of files" in sentence]


@pytest.mark.parametrize("is_link", [True, False])
def test_files_of_two_names_in_two_splits(tmp_path: Path, is_link: bool) -> None:
    for number in range(3):
        write_clip(tmp_path / f"{number}.mp4", number)
    copy = tmp_path / "copy.mp4"
    copy.symlink_to(tmp_path / "1.mp4") if is_link else shutil.copy(tmp_path / "1.mp4", copy)
    records = [
        record("a", "0.mp4", "train"),
        record("b", "1.mp4", "train"),
        record("c", "copy.mp4", "test"),
        record("d", "2.mp4", "test"),
    ]
    (told,) = warnings_of(tmp_path, records)
    assert told.startswith("splits 'train' and 'test' share 1 video by the contents of files (b is c): a model that")
    assert warnings_of(tmp_path, records) == []  # nothing was decoded: it has been told


def test_parts_of_one_file_are_not_the_same_video(tmp_path: Path) -> None:
    write_clip(tmp_path / "0.mp4", 0)
    half = {"start_seconds": 0.0, "end_seconds": 0.16}
    other = {"start_seconds": 0.16, "end_seconds": 0.32}
    records = [record("a", "0.mp4", "train") | half, record("b", "0.mp4", "test") | other]
    assert warnings_of(tmp_path, records) == []
    again = [*records, record("c", "0.mp4", "test") | half]
    (told,) = warnings_of(tmp_path, again)
    assert "(a is c)" in told


def test_within_a_split_nothing_is_told(tmp_path: Path) -> None:
    write_clip(tmp_path / "0.mp4", 0)
    assert warnings_of(tmp_path, [record("a", "0.mp4", "train"), record("b", "0.mp4", "train")]) == []
