"""The layout `folder`, on good and on hostile input."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.datasets.read import read_dataset
from pipeline.datasets.reading.files import files_below
from pipeline.datasets.records import Dataset, DatasetError
from tests.pipeline.datasets.files import record, write


def test_folder(tmp_path: Path) -> None:
    root = tmp_path / "clips"
    write(root / "train" / "-b.25.MP4")
    write(root / "train" / "-b.25.txt", "\ufeffa dog\r\n\r\n  runs fast \r\nlast")
    write(root / "test.webm")
    write(root / "test.txt", "été\u2028still one caption\n")
    write(root / "deep" / "val" / "c.avi")
    write(root / "deep" / "val" / "c.txt", "x")
    write(root / ".DS_Store")
    write(root / "._test.webm")
    write(root / "notes.pdf")
    write(root / "bare.mp4")
    write(root / "blank.mp4")
    write(root / "blank.txt", " \n\n")
    write(root / "README.txt", "x")
    assert read_dataset("folder", root) == Dataset(
        "clips",
        root,
        (
            record("bare", "bare.mp4", captions=()),
            record("blank", "blank.mp4", captions=()),
            record("deep/val/c", "deep/val/c.avi"),
            record("test", "test.webm", captions=("été\u2028still one caption",)),
            record("train/-b.25", "train/-b.25.MP4", "train", ("a dog", "runs fast", "last")),
        ),
        likely_mistakes=(f"1 .txt file has no video in {root}, and is ignored: 'README.txt'",),
    )


def test_folder_with_videos_in_another_folder(tmp_path: Path) -> None:
    write(tmp_path / "texts" / "b" / "a.txt", "x")
    write(tmp_path / "videos" / "b" / "a.mp4")
    dataset = read_dataset("folder", tmp_path / "texts", tmp_path / "videos")
    assert dataset == Dataset("texts", tmp_path / "videos", (record("b/a", "b/a.mp4"),))


def test_folder_follows_links_but_not_in_circles(tmp_path: Path) -> None:
    write(tmp_path / "far" / "a.mp4")
    write(tmp_path / "far" / "a.txt", "x")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "near").symlink_to(tmp_path / "far")
    assert read_dataset("folder", tmp_path / "root").videos == (record("near/a", "near/a.mp4"),)
    (tmp_path / "far" / "back").symlink_to(tmp_path / "root")
    with pytest.raises(DatasetError, match="back is a link to a folder above itself"):
        read_dataset("folder", tmp_path / "root")


@pytest.mark.parametrize("name", ["captions.csv", "clips.JSONL", "a.tsv.gz"])
def test_a_manifest_among_videos_without_captions_is_told(tmp_path: Path, name: str) -> None:
    write(tmp_path / "a.mp4")
    write(tmp_path / name)
    write(tmp_path / "logs/loss.csv")
    (mistake,) = read_dataset("folder", tmp_path).likely_mistakes
    assert mistake == f"no video has a <stem>.txt, and {name!r} is not read: to read it, give {tmp_path / name}"
    write(tmp_path / "a.txt", "x")
    assert read_dataset("folder", tmp_path).likely_mistakes == ()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "contains no video"),
        ({"a.txt": "x", "b.pdf": ""}, "contains no video"),
        ({"a.mp4": "", "a.avi": "", "a.txt": "x"}, r"'a\.avi' and 'a\.mp4' have one stem"),
        ({"a.mp4": "", "a.txt": b"ok\n\xff\n"}, r"^[^:]*/a\.txt:2: not UTF-8"),
        ({"a\nb.mp4": "", "a\nb.txt": "x"}, "video_id must be one line"),
    ],
)
def test_folder_refusals(tmp_path: Path, files: dict[str, str | bytes], message: str) -> None:
    for name, content in files.items():
        write(tmp_path / name, content)
    with pytest.raises(DatasetError, match=message):
        read_dataset("folder", tmp_path)


def test_folder_with_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    for ending in (b".mp4", b".txt"):
        name = os.fsencode(tmp_path) + b"/\xff" + ending
        write(Path(os.fsdecode(name)), "x")
    with pytest.raises(DatasetError, match="video_id cannot be written as UTF-8"):
        read_dataset("folder", tmp_path)


def test_files_below_are_sorted_by_their_whole_path(tmp_path: Path) -> None:
    names = ["b.mp4", "a/z.mp4", "a.mp4", "a-/y.mp4"]
    for name in names:
        write(tmp_path / name)
    assert files_below(tmp_path) == sorted(names)
