from __future__ import annotations

import json
import os
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from cli.commands.status import command
from pipeline.run.records import RunClock, recorded_run
from pipeline.upkeep.status import StageStatus, store_status
from store.clips.shards import create_mask_arrays, read_frames, write_masks
from store.commits import commit_name
from store.completion import outcomes_of
from store.failures import FailedVideo
from store.schema import VideoStatus
from store.stages import FRAMES_STAGE, masks_stage
from store.store import Store
from tests.stores import MASKS, clip_masks, fill_shard, fill_store, make_store, tree_digest, write_frames


def stage(place: Path, name: str) -> StageStatus:
    (split,) = store_status(make_store(place, 6)).splits
    return next(one for one in split.stages if one.stage == name)


def test_a_store_without_data_owes_everything(tmp_path: Path) -> None:
    status = store_status(make_store(tmp_path, 6))
    (split,) = status.splits
    assert (split.split, split.num_videos, split.num_captions, split.num_frames) == ("test", 6, 12, 3)
    assert [(one.stage, one.num_shards, one.num_done) for one in split.stages] == [
        ("frames", 2, 0),
        ("masks/default", 2, 0),
    ]
    assert (status.num_bytes, split.stages[0].bytes_per_video, status.failures, status.runs) == (0, None, (), ())


def test_videos_are_counted_by_how_they_ended_and_bytes_by_what_is_on_disk(tmp_path: Path) -> None:
    store = make_store(tmp_path, 6)
    fill_store(store, failed=frozenset({2, 5}))
    create_mask_arrays(store, "high", {"options": {"threshold": 50}})
    before = tree_digest(tmp_path)
    status = store_status(store)
    frames, masks, high = status.splits[0].stages
    files = [
        path
        for name in ("frames", "pts_seconds", "frame_index")
        for path in tmp_path.glob(f"clips.zarr/test/{name}/c.*")
    ]
    assert frames.num_bytes == sum(path.stat().st_size for path in files)
    assert (frames.num_done, frames.num_filled, frames.outcomes) == (2, 4, {"corrupt": 2, "ok": 4})
    assert frames.bytes_per_video == frames.num_bytes / 4
    assert (masks.stage, masks.num_done, masks.num_filled) == ("masks/default", 2, 4)
    assert (high.stage, high.num_done, high.outcomes) == ("masks/high", 0, {})
    assert status.num_bytes == frames.num_bytes + masks.num_bytes
    assert status.failures == tuple(
        FailedVideo("test", row, f"-vidéo_{row}", VideoStatus.CORRUPT, "broken on purpose", None) for row in (2, 5)
    )
    assert tree_digest(tmp_path) == before


def test_what_is_half_done_lost_or_out_of_date_is_pending(tmp_path: Path) -> None:
    store = make_store(tmp_path, 6)
    first, second = store.shards("test")
    fill_shard(store, first)
    assert (stage(tmp_path, FRAMES_STAGE).num_done, stage(tmp_path, FRAMES_STAGE).num_filled) == (1, 4)
    fill_shard(store, second)
    assert stage(tmp_path, masks_stage(MASKS)).num_done == 2
    masks_record = store.folder.read(commit_name(second, masks_stage(MASKS)))
    fill_shard(store, second, failed=frozenset({4}))
    store.folder.write(commit_name(second, masks_stage(MASKS)), masks_record)
    assert stage(tmp_path, masks_stage(MASKS)).num_done == 1
    store.folder.remove("clips.zarr/test/frames/c.0.0.0.0.0")
    assert stage(tmp_path, FRAMES_STAGE).num_done == 1


def test_a_record_that_is_cut_off_is_named_and_its_shard_pending(tmp_path: Path) -> None:
    store = make_store(tmp_path, 6)
    fill_store(store)
    name = commit_name(store.shards("test")[1], FRAMES_STAGE)
    os.truncate(tmp_path / name, 40)
    store.folder.write("runs/20260101T000000-encode-1.json", b'{"command": ')
    with recorded_run(store.folder, "encode", RunClock(datetime(2025, 1, 1, tzinfo=UTC)), {}) as run:
        assert run.name.startswith("runs/20250101T000000-encode-")
    status = store_status(store)
    assert [one.num_done for one in status.splits[0].stages] == [1, 1]
    assert [sentence.split(" was changed since it was written")[0] for sentence in status.damaged] == [
        name,
        "runs/20260101T000000-encode-1.json",
    ]
    assert [(one.command, one.started) for one in status.runs] == [("encode", "2025-01-01T00:00:00+00:00")]


