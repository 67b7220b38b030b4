"""Retrying what failed: only that is decoded again, and the store ends as if nothing had been wrong."""

from __future__ import annotations

from pathlib import Path

from tests.clips_on_disk import run_preprocess, write_small_dataset
from tests.stores import tree_digest


def test_a_retry_keeps_the_clips_that_stand_and_ends_as_a_clean_run(tmp_path: Path) -> None:
    manifest = write_small_dataset(tmp_path / "data", {"test": 3})
    other, video, *_ = sorted((tmp_path / "data").glob("**/*.mp4"))
    whole = Path(run_preprocess(manifest, tmp_path / "whole").place)
    content = video.read_bytes()
    video.unlink()
    store = run_preprocess(manifest, tmp_path / "store")
    video.write_bytes(content)
    other.rename(other.with_suffix(".away"))  # what stands is not decoded again
    run_preprocess(manifest, Path(store.place))
    assert tree_digest(Path(store.place)) != tree_digest(whole)
    run_preprocess(manifest, Path(store.place), retry_failed=True)
    assert tree_digest(Path(store.place)) == tree_digest(whole)
