"""What `preprocess` writes: the same bytes on any executor, in any order and in a run again; and other options."""

from __future__ import annotations

import shutil
from collections.abc import Generator, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from numpy.typing import NDArray

import pipeline.frames.preprocess
from pipeline.datasets.read import read_dataset
from pipeline.frames.options import PreprocessOptions
from pipeline.frames.preprocess import VideoSource, plan_preprocess, preprocess_shards
from pipeline.isolation.decoder import Answer, DecodeRequest
from pipeline.masks.clips import clip_masks
from pipeline.masks.options import MaskOptions
from pipeline.run.events import Event, ItemsDone, Phase, RunPlanned
from pipeline.video.clips import VideoError
from pipeline.video.decoding import decode_clip
from pipeline.video.options import DecodeOptions
from pipeline.workers.dask import local_dask
from pipeline.workers.executors import run_synchronously
from store.arrays.jpeg import JpegCodec
from store.clips.reader import ClipReader
from store.clips.shards import slot_checksum
from store.commits import commit_name
from store.completion import outcomes_of
from store.errors import StoreMismatchError
from store.schema import VideoStatus
from store.stages import FRAMES_STAGE, masks_stage
from store.store import Store
from tests.clips_on_disk import SIZE, SMALL, moving_frames, opened_store, run_preprocess
from tests.pipeline.frames.preprocessed import copy as copy
from tests.pipeline.frames.preprocessed import made as made
from tests.pipeline.frames.preprocessed import manifest as manifest
from tests.pipeline.frames.preprocessed import rows_of, run
from tests.stores import tree_digest
from tests.videos import Encoding, cut, write_video

TEST_IDS = ("test_0", "gone", "-x_é", "cut", "text")


# What is in the store


