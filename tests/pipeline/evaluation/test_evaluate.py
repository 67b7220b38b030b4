"""Metrics of a feature set: hand-made features on stores without a video, and reports of missing videos."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import fda
from pipeline.evaluation.evaluate import TooManyMissingError, evaluate
from pipeline.evaluation.options import EvalOptions
from pipeline.run.limits import Limit
from store.catalog import Catalog
from store.completion import input_digests, outcomes_of
from store.errors import NotInStoreError, ShardIncompleteError
from store.features import (
    ClipFeatures,
    TextFeatures,
    caption_shards,
    create_features,
    write_clip_features,
    write_text_features,
)
from store.stages import FRAMES_STAGE, masks_stage
from store.store import Store
from tests.stores import MASKS, fill_shard, fill_store, make_store

NUM_VIDEOS = 6
ALL = EvalOptions("test", max_missing=Limit.of(0.0))


def cached(place: Path, video: np.ndarray, text: np.ndarray, failed: frozenset[int] = frozenset()) -> Store:
    """A store of 6 videos with two captions each and the features given, one row a video and a caption."""
    store = make_store(place, NUM_VIDEOS)
    fill_store(store, failed)
    video = video.astype(np.float32)
    create_features(store, "mine", "test", video.shape[1], {"weights": "by hand"})
    for shard in store.shards("test"):
        outcomes = outcomes_of(store, shard, masks_stage(MASKS))
        rows = video[shard.start : shard.stop].copy()
        rows[[not outcome.filled for outcome in outcomes]] = np.nan
        frame = np.repeat(rows[:, None], 3, axis=1)
        inputs = input_digests(store, shard, (FRAMES_STAGE, masks_stage(MASKS)))
        write_clip_features(store, "mine", shard, ClipFeatures(rows, frame, outcomes), inputs)
    for shard in caption_shards(store, "test"):
        write_text_features(store, "mine", shard, TextFeatures(text.astype(np.float32)))
    return store


ONE_HOT = np.eye(NUM_VIDEOS)


def test_perfect_features(tmp_path: Path) -> None:
    result = evaluate(cached(tmp_path, ONE_HOT, np.repeat(ONE_HOT, 2, axis=0)), "mine", ALL)
    for metrics in (result.metrics.text_to_video, result.metrics.video_to_text):
        assert (metrics.r1, metrics.median_rank, metrics.mean_rank) == (100.0, 1.0, 1.0)
    assert (result.num_videos, result.num_videos_expected) == (6, 6)
    assert (result.num_captions, result.num_captions_expected) == (12, 12)
    assert (result.features, result.split, result.protocol) == ("mine", "test", "fda")
    assert result.attributes == {"weights": "by hand"}


def test_equal_features_count_against_the_model(tmp_path: Path) -> None:
    same = np.tile(ONE_HOT[0], (NUM_VIDEOS, 1))
    metrics = evaluate(cached(tmp_path, same, np.repeat(same, 2, axis=0)), "mine", ALL).metrics
    assert (metrics.text_to_video.r1, metrics.text_to_video.r5, metrics.text_to_video.r10) == (0.0, 0.0, 100.0)
    assert metrics.text_to_video.mean_rank == NUM_VIDEOS


def test_figures_worked_by_hand(tmp_path: Path) -> None:
    """Captions 0 and 1 of each video point at it, but those of video 0 at video 1 (rank 2: video 0 comes next)."""
    text = np.repeat(ONE_HOT, 2, axis=0)
    text[0] = text[1] = 0.6 * ONE_HOT[0] + 0.8 * ONE_HOT[1]
    metrics = evaluate(cached(tmp_path, ONE_HOT, text), "mine", ALL).metrics
    assert metrics.text_to_video.r1 == pytest.approx(100 * 10 / 12)
    assert metrics.text_to_video.mean_rank == pytest.approx((2 * 2 + 10) / 12)
    assert metrics.text_to_video.r5 == 100.0
    assert metrics.video_to_text.r1 == 100.0  # video 0: its best caption has 0.6, those of others 0


def test_failed_videos_are_counted_and_their_captions_left_out(tmp_path: Path) -> None:
    store = cached(tmp_path, ONE_HOT, np.repeat(ONE_HOT, 2, axis=0), failed=frozenset({1, 4}))
    result = evaluate(store, "mine", EvalOptions("test", max_missing=Limit.of(0.5)))
    assert (result.num_videos, result.num_videos_expected) == (4, 6)
    assert (result.num_captions, result.num_captions_expected) == (8, 12)
    assert result.metrics.text_to_video.r1 == 100.0


def test_too_many_missing_are_refused(tmp_path: Path) -> None:
    store = cached(tmp_path, ONE_HOT, np.repeat(ONE_HOT, 2, axis=0), failed=frozenset({1, 4}))
    with pytest.raises(TooManyMissingError, match=r"2 of 6 videos of split 'test' \(33.3%\) have no features.*of 10%:"):
        evaluate(store, "mine", EvalOptions("test", max_missing=Limit.of(0.1)))
    assert evaluate(store, "mine", EvalOptions("test", max_missing=Limit.of(2 / 6))).num_videos == 4


def test_nothing_to_score_is_refused_whatever_the_limit(tmp_path: Path) -> None:
    store = cached(tmp_path, ONE_HOT, np.repeat(ONE_HOT, 2, axis=0), failed=frozenset(range(NUM_VIDEOS)))
    with pytest.raises(TooManyMissingError, match="6 of 6 videos"):
        evaluate(store, "mine", EvalOptions("test", max_missing=Limit.of(1.0)))


def test_a_nan_is_refused(tmp_path: Path) -> None:
    text = np.repeat(ONE_HOT, 2, axis=0)
    text[3, 3] = np.nan
    store = cached(tmp_path, ONE_HOT, text)
    with pytest.raises(ValueError, match="NaN|finite"):
        evaluate(store, "mine", ALL)


def test_features_that_are_missing_or_out_of_date(tmp_path: Path) -> None:
    store = cached(tmp_path, ONE_HOT, np.repeat(ONE_HOT, 2, axis=0))
    with pytest.raises(NotInStoreError, match=r"no features 'yours' .*there: 'mine'"):
        evaluate(store, "yours", ALL)
    fill_shard(store, store.shards("test")[1], failed=frozenset({5}))
    with pytest.raises(ShardIncompleteError, match="are out of date"):
        evaluate(store, "mine", ALL)


def test_equal_captions_of_other_embeddings_are_reported(tmp_path: Path) -> None:
    """As machines of two kinds encode them."""
    text = np.repeat(ONE_HOT, 2, axis=0)
    store = cached(tmp_path, ONE_HOT, text)
    texts = store.catalog.captions["text"].to_pylist()
    texts[2] = texts[5] = texts[9] = texts[0]
    captions = store.catalog.captions.set_column(4, "text", pa.array(texts))
    Catalog.of_tables([store.catalog.videos], [captions]).write(store.folder)
    text[2] = text[5] = text[0]
    for shard in caption_shards(Store.open(tmp_path), "test"):
        write_text_features(Store.open(tmp_path), "mine", shard, TextFeatures(text.astype(np.float32)))
    (found,) = fda.evaluate(tmp_path, "mine", ALL).warnings
    assert found.startswith("1 caption with the text of another caption has another embedding")
    text[9] = text[0]
    for shard in caption_shards(Store.open(tmp_path), "test"):
        write_text_features(Store.open(tmp_path), "mine", shard, TextFeatures(text.astype(np.float32)))
    assert not fda.evaluate(tmp_path, "mine", ALL).warnings