@pytest.mark.parametrize(
    ("ended", "is_done", "is_interrupted", "shown"),
    [
        ("done", True, False, "done"),
        ("interrupted", False, True, "INTERRUPTED"),
        ("no space left on device", False, False, "FAILED: no space left on device"),
    ],
)
def test_how_a_run_ended_is_told(tmp_path: Path, ended: str, is_done: bool, is_interrupted: bool, shown: str) -> None:
    store = make_store(tmp_path, 2)
    with pytest.raises(BaseException) if ended != "done" else nullcontext():
        _run(store, ended)
    (run,) = store_status(store).runs
    assert (run.ended, run.is_done, run.is_interrupted) == (ended, is_done, is_interrupted)
    assert shown in CliRunner().invoke(command, [str(tmp_path)]).output
    found = json.loads(CliRunner().invoke(command, [str(tmp_path), "--json"]).output)
    assert [(one["command"], one["ended"]) for one in found["runs"]] == [("encode", ended)]


@pytest.mark.parametrize("broken", [b"[]", b'{"command": "encode"}', b'{"command": 1, "started": 2, "seconds": "3"}'])
def test_a_run_record_of_another_form_is_named(tmp_path: Path, broken: bytes) -> None:
    store = make_store(tmp_path, 2)
    store.folder.write("runs/20250101T000000-encode-1.json", broken)
    status = store_status(store)
    assert status.runs == ()
    assert len(status.damaged) == 1


def test_masks_are_told_of_in_one_line(tmp_path: Path) -> None:
    store = make_store(tmp_path, 4)
    fill_store(store)
    shard = store.shards("test")[0]
    counts = [
        *((4, 0.5, 1, 0, True), (4, 0.25, 0, 2, None)),
        *((4, 0.75, 0, 1, False), (4, 0.5, 3, 0, False)),
    ]
    made = [
        replace(
            outcome,
            num_masks=num,
            mask_coverage=coverage,
            mask_components=1.0,
            num_empty_masks=empty,
            num_full_masks=full,
            camera_motion=moves,
        )
        for outcome, (num, coverage, empty, full, moves) in zip(outcomes_of(store, shard), counts, strict=True)
    ]
    masks = np.stack([clip_masks(row) for row in range(4)])
    write_masks(store, shard, MASKS, masks, made, read_frames(store, shard).inputs)
    frames, of_masks = store_status(store).splits[0].stages
    found = of_masks.masks
    assert found is not None
    assert (found.mean_coverage, found.empty_share, found.full_share) == (0.5, 0.25, 3 / 16)
    assert frames.masks is None
    assert (
        "test: masks 'default' cover 50.0% of the picture on average; 25.0% are empty, 18.8% full; the camera moves "
        "in 33.3% of the 3 videos for which this is known\n"
    ) in CliRunner().invoke(command, [str(tmp_path)]).output


def _run(store: Store, ended: str) -> None:
    """A run that ends so."""
    with recorded_run(store.folder, "encode", RunClock(), {}):
        if ended == "interrupted":
            raise KeyboardInterrupt
        if ended != "done":
            raise OSError(ended)


def test_a_video_that_is_cut_off_counts_once(tmp_path: Path) -> None:
    """As truncated if it gave all its frames, otherwise as failed."""
    store = make_store(tmp_path, 3)
    fill_store(store)
    shard = store.shards("test")[0]
    ok, whole, short = outcomes_of(store, shard)
    ended = [
        ok,
        replace(whole, status=VideoStatus.TRUNCATED),
        replace(short, status=VideoStatus.TRUNCATED, filled=False, reason="cut off"),
    ]
    clips = read_frames(store, shard)
    clips.frame_index[2] = -1
    write_frames(store, shard, clips, ended)
    status = store_status(store)
    frames = status.splits[0].stages[0]
    assert (frames.outcomes, frames.num_filled, frames.num_truncated) == ({"ok": 1, "truncated": 2}, 2, 1)
    assert len(status.failures) == 1
    shown = CliRunner().invoke(command, [str(tmp_path)]).output
    assert next(line for line in shown.splitlines() if "frames " in line and "video" not in line).split()[:6] == [
        *("frames", "1", "0"),
        *("1", "1", "1"),
    ]
