"""A store that `preprocess` made of good and bad videos, a copy of it, and the same command again."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipeline.datasets.read import read_dataset
from pipeline.frames.options import PreprocessOptions
from pipeline.frames.preprocess import ShardsMade, VideoSource, plan_preprocess, preprocess_shards
from pipeline.run.plan import Plan
from store.completion import outcomes_of
from store.stages import FRAMES_STAGE
from store.store import Store
from tests.clips_on_disk import SMALL, decoder_is_kept, opened_store, run_preprocess, write_mixed_dataset


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mixed_dataset(tmp_path_factory.mktemp("mixed"))


@pytest.fixture(scope="module")
def made(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Made by one run that nothing disturbed. Not to be changed."""
    return run_preprocess(manifest, tmp_path_factory.mktemp("made") / "store")


@pytest.fixture
def copy(made: Store, tmp_path: Path) -> Store:
    """A copy of `made` that may be changed."""
    return Store.open(shutil.copytree(Path(made.place), tmp_path / "copy"))


def run(manifest: Path, place: Path, options: PreprocessOptions = SMALL) -> tuple[Plan, ShardsMade]:
    dataset = read_dataset("jsonl", manifest)
    opened = opened_store(dataset, str(place), options)
    plan = plan_preprocess(opened, options)
    with decoder_is_kept():
        return plan, preprocess_shards(opened, VideoSource(dataset.root), plan, options)


def rows_of(opened: Store, split: str, stage: str = FRAMES_STAGE) -> list[tuple[str, str, bool]]:
    return [
        (outcome.video_id, str(outcome.status), outcome.filled)
        for shard in opened.shards(split)
        for outcome in outcomes_of(opened, shard, stage)
    ]
