"""Encoding a store: complete features, honest gaps, resuming to the same bytes, the controls of the alpha channel."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr
from numpy.typing import NDArray

from encoders.encoding.encoder import Encoder
from encoders.options import Pooling
from encoders.weights.loading import LoadedModel, load_model
from pipeline.clips.alpha import shuffled_rows
from pipeline.clips.options import AlphaSource
from pipeline.features.encode import SplitEncoded
from pipeline.features.options import FeatureRecipe
from pipeline.masks.options import MaskSet
from pipeline.masks.shard import make_masks
from pipeline.run.events import Event, ItemsDone, RunPlanned
from store.clips.reader import ClipReader
from store.clips.shards import read_frames
from store.commits import CommitRecord
from store.completion import outcomes_of
from store.errors import NotInStoreError, ShardIncompleteError, StoreMismatchError
from store.feature_dtypes import FeatureDtypes
from store.features import read_alpha_cosines, read_features, read_frame_features, write_clip_features
from store.places.local import LocalFolder
from store.schema import Shard
from store.store import Store
from store.verify.verification import verify
from tests.clips_on_disk import SMALL, run_preprocess, write_mixed_dataset
from tests.encoders_tiny import TINY, write_config
from tests.encoding import encode_here
from tests.faulty_disk import Fault, FaultyDisk, Killed
from tests.seed import drawn
from tests.stores import fill_store, make_store, tree_digest, write_frames

HALF_FRAMES = FeatureDtypes(frames="float16")
OPTIONS = FeatureRecipe(features="mine", splits=("train", "test"))
FILLED, FAILED = [0, 2], [1, 3, 4]
"""Rows of the split `test`."""

Load = Callable[[int], LoadedModel]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Frames and masks, no features. Not to be changed."""
    folder = tmp_path_factory.mktemp("mixed")
    return Path(run_preprocess(write_mixed_dataset(folder), folder / "store").place)


@pytest.fixture
def store(made: Path, tmp_path: Path) -> Store:
    return Store.open(shutil.copytree(made, tmp_path / "store"))


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Load:
    """A tiny model with random weights of a seed, the alpha convolution too."""
    config = write_config(tmp_path_factory.mktemp("model"))
    return lambda seed: load_model(config, "none", None, seed=seed)


def with_alpha(loaded: LoadedModel, scale: float) -> LoadedModel:
    """The model with an alpha convolution of random weights times `scale`, under a digest of its own."""
    weight = loaded.model.named_tensors()["visual.conv1_alpha.weight"]
    weight.copy_(scale * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)))
    return replace(loaded, report=replace(loaded.report, sha256=f"alpha times {scale}"))


def array(opened: Store, name: str) -> NDArray[np.float32]:
    return np.asarray(zarr.open_array((Path(opened.place) / f"features.zarr/{name}"), mode="r")[:], dtype=np.float32)


def test_features_are_those_of_the_encoder(store: Store, load: Load) -> None:
    loaded = with_alpha(load(0), 1.0)
    encode_here(store, loaded, OPTIONS)
    clips = ClipReader(store, "test", "default").read(FILLED)
    texts = store.catalog.split_captions("test")["text"].to_pylist()
    encoder = Encoder(loaded.model)
    expected = encoder.encode_clips(clips.frames, clips.masks)
    np.testing.assert_allclose(array(store, "mine/test/video")[FILLED], expected.video, atol=1e-5)
    np.testing.assert_allclose(array(store, "mine/test/frame")[FILLED], expected.frame, atol=1e-5)
    np.testing.assert_allclose(array(store, "mine/test/text"), encoder.encode_texts(texts).text, atol=1e-5)


def test_rows_are_of_unit_norm_and_failed_videos_are_nan(store: Store, load: Load) -> None:
    heard: list[Event] = []
    ended = encode_here(store, load(0), OPTIONS, heard.append)
    video, frame = array(store, "mine/test/video"), array(store, "mine/test/frame")
    np.testing.assert_allclose(np.linalg.norm(video[FILLED], axis=1), 1, atol=1e-5)
    assert np.isnan(video[FAILED]).all()
    assert np.isnan(frame[FAILED]).all()
    assert not np.isnan(frame[FILLED]).any()
    features = read_features(store, "mine", "test")
    assert features.video_ids == ("test_0", "-x_é")
    assert (len(features.caption_ids), features.num_videos_expected, features.num_captions_expected) == (2, 5, 5)
    assert np.isfinite(features.video).all()
    assert [(one.split, one.tally.num_videos, one.num_clips_encoded, one.num_captions) for one in ended] == [
        ("train", 2, 2, 3),
        ("test", 5, 2, 5),
    ]
    assert [event for event in heard if isinstance(event, RunPlanned)] == [
        RunPlanned("videos", 2, 0),
        RunPlanned("videos", 5, 0),
    ]
    assert sum(event.num_done for event in heard if isinstance(event, ItemsDone)) == 7


