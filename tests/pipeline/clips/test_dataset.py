"""`ClipDataset` in torch's DataLoader."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import torch
from torch.utils.data import DataLoader, Dataset

from pipeline.clips.dataset import ClipDataset, ClipItem
from tests.clips_on_disk import run_preprocess, write_small_dataset
from tests.forked import FORK_SERVER


def test_workers_of_a_loader_give_the_same_clips(tmp_path: Path) -> None:
    store = run_preprocess(write_small_dataset(tmp_path, {"train": 6}), tmp_path / "store")
    clips = ClipDataset(store, "train")
    alone, shared = (
        list(DataLoader(cast("Dataset[ClipItem]", clips), 4, num_workers=number, multiprocessing_context=context))
        for number, context in ((0, None), (2, FORK_SERVER))
    )
    for one, other in zip(alone, shared, strict=True):
        assert one["video_id"] == other["video_id"]
        assert torch.equal(one["frames"], other["frames"])
        assert torch.equal(one["masks"], other["masks"])
