"""`open_store`: tables and arrays by id or row, and nothing of a video that failed or of a shard that changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from store.completion import input_digests
from store.errors import NotInStoreError, ShardIncompleteError, StoreMissingError
from store.failures import FailedVideo, write_failures
from store.features import (
    ClipFeatures,
    TextFeatures,
    caption_shards,
    create_features,
    write_clip_features,
    write_text_features,
)
from store.places.opening import folder_at
from store.schema import VideoStatus
from store.stages import FRAMES_STAGE, masks_stage
from store.store import Store
from store.view import StoreView, open_store
from tests.s3 import BUCKET, Server, use_server
from tests.stores import NUM_FRAMES, clip_frames, clip_masks, fill_shard, fill_store, make_store, outcomes

NUM_VIDEOS, FAILED, DIM = 6, 2, 5


@pytest.fixture
def made(tmp_path: Path) -> Store:
    store = make_store(tmp_path / "store", NUM_VIDEOS)
    fill_store(store, failed=frozenset({FAILED}))
    write_features(store)
    return store


def unit(row: int, salt: int) -> np.ndarray:
    vector = np.random.default_rng((row, salt)).normal(size=DIM).astype(np.float32)
    return vector / np.linalg.norm(vector)


def write_features(store: Store) -> None:
    create_features(store, "mine", "test", DIM, {"pooling": "mean"})
    stages = FRAMES_STAGE, masks_stage("default")
    for shard in store.shards("test"):
        rows = range(shard.start, shard.stop)
        video = np.stack([np.full(DIM, np.nan, np.float32) if row == FAILED else unit(row, 0) for row in rows])
        frame = np.repeat(video[:, None], NUM_FRAMES, axis=1)
        made = ClipFeatures(video, frame, outcomes(store, shard, frozenset({FAILED})))
        write_clip_features(store, "mine", shard, made, input_digests(store, shard, stages))
    for shard in caption_shards(store, "test"):
        write_text_features(
            store, "mine", shard, TextFeatures(np.stack([unit(row, 1) for row in range(shard.start, shard.stop)]))
        )


def test_tables_are_arrow(made: Store) -> None:
    view = open_store(made.place)
    assert view.videos("test").column_names[:3] == ["video_id", "split", "row"]
    assert view.videos().num_rows == NUM_VIDEOS
    assert view.captions("test")["text"].to_pylist()[3] == "caption 1 of 1"
    assert (view.mask_names(), view.feature_names()) == (("default",), ("mine",))
    with pytest.raises(NotInStoreError, match="no split 'train'"):
        view.videos("train")


def several_of(*rows: int) -> np.ndarray:
    return np.stack([clip_frames(row) for row in rows])


def test_clips_by_id_and_by_row(made: Store) -> None:
    view = open_store(made.place)
    names = view.videos()["video_id"].to_pylist()
    assert np.array_equal(view.frames(names[4]), clip_frames(4))
    assert np.array_equal(view.frames(5, split="test"), clip_frames(5))
    several = view.frames([names[5], names[0], names[5]])
    assert np.array_equal(several, np.stack([clip_frames(row) for row in (5, 0, 5)]))
    assert np.array_equal(view.masks([0, 1], split="test"), np.stack([clip_masks(row) for row in (0, 1)]))
    assert view.frames([], split="test").shape == (0, *clip_frames(0).shape)
    assert np.array_equal(view.frames(view.videos("test")["video_id"].slice(0, 2)), several_of(0, 1))
    assert np.array_equal(view.frames(np.int64(1), split="test"), clip_frames(1))
    with pytest.raises(TypeError):
        view.frames([1.7], split="test")  # type: ignore[arg-type]
    assert view.pts_seconds(names[4]).tolist() == [0.0, 0.04, 0.08]
    assert view.frame_index([0, 5], split="test").tolist() == [[0, 1, 2], [0, 1, 2]]


def test_what_cannot_be_had_is_named(made: Store) -> None:
    view = open_store(made.place)
    failed = view.videos()["video_id"].to_pylist()[FAILED]
    for ask in (view.frames, view.masks, view.pts_seconds):
        with pytest.raises(NotInStoreError, match=f"video '{failed}' .* failed \\(corrupt: broken on purpose\\)"):
            ask(failed)
    with pytest.raises(NotInStoreError, match="no video 'nobody'"):
        view.frames("nobody")
    with pytest.raises(NotInStoreError, match="no row 6 in split 'test': it has 6 videos"):
        view.frames(6, split="test")
    with pytest.raises(NotInStoreError, match="no row -1"):
        view.frames(-1, split="test")
    with pytest.raises(NotInStoreError, match="row 0 of which split"):
        view.frames(0)
    with pytest.raises(NotInStoreError, match="no masks 'other'"):
        view.masks(0, "other", split="test")
    with pytest.raises(NotInStoreError, match="no features 'other'"):
        view.features("other")
    with pytest.raises(StoreMissingError):
        open_store(Path(made.place) / "nothing")


def test_a_pending_shard_is_named(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store", NUM_VIDEOS)
    fill_shard(store, store.shards("test")[0])
    view = open_store(store.place)
    assert view.frames(3, split="test").shape == clip_frames(3).shape  # its own shard is complete
    with pytest.raises(ShardIncompleteError, match="test/00001"):
        view.frames(4, split="test")


def test_a_shard_that_is_rebuilt_meanwhile_is_refused(made: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    view = open_store(made.place)
    check = StoreView._check_unchanged

    def rebuilt(self: StoreView, records: object, stage: str) -> None:
        fill_shard(made, made.shards("test")[0], failed=frozenset({0, FAILED}))
        check(self, records, stage)  # type: ignore[arg-type]

    monkeypatch.setattr(StoreView, "_check_unchanged", rebuilt)
    with pytest.raises(ShardIncompleteError, match="was rebuilt while it was read"):
        view.frames(1, split="test")


def test_features_and_similarities(made: Store) -> None:
    view = open_store(made.place)
    videos, captions = view.videos()["video_id"].to_pylist(), view.captions()["caption_id"].to_pylist()
    assert np.array_equal(view.video_features("mine", videos[4]), unit(4, 0))
    assert np.array_equal(view.text_features("mine", [captions[7], captions[1]]), np.stack([unit(7, 1), unit(1, 1)]))
    assert view.frame_features("mine", [0, 1], split="test").shape == (2, NUM_FRAMES, DIM)
    with pytest.raises(NotInStoreError, match="has no features 'mine'"):
        view.video_features("mine", videos[FAILED])
    assert view.video_features("mine", [], split="test").shape == (0, DIM)
    assert view.similarities("mine", videos=view.videos()["video_id"].slice(0, 1)).matrix.shape == (10, 1)
    with pytest.raises(NotInStoreError, match="no split 'nope'"):
        view.feature_names("nope")

    whole = view.similarities("mine")
    assert whole.matrix.shape == (2 * NUM_VIDEOS - 2, NUM_VIDEOS - 1)
    assert [whole.video_ids[column] for column in whole.truth] == [name.split("#")[0] for name in whole.caption_ids]
    part = view.similarities("mine", captions=[captions[1], captions[10]], videos=[videos[5]])
    assert part.truth.tolist() == [-1, 0]
    assert part.matrix[0, 0] == pytest.approx(float(unit(1, 1) @ unit(5, 0)), abs=1e-6)


def test_failures_are_a_table(made: Store) -> None:
    view = open_store(made.place)
    with pytest.raises(StoreMissingError):
        view.failures()
    write_failures(made.folder, [FailedVideo("test", FAILED, "x", VideoStatus.CORRUPT, "broken", 3)], ["test"])
    assert view.failures()["reason"].to_pylist() == ["broken"]


def test_an_object_store_gives_the_same(made: Store, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    use_server(monkeypatch, server)
    there = folder_at(f"s3://{BUCKET}/view")
    for path in Path(made.place).rglob("*"):
        if path.is_file():
            there.write(str(path.relative_to(made.place)), path.read_bytes())
    remote, here = open_store(f"s3://{BUCKET}/view"), open_store(made.place)
    assert np.array_equal(remote.frames([0, 5], split="test"), here.frames([0, 5], split="test"))
    assert np.array_equal(remote.similarities("mine").matrix, here.similarities("mine").matrix)
