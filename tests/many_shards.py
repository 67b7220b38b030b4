"""Forty clips, each a shard of its own: what runs on clusters are interrupted in, and the bytes that they end with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.clips_on_disk import SMALL, SMALL_FLAGS, run_preprocess, write_small_dataset
from tests.stores import tree_digest

NUM_VIDEOS = 40
FLAGS = (*SMALL_FLAGS, "--shard-size", "1", "--no-progress")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_dataset(tmp_path_factory.mktemp("many"), {"test": NUM_VIDEOS})


@pytest.fixture(scope="module")
def whole(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the store holds after a run in one process."""
    place = tmp_path_factory.mktemp("whole") / "store"
    run_preprocess(manifest, place, replace(SMALL, shard_size=1))
    return tree_digest(place)
