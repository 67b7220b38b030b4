"""How often records are read from an object store, where each read is a trip through the network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from store.clips.reader import ClipReader
from store.completion import committed_of_each, input_digests, outcomes_of, outcomes_of_each
from store.features import (
    ClipFeatures,
    TextFeatures,
    caption_shards,
    create_features,
    read_features,
    read_frame_features,
    write_clip_features,
    write_text_features,
)
from store.places.opening import folder_at
from store.stages import FRAMES_STAGE, masks_stage
from store.store import Store
from tests.s3 import Server, place_of, use_server
from tests.stores import MASKS, NUM_FRAMES, fill_store, make_store

DIM = 2
NUM_SHARDS = 3


@pytest.fixture(scope="module")
def place(request: pytest.FixtureRequest, server: Server) -> Iterator[str]:
    """Frames, masks and features of three shards of videos and three of captions: no test changes them."""
    with pytest.MonkeyPatch.context() as patch:
        use_server(patch, server)
        patch.setattr("store.feature_arrays.CAPTIONS_PER_SHARD", 4)
        fill(make_store(place_of(request), 2 * NUM_SHARDS, shard_size=2))
        yield place_of(request)


@pytest.fixture
def made(place: str) -> Store:
    return Store.open(folder_at(place))


def fill(made: Store) -> None:
    fill_store(made)
    create_features(made, "mine", "test", DIM, {})
    for shard in made.shards("test"):
        inputs = input_digests(made, shard, [FRAMES_STAGE, masks_stage(MASKS)])
        video = np.ones((shard.num_rows, DIM), dtype=np.float32)
        frame = np.ones((shard.num_rows, NUM_FRAMES, DIM), dtype=np.float32)
        write_clip_features(made, "mine", shard, ClipFeatures(video, frame, outcomes_of(made, shard)), inputs)
    for shard in caption_shards(made, "test"):
        write_text_features(made, "mine", shard, TextFeatures(np.ones((shard.num_rows, DIM), dtype=np.float32)))


@contextmanager
def counted(server: Server) -> Iterator[Counter[str]]:
    """Count how often each commit record is read in the block."""
    server.script.begin()
    reads: Counter[str] = Counter()
    yield reads
    names = (seen.path.partition("?")[0] for seen in server.script.seen if seen.kind == "GET")
    reads.update(name.partition("/commits/")[2] for name in names if "/commits/" in name)


def test_features_are_read_with_two_reads_of_each_of_their_records(made: Store, server: Server) -> None:
    """Once at the start, and once at the end to see that they were not rebuilt; the records of their inputs once."""
    with counted(server) as reads:
        read_features(made, "mine", "test")
    assert {name: count for name, count in reads.items() if count > (2 if "features/" in name else 1)} == {}
    assert len(reads) == 4 * NUM_SHARDS
    assert reads.total() <= 6 * NUM_SHARDS


def test_frame_features_are_read_with_two_reads_of_each_of_their_records(made: Store, server: Server) -> None:
    with counted(server) as reads:
        read_frame_features(made, "mine", "test")
    assert max(reads.values()) <= 2
    assert reads.total() <= 6 * NUM_SHARDS


def test_clips_are_read_with_two_reads_of_each_of_their_records(made: Store, server: Server) -> None:
    with counted(server) as reads:
        reader = ClipReader(made, "test", MASKS)
    assert set(reads.values()) == {1}
    assert len(reads) == 2 * NUM_SHARDS
    with counted(server) as reads:
        for row in reader.video_ids:
            reader.read([row])
    assert set(reads.values()) == {1}


def test_stages_that_build_on_each_other_are_judged_with_one_read_of_each_record(made: Store, server: Server) -> None:
    with counted(server) as reads:
        list(committed_of_each(made, made.shards("test"), [FRAMES_STAGE, masks_stage(MASKS)]))
    assert set(reads.values()) == {1}


def test_outcomes_of_many_shards_take_one_read_each(made: Store, server: Server) -> None:
    shards = made.shards("test")
    with counted(server) as reads:
        found = list(outcomes_of_each(made, shards, masks_stage(MASKS)))
    assert found == [outcomes_of(made, shard, masks_stage(MASKS)) for shard in shards]
    assert reads == {f"test/{masks_stage(MASKS)}/{shard.index:05d}.parquet": 1 for shard in shards}
