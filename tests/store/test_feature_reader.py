from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.errors import NotInStoreError
from store.feature_dtypes import FeatureDtypes
from store.feature_reader import FeatureReader
from store.features import (
    ClipFeatures,
    TextFeatures,
    caption_shards,
    create_features,
    write_clip_features,
    write_text_features,
)
from store.store import Store
from tests.stores import NUM_FRAMES, make_store, outcomes

NUM_VIDEOS, DIM, CHUNK = 7, 3, 5
TEXTS = np.random.default_rng(0).normal(size=(2 * NUM_VIDEOS, DIM)).astype(np.float32)
FRAMES = np.random.default_rng(1).normal(size=(NUM_VIDEOS, NUM_FRAMES, DIM)).astype(np.float16)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("store.feature_arrays.CAPTIONS_PER_SHARD", CHUNK)
        made = make_store(tmp_path_factory.mktemp("read") / "store", NUM_VIDEOS)
        create_features(made, "mine", "test", DIM, {"pooling": "mean"}, FeatureDtypes(frames="float16"))
        for shard in made.shards("test"):
            rows = FRAMES[shard.start : shard.stop].astype(np.float32)
            clips = ClipFeatures(rows[:, 0], rows, outcomes(made, shard), dtypes=FeatureDtypes(frames="float16"))
            write_clip_features(made, "mine", shard, clips, {})
        for shard in caption_shards(made, "test"):
            write_text_features(made, "mine", shard, TextFeatures(TEXTS[shard.start : shard.stop]))
    return made


@pytest.fixture
def reader(store: Store, monkeypatch: pytest.MonkeyPatch) -> FeatureReader:
    monkeypatch.setattr("store.feature_arrays.CAPTIONS_PER_SHARD", CHUNK)
    return FeatureReader(store, "mine", "test")


def test_shards_of_videos_are_the_rows_of_the_whole(store: Store, reader: FeatureReader) -> None:
    assert (reader.dim, reader.made_with["pooling"]) == (DIM, "mean")
    for shard in store.shards("test"):
        rows = FRAMES[shard.start : shard.stop].astype(np.float32)
        np.testing.assert_array_equal(reader.frames(shard), rows, strict=True)
        np.testing.assert_array_equal(reader.videos(shard), rows[:, 0], strict=True)


def test_any_texts_in_a_row_are_read_across_chunks(reader: FeatureReader) -> None:
    @given(st.lists(st.integers(0, len(TEXTS)), min_size=2, max_size=2).map(sorted))
    def check(bounds: list[int]) -> None:
        start, stop = bounds
        np.testing.assert_array_equal(reader.texts(start, stop), TEXTS[start:stop], strict=True)

    check()


def test_features_that_are_not_there(store: Store) -> None:
    with pytest.raises(NotInStoreError, match="no features 'yours' for split 'test'"):
        FeatureReader(store, "yours", "test")
