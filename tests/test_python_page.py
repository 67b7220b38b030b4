"""docs/python.md: its examples are run, one after the other."""

from __future__ import annotations

import doctest
from pathlib import Path
from typing import cast

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from encoders.weights.loading import load_model
from pipeline.clips.dataset import ClipDataset, ClipItem
from pipeline.features.options import FeatureRecipe
from store.store import Store
from tests.clips_on_disk import run_preprocess, write_small_dataset
from tests.encoders_tiny import write_config
from tests.encoding import encode_here

PAGE = Path(__file__).parent.parent / "docs/python.md"


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_config(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, config: str) -> Store:
    folder = tmp_path_factory.mktemp("data")
    made = run_preprocess(write_small_dataset(folder, {"train": 6, "test": 4}), folder / "store")
    encode_here(made, load_model(config, "none"), FeatureRecipe("mine", ("test",)))
    return made


def test_the_examples(store: Store, config: str) -> None:
    examples = doctest.DocTestParser().get_doctest(
        PAGE.read_text(encoding="utf-8"), {"place": store.place, "model": config}, "python.md", str(PAGE), 0
    )
    assert len(examples.examples) > 20
    results = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(examples)
    assert results.failed == 0


def test_workers_of_a_loader_give_the_same_clips(store: Store) -> None:
    clips = ClipDataset(store, "train")
    alone, shared = (
        list(DataLoader(cast("Dataset[ClipItem]", clips), 4, num_workers=number, multiprocessing_context=context))
        for number, context in ((0, None), (2, "spawn"))
    )
    for one, other in zip(alone, shared, strict=True):
        assert one["video_id"] == other["video_id"]
        assert torch.equal(one["frames"], other["frames"])
        assert torch.equal(one["masks"], other["masks"])
