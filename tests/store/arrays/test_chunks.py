"""The reader of single clips gives what zarr-python gives, from the same files, and finds damage."""

from __future__ import annotations

import gc
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from store.arrays.reading import ChunkReader, in_threads
from store.arrays.shards import ArraySpec, create_array
from store.errors import ShardDamagedError
from store.places.local import LocalFolder
from store.schema import shards_of
from tests.stores import write_shard


def spec_of(num_rows: int, shard_rows: int, *, masks: bool, chunk_rows: int = 1) -> ArraySpec:
    return ArraySpec(
        name="clips.zarr/test/array",
        num_rows=num_rows,
        item_shape=(2, 4, 5),
        dtype="bool" if masks else "uint8",
        fill_value=False if masks else 0,
        shard_rows=shard_rows,
        chunk_rows=chunk_rows,
        dimensions=("video", "frame", "height", "width"),
        codec="blosc" if masks else "raw",
    )


def values_of(spec: ArraySpec, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2 if spec.dtype == "bool" else 256, spec.shape).astype(spec.dtype)


@given(
    num_rows=st.integers(1, 12),
    shard_rows=st.integers(1, 5),
    masks=st.booleans(),
    empty=st.sets(st.integers(0, 11)),
    drawn=st.lists(st.integers(0, 11), max_size=15),
    lost=st.sets(st.integers(0, 11), max_size=2),
)
@settings(max_examples=60)
def test_rows_are_those_that_zarr_reads(
    tmp_path_factory: pytest.TempPathFactory,
    num_rows: int,
    shard_rows: int,
    masks: bool,
    empty: set[int],
    drawn: list[int],
    lost: set[int],
) -> None:
    folder, spec = LocalFolder.at(tmp_path_factory.mktemp("store")), spec_of(num_rows, shard_rows, masks=masks)
    values = values_of(spec, seed=num_rows)
    values[[row for row in empty if row < num_rows]] = 0  # chunks, and whole shards, that Zarr leaves out
    create_array(folder, spec, {})
    for shard in shards_of("test", num_rows, shard_rows):
        write_shard(folder, spec, shard, values[shard.start : shard.stop])
        if shard.index in lost:
            folder.remove(spec.shard_name(shard.index))
    rows = [row for row in drawn if row < num_rows]
    expected = np.asarray(zarr.open_array(folder.path(spec.name), mode="r")[:])[rows]
    read = ChunkReader(folder, spec).read(rows)
    assert read.shape == (len(rows), 1, *spec.item_shape)
    np.testing.assert_array_equal(read[:, 0], expected)


def made(place: Path, *, masks: bool) -> tuple[LocalFolder, ArraySpec, np.ndarray]:
    folder, spec = LocalFolder.at(place), spec_of(3, 4, masks=masks)
    values = values_of(spec, seed=1)
    create_array(folder, spec, {})
    write_shard(folder, spec, shards_of("test", 3, 4)[0], values)
    return folder, spec, values


@pytest.mark.parametrize("masks", [False, True])
def test_a_flipped_bit_anywhere_is_found(tmp_path: Path, masks: bool) -> None:
    folder, spec, values = made(tmp_path, masks=masks)
    path = folder.path(spec.shard_name(0))
    content = path.read_bytes()
    for position in range(len(content)):
        damaged = bytearray(content)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        with pytest.raises(ShardDamagedError, match=r"is damaged: the checksum of its (index|chunk \d) is wrong"):
            ChunkReader(folder, spec).read([0, 1, 2])
    path.write_bytes(content)
    np.testing.assert_array_equal(ChunkReader(folder, spec).read([0, 1, 2])[:, 0], values)


@pytest.mark.parametrize("masks", [False, True])
def test_a_file_that_is_cut_off_at_any_place_is_found(tmp_path: Path, masks: bool) -> None:
    folder, spec, _ = made(tmp_path, masks=masks)
    path = folder.path(spec.shard_name(0))
    for length in reversed(range(path.stat().st_size)):
        os.truncate(path, length)
        with pytest.raises(ShardDamagedError, match=r"cut off|damaged") as caught:
            ChunkReader(folder, spec).read([0, 1, 2])
        assert str(path) in str(caught.value)


def test_damage_in_one_clip_leaves_the_others_readable(tmp_path: Path) -> None:
    folder, spec, values = made(tmp_path, masks=False)
    path = folder.path(spec.shard_name(0))
    content = bytearray(path.read_bytes())
    content[3] ^= 1
    path.write_bytes(content)
    reader = ChunkReader(folder, spec)
    np.testing.assert_array_equal(reader.read([2, 1])[:, 0], values[[2, 1]])
    with pytest.raises(ShardDamagedError, match="checksum of its chunk 0"):
        reader.read([0])


def open_files(folder: Path) -> int:
    """Files below a folder that this process holds open."""
    return sum(link.resolve().is_relative_to(folder) for link in Path("/proc/self/fd").iterdir())


def test_a_reader_may_be_pickled_and_keeps_few_files_open(tmp_path: Path) -> None:
    folder, spec = LocalFolder.at(tmp_path), spec_of(100, 1, masks=False)
    values = values_of(spec, seed=1)
    create_array(folder, spec, {})
    for shard in shards_of("test", 100, 1):
        write_shard(folder, spec, shard, values[shard.start : shard.stop])
    reader = ChunkReader(folder, spec)
    np.testing.assert_array_equal(reader.read(range(100))[:, 0], values)
    assert 0 < open_files(tmp_path) <= 64
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(reader)).read([99, 0])[:, 0], values[[99, 0]])
    del reader
    gc.collect()
    assert open_files(tmp_path) == 0


def test_a_shard_that_is_made_anew_under_an_open_reader_gives_no_other_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slot that was empty is filled, so the chunks after it lie elsewhere in the new file."""
    monkeypatch.setattr("store.arrays.reading._MAX_OPEN_FILES", 1)
    folder, spec = LocalFolder.at(tmp_path), spec_of(9, 3, masks=False)
    values = values_of(spec, seed=1)
    before = values.copy()
    before[1] = before[6:] = 0  # a slot, and a whole shard that has no file
    create_array(folder, spec, {})
    shards = shards_of("test", 9, 3)
    for shard in shards:
        write_shard(folder, spec, shard, before[shard.start : shard.stop])
    reader = ChunkReader(folder, spec)
    np.testing.assert_array_equal(reader.read([6, 2])[:, 0], before[[6, 2]])
    for shard in shards:
        write_shard(folder, spec, shard, values[shard.start : shard.stop])
    np.testing.assert_array_equal(reader.read([2])[:, 0], values[[2]])  # from the file that is still open
    np.testing.assert_array_equal(reader.read([3, 2, 1, 0, 6])[:, 0], values[[3, 2, 1, 0, 6]])


def test_threads_share_a_reader(tmp_path: Path) -> None:
    folder, spec, values = made(tmp_path, masks=True)
    reader, rows = ChunkReader(folder, spec), [number % 3 for number in range(200)]
    out = reader.empty(200)
    in_threads(lambda number: reader.read_into(rows[number], out[number]), 200, num_threads=8)
    np.testing.assert_array_equal(out[:, 0], values[rows])


@pytest.mark.parametrize("num_threads", [1, 3])
def test_an_error_in_any_thread_is_raised(num_threads: int) -> None:
    def work(number: int) -> None:
        if number == 5:
            raise ShardDamagedError("chunk 5")

    with pytest.raises(ShardDamagedError, match="chunk 5"):
        in_threads(work, 9, num_threads)