def test_a_second_run_encodes_nothing_and_changes_no_byte(store: Store, load: Load) -> None:
    encode_here(store, load(0), OPTIONS)
    before = tree_digest(Path(store.place))
    again = encode_here(store, load(0), OPTIONS)
    assert [(one.tally.num_videos, one.num_clips_encoded) for one in again] == [(2, 0), (5, 0)]
    assert tree_digest(Path(store.place)) == before


def test_killed_at_any_write_and_run_again_the_bytes_are_the_same(
    made: Path, load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, loaded, options = FaultyDisk(monkeypatch), load(0), replace(OPTIONS, splits=("test",))
    whole = Store.open(shutil.copytree(made, tmp_path / "whole"))
    with disk.failing_at(None, Fault.KILLED_HALF_WAY):
        encode_here(whole, loaded, options)
    total = disk.num_writes
    assert total > 10  # arrays, shards, commits
    points = drawn("writes at which an encoding is killed")
    for number in points.sample(range(1, total + 1), total * 2 // 3):
        store = Store.open(shutil.copytree(made, tmp_path / str(number)))
        with disk.failing_at(number, Fault.KILLED_HALF_WAY), pytest.raises(Killed):
            encode_here(store, loaded, options)
        encode_here(store, loaded, options)
        assert tree_digest(Path(store.place)) == tree_digest(Path(whole.place)), f"killed at write {number}"
        shutil.rmtree(Path(store.place))


def test_what_is_half_done_is_not_scored(store: Store, load: Load) -> None:
    encode_here(store, load(0), OPTIONS)
    store.folder.remove("commits/test/features/mine/video/00001.parquet")
    with pytest.raises(ShardIncompleteError, match=r"[0-9] of [0-9]+ videos of split 'test' .* are not encoded yet"):
        read_features(store, "mine", "test")


def test_other_inputs_under_the_same_name_are_refused(store: Store, load: Load) -> None:
    encode_here(store, load(0), OPTIONS)
    before = tree_digest(Path(store.place))
    with pytest.raises(StoreMismatchError, match=r"model.weights_sha256 is .* in the store and .* now.*--overwrite"):
        encode_here(store, load(1), OPTIONS)
    with pytest.raises(StoreMismatchError, match='alpha is "masks" in the store and "ones" now'):
        encode_here(store, load(0), replace(OPTIONS, alpha=AlphaSource.ONES))
    assert tree_digest(Path(store.place)) == before
    encode_here(store, load(1), OPTIONS, overwrite=True)
    assert tree_digest(Path(store.place)) != before
    encode_here(store, load(0), OPTIONS, overwrite=True)
    assert tree_digest(Path(store.place)) == before


def features_of(store: Store, loaded: LoadedModel, alpha: AlphaSource, seed: int = 0) -> NDArray[np.float32]:
    options = FeatureRecipe(f"{alpha}-{seed}-{loaded.report.sha256[-3:]}", ("test",), alpha=alpha, seed=seed)
    encode_here(store, loaded, options)
    return read_features(store, options.features, "test").video


def test_the_sources_of_alpha_differ_where_the_model_looks_at_it(store: Store, load: Load) -> None:
    loaded = with_alpha(load(0), 1.0)
    videos = [features_of(store, loaded, source) for source in AlphaSource]
    for index, video in enumerate(videos):
        for other in videos[:index]:
            assert np.abs(video - other).max() > 1e-3


def test_the_sources_of_alpha_are_equal_where_the_model_does_not(store: Store, load: Load) -> None:
    loaded = with_alpha(load(0), 0.0)
    videos = [features_of(store, loaded, source) for source in AlphaSource]
    for video in videos[1:]:
        np.testing.assert_allclose(video, videos[0], atol=1e-6)


def test_shuffled_features_are_those_of_a_clip_with_anothers_masks(store: Store, load: Load) -> None:
    loaded = with_alpha(load(0), 1.0)
    video = features_of(store, loaded, AlphaSource.SHUFFLED, seed=4)
    reader = ClipReader(store, "test", "default")
    owners = shuffled_rows(FILLED, 4)
    masks = reader.read_masks([owners[row] for row in FILLED])
    expected = Encoder(loaded.model).encode_clips(reader.read(FILLED).frames, masks).video
    np.testing.assert_allclose(video, expected, atol=1e-5)


def test_one_split_alone(store: Store, load: Load) -> None:
    ended: tuple[SplitEncoded, ...] = encode_here(store, load(0), replace(OPTIONS, splits=("test",)))
    assert [one.split for one in ended] == ["test"]
    with pytest.raises(NotInStoreError, match="no features 'mine' for split 'train'"):
        read_features(store, "mine", "train")


def test_splits_masks_and_names_that_are_not_there(store: Store, load: Load) -> None:
    before = tree_digest(Path(store.place))
    with pytest.raises(NotInStoreError, match="no split 'val'"):
        encode_here(store, load(0), replace(OPTIONS, splits=("val",)))
    with pytest.raises(NotInStoreError, match="no masks .high. for split .train. .*there are .default."):
        encode_here(store, load(0), replace(OPTIONS, mask_name="high"))
    with pytest.raises(ValueError, match="feature set name"):
        encode_here(store, load(0), replace(OPTIONS, features="../x"))
    assert tree_digest(Path(store.place)) == before


def make_frames_anew(store: Store, shard: Shard) -> None:
    """What a retry in another process does, between any two steps of this one."""
    outcomes = [replace(outcome, fps=99.0) for outcome in outcomes_of(store, shard)]
    clips = write_frames(store, shard, read_frames(store, shard), outcomes).clips
    make_masks(store, shard, MaskSet("default", SMALL.masks), clips, outcomes)


def test_frames_that_are_made_anew_after_they_were_read_leave_the_features_pending(
    store: Store, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    def after_a_retry(store: Store, name: str, shard: Shard, *args: Any) -> CommitRecord:
        make_frames_anew(store, shard)
        return write_clip_features(store, name, shard, *args)

    with monkeypatch.context() as patch:
        patch.setattr("pipeline.features.shards.write_clip_features", after_a_retry)
        encode_here(store, load(0), OPTIONS)
    with pytest.raises(ShardIncompleteError, match="are out of date"):
        read_features(store, "mine", "test")
    assert [one.num_clips_encoded for one in encode_here(store, load(0), OPTIONS)] == [2, 2]
    assert read_features(store, "mine", "test").video_ids == ("test_0", "-x_é")


def test_frames_that_are_made_anew_after_they_were_opened_end_the_run(store: Store, load: Load) -> None:
    def retry(event: Event) -> None:
        if isinstance(event, RunPlanned):
            make_frames_anew(store, store.shards("test")[1])

    with pytest.raises(ShardIncompleteError, match=r"shard test/00001 .* has been rebuilt since .* run the same"):
        encode_here(store, load(0), replace(OPTIONS, splits=("test",)), retry)
    encode_here(store, load(0), OPTIONS)
    assert read_features(store, "mine", "test").video_ids == ("test_0", "-x_é")


def test_what_the_alpha_does_is_measured_on_some_videos_and_kept(store: Store, load: Load) -> None:
    loaded = with_alpha(load(0), 1.0)
    encode_here(store, loaded, replace(OPTIONS, sensitivity_every=2))
    features = read_features(store, "mine", "test")
    clips = ClipReader(store, "test", "default").read(FILLED)
    ones = Encoder(loaded.model).encode_clips(clips.frames, np.ones_like(clips.masks)).video
    expected = (features.video * ones).sum(axis=1)
    assert (expected < 0.9999).all()  # the alpha does something
    np.testing.assert_allclose(features.alpha_cosine, expected, atol=1e-5)  # rows 0 and 2
    np.testing.assert_allclose(read_alpha_cosines(store, "mine", "test"), expected, atol=1e-5)
    for name, options in (
        ("none", replace(OPTIONS, sensitivity_every=0)),
        ("ones", replace(OPTIONS, alpha=AlphaSource.ONES)),
    ):
        encode_here(store, loaded, replace(options, features=name))
        assert np.isnan(read_features(store, name, "test").alpha_cosine).all()
    # What would not have been measured anyhow makes no other feature set.
    encode_here(store, loaded, replace(OPTIONS, features="ones", alpha=AlphaSource.ONES, sensitivity_every=0))


def test_what_is_counted_is_of_the_right_videos_and_captions(
    tmp_path: Path, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two videos that follow failed ones, the second is measured; of two captions, one has a word too many."""
    most = TINY.context_length - 2  # a token begins a text, and one ends it
    monkeypatch.setattr("tests.stores.SIZE", TINY.image_size)
    monkeypatch.setattr("tests.stores._text", lambda video, number: "a " * (most + number))
    store, loaded = make_store(tmp_path / "store", 4), with_alpha(load(0), 1.0)
    fill_store(store, failed=frozenset({0, 2}))
    (ended,) = encode_here(store, loaded, replace(OPTIONS, splits=("test",), sensitivity_every=3))
    features = read_features(store, "mine", "test")
    clips = ClipReader(store, "test", "default").read([3])
    ones = Encoder(loaded.model).encode_clips(clips.frames, np.ones_like(clips.masks)).video
    np.testing.assert_allclose(features.alpha_cosine, [np.nan, (features.video[1] * ones).sum()], atol=1e-5)
    assert (ended.num_captions, ended.num_captions_truncated) == (8, 4)


def test_frames_may_be_kept_in_half_the_room(store: Store, load: Load) -> None:
    encode_here(store, load(0), OPTIONS)
    encode_here(store, load(0), replace(OPTIONS, features="half", dtypes=HALF_FRAMES))
    place = Path(store.place) / "features.zarr"
    assert zarr.open_array(place / "half/test/frame", mode="r").dtype == np.float16
    ids, half = read_frame_features(store, "half", "test")
    assert ids == ("test_0", "-x_é")
    np.testing.assert_allclose(half, read_frame_features(store, "mine", "test")[1], rtol=1e-3, atol=1e-3)
    assert np.array_equal(read_features(store, "half", "test").video, read_features(store, "mine", "test").video)
    assert verify(store.folder).num_wrong == 0


def test_another_precision_or_pooling_is_another_feature_set(store: Store, load: Load) -> None:
    encode_here(store, load(0), OPTIONS)
    for other, words in (
        (replace(OPTIONS, precision="bf16"), 'precision is "fp32" in the store and "bf16" now'),
        (replace(OPTIONS, pooling=Pooling.UNIT_MEAN), 'pooling is "mean" in the store and "unit-mean" now'),
        (
            replace(OPTIONS, dtypes=HALF_FRAMES),
            'frame_dtype is "float32" in the store and "float16" now',
        ),
    ):
        with pytest.raises(StoreMismatchError, match=words):
            encode_here(store, load(0), other)
    encode_here(store, load(0), replace(OPTIONS, features="near", precision="bf16"))
    near, exact = (read_features(store, name, "test").video for name in ("near", "mine"))
    assert 0.999 < (near * exact).sum(axis=1).min() < 1


def test_frames_that_were_never_made_are_known_before_anything_is_written(store: Store, load: Load) -> None:
    store.folder.remove("commits/test/masks/default/00001.parquet")
    before = tree_digest(Path(store.place))
    with pytest.raises(ShardIncompleteError, match=r"shard test/00001 .* has no masks"):
        encode_here(store, load(0), OPTIONS)
    assert tree_digest(Path(store.place)) == before


def test_an_error_while_writing_ends_the_run_and_what_is_committed_stands(
    store: Store, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, num_writes = write_clip_features, 0

    def full(*args: Any) -> CommitRecord:
        nonlocal num_writes
        num_writes += 1
        if num_writes == 2:
            raise OSError("no space left")
        return write(*args)

    monkeypatch.setattr("pipeline.features.shards.write_clip_features", full)
    with pytest.raises(OSError, match="no space left"):
        encode_here(store, load(0), replace(OPTIONS, splits=("test",)))
    monkeypatch.undo()
    assert sum(one.num_clips_encoded for one in encode_here(store, load(0), OPTIONS)) < 4
    assert read_features(store, "mine", "test").video_ids == ("test_0", "-x_é")


def test_a_task_of_shuffled_masks_reads_as_many_records_in_a_large_split(
    tmp_path: Path, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And its features are to the bit those of a run in one task."""
    monkeypatch.setattr("pipeline.features.encode.SHARDS_PER_TASK", 1)
    monkeypatch.setattr("tests.stores.SIZE", TINY.image_size)
    options = replace(OPTIONS, splits=("test",), alpha=AlphaSource.SHUFFLED, seed=4)
    loaded = with_alpha(load(0), 1.0)
    read, records = LocalFolder.read, 0
    per_task: list[int] = []

    def count(folder: LocalFolder, name: str, *arguments: Any, **more: Any) -> Any:
        nonlocal records
        records += name.startswith("commits/")
        return read(folder, name, *arguments, **more)

    def task_by_task(function: Any, tasks: Any, tell: Any) -> Generator[Any]:
        nonlocal records
        for task in tasks:
            records = 0
            yield function(task, tell)
            if task.clips:
                per_task.append(records)

    most = []
    for num_shards in (4, 16):
        stores = [make_store(tmp_path / f"{num_shards} {number}", 2 * num_shards, shard_size=2) for number in range(2)]
        for one in stores:
            fill_store(one, failed=frozenset({3}))
        encode_here(stores[0], loaded, options)
        with monkeypatch.context() as patch:
            patch.setattr(LocalFolder, "read", count)
            per_task.clear()
            encode_here(stores[1], loaded, options, executor=task_by_task)
        assert len(per_task) == num_shards
        most.append(max(per_task))
        assert tree_digest(Path(stores[0].place)) == tree_digest(Path(stores[1].place))
    assert most[1] == most[0]
