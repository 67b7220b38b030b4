"""Splits by a hash: the shares, what stays together, and that nothing ever moves."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.datasets.options import SourceOptions
from pipeline.datasets.records import Dataset, DatasetError, VideoRecord
from pipeline.datasets.source import read_source
from pipeline.datasets.splitting import EXAMPLE, parse_shares, source_of, split_by_hash
from pipeline.errors import OptionError
from pipeline.video.options import Window
from tests.pipeline.datasets.files import record, write

SHARES = parse_shares(EXAMPLE)


def of(video_ids: list[str]) -> Dataset:
    return Dataset("n", Path("/videos"), tuple(record(one, f"{one}.mp4") for one in video_ids))


def splits_of(dataset: Dataset) -> dict[str, str]:
    return {video.video_id: video.split for video in dataset.videos}


def test_the_shares_are_those_asked_for() -> None:
    counts = Counter(splits_of(split_by_hash(of([f"video{n}" for n in range(2_000)]), SHARES)).values())
    assert {split: round(count / 2_000, 2) for split, count in counts.items()} == SHARES


def test_it_is_the_same_draw_for_ever() -> None:
    """If this fails, the splits of every store that was made so have changed."""
    drawn = splits_of(split_by_hash(of(list("abcdefghijkl")), {"train": 0.5, "val": 0.25, "test": 0.25}))
    assert "".join(split[1] for split in drawn.values()) == "errrrreaeraa"


@settings(max_examples=25)
@given(ids=st.sets(st.text("ab_1é-", min_size=1, max_size=6), min_size=2, max_size=10), data=st.data())
def test_no_video_moves_when_others_come_or_go(ids: set[str], data: st.DataObject) -> None:
    always = [f"always there {n}" for n in range(20)]  # so that no split is empty
    some = data.draw(st.lists(st.sampled_from(sorted(ids)), unique=True))
    shares = {"train": 0.5, "val": 0.25, "test": 0.25}
    every = splits_of(split_by_hash(of([*sorted(ids), *always]), shares))
    assert splits_of(split_by_hash(of([*always, *some]), shares)) == {one: every[one] for one in (*always, *some)}


@pytest.mark.parametrize(
    "clips",
    [
        ["-4wsuPCjDBc_5_15", "-4wsuPCjDBc_0_7", "-4wsuPCjDBc_100_110"],
        ["Ptf_2VRj-V0_000122_000132", "Ptf_2VRj-V0_000000_000010"],
        ["0001_A_Film_00.00.51.926-00.00.54.129", "0001_A_Film_01.00.51.926-01.01.01.000"],
        ["x_1.5_2.25", "x_10_12"],
        ["x#1", "x#20"],
        ["eibWo9t6pos.25", "eibWo9t6pos_3", "eibWo9t6pos-0004", "eibWo9t6pos_5_15", "eibWo9t6pos"],
        ["x_00:00:01_00:00:09", "x_00:01:00_00:02:00"],
    ],
)
def test_clips_of_one_source_stay_together(clips: list[str]) -> None:
    assert len({source_of(one) for one in clips}) == 1
    others = [f"other {n}" for n in range(60)]
    drawn = splits_of(split_by_hash(of([*clips, *others]), {"train": 0.4, "val": 0.3, "test": 0.3}))
    assert len({drawn[one] for one in clips}) == 1


@pytest.mark.parametrize(
    "video_id",
    [
        "video_7",
        "video7010",
        "12",
        "a_5_5",
        "a_9_1",
        "walk_2024_05",
        "street/cat",
        "é",
        "my_video_no_1",
        "Camera_2024_7",
        "CAMERA_TEST_1",
        f"hostile_{'9' * 5000}_{'9' * 5000}",
    ],
)
def test_a_number_alone_may_count_the_sources(video_id: str) -> None:
    assert source_of(video_id) == video_id


def test_clips_that_are_cut_from_one_file_stay_together() -> None:
    cuts = tuple(VideoRecord(f"{n}", "long.mp4", "test", (), Window(float(n), n + 1.0)) for n in range(20))
    others = of([f"other {n}" for n in range(60)]).videos
    drawn = split_by_hash(Dataset("n", Path("/videos"), (*cuts, *others)), {"train": 0.5, "test": 0.5})
    assert len({video.split for video in drawn.videos[:20]}) == 1


@pytest.mark.parametrize(
    "given",
    [
        *("", "train", "train=", "train=x", "train=0.9", "train=0.9,test=0.2", "train=0.5,train=0.5", "=1", "a/b=1"),
        *("train=1.5,test=-0.5", "train=1,test=0", "train=nan,test=0.5", "train=0.5;test=0.5", {"train": "x"}),
    ],
)
def test_shares_that_are_none(given: str) -> None:
    with pytest.raises(OptionError, match="split_by_hash"):
        SourceOptions(split_by_hash=given)  # type: ignore[arg-type]


@pytest.mark.parametrize("num_videos", [3, 60])
@pytest.mark.parametrize("splits", [(None,), ("test", "train")])
def test_how_to_split_is_told_before_many_videos_are_decoded(
    tmp_path: Path, num_videos: int, splits: tuple[str | None, ...]
) -> None:
    rows = [{"video_id": str(n), "path": f"{n}.mp4"} for n in range(num_videos)]
    named = [
        row | ({"split": split} if split else {}) for n, row in enumerate(rows) for split in [splits[n % len(splits)]]
    ]
    read = read_source(write(tmp_path / "a.jsonl", "".join(json.dumps(row) + "\n" for row in named)), SourceOptions())
    told = any(f"give --split-by-hash {EXAMPLE}, before they are decoded" in one for one in read.summary())
    assert told is (num_videos == 60 and splits == (None,))


def test_what_cannot_be_split(tmp_path: Path) -> None:
    lines = '{"video_id": "a", "path": "a.mp4"}\n{"video_id": "b", "path": "b.mp4", "split": "train"}\n'
    with pytest.raises(DatasetError, match=r"has splits of its own \(test, train\): leave --split-by-hash out"):
        read_source(write(tmp_path / "a.jsonl", lines), SourceOptions(split_by_hash=SHARES))


def test_a_split_that_gets_no_video_is_told(tmp_path: Path) -> None:
    drawn = split_by_hash(of(["a"]), {"train": 0.5, "test": 0.5})
    assert splits_of(drawn) == {"a": "test"}
    (mistake,) = drawn.likely_mistakes
    assert mistake.startswith("--split-by-hash draws no video for 'train', with a share of 0.5 of 1 video: give it a")
    source = write(tmp_path / "a.jsonl", '{"video_id": "a", "path": "a.mp4", "captions": ["x"]}')
    options = SourceOptions(split_by_hash={"train": 0.5, "test": 0.5})
    assert read_source(source, options).report.warnings == (mistake,)
    with pytest.raises(DatasetError, match="draws no video for 'train'"):
        read_source(source, replace(options, strict=True))


def test_videos_that_a_tar_lacks_are_expected_in_the_split_that_they_would_have() -> None:
    dataset = of([f"video{n}" for n in range(100)])
    whole = splits_of(split_by_hash(dataset, {"train": 0.5, "test": 0.5}))
    lacking = Dataset("n", dataset.root, dataset.videos[:90], left_out={"test": tuple(whole)[90:]})
    drawn = split_by_hash(lacking, {"train": 0.5, "test": 0.5})
    assert {one: split for split, ids in drawn.left_out.items() for one in ids} == dict(list(whole.items())[90:])
