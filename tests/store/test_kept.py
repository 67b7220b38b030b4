"""What an interrupted run keeps, counted from names alone."""

from __future__ import annotations

from pathlib import Path

from store.commits import withdraw_commit
from store.kept import videos_kept
from store.stages import FRAMES_STAGE, masks_stage
from tests.stores import MASKS, fill_store, make_store


def test_videos_of_committed_shards_count(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store", 10)
    shards = store.shards("test")
    assert len(shards) > 2
    assert videos_kept(store, FRAMES_STAGE) == (0, 10)
    fill_store(store)
    assert videos_kept(store, FRAMES_STAGE) == videos_kept(store, masks_stage(MASKS), ["test"]) == (10, 10)
    assert videos_kept(store, masks_stage("other")) == (0, 10)
    assert videos_kept(store, FRAMES_STAGE, ["train"]) == (0, 0)
    for shard in (shards[0], shards[-1]):
        withdraw_commit(store.folder, shard, FRAMES_STAGE)
    assert videos_kept(store, FRAMES_STAGE) == (10 - shards[0].num_rows - shards[-1].num_rows, 10)
