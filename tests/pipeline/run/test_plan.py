from __future__ import annotations

from pathlib import Path

from pipeline.run.plan import PendingShard, Tally, make_plan
from store.commits import commit_name
from store.stages import FRAMES_STAGE, masks_stage
from store.store import Store
from tests.stores import MASKS, fill_shard, fill_store, make_store

STAGES = [FRAMES_STAGE, masks_stage(MASKS)]


def test_an_empty_store_owes_everything(tmp_path: Path) -> None:
    store = make_store(tmp_path, 6)
    plan = make_plan(store, store.shards("test"), STAGES)
    assert plan.pending == tuple(PendingShard(shard, tuple(STAGES)) for shard in store.shards("test"))
    assert (plan.num_shards, plan.num_videos_pending, plan.complete) == (2, 6, Tally())


def test_what_stands_is_not_pending_and_is_counted(tmp_path: Path) -> None:
    store = make_store(tmp_path, 6)
    fill_shard(store, store.shards("test")[0], failed=frozenset({2}))
    plan = make_plan(store, store.shards("test"), STAGES)
    assert [pending.shard.index for pending in plan.pending] == [1]
    assert plan.complete.num_videos == 4
    assert [failure.video_id for failure in plan.complete.failures] == ["-vidéo_2"]


def test_only_the_stage_that_is_missing_is_pending(tmp_path: Path) -> None:
    store = make_store(tmp_path, 3)
    fill_store(store)
    store.folder.remove(commit_name(store.shards("test")[0], masks_stage(MASKS)))
    assert make_plan(store, store.shards("test"), STAGES).pending[0].stages == (masks_stage(MASKS),)


def test_planning_writes_nothing(tmp_path: Path) -> None:
    store = Store.open(make_store(tmp_path, 6).folder)
    before = sorted(tmp_path.rglob("*"))
    make_plan(store, store.shards("test"), STAGES)
    assert sorted(tmp_path.rglob("*")) == before


def test_tallies_add_up(tmp_path: Path) -> None:
    store = make_store(tmp_path, 6)
    fill_store(store, failed=frozenset({2, 5}))
    plan = make_plan(store, store.shards("test"), STAGES)
    halves = [make_plan(store, [shard], STAGES).complete for shard in store.shards("test")]
    assert Tally.sum(halves) == plan.complete


def test_a_shard_in_which_a_video_failed_is_pending_again_on_request(tmp_path: Path) -> None:
    store = make_store(tmp_path, 6)
    fill_store(store, failed=frozenset({5}))
    assert make_plan(store, store.shards("test"), STAGES).pending == ()
    plan = make_plan(store, store.shards("test"), STAGES, retry_failed=True)
    assert plan.pending == (PendingShard(store.shards("test")[1], tuple(STAGES), kept_rows=(4,)),)
    assert plan.complete.num_videos == 4


def test_what_builds_upon_a_stage_that_is_pending_is_pending_too(tmp_path: Path) -> None:
    store = make_store(tmp_path, 3)
    fill_store(store)
    store.folder.remove("clips.zarr/test/frames/c.0.0.0.0.0")
    assert make_plan(store, store.shards("test"), STAGES).pending[0].stages == tuple(STAGES)
