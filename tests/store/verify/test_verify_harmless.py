"""What `verify` finds in a store without damage: nothing, work that is pending, and files that do no harm."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.datasets.read import read_dataset
from store.arrays.reading import ChunkReader, read_shard
from store.catalog import VIDEOS_NAME
from store.claims.holding import claimed
from store.clips.layout import frame_index_spec, frames_spec
from store.clips.mask_sets import stored_masks_spec
from store.clips.shards import read_frames
from store.commits import draft_shard
from store.completion import outcomes_of
from store.places.opening import folder_at
from store.schema import Shard
from store.stages import FRAMES_STAGE, masks_stage
from store.store import Store
from store.verify.findings import Kind
from tests.clips_on_disk import SMALL, opened_store, record, write_manifest
from tests.store.verifying import (
    FIRST,
    FRAMES,
    LOW_MASKS,
    kinds,
    look,
    make_everything,
    repair_under_claim,
    rewritten,
    write,
)
from tests.store.verifying import manifest as manifest
from tests.store.verifying import place as place
from tests.store.verifying import whole as whole
from tests.stores import tree_digest, write_frames

FEATURE_PARTS = ("video", "frame", "alpha_cosine", "text", "num_dropped")


def test_a_store_as_it_was_made_has_nothing_wrong(place: Path) -> None:
    for is_quick in (False, True):
        found = look(place, is_quick=is_quick)
        assert (found.findings, dict(found.pending), found.live) == ((), {}, ())
        assert found.num_files == len(tree_digest(place))
        assert (found.num_bytes_read == 0) == is_quick
    before = tree_digest(place)
    repair_under_claim(place)
    assert tree_digest(place) == before


def test_what_verify_takes_from_the_writer(whole: Path) -> None:
    """A row without a video has nothing in any array, a row with one has frames; and the catalogue counts from 0."""
    store = Store.open(whole)
    for split, layout in store.manifest.splits.items():
        for stage in (FRAMES_STAGE, masks_stage("default"), masks_stage("low")):
            for shard in store.shards(split):
                check_slots(store, shard, stage)
        videos, captions = store.catalog.split_videos(split), store.catalog.split_captions(split)
        ids = videos["video_id"].to_pylist()
        assert videos["row"].to_pylist() == list(range(layout.num_videos))
        assert captions["row"].to_pylist() == list(range(layout.num_captions))
        assert len(set(ids)) == len(ids)
        assert len(set(captions["caption_id"].to_pylist())) == layout.num_captions
        assert set(captions["video_id"].to_pylist()) <= set(ids)


def check_slots(store: Store, shard: Shard, stage: str) -> None:
    is_frames = stage == FRAMES_STAGE
    spec = (
        frames_spec(store, shard.split) if is_frames else stored_masks_spec(store, shard.split, stage.partition("/")[2])
    )
    slots = ChunkReader(store.folder, spec)
    frame_index = read_shard(store.folder, frame_index_spec(store, shard.split), shard)
    outcomes = outcomes_of(store, shard, stage)
    for outcome, first in zip(outcomes, frame_index[:, 0], strict=True):
        assert outcome.filled == (first >= 0)
        assert (slots.stored(outcome.row) is not None) <= outcome.filled
        if is_frames and outcome.filled:  # a mask may be empty, and is then not stored
            assert slots.stored(outcome.row) is not None


def test_the_writer_refuses_what_verify_does_not_look_for(place: Path) -> None:
    store = Store.open(place)
    shard = store.shards("test")[0]
    clips, outcomes = read_frames(store, shard), outcomes_of(store, shard)
    turned = [replace(outcomes[0], filled=not outcomes[0].filled), *outcomes[1:]]
    with pytest.raises(ValueError, match="test/00000: outcomes and frame_index disagree on which rows have a video"):
        write_frames(store, shard, clips, turned)
    for wrong in (outcomes[:1], outcomes[::-1]):
        with pytest.raises(ValueError, match="test/00000 of frames: outcomes are for rows"):
            draft_shard(shard, FRAMES_STAGE, wrong, {}, {})
    assert look(place).findings == ()


def test_masks_and_features_older_than_their_frames(place: Path) -> None:
    rewritten(
        place,
        FIRST,
        lambda record: replace(record, outcomes=(replace(record.outcomes[0], fps=1.0), *record.outcomes[1:])),
    )
    found = look(place)
    stages = ["masks/default", "masks/low", "features/mine/video"]
    assert [(one.kind, one.split, one.shard, one.stage) for one in found.findings] == [
        (Kind.STALE, "test", 0, stage) for stage in stages
    ]
    repair_under_claim(place)
    assert look(place).findings == ()
    assert set(look(place).pending) == {("test", stage) for stage in stages}


def test_data_without_a_record_are_harmless_unless_they_are_being_written(place: Path) -> None:
    (place / FIRST).unlink()
    found = look(place)
    assert kinds(found) == {Kind.UNCOMMITTED}
    assert found.num_wrong == 0
    assert found.pending == {
        ("test", stage): 1 for stage in ("frames", "masks/default", "masks/low", "features/mine/video")
    }
    with claimed(folder_at(place), "preprocess", [FRAMES_STAGE]):
        busy = look(place)
        assert (busy.findings, len(busy.live)) == ((), 1)


def test_leftovers_and_strangers_are_named_and_harmless(place: Path) -> None:
    write(place / f"partial/unclaimed/{0:032x}")
    write(place / f"claims/{'0' * 32}.beat")
    write(place / "withdrawn/test/frames/00000.parquet")
    strangers = ["notes.txt", "clips.zarr/test/notes.txt", "commits/notes", "runs/notes.txt", "claims/notes", "x/y/zarr.json"]  # fmt: skip  # noqa: E501
    for name in strangers:
        write(place / name)
    found = look(place)
    assert found.num_wrong == 0
    assert {one.name for one in found.findings if one.kind is Kind.FOREIGN} == set(strangers)
    assert sum(one.kind is Kind.LEFTOVER for one in found.findings) == 3
    repair_under_claim(place)
    left = look(place)
    assert {one.name for one in left.findings} == set(strangers)


def test_links_are_named_and_harmful_where_a_file_of_the_store_should_be(place: Path, tmp_path: Path) -> None:
    outside = tmp_path / "frames"
    (place / FRAMES).rename(outside)
    (place / FRAMES).symlink_to(outside)
    (place / "nowhere").symlink_to(tmp_path / "gone")
    (place / "inside").symlink_to(place / "store.json")
    found = look(place)
    assert {(one.name, one.kind) for one in found.findings} == {
        (FRAMES, Kind.LINK),
        ("nowhere", Kind.FOREIGN),
        ("inside", Kind.FOREIGN),
    }


def test_a_store_that_has_grown_and_one_whose_growth_was_cut_short(
    place: Path, whole: Path, manifest: Path, tmp_path: Path
) -> None:
    clip = manifest.parent / "test_0.mp4"
    more = [*map(json.loads, manifest.read_text().splitlines()), record("new", clip.name), record("newer", clip.name)]
    grown = write_manifest(manifest.parent, more, "grown.jsonl")
    opened_store(read_dataset("jsonl", grown), place, SMALL)
    found = look(place)
    assert {(one.kind, one.name) for one in found.findings} == {
        (Kind.UNFINISHED, f"{array}/zarr.json")
        for array in (
            LOW_MASKS,
            *(f"features.zarr/mine/test/{part}" for part in FEATURE_PARTS),
        )
    }
    assert found.num_wrong == 0
    assert found.pending[("test", FRAMES_STAGE)] == 2  # the last shard: one row is old, the other new; and one more
    before = tree_digest(place)
    repair_under_claim(place)
    assert tree_digest(place) == before
    make_everything(grown, place)
    assert (look(place).findings, dict(look(place).pending)) == ((), {})

    shutil.copytree(whole, tmp_path / "short")  # killed between the catalogue and the manifest
    shutil.copytree(place / "catalog", tmp_path / "short/catalog", dirs_exist_ok=True)
    shutil.copy(whole / "catalog/failures.parquet", tmp_path / "short/catalog/failures.parquet")
    found = look(tmp_path / "short")
    assert [(one.kind, one.name) for one in found.findings] == [(Kind.UNFINISHED, VIDEOS_NAME)]
    assert "2 videos more" in found.findings[0].what
    assert not found.pending
