"""A data set that grows or changes under a store: what stands is not made again, and what is wrong is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from store.errors import StoreFormatError
from store.store import Store
from tests.clips_on_disk import SMALL_FLAGS, Commands, record, write_clip, write_manifest, write_small_dataset
from tests.stores import tree_digest

FLAGS = (*SMALL_FLAGS, "--workers", "0", "--json")
NUM_VIDEOS = 5


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_small_dataset(folder, {"test": NUM_VIDEOS, "train": 3})
    return folder


@pytest.fixture
def folder(data: Path, tmp_path: Path) -> Path:
    return shutil.copytree(data, tmp_path / "data")


def lines(folder: Path) -> list[str]:
    return (folder / "clips.jsonl").read_text().splitlines(keepends=True)


def some(folder: Path, chosen: Sequence[str], name: str = "some.jsonl") -> Path:
    (folder / name).write_text("".join(chosen))
    return folder / name


@pytest.mark.parametrize("num_at_first", [1, 2, 3])
def test_videos_appended_end_as_if_they_had_always_been_there(
    fda: Commands, folder: Path, tmp_path: Path, num_at_first: int
) -> None:
    every = lines(folder)
    assert fda("preprocess", some(folder, every[:num_at_first]), tmp_path / "store", *FLAGS).code == 0
    for line in every[:num_at_first]:  # what stands is not decoded again
        path = folder / json.loads(line)["path"]
        path.rename(path.with_suffix(".away"))
    ended = fda("preprocess", some(folder, every, "all.jsonl"), tmp_path / "store", *FLAGS)
    assert (ended.code, json.loads(ended.out)["num_videos_made"]) == (0, len(every) - num_at_first)
    added = f"{NUM_VIDEOS - num_at_first} to 'test', 3 to 'train'"
    assert f"the store grows: {len(every) - num_at_first} new videos ({added})" in ended.err
    for path in folder.rglob("*.away"):
        path.rename(path.with_suffix(".mp4"))
    assert fda("preprocess", folder / "all.jsonl", tmp_path / "whole", *FLAGS).code == 0
    grown, whole = tree_digest(tmp_path / "store"), tree_digest(tmp_path / "whole")
    # The manifest keeps the name that the data set had when the store was made.
    assert {name for name in whole if grown.get(name) != whole[name]} == {"store.json"}
    assert set(grown) == set(whole)
    assert not (tmp_path / "store/withdrawn").exists()


def test_new_videos_in_the_midst_come_after_those_that_stand(fda: Commands, folder: Path, tmp_path: Path) -> None:
    every = lines(folder)
    fda("preprocess", some(folder, every[2:5]), tmp_path / "store", *FLAGS)
    assert fda("preprocess", folder / "clips.jsonl", tmp_path / "store", *FLAGS).code == 0
    videos = pq.read_table(tmp_path / "store/catalog/videos.parquet").to_pylist()
    assert [(one["split"], one["row"], one["video_id"]) for one in videos if one["split"] == "test"] == [
        ("test", row, f"test_{number}") for row, number in enumerate([2, 3, 4, 0, 1])
    ]
    captions = pq.read_table(tmp_path / "store/catalog/captions.parquet").to_pylist()
    assert [one["caption_id"] for one in captions[:6]] == [
        f"test_{number}#{caption}" for number in (2, 3, 4) for caption in (0, 1)
    ]
    again = fda("preprocess", folder / "clips.jsonl", tmp_path / "store", *FLAGS)
    assert json.loads(again.out)["num_videos_made"] == 0


def test_a_failed_video_stays_as_it_is_when_the_store_grows(fda: Commands, folder: Path, tmp_path: Path) -> None:
    every = lines(folder)
    video = folder / "videos/test_2.mp4"
    content = video.read_bytes()
    video.unlink()
    first = some(folder, every[:3], "clips.jsonl")  # of the name of all: the store keeps it
    fda("preprocess", first, tmp_path / "store", *FLAGS, "--max-failed", "100%")
    some(folder, every, "clips.jsonl")
    video.write_bytes(content)
    ended = fda("preprocess", folder / "clips.jsonl", tmp_path / "store", *FLAGS)
    assert [one["video_id"] for one in json.loads(ended.out)["failures"]] == ["test_2"]
    repaired = fda("preprocess", folder / "clips.jsonl", tmp_path / "store", *FLAGS, "--retry-failed")
    assert (json.loads(repaired.out)["failures"], json.loads(repaired.out)["num_videos_made"]) == ([], 1)
    fda("preprocess", folder / "clips.jsonl", tmp_path / "whole", *FLAGS)
    assert tree_digest(tmp_path / "store") == tree_digest(tmp_path / "whole")


@pytest.mark.parametrize("check", ["size", "content"])
def test_a_video_that_was_replaced_is_decoded_again(fda: Commands, folder: Path, tmp_path: Path, check: str) -> None:
    manifest, video = folder / "clips.jsonl", folder / "videos/test_1.mp4"
    fda("preprocess", manifest, tmp_path / "store", *FLAGS)
    before = video.read_bytes()
    write_clip(video, 77)
    content = video.read_bytes()
    if check == "content":  # of the same size, so that nothing but reading it tells
        same_size = (content + bytes(len(before)))[: len(before)]
        video.write_bytes(same_size)
        unnoticed = fda("preprocess", manifest, tmp_path / "store", *FLAGS)
        assert json.loads(unnoticed.out)["num_videos_made"] == 0
    other = folder / "videos/test_0.mp4"
    other.rename(other.with_suffix(".away"))  # in the same shard: kept
    ended = fda("preprocess", manifest, tmp_path / "store", *FLAGS, "--check-videos", check)
    assert "1 video changed since decoded: decoded again" in ended.err
    assert json.loads(ended.out)["num_videos_made"] == 1
    other.with_suffix(".away").rename(other)
    fda("preprocess", manifest, tmp_path / "whole", *FLAGS)
    assert tree_digest(tmp_path / "store") == tree_digest(tmp_path / "whole")
    assert json.loads(fda("preprocess", manifest, tmp_path / "store", *FLAGS).out)["num_videos_made"] == 0


def test_a_video_that_only_has_another_time_or_is_gone_has_not_changed(
    fda: Commands, folder: Path, tmp_path: Path
) -> None:
    manifest = folder / "clips.jsonl"
    fda("preprocess", manifest, tmp_path / "store", *FLAGS)
    before = tree_digest(tmp_path / "store")
    (folder / "videos/test_0.mp4").touch()
    (folder / "videos/test_1.mp4").unlink()
    (folder / "videos/test_2.mp4").write_bytes(b"")  # on its way, perhaps
    for check in ("size", "content", "off"):
        ended = fda("preprocess", manifest, tmp_path / "store", *FLAGS, "--check-videos", check)
        assert json.loads(ended.out)["num_videos_made"] == 0
    assert tree_digest(tmp_path / "store") == before


def test_what_was_removed_or_is_another_clip_now_is_refused_by_name(
    fda: Commands, folder: Path, tmp_path: Path
) -> None:
    every = lines(folder)
    fda("preprocess", folder / "clips.jsonl", tmp_path / "store", *FLAGS)
    before = tree_digest(tmp_path / "store")
    gone = fda("preprocess", some(folder, every[1:]), tmp_path / "store", *FLAGS)
    assert gone.code == 1
    assert "video 'test_0' of " in gone.error_line
    assert "is no longer in the data set. A store only grows: put back what was removed" in gone.error_line
    many = fda("preprocess", some(folder, every[5:]), tmp_path / "store", *FLAGS)
    assert "5 videos ('test_0', 'test_1', 'test_2' and others)" in many.error_line
    moved = [line.replace('"split": "train"', '"split": "val"') for line in every]
    other_split = fda("preprocess", some(folder, moved), tmp_path / "store", *FLAGS)
    assert "split is 'train' in the store and 'val' now" in other_split.error_line
    windowed = [json.dumps({**json.loads(line), "start_seconds": 0.1, "end_seconds": 0.2}) + "\n" for line in every]
    other_window = fda("preprocess", some(folder, windowed), tmp_path / "store", *FLAGS)
    assert "start_seconds is 0.0 in the store and 0.1 now" in other_window.error_line
    assert tree_digest(tmp_path / "store") == before


def test_other_captions_are_taken_over_on_request_alone(fda: Commands, folder: Path, tmp_path: Path) -> None:
    manifest = folder / "clips.jsonl"
    fda("preprocess", manifest, tmp_path / "store", *FLAGS)
    changed = some(folder, [line.replace("clip 1 of test", "clip one of test") for line in lines(folder)])
    refused = fda("preprocess", changed, tmp_path / "store", *FLAGS)
    assert refused.code == 1
    assert "changed captions: 1 of the videos of" in refused.error_line
    assert "--update-captions" in refused.error_line
    taken = fda("preprocess", changed, tmp_path / "store", *FLAGS, "--update-captions")
    assert (taken.code, json.loads(taken.out)["num_videos_made"]) == (0, 0)
    texts = pq.read_table(tmp_path / "store/catalog/captions.parquet")["text"].to_pylist()
    assert "clip one of test" in texts
    assert "clip 1 of test" not in texts


def test_a_store_that_was_open_before_a_run_has_the_captions_of_then_or_refuses(
    fda: Commands, folder: Path, tmp_path: Path
) -> None:
    every, place = lines(folder), tmp_path / "store"
    fda("preprocess", some(folder, every[:3]), place, *FLAGS)
    before, never_read = Store.open(place), Store.open(place)
    assert before.catalog.videos.num_rows == never_read.catalog.videos.num_rows == 3
    assert fda("preprocess", folder / "clips.jsonl", place, *FLAGS).code == 0
    assert before.catalog.split_captions("test")["video_id"].to_pylist() == [
        f"test_{number}" for number in (0, 0, 1, 1, 2, 2)
    ]
    changed = some(folder, [line.replace("clip 1 of test", "clip one of test") for line in every])
    assert fda("preprocess", changed, place, *FLAGS, "--update-captions").code == 0
    with pytest.raises(StoreFormatError, match="updated its captions meanwhile: run the same command again"):
        never_read.catalog.split_captions("test")


def test_videos_that_lie_elsewhere_now_are_the_same(fda: Commands, folder: Path, tmp_path: Path) -> None:
    fda("preprocess", folder / "clips.jsonl", tmp_path / "store", *FLAGS)
    (folder / "videos").rename(folder / "moved")
    moved = some(folder, [line.replace("videos/", "moved/") for line in lines(folder)])
    ended = fda("preprocess", moved, tmp_path / "store", *FLAGS, "--check-videos", "content")
    assert "8 videos of the store have new paths" in ended.err
    assert json.loads(ended.out)["num_videos_made"] == 0


def test_one_video_and_then_a_thousand_captions(fda: Commands, tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4", 1)
    manifest = write_manifest(tmp_path, [record("a", "a.mp4", captions=["first"])])
    fda("preprocess", manifest, tmp_path / "store", *FLAGS)
    write_manifest(tmp_path, [record("a", "a.mp4", captions=[f"number {number}" for number in range(1500)])])
    assert fda("preprocess", manifest, tmp_path / "store", *FLAGS, "--update-captions").code == 0
    assert json.loads((tmp_path / "store/store.json").read_text())["splits"]["test"]["num_captions"] == 1500
