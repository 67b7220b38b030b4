"""The table of layouts: which one a source has, and what is refused before it is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.datasets.read import LAYOUTS, read_dataset, recognise_layout
from pipeline.datasets.records import DatasetError
from tests.pipeline.datasets.files import write


@pytest.mark.parametrize(
    ("layout", "name"),
    [
        ("msvd", "raw-captions.pkl"),
        ("msvd", "AllVideoDescriptions.txt"),
        ("msvd", "captions_msvd.json.gz"),
        ("msrvtt", "MSRVTT_data.json"),
        ("msrvtt", "msrvtt_jsfusion_test.csv"),
        ("activitynet", "val_1.json"),
        ("didemo", "test_data.json"),
        ("didemo", "test.jsonl"),
        ("lsmdc", "LSMDC16_challenge_1000_publictect.csv"),
        ("vatex", "vatex_training_v1.0.json.gz"),
        ("video2dataset", "00000.tar"),
        ("folder", "notes.pdf"),
    ],
)
def test_the_layout_of_a_folder(tmp_path: Path, layout: str, name: str) -> None:
    (tmp_path / "train.csv").mkdir()  # a folder is no file, whatever its name
    write(tmp_path / name)
    recognised = recognise_layout(tmp_path)
    assert recognised.layout == layout
    assert recognised.why == (
        "it is a folder without the files of any other layout" if layout == "folder" else f"it contains {name!r}"
    )


@pytest.mark.parametrize(
    ("layout", "name"),
    [("jsonl", "a.JSONL"), ("jsonl", "a.jsonl.gz"), ("csv", "a.csv"), ("csv", "-b.tsv.gz"), ("video", "-c.d.MKV")],
)
def test_the_layout_of_a_file(tmp_path: Path, layout: str, name: str) -> None:
    recognised = recognise_layout(write(tmp_path / name))
    assert (recognised.layout, recognised.why) == (layout, f"its name is {name!r}")


def test_a_layout_that_cannot_be_detected(tmp_path: Path) -> None:
    with pytest.raises(
        DatasetError,
        match=r"cannot detect the layout of .*a\.json by its name: give --dataset with one of jsonl, csv, video",
    ):
        recognise_layout(write(tmp_path / "a.json"))
    with pytest.raises(DatasetError, match="there is no file or folder"):
        recognise_layout(tmp_path / "b")
    write(tmp_path / "val_1.json")
    write(tmp_path / "raw-captions.pkl")
    with pytest.raises(
        DatasetError,
        match=r"msvd \(it contains 'raw-captions.pkl'\) or activitynet \(it contains 'val_1.json'\); name one",
    ):
        recognise_layout(tmp_path)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_missing_source(tmp_path: Path, layout: str) -> None:
    with pytest.raises(DatasetError, match="there is no f"):
        read_dataset(layout, tmp_path / "nowhere")


def test_a_source_of_the_wrong_kind(tmp_path: Path) -> None:
    for layout, about in LAYOUTS.items():
        source = tmp_path if about.is_file else write(tmp_path / "a.mp4")
        kind = "folder, not a file" if about.is_file else "file, not a folder"
        with pytest.raises(DatasetError, match=f"is a {kind} as layout '{layout}' needs: .* with --dataset"):
            read_dataset(layout, source)
    with pytest.raises(DatasetError, match="unknown layout 'coco'; --dataset is one of jsonl, csv, video, msvd, "):
        read_dataset("coco", tmp_path)
