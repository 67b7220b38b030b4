"""`fda eval` by the real command line, on hand-made features: what it prints, writes and refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import zarr
from numpy.typing import NDArray

import fda as api
from store.completion import input_digests, outcomes_of
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
from tests.clips_on_disk import Commands
from tests.sliced import Known, known_store
from tests.stores import MASKS, fill_store, make_store

NUM_VIDEOS, DIM = 12, 8
FIELDS = ("r1", "r5", "r10", "r50", "median_rank", "mean_rank")


def unit(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    rows = rng.standard_normal(shape).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=-1, keepdims=True)
    return rows


def cached(
    place: Path,
    *,
    failed: frozenset[int] = frozenset(),
    num_dropped: int = 0,
    made_by: dict[str, object] | None = None,
) -> Store:
    """A store of 12 videos with two captions each, and features that find about half of them."""
    rng = np.random.default_rng(0)
    store = make_store(place, NUM_VIDEOS)
    fill_store(store, failed)
    frame = unit(rng, NUM_VIDEOS, 3, DIM)
    video = frame.mean(axis=1)
    video /= np.linalg.norm(video, axis=1, keepdims=True)
    text = np.repeat(video, 2, axis=0) + 1.5 * unit(rng, 2 * NUM_VIDEOS, DIM)
    text /= np.linalg.norm(text, axis=1, keepdims=True)
    create_features(store, "mine", "test", DIM, made_by or {"pooling": "mean"})  # type: ignore[arg-type]
    for shard in store.shards("test"):
        rows = slice(shard.start, shard.stop)
        outcomes = outcomes_of(store, shard, masks_stage(MASKS))
        gone = [not outcome.filled for outcome in outcomes]
        some_video, some_frame = video[rows].copy(), frame[rows].copy()
        some_video[gone], some_frame[gone] = np.nan, np.nan
        inputs = input_digests(store, shard, (FRAMES_STAGE, masks_stage(MASKS)))
        write_clip_features(store, "mine", shard, ClipFeatures(some_video, some_frame, outcomes), inputs)
    for shard in caption_shards(store, "test"):
        dropped = np.zeros(shard.num_rows, np.int64)
        dropped[:num_dropped] = 3
        write_text_features(store, "mine", shard, TextFeatures(text[shard.start : shard.stop], dropped))
    return store


def test_numbers_of_all_protocols_with_intervals(fda: Commands, tmp_path: Path) -> None:
    cached(tmp_path / "store")
    ended = fda("eval", tmp_path / "store", "--features", "mine", "--json")
    assert ended.code == 0, ended.err
    found = json.loads(ended.out)
    assert set(found["protocols"]) == {"fda", "clip4clip", "collaborative-experts", "x-pool"}
    assert found["inapplicable"]["paired"] == "it takes one caption a video, and a video here has 2"
    for direction in ("text_to_video", "video_to_text"):
        assert found[direction] == found["protocols"]["fda"][direction]
        for field in FIELDS:
            interval = found["intervals"][direction][field]
            assert interval["low"] <= found[direction][field] <= interval["high"]
    assert found["text_to_video"]["ndcg"] is None
    assert 0 < found["video_to_text"]["ndcg"] <= 100
    assert found["post_processed"] == {}
    again = fda("eval", tmp_path / "store", "--features", "mine")
    assert "95% interval" in again.out
    assert "24 captions x 12 videos (12 of 12 videos used); protocol fda; pooling mean" in again.out
    plain = fda("eval", tmp_path / "store", "--features", "mine", "--no-intervals")
    assert "interval" not in plain.out


def test_what_is_missing_cut_and_unfair_is_said(fda: Commands, tmp_path: Path) -> None:
    made_by: dict[str, object] = {"model": {"train_split": "train", "val_split": "test", "chosen_on_test": True}}
    cached(tmp_path / "store", failed=frozenset({3}), num_dropped=5, made_by=made_by)
    ended = fda("eval", tmp_path / "store", "--features", "mine")
    assert "(11 of 12 videos used)" in ended.out
    assert "without features: -vidéo_3" in ended.out
    assert "5 captions longer than the model reads: scored as far as it read" in ended.out
    assert "not a fair number: the model's weights were CHOSEN on a split of this name, 'test'" in ended.out
    found = json.loads(fda("eval", tmp_path / "store", "--features", "mine", "--json").out)
    assert found["missing_video_ids"] == ["-vidéo_3"]
    assert (found["num_captions_cut"], len(found["caveats"])) == (5, 1)


def test_post_processing_stands_in_rows_of_its_own(fda: Commands, tmp_path: Path) -> None:
    cached(tmp_path / "store")
    plain = json.loads(fda("eval", tmp_path / "store", "--features", "mine", "--json").out)
    found = json.loads(fda("eval", tmp_path / "store", "--features", "mine", "--dsl", "--json").out)
    assert found["text_to_video"] == plain["text_to_video"]
    assert set(found["post_processed"]) == {"dsl"}
    assert found["options"]["dsl_temperature"] == 0.01
    shown = fda("eval", tmp_path / "store", "--features", "mine", "--dsl").out
    assert "text to video, DSL (transductive)" in shown
    assert "video to text, DSL (transductive)" in shown


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (["--protocol", "paired"], 1, "it takes one caption a video, and a video here has 2"),
        (["--protocol", "paragraph"], 1, "it takes one caption a video"),
        (["--protocol", "mine"], 2, "Invalid value for '--protocol'"),
        (["--ties", "fair"], 2, "Invalid value for '--ties'"),
        (["--qb-norm", "--bank-split", "test"], 2, "the bank of QB-Norm must not be"),
        (["--qb-norm"], 1, "--qb-norm takes its bank from split 'train' (--bank-split): no split 'train'"),
        (["--top-frames", "4"], 1, "--top-frames must be at most 3, the frames of a clip of split 'test', got 4"),
        (["--per-query", "ranks.csv"], 2, "Invalid value for '--per-query': 'ranks.csv' must end in .parquet"),
        (["--per-query", "ranks"], 2, "'ranks' must end in .parquet"),
        (["--figure", "slices"], 2, "must end in .png"),
        (["--pooling", "mean", "--top-frames", "2"], 2, "either pooled into videos"),
        (["--top-frames", "0"], 2, "Invalid value for '--top-frames'"),
        (["--dsl", "--dsl-temperature", "0"], 2, "Invalid value for '--dsl-temperature'"),
        (["--split", "tset"], 1, "no split 'tset'"),
        (["--slice", "colour"], 2, "Invalid value for '--slice'"),
        (["--per-query", "/nowhere/ranks.parquet"], 1, "/nowhere"),
        (["--device", "tpu"], 1, "cannot use device 'tpu'"),
        (["--qb-norm", "--top-frames", "2"], 2, "leave --top-frames and"),
        (["--overwrite"], 2, "--overwrite is for the files of"),
        (["--figure", "slices.jpg"], 2, "Invalid value for '--figure': 'slices.jpg' must end in .png or .svg or .pdf"),
        (["--figure", "/nowhere/slices.png"], 1, "there is no folder /nowhere"),
        (["--level", "100%"], 2, "must lie between 0% and 100%"),
    ],
)
def test_what_cannot_be_is_refused(fda: Commands, tmp_path: Path, flags: list[str], code: int, words: str) -> None:
    cached(tmp_path / "store")
    ended = fda("eval", tmp_path / "store", "--features", "mine", *flags)
    assert (ended.code, ended.out) == (code, "")
    assert words in ended.err


def test_frames_are_scored_one_by_one(fda: Commands, tmp_path: Path) -> None:
    cached(tmp_path / "store")
    eval_mine = ("eval", tmp_path / "store", "--features", "mine", "--json", "--no-intervals")
    best = json.loads(fda(*eval_mine, "--top-frames", "1").out)
    assert best["pooling"] == "top 1 frame"
    every, unit_mean = (
        json.loads(fda(*eval_mine, *flags).out) for flags in (("--top-frames", "3"), ("--pooling", "mean"))
    )
    assert every["text_to_video"]["num_queries"] == unit_mean["text_to_video"]["num_queries"] == 24
    assert best["text_to_video"] != every["text_to_video"]


def test_slices_diagnostics_and_every_query(fda: Commands, tmp_path: Path) -> None:
    cached(tmp_path / "store")
    ranks = tmp_path / "ranks.parquet"
    flags = ("--slice", "motion", "--slice", "category", "--diagnostics", "--per-query", ranks)
    ended = fda("eval", tmp_path / "store", "--features", "mine", *flags, "--json")
    assert ended.code == 0, ended.err
    assert "no slices by category: the store has no values for it" in ended.err
    found = json.loads(ended.out)
    assert found["slices"]
    assert found["diagnostics"]
    table = pq.read_table(ranks)
    assert table.num_rows == 24 + 12
    of_texts = table.filter(np.array(table["direction"].to_pylist()) == "text_to_video")
    assert np.mean(np.array(of_texts["rank"].to_pylist()) <= 1) * 100 == pytest.approx(found["text_to_video"]["r1"])
    again = fda("eval", tmp_path / "store", "--features", "mine", "--per-query", ranks)
    assert (again.code, "--overwrite" in again.error_line) == (1, True)
    assert fda("eval", tmp_path / "store", "--features", "mine", "--per-query", ranks, "--overwrite").code == 0
    shown = fda("eval", tmp_path / "store", "--features", "mine", "--slice", "all", "--diagnostics").out
    assert "motion: " in shown


def test_the_rule_for_ties_is_the_one_that_was_asked_for(fda: Commands, tmp_path: Path) -> None:
    store = make_store(tmp_path / "store", NUM_VIDEOS)
    fill_store(store)
    same = np.zeros((2 * NUM_VIDEOS, DIM), np.float32)
    same[:, 0] = 1
    create_features(store, "same", "test", DIM, {})
    for shard in store.shards("test"):
        inputs = input_digests(store, shard, (FRAMES_STAGE, masks_stage(MASKS)))
        outcomes = outcomes_of(store, shard, masks_stage(MASKS))
        frame = np.repeat(same[: shard.num_rows, None], 3, axis=1)
        write_clip_features(store, "same", shard, ClipFeatures(same[: shard.num_rows], frame, outcomes), inputs)
    for shard in caption_shards(store, "test"):
        write_text_features(store, "same", shard, TextFeatures(same[: shard.num_rows]))
    mean_rank = {
        ties: json.loads(fda("eval", tmp_path / "store", "--features", "same", "--ties", ties, "--json").out)
        for ties in ("pessimistic", "mean", "optimistic", "each")
    }
    assert {ties: found["text_to_video"]["mean_rank"] for ties, found in mean_rank.items()} == {
        "pessimistic": 12.0,
        "mean": 6.5,
        "optimistic": 1.0,
        "each": 6.5,
    }
    assert mean_rank["mean"]["num_queries_tied"] == {"text_to_video": 24, "video_to_text": 12}
    for ties, found in mean_rank.items():
        assert found["options"]["ties"] == ties
        assert found["protocols"]["fda"]["text_to_video"]["mean_rank"] == 12.0  # each protocol by its own rule
    shown = fda("eval", tmp_path / "store", "--features", "same", "--ties", "optimistic").out
    assert "protocol fda, but ties optimistic" in shown


@pytest.mark.parametrize(
    ("part", "place", "value", "words"),
    [
        ("video", (3,), 50.0, "the videos of features 'mine', split 'test': 1 of 12 embeddings are NaN or not of unit"),
        ("text", (4, 2), np.nan, "the captions of features 'mine', split 'test': 1 of 24 embeddings"),
    ],
)
def test_embeddings_that_are_no_unit_vectors_are_refused(
    fda: Commands, tmp_path: Path, part: str, place: tuple[int, ...], value: float, words: str
) -> None:
    cached(tmp_path / "store")
    array = zarr.open_array(tmp_path / f"store/features.zarr/mine/test/{part}", mode="r+")
    array[place] = value
    ended = fda("eval", tmp_path / "store", "--features", "mine")
    assert (ended.code, ended.out) == (1, "")
    assert words in ended.err


@pytest.mark.parametrize("pooling", [("--pooling", "mean"), ("--pooling", "unit-mean"), ("--top-frames", "1")])
@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0], ids=["some NaN", "infinite", "all zero"])
def test_frames_that_cannot_be_scored_are_refused(
    fda: Commands, tmp_path: Path, pooling: tuple[str, str], value: float
) -> None:
    cached(tmp_path / "store")
    array = zarr.open_array(tmp_path / "store/features.zarr/mine/test/frame", mode="r+")
    array[3, 1, slice(None) if value == 0 else 2] = value
    ended = fda("eval", tmp_path / "store", "--features", "mine", *pooling)
    assert (ended.code, ended.out) == (1, "")
    assert "frame embeddings: 1 of 36 rows are" in ended.err


def test_the_level_of_intervals_is_said_as_it_is(fda: Commands, tmp_path: Path) -> None:
    cached(tmp_path / "store")
    shown = fda("eval", tmp_path / "store", "--features", "mine", "--level", "99.5%").out
    assert "99.5% interval" in shown


def test_a_split_is_counted_against_what_is_published(fda: Commands, tmp_path: Path) -> None:
    store = cached(tmp_path / "store")
    dataset = {**store.manifest.dataset, "num_videos_expected": {"test": 40}}
    store.folder.write("store.json", replace(store.manifest, dataset=dataset).to_bytes())
    refused = fda("eval", tmp_path / "store", "--features", "mine")
    assert refused.code == 1
    assert "28 of 40 videos of split 'test' (70.0%) have no features" in refused.error_line
    shown = fda("eval", tmp_path / "store", "--features", "mine", "--max-missing", "100%").out
    assert "(12 of 40 videos used)" in shown
    assert "28 videos of the published split never came into the store" in shown


def test_slices_are_drawn(fda: Commands, tmp_path: Path) -> None:
    known = [Known(["a man runs"], 0.1, category="ab"[row % 2]) for row in range(4)]
    known_store(tmp_path / "store", known, np.eye(4), np.eye(4))
    figure = tmp_path / "slices.PNG"
    ended = fda("eval", tmp_path / "store", "--features", "mine", "--figure", figure)
    assert (ended.code, ended.error_line) == (0, f"figure: {figure}")
    assert figure.read_bytes().startswith(b"\x89PNG")
    python = tmp_path / "python.png"
    report = api.evaluate(tmp_path / "store", "mine", extras=api.EvalExtras(slices=("all",)))
    report.write_figure(python)
    assert python.read_bytes() == figure.read_bytes()
    with pytest.raises(FileExistsError):
        report.write_figure(str(python))
    report.write_figure(python, overwrite=True)


def test_where_all_queries_are_in_one_slice_no_figure_is_drawn(fda: Commands, tmp_path: Path) -> None:
    cached(tmp_path / "store")
    figure = tmp_path / "slices.png"
    ended = fda("eval", tmp_path / "store", "--features", "mine", "--slice", "camera", "--figure", figure)
    assert ended.code == 0
    assert ended.error_line == "warning: no figure: all queries are in one slice of each family"
    assert not figure.exists()


def test_x_pool_prints_r100(fda: Commands, tmp_path: Path) -> None:
    cached(tmp_path / "store")
    ended = fda("eval", tmp_path / "store", "--features", "mine", "--protocol", "x-pool")
    assert ended.code == 0, ended.err
    assert "protocol x-pool" in ended.out
    assert "R@100: 100.0 text to video, 100.0 video to text" in ended.out
    assert "R@100" not in fda("eval", tmp_path / "store", "--features", "mine").out


def test_frames_are_weighted_by_attention(fda: Commands, tmp_path: Path) -> None:
    cached(tmp_path / "store")
    eval_mine = ("eval", tmp_path / "store", "--features", "mine", "--json")
    sharp = json.loads(fda(*eval_mine, "--pooling", "attention", "--temperature", "0.001").out)
    best = json.loads(fda(*eval_mine, "--top-frames", "1").out)
    assert sharp["text_to_video"]["mean_rank"] == pytest.approx(best["text_to_video"]["mean_rank"], abs=0.2)
    assert sharp["pooling"] == "attention (temperature 0.001)"
    shots = json.loads(fda(*eval_mine, "--pooling", "best-shot", "--shot-distance", "2").out)
    mean = json.loads(fda(*eval_mine, "--pooling", "unit-mean").out)
    assert shots["text_to_video"] == mean["text_to_video"]
    assert shots["pooling"] == "best shot (one shot a video)"
    ended = fda(*eval_mine, "--pooling", "attention")
    assert (ended.code, ended.out) == (1, "")
    assert "--pooling attention chooses its value on split 'val' (--choose-split), or takes one" in ended.err
