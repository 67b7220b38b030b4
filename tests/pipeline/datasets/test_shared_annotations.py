"""The annotations of published data sets, which are not part of the project: each reads, to the published counts."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.datasets.published import published_of
from pipeline.datasets.read import LAYOUTS, read_dataset, recognise_layout
from pipeline.datasets.reading.csv_files import read_table
from pipeline.datasets.reading.files import read_lines
from pipeline.datasets.report import DatasetReport, report_on
from tests.clips_on_disk import SMALL_FLAGS, Commands
from tests.paths import SHARED
from tests.pipeline.video.test_shared_clips import CLIPS
from tests.pipeline.video.test_shared_clips import FOLDER as CLIP_FOLDER

FOLDER = Path(os.environ.get("FDA_TEST_ANNOTATIONS", SHARED / "annotations"))


def folder_of(layout: str) -> Path:
    """The annotations of a data set."""
    folder = FOLDER / layout
    if not folder.is_dir():
        pytest.skip(f"no annotations in {folder} (FDA_TEST_ANNOTATIONS names another folder)")
    return folder


def report_of(layout: str, videos: Path, protocol_split: str | None = None) -> DatasetReport:
    dataset = read_dataset(layout, folder_of(layout), videos, protocol_split=protocol_split)
    return report_on(dataset, published_of(layout, dataset.protocol_split))


def counts(report: DatasetReport) -> dict[str, tuple[int, int, int | None]]:
    return {one.split: (one.num_videos, one.num_captions, one.expected_videos) for one in report.splits}


@pytest.mark.parametrize("layout", ["msvd", "msrvtt", "activitynet", "didemo", "lsmdc"])
def test_it_is_recognised(layout: str) -> None:
    assert recognise_layout(folder_of(layout)).layout == layout
    assert layout in LAYOUTS


def test_msvd(tmp_path: Path) -> None:
    report = report_of("msvd", tmp_path)
    assert counts(report) == {"train": (1200, 48774, 1200), "val": (100, 4290, 100), "test": (670, 27763, 670)}
    assert all(one.expected_captions == one.num_captions for one in report.splits)
    assert all("describe more than one video" in warning for warning in report.warnings)


def test_msrvtt_1k_a_without_the_captions_of_train(tmp_path: Path) -> None:
    report = report_of("msrvtt", tmp_path, "1k-A")
    assert counts(report) == {"test": (1000, 1000, 1000), "train": (9000, 39800, 9000)}
    by_split = {one.split: one for one in report.splits}
    assert by_split["train"].num_without_captions == 7010  # the others are of the official test set
    assert (by_split["test"].num_shared_captions, by_split["test"].num_tied_captions) == (4, 9)
    assert report.missing_files == ("MSRVTT_data.json",)
    assert any("official validation set" in warning for warning in report.warnings)


def test_msrvtt_by_the_other_splits(tmp_path: Path) -> None:
    assert counts(report_of("msrvtt", tmp_path, "1k-A-7k")) == {"test": (1000, 1000, 1000), "train": (7010, 0, 7010)}
    full = report_of("msrvtt", tmp_path, "full")
    assert counts(full) == {"test": (2990, 59800, 2990), "train": (6513, 0, 6513), "val": (497, 0, 497)}
    miech = report_of("msrvtt", tmp_path, "1k-B")
    assert counts(miech) == {"test": (1000, 17920, 1000), "train": (6656, 27340, 6656)}
    assert {one.split: one.num_without_captions for one in miech.splits} == {"test": 104, "train": 5289}


def test_what_is_said_of_msrvtt_is_so() -> None:
    folder = folder_of("msrvtt")

    def ids(name: str) -> set[str]:
        if name.endswith(".csv"):
            return {row["video_id"] for _, row in read_table(folder / name)}
        return {video_id for _, video_id in read_lines(folder / "collaborative-experts" / name)}

    test_1k_a = ids("MSRVTT_JSFUSION_test.csv")
    assert len(ids("test_list_miech.txt") & test_1k_a) == 296
    assert len(ids("train_list_miech.txt") & test_1k_a) == 453
    for train in ("MSRVTT_train.9k.csv", "MSRVTT_train.7k.csv"):
        assert ids(train) >= ids("MSRVTT_val.full.csv")
        assert not ids(train) & test_1k_a


def test_activitynet(tmp_path: Path) -> None:
    report = report_of("activitynet", tmp_path)
    assert counts(report) == {"train": (10009, 10009, 10009), "test": (4917, 4917, 4917)}


def test_didemo(tmp_path: Path) -> None:
    report = report_of("didemo", tmp_path)
    assert counts(report) == {"train": (8394, 8394, 8392), "val": (1065, 1065, 1065), "test": (1002, 1002, 1004)}
    assert "test has 1,002 of 1,004 videos" in report.warnings


def test_lsmdc(tmp_path: Path) -> None:
    report = report_of("lsmdc", tmp_path)
    assert counts(report) == {"test": (1000, 1000, 1000)}
    assert report.missing_files == ("LSMDC16_annos_training.csv", "LSMDC16_annos_val.csv")


def test_vatex_by_its_lists(tmp_path: Path) -> None:
    """The captions are not there: made up for these ids, which are real."""
    folder = tmp_path / "vatex"
    folder.mkdir()
    ids = {
        split: [one for _, one in read_lines(folder_of("vatex") / f"{split}_list.txt")]
        for split in ("train", "val", "test")
    }
    for split, some in ids.items():
        (folder / f"{split}_list.txt").write_text("\n".join(some))
    entries = [{"videoID": one, "enCap": [f"what {one} shows"], "chCap": []} for some in ids.values() for one in some]
    (folder / "vatex_training_v1.0.json").write_text(json.dumps(entries))
    dataset = read_dataset("vatex", folder)
    report = report_on(dataset, published_of("vatex", dataset.protocol_split))
    assert counts(report) == {
        "train": (25991, 25991, 25991),
        "val": (1500, 1500, 1500),
        "test": (1500, 1500, 1500),
    }
    assert report.missing_files == ()


@pytest.mark.needs_shared_clips
@pytest.mark.skipif(not CLIPS, reason=f"no clips in {CLIP_FOLDER} (FDA_TEST_CLIPS names another folder)")
def test_the_real_clips_of_a_published_test_set(fda: Commands, tmp_path: Path) -> None:
    source, store = tmp_path / "msrvtt", tmp_path / "store"
    source.mkdir()
    for name in ("MSRVTT_JSFUSION_test.csv", "MSRVTT_train.9k.csv"):
        shutil.copy(folder_of("msrvtt") / name, source)
    flags = ("--videos", CLIP_FOLDER / "msrvtt", *SMALL_FLAGS, "--shard-size", "100", "--workers", "0", "--json")
    stopped = fda("preprocess", source, store, *flags)
    assert (stopped.code, store.exists()) == (1, False)
    assert "3 of 10,000 videos were found" in stopped.error_line
    ended = fda("preprocess", source, store, *flags, "--max-missing", "100%", "--max-failed", "100%")
    assert ended.code == 0, ended.err
    assert "is read as msrvtt: it contains 'MSRVTT_JSFUSION_test.csv'" in ended.err
    assert "warning: 9,000 of 9,000 videos of train have no caption: 'video0', " in ended.err
    result = json.loads(ended.out)
    assert result["used"] == {
        "test": {"num_clips": 3, "num_expected": 1000},
        "train": {"num_clips": 0, "num_expected": 9000},
    }
    assert {one["status"] for one in result["failures"]} == {"missing"}
    assert len(result["failures"]) == 9997
    dataset = json.loads((store / "store.json").read_text())["dataset"]
    assert (dataset["protocol_split"], dataset["caption_unit"]) == ("1k-A", "sentence")
    assert pq.read_table(store / "catalog/videos.parquet")["category"].null_count == 10_000
