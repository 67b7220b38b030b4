"""A reader of many epochs checks a checksum once, and again as soon as the file may have changed."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import store.arrays.reading
from store.arrays.reading import ChunkReader, in_threads
from store.arrays.shards import ArraySpec, checksum_of, create_array
from store.errors import ShardDamagedError
from store.places.folder import StoreFolder
from store.places.local import LocalFolder
from store.places.objects import ObjectFolder
from store.schema import shards_of
from tests.store.objects import folder as folder  # a fixture
from tests.stores import write_shard

NUM_ROWS, SHARD_ROWS, ROWS = 6, 3, range(6)


def made(folder: StoreFolder, *, masks: bool, side: int = 16) -> tuple[ArraySpec, np.ndarray]:
    spec = ArraySpec(
        name="clips.zarr/test/array",
        num_rows=NUM_ROWS,
        item_shape=(2, side, side),
        dtype="bool" if masks else "uint8",
        fill_value=0,
        shard_rows=SHARD_ROWS,
        chunk_rows=1,
        dimensions=("video", "frame", "height", "width"),
        codec="blosc" if masks else "raw",
    )
    values: np.ndarray = np.random.default_rng(0).integers(0, 256, spec.shape, dtype=np.uint8)
    if masks:
        values = np.repeat(values[:, :, :1], side, axis=2) > 128
    create_array(folder, spec, {})
    for shard in shards_of("test", NUM_ROWS, SHARD_ROWS):
        write_shard(folder, spec, shard, values[shard.start : shard.stop])
    return spec, values


def damage(path: Path, position: int) -> None:
    """Flip a bit in place, in the file that readers have open."""
    with path.open("r+b") as file:
        file.seek(position)
        byte = file.read(1)[0]
        file.seek(position)
        file.write(bytes([byte ^ 1]))


def age(path: Path) -> None:
    """The file was written a second ago: systems note times in steps of up to 10 ms."""
    written = path.stat().st_mtime_ns - 1_000_000_000
    os.utime(path, ns=(written, written))


@pytest.mark.parametrize("most_open", [1, 64])
@pytest.mark.parametrize("masks", [False, True])
def test_a_checksum_is_computed_once_in_many_epochs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, masks: bool, most_open: int
) -> None:
    """Also where files are closed between, as there are more than may be open."""
    monkeypatch.setattr(store.arrays.reading, "_MAX_OPEN_FILES", most_open)
    folder = LocalFolder.at(tmp_path)
    spec, values = made(folder, masks=masks)
    num_bytes: list[int] = []

    def counted(content: np.ndarray) -> bytes:
        num_bytes.append(len(content))
        return checksum_of(content)

    monkeypatch.setattr(store.arrays.reading, "checksum_of", counted)
    reader = ChunkReader(folder, spec)
    for seed in range(5):
        rows = np.random.default_rng(seed).permutation(NUM_ROWS)
        np.testing.assert_array_equal(reader.read(rows.tolist())[:, 0], values[rows])
    assert sum(size != 16 * SHARD_ROWS for size in num_bytes) == NUM_ROWS  # the others are of the index


@pytest.mark.parametrize("masks", [False, True])
def test_damage_is_found_at_the_first_reading_and_at_each_later_one(tmp_path: Path, masks: bool) -> None:
    folder = LocalFolder.at(tmp_path)
    spec, values = made(folder, masks=masks)
    damage(folder.path(spec.shard_name(1)), 5)
    reader = ChunkReader(folder, spec)
    for _ in range(3):
        np.testing.assert_array_equal(reader.read([0, 1, 2, 4, 5])[:, 0], values[[0, 1, 2, 4, 5]])
        with pytest.raises(ShardDamagedError, match="the checksum of its chunk 0 is wrong"):
            reader.read([3])


@pytest.mark.parametrize("masks", [False, True])
def test_a_file_that_is_written_to_after_many_epochs_is_checked_again(tmp_path: Path, masks: bool) -> None:
    folder = LocalFolder.at(tmp_path)
    spec, values = made(folder, masks=masks)
    path = folder.path(spec.shard_name(1))
    age(path)
    reader = ChunkReader(folder, spec)
    for _ in range(3):
        np.testing.assert_array_equal(reader.read(ROWS)[:, 0], values)
    damage(path, 5)
    for _ in range(2):
        np.testing.assert_array_equal(reader.read([0, 1, 2, 4, 5])[:, 0], values[[0, 1, 2, 4, 5]])
        with pytest.raises(ShardDamagedError, match="the checksum of its chunk 0 is wrong"):
            reader.read([3])
    damage(path, 5)  # as it was
    np.testing.assert_array_equal(reader.read(ROWS)[:, 0], values)


def test_another_file_of_the_same_name_size_and_time_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store.arrays.reading, "_MAX_OPEN_FILES", 1)
    folder = LocalFolder.at(tmp_path)
    spec, values = made(folder, masks=False)
    path = folder.path(spec.shard_name(0))
    age(path)
    reader = ChunkReader(folder, spec)
    for _ in range(3):
        np.testing.assert_array_equal(reader.read(ROWS)[:, 0], values)
    other = tmp_path / "other"
    other.write_bytes(path.read_bytes())
    damage(other, 5)
    os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    other.replace(path)
    with pytest.raises(ShardDamagedError, match="the checksum of its chunk 0 is wrong"):
        reader.read([0])


def test_threads_that_check_for_the_first_time_find_the_damage(tmp_path: Path) -> None:
    folder = LocalFolder.at(tmp_path)
    spec, values = made(folder, masks=False)
    damage(folder.path(spec.shard_name(0)), 5)
    reader = ChunkReader(folder, spec)
    rows = [number % NUM_ROWS for number in range(120)]
    out, damaged = reader.empty(len(rows)), []

    def read(number: int) -> None:
        try:
            reader.read_into(rows[number], out[number])
        except ShardDamagedError:
            damaged.append(number)

    in_threads(read, len(rows), num_threads=8)
    assert sorted(damaged) == [number for number, row in enumerate(rows) if row == 0]
    whole = [number for number, row in enumerate(rows) if row != 0]
    np.testing.assert_array_equal(out[whole, 0], values[[rows[number] for number in whole]])


def test_what_comes_over_a_network_is_checked_each_time(folder: ObjectFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    spec, values = made(folder, masks=False, side=256)
    reader = ChunkReader(folder, spec)
    for _ in range(2):
        np.testing.assert_array_equal(reader.read(ROWS)[:, 0], values)
    fetch = ObjectFolder.fetch_range

    def garbled(folder: ObjectFolder, name: str, start: int, stop: int, etag: str) -> bytes:
        content = fetch(folder, name, start, stop, etag)
        return bytes([content[0] ^ 1]) + content[1:]

    monkeypatch.setattr(ObjectFolder, "fetch_range", garbled)
    with pytest.raises(ShardDamagedError, match="the checksum of its chunk 0 is wrong"):
        reader.read([0])
