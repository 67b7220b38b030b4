"""Which videos a run reads: what it looks for on its workers, and what may be missing, is the same list."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pipeline.datasets.read import read_dataset
from pipeline.frames.missing import pending_paths
from pipeline.frames.preprocess import plan_preprocess, videos_to_decode
from store.store import Store
from tests.clips_on_disk import SMALL, opened_store, record, run_preprocess, write_clip, write_manifest

OPTIONS = replace(SMALL, shard_size=2)


def decoded_by(store: Store, *, retry_failed: bool = False) -> list[str]:
    """Their paths, of the next run."""
    plan = plan_preprocess(store, OPTIONS, retry_failed=retry_failed)
    paths = [video.path for video in videos_to_decode(store, plan.pending)]
    assert pending_paths(store, plan) == (paths, len(paths))
    return paths


def test_rows_that_stay_and_masks_alone_need_no_video(tmp_path: Path) -> None:
    names = [f"{number}.mp4" for number in range(5)]
    manifest = write_manifest(tmp_path, [record(name[0], name) for name in names])
    for number in (0, 1, 2, 4):
        write_clip(tmp_path / names[number], number)
    store = opened_store(read_dataset("jsonl", manifest), tmp_path / "store", OPTIONS)
    assert decoded_by(store) == names
    store = run_preprocess(manifest, tmp_path / "store", OPTIONS)
    assert decoded_by(store) == []
    assert decoded_by(store, retry_failed=True) == ["3.mp4"]  # its neighbour in the shard stays
    masks = plan_preprocess(store, replace(OPTIONS, mask_name="other"))
    assert len(masks.pending) == 3
    assert list(videos_to_decode(store, masks.pending)) == []
    assert pending_paths(store, masks) == ([], 0)
