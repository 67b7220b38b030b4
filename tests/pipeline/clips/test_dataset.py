"""`ClipDataset` in torch's DataLoader."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from pipeline.clips.dataset import ClipDataset, ClipItem
from pipeline.clips.options import AlphaSource
from pipeline.errors import OptionError
from pipeline.mask_imports.fitting import fitted_mask
from pipeline.video.resizing import resize_and_crop
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


def test_clips_of_another_size_are_those_that_are_stored_resized(tmp_path: Path) -> None:
    store = run_preprocess(write_small_dataset(tmp_path, {"train": 2}), tmp_path / "store")
    stored, found = ClipDataset(store, "train")[1], ClipDataset(store, "train", image_size=20)[1]
    np.testing.assert_array_equal(found["frames"][1], resize_and_crop(stored["frames"][1], 20))
    np.testing.assert_array_equal(found["masks"][1], fitted_mask(stored["masks"][1], 20, soft=False))
    assert ClipDataset(store, "train", alpha=AlphaSource.ONES, image_size=20)[1]["masks"][found["is_frame"]].all()
    with pytest.raises(OptionError, match="at least 1, not 0"):
        ClipDataset(store, "train", image_size=0)