@pytest.mark.parametrize(
    ("video_id", "split", "row"), [("train_1", "train", 1), ("test_0", "test", 0), ("-x_é", "test", 2)]
)
def test_frames_are_those_of_decode_clip(manifest: Path, made: Store, video_id: str, split: str, row: int) -> None:
    num_frames = 2 if split == "train" else 3
    clip = decode_clip(manifest.parent / f"{video_id}.mp4", DecodeOptions(num_frames, SIZE)).sample
    group = zarr.open_group((Path(made.place) / "clips.zarr"), mode="r")[split]
    assert isinstance(group, zarr.Group)
    for name, expected in (
        ("frames", clip.frames),
        ("pts_seconds", clip.pts_seconds),
        ("frame_index", clip.frame_index),
    ):
        array = group[name]
        assert isinstance(array, zarr.Array)
        np.testing.assert_array_equal(np.asarray(array[row]), expected)
    outcome = outcomes_of(made, made.shards(split)[row // SMALL.shard_size])[row % SMALL.shard_size]
    assert (outcome.video_id, outcome.row, outcome.codec) == (video_id, row, "h264")
    assert outcome.checksum == slot_checksum(clip.frames)


def test_masks_are_those_of_the_stored_frames(made: Store) -> None:
    for split, rows in (("train", [0, 1]), ("test", [0, 2])):
        clips = ClipReader(made, split, SMALL.mask_name).read(rows)
        for frames, masks in zip(clips.frames, clips.masks, strict=True):
            np.testing.assert_array_equal(masks, clip_masks(frames, SMALL.masks).masks)
            assert masks.any()


def test_every_failed_video_is_a_row_with_a_status_and_a_reason(made: Store) -> None:
    outcomes = [outcome for shard in made.shards("test") for outcome in outcomes_of(made, shard)]
    assert [(outcome.video_id, outcome.status, outcome.filled) for outcome in outcomes] == [
        ("test_0", VideoStatus.OK, True),
        ("gone", VideoStatus.MISSING, False),
        ("-x_é", VideoStatus.OK, True),
        ("cut", VideoStatus.TRUNCATED, False),
        ("text", VideoStatus.CORRUPT, False),
    ]
    for outcome in outcomes:
        assert bool(outcome.reason) is not outcome.filled
        assert str(Path(made.place)) not in (outcome.reason or "")
    assert rows_of(made, "test", masks_stage(SMALL.mask_name)) == rows_of(made, "test")


def test_a_failed_video_leaves_the_fill_values_and_is_never_read(made: Store) -> None:
    group = zarr.open_group((Path(made.place) / "clips.zarr/test"), mode="r")
    failed = [1, 3, 4]
    for name, fill in (("frames", 0), ("pts_seconds", np.nan), ("frame_index", -1), ("masks/default", False)):
        array = group[name]
        assert isinstance(array, zarr.Array)
        values = np.asarray(array[:])[failed]
        np.testing.assert_array_equal(values, np.full_like(values, fill))
    assert sorted(ClipReader(made, "test", SMALL.mask_name).video_ids) == [0, 2]


def test_the_result_counts_every_video(manifest: Path, tmp_path: Path) -> None:
    heard: list[Event] = []
    dataset = read_dataset("jsonl", manifest)
    opened = opened_store(dataset, str(tmp_path / "store"), SMALL)
    plan = plan_preprocess(opened, SMALL)
    result = preprocess_shards(opened, VideoSource(dataset.root), plan, SMALL, listener=heard.append)
    assert result.tally.num_videos == 7
    assert [failure.video_id for failure in result.tally.failures] == ["gone", "cut", "text"]
    assert result.num_frames == 2 * 2 + 2 * 3
    sizes = [path.stat().st_size for path in manifest.parent.iterdir() if path.suffix == ".mp4"]
    assert result.num_source_bytes == sum(sizes)
    assert heard[0] == RunPlanned("videos", 7, 0)
    done = [event for event in heard if isinstance(event, ItemsDone)]
    assert {event.num_done for event in done} == {0, 1}
    assert sum(done, start=ItemsDone()) == ItemsDone(7, 3, result.num_frames, result.num_source_bytes)


def test_a_file_that_is_cut_off_after_its_last_frame_gives_a_clip(manifest: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(manifest.parent, tmp_path / "videos")
    whole = write_video(
        tmp_path / "whole.mkv", moving_frames(5, num_frames=48), Encoding(options={"bf": "0", "g": "4"})
    )
    cut(whole, folder / "text.mp4", keep=0.93)
    opened = run_preprocess(folder / manifest.name, tmp_path / "store")
    assert rows_of(opened, "test")[4] == ("text", "truncated", True)
    plan, result = run(folder / manifest.name, tmp_path / "store")
    assert (plan.pending, result.tally.num_truncated, len(result.tally.failures)) == ((), 1, 2)


# Executors, and runs again


def test_the_synchronous_executor_and_dask_give_the_same_bytes(manifest: Path, made: Store, tmp_path: Path) -> None:
    dataset = read_dataset("jsonl", manifest)
    opened = opened_store(dataset, str(tmp_path / "dask"), SMALL)
    plan = plan_preprocess(opened, SMALL)
    with local_dask(2) as executor:
        result = preprocess_shards(opened, VideoSource(dataset.root), plan, SMALL, executor)
    assert tree_digest(Path(opened.place)) == tree_digest(Path(made.place))
    assert result.tally.num_videos == 7
    assert {failure.video_id for failure in result.tally.failures} == {"gone", "cut", "text"}


@pytest.mark.parametrize("step", [1, -1])
def test_any_order_of_the_shards_gives_the_same_bytes(
    manifest: Path, made: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    monkeypatch.setattr(pipeline.frames.preprocess, "SORTED_UP_TO", 0)
    dataset = read_dataset("jsonl", manifest)
    opened = opened_store(dataset, str(tmp_path / "store"), SMALL)
    plan = plan_preprocess(opened, SMALL)
    preprocess_shards(
        opened, VideoSource(dataset.root), replace(plan, pending=plan.pending[::step]), SMALL, run_synchronously
    )
    assert tree_digest(Path(opened.place)) == tree_digest(Path(made.place))


def test_the_shards_with_most_bytes_of_video_begin_first_and_in_each_its_largest(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Phase, "SHORT_SECONDS", 0.0)
    opened = opened_store(read_dataset("jsonl", manifest), str(tmp_path / "store"), SMALL)
    folder, asked = tmp_path / "videos", list[str]()
    folder.mkdir()
    for number, video_id in enumerate(["test_0", "gone", "-x_é", "cut", "text", "train_0"]):
        (folder / f"{video_id}.mp4").write_bytes(bytes([10, 20, 30, 10, 50, 1][number]))

    @dataclass(frozen=True)
    class Refusing:
        def decode(self, requests: Iterable[DecodeRequest]) -> Generator[Answer]:
            for position, request in enumerate(requests):
                asked.append(request.path.stem)
                yield Answer(position, VideoError(VideoStatus.CORRUPT, "no"))

        def close(self) -> None:
            pass

    source, plan, heard = VideoSource(folder, decoder=Refusing()), plan_preprocess(opened, SMALL), list[Event]()
    result = preprocess_shards(opened, source, plan, SMALL, listener=heard.append)
    assert [event.unit for event in heard if isinstance(event, RunPlanned)] == ["files looked at", "videos"]
    assert asked == ["text", "-x_é", "cut", "gone", "test_0", "train_0", "train_1"]
    assert [failure.video_id for failure in result.tally.failures] == ["train_0", "train_1", *TEST_IDS]


def test_a_second_run_owes_nothing_and_changes_no_byte(manifest: Path, copy: Store) -> None:
    before = {path: path.stat().st_mtime_ns for path in Path(copy.place).rglob("*") if path.is_file()}
    plan, result = run(manifest, Path(copy.place))
    assert plan.pending == ()
    assert (result.num_frames, result.num_source_bytes, result.tally.num_videos) == (0, 0, 7)
    assert [failure.reason for failure in result.tally.failures if not failure.reason] == []
    assert {path: path.stat().st_mtime_ns for path in Path(copy.place).rglob("*") if path.is_file()} == before


def test_a_store_does_not_depend_on_where_it_and_its_videos_lie(manifest: Path, made: Store, tmp_path: Path) -> None:
    videos = shutil.copytree(manifest.parent, tmp_path / "elsewhere")
    opened = run_preprocess(videos / manifest.name, tmp_path / "a" / "b")
    assert tree_digest(Path(opened.place)) == tree_digest(Path(made.place))


@pytest.mark.parametrize("array", ["frames", "pts_seconds", "frame_index", "masks/default"])
@pytest.mark.parametrize("harm", ["delete", "truncate", "empty", "lengthen"])
def test_a_shard_file_that_is_lost_or_cut_is_made_again(
    manifest: Path, made: Store, copy: Store, array: str, harm: str
) -> None:
    (path,) = Path(copy.place, f"clips.zarr/test/{array}").glob("c.0.*")
    content = path.read_bytes()
    if harm == "delete":
        path.unlink()
    else:
        path.write_bytes({"truncate": content[:-1], "empty": b"", "lengthen": content + b"0"}[harm])
    plan, _ = run(manifest, Path(copy.place))
    stage = masks_stage(SMALL.mask_name) if array.startswith("masks") else FRAMES_STAGE
    assert [(pending.shard.key, pending.stages[0]) for pending in plan.pending] == [("test/00000", stage)]
    assert tree_digest(Path(copy.place)) == tree_digest(Path(made.place))


@pytest.mark.parametrize("stage", ["frames", "masks/default"])
@pytest.mark.parametrize("content", [None, b"", b"PAR1"])
def test_a_commit_record_that_is_lost_or_damaged_is_made_again(
    manifest: Path, made: Store, copy: Store, stage: str, content: bytes | None
) -> None:
    path = Path(copy.place) / commit_name(copy.shards("test")[1], stage)
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    run(manifest, Path(copy.place))
    assert tree_digest(Path(copy.place)) == tree_digest(Path(made.place))


# Other options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (replace(SMALL, image_size=48), r"options.image_size is 32 in the store and 48 now"),
        (replace(SMALL, eval_frames=4), r"options.eval_frames is 3 in the store and 4 now"),
        (replace(SMALL, train_frames=4), r"options.train_frames is 2 in the store and 4 now"),
        (replace(SMALL, shard_size=4), r"shard_size is 2 in the store and 4 now"),
        (replace(SMALL, masks=replace(SMALL.masks, threshold=40)), r"options.threshold is 25.0 in the store and 40"),
        (replace(SMALL, masks=replace(SMALL.masks, kernel_size=5)), r"options.kernel_size is 3 in the store and 5"),
        (replace(SMALL, masks=replace(SMALL.masks, min_area=9)), r"options.min_area is 8 in the store and 9 now"),
    ],
)
def test_other_options_are_refused_with_both_values_and_change_nothing(
    manifest: Path, copy: Store, options: PreprocessOptions, message: str
) -> None:
    before = tree_digest(Path(copy.place))
    with pytest.raises(StoreMismatchError, match=message):
        run(manifest, Path(copy.place), options)
    assert tree_digest(Path(copy.place)) == before
    shutil.rmtree(copy.place)
    _, result = run(manifest, Path(copy.place), options)
    assert result.tally.num_videos == 7


def test_another_data_set_is_refused(manifest: Path, copy: Store, tmp_path: Path) -> None:
    other = tmp_path / "other.jsonl"
    other.write_text(manifest.read_text().replace("one", "uno"))
    with pytest.raises(StoreMismatchError, match=r"is no longer in the data set"):
        run(other, Path(copy.place))


def test_the_time_limit_is_no_part_of_what_made_the_store(manifest: Path, copy: Store) -> None:
    plan, _ = run(manifest, Path(copy.place), replace(SMALL, timeout_seconds=5.0))
    assert plan.pending == ()


def test_a_clip_that_no_jpeg_can_hold_is_refused_before_it_is_decoded() -> None:
    def tall(num_frames: int) -> NDArray[np.uint8]:
        return np.zeros((num_frames, 100, 1, 3), dtype=np.uint8)

    PreprocessOptions(eval_frames=655, image_size=100, frame_codec="jpeg")
    assert JpegCodec().encode_pictures(tall(655))
    with pytest.raises(ValueError, match=r"up to 65500 pixels.* got 656 x 100"):
        PreprocessOptions(eval_frames=656, image_size=100, frame_codec="jpeg")
    with pytest.raises(ValueError, match="65500 a side is the maximum"):
        JpegCodec().encode_pictures(tall(656))


@pytest.mark.parametrize(
    ("name", "highest"),
    [("max_pixels", 2**31 - 1), ("max_packets", 2**31 - 1), ("max_streams", 1000), ("timeout_seconds", 86_400.0)],
)
def test_a_limit_has_a_limit(name: str, highest: float) -> None:
    options: dict[str, Any] = {name: highest}
    assert getattr(PreprocessOptions(**options), name) == highest
    options[name] += 1
    with pytest.raises(ValueError, match=f"{name} must be .*at most"):
        PreprocessOptions(**options)


def test_another_mask_set_needs_no_video(manifest: Path, made: Store, copy: Store, tmp_path: Path) -> None:
    (tmp_path / "no videos").mkdir()
    lonely = Path(shutil.copy(manifest, tmp_path / "no videos"))
    other = replace(SMALL, mask_name="high", masks=MaskOptions(threshold=60, kernel_size=1, min_area=0))
    plan, result = run(lonely, Path(copy.place), other)
    assert {pending.stages for pending in plan.pending} == {(masks_stage("high"),)}
    assert (result.num_frames, result.num_source_bytes) == (0, 0)
    assert [failure.video_id for failure in result.tally.failures] == ["gone", "cut", "text"]
    after = tree_digest(Path(copy.place))
    assert {name: after[name] for name in tree_digest(Path(made.place))} == tree_digest(Path(made.place))
    clips = ClipReader(copy, "test", "high").read([0])
    np.testing.assert_array_equal(clips.masks[0], clip_masks(clips.frames[0], other.masks).masks)
    assert bool((clips.masks != ClipReader(copy, "test", "default").read_masks([0])).any())
    assert rows_of(copy, "test", masks_stage("high")) == rows_of(made, "test")
