"""What every place for a store does: one suite for all of them."""

from __future__ import annotations

import asyncio
import os
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import xxhash
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, SuffixByteRequest
from zarr.core.buffer import default_buffer_prototype

from store.arrays.reading import read_shard
from store.arrays.shards import ArraySpec, create_array, open_array
from store.errors import ClaimLostError, ShardDamagedError, StoreMissingError, StoreWriteError
from store.places.folder import OpenFile, StoredFile, StoreFolder, WrittenFile
from store.places.objects import TAIL_BYTES
from store.places.opening import folder_at
from store.places.zarr_view import ReadOnlyZarr
from store.schema import Shard
from tests.s3 import Server, place_of, use_server
from tests.stores import write_shard

SIZES = (0, 1, 7, TAIL_BYTES - 1, TAIL_BYTES, TAIL_BYTES + 1, 3 * TAIL_BYTES + 5)
CONTENT = np.random.default_rng(0).integers(0, 256, SIZES[-1], dtype=np.uint8).tobytes()


@pytest.fixture(params=["local", "objects"])
def folder(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Server
) -> StoreFolder:
    """A folder that is not there yet."""
    use_server(monkeypatch, server)
    return folder_at(tmp_path / "a store" if request.param == "local" else f"{place_of(request)}/a störe")


def test_a_file_is_what_was_written_and_its_checksum_says_so(folder: StoreFolder) -> None:
    for number, size in enumerate(SIZES):
        name = f"a/{number}.bin"
        written = folder.write(name, CONTENT[:size])
        assert written == WrittenFile(name, size, xxhash.xxh3_128_hexdigest(CONTENT[:size]))
        assert WrittenFile.from_dict(written.to_dict()) == written
        assert folder.read(name) == CONTENT[:size]
        assert folder.num_bytes(name) == size


def test_what_is_written_again_is_replaced_and_leaves_nothing_behind(folder: StoreFolder) -> None:
    folder.write("name", b"before")
    folder.write("name", b"2")
    folder.remove_partial_files()
    assert folder.read("name") == b"2"
    assert list(folder.walk()) == [StoredFile("name", 1)]
    assert folder.folders("") == []


def test_where_a_group_is_written_all_groups_before_it_are(folder: StoreFolder) -> None:
    folder.write_in_order([])
    folder.write_in_order([{}, {"a/1": b"1", "b/2": b"2"}, {}, {"c": b"3"}])
    assert {stored.name: folder.read(stored.name) for stored in folder.walk()} == {"a/1": b"1", "b/2": b"2", "c": b"3"}


def test_a_group_that_cannot_be_written_leaves_what_was_there(tmp_path: Path) -> None:
    folder = folder_at(tmp_path)
    folder.write_in_order([{"a": b"1", "b/c": b"2"}])
    with pytest.raises(StoreWriteError, match="cannot write b in .*: b is a folder"):
        folder.write_in_order([{"a": b"one", "f": b"3"}, {"b": b"4"}])
    assert {stored.name: folder.read(stored.name) for stored in folder.walk()} == {"a": b"1", "b/c": b"2"}


def test_what_is_not_there(folder: StoreFolder) -> None:
    for name in ("name", "folder/name"):
        assert folder.num_bytes(name) is None
        assert folder.open(name) is None
        with pytest.raises(StoreMissingError, match=f"has no {name}"):
            folder.read(name)
        folder.remove(name)
    folder.remove_files(["name", "folder/name"])
    assert folder.remove_partial_files() == []
    assert folder.names("") == folder.folders("") == folder.names("folder") == []
    assert list(folder.walk()) == []
    folder.write("name", b"1")
    for name in ("nam", "name2"):
        assert folder.num_bytes(name) is None
        assert folder.open(name) is None


def test_listings(folder: StoreFolder) -> None:
    files = ["b", "a/2", "a/1", "a/x/1", "a/x/y/z", "ab/1", "a.b", "c/d/e"]
    for name in files:
        folder.write(name, name.encode())
    folder.remove_partial_files()
    assert folder.names("") == ["a.b", "b"]
    assert folder.folders("") == ["a", "ab", "c"]
    assert folder.names("a") == ["a/1", "a/2"]
    assert folder.folders("a") == ["a/x"]
    assert folder.folders("c/d") == []
    assert folder.entries() == ["a", "a.b", "ab", "b", "c"]
    assert folder.entries("a") == ["a/1", "a/2", "a/x"]
    assert dict(folder.scan().files) == {name: len(name) for name in files}
    assert sorted(folder.scan("a").files) == ["a/1", "a/2", "a/x/1", "a/x/y/z"]
    assert sorted(stored.name for stored in folder.walk()) == sorted(files)
    assert sorted(folder.walk("a"), key=lambda stored: stored.name) == [
        StoredFile(name, len(name)) for name in ("a/1", "a/2", "a/x/1", "a/x/y/z")
    ]


def test_removing(folder: StoreFolder) -> None:
    for name in ("a/1", "a/x/1", "ab", "a.b/1"):
        folder.write(name, b"1")
    folder.remove("a/1")
    assert sorted(stored.name for stored in folder.walk()) == ["a.b/1", "a/x/1", "ab"]
    folder.remove_files(["a/x/1", "a/x/gone", "nowhere/1"])
    assert sorted(stored.name for stored in folder.walk()) == ["a.b/1", "ab"]
    assert "a" not in folder.folders("")


def test_nothing_is_written_or_removed_once_the_claim_is_gone(folder: StoreFolder) -> None:
    folder.write("claims/mine.json", b"1")
    claimed = folder.claimed_by("mine")
    assert (claimed.claim, folder.claim) == ("mine", None)
    claimed.write("name", b"1")
    claimed.remove("gone")
    folder.remove("claims/mine.json")
    changes: list[Callable[[], object]] = [
        lambda: claimed.write("name", b"2"),
        lambda: claimed.remove("name"),
        lambda: claimed.remove_files(["name"]),
    ]
    for change in changes:
        with pytest.raises(ClaimLostError, match="lost its claim"):
            change()
    assert claimed.read("name") == b"1"
    assert claimed.claimed_by(None) == folder


def test_a_folder_is_a_value(folder: StoreFolder) -> None:
    folder.write("name", b"1")
    there = folder_at(folder.place)
    assert there == folder
    assert hash(there) == hash(folder)
    assert there.read("name") == b"1"
    claimed = folder.claimed_by("mine")
    assert pickle.loads(pickle.dumps(claimed)) == claimed != folder


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, len(SIZES) - 1), st.integers(0, SIZES[-1]), st.lists(st.integers(0, TAIL_BYTES), max_size=3))
def test_an_open_file_fills_buffers_from_any_place(
    folder: StoreFolder, number: int, offset: int, lengths: list[int]
) -> None:
    name, size = f"sized/{number}", SIZES[number]
    if folder.num_bytes(name) is None:
        folder.write(name, CONTENT[:size])
    file = folder.open(name)
    assert file is not None
    assert file.num_bytes == size
    offset = min(offset, size)
    buffers = [np.zeros(length, dtype=np.uint8) for length in lengths]
    whole = file.fill(offset, buffers)
    assert whole == (offset + sum(lengths) <= size)
    if whole:
        assert b"".join(buffer.tobytes() for buffer in buffers) == CONTENT[offset : offset + sum(lengths)]


def test_many_threads_at_once(folder: StoreFolder) -> None:
    folder.write("shared", CONTENT)
    file = folder.open("shared")
    assert file is not None

    def work(number: int) -> bool:
        folder.write(f"many/{number}", CONTENT[number : 2 * number])
        buffer = np.zeros(100, dtype=np.uint8)
        assert file.fill(1000 * number, [buffer])
        return folder.read(f"many/{number}") == CONTENT[number : 2 * number] and (
            buffer.tobytes() == CONTENT[1000 * number : 1000 * number + 100]
        )

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(24)))
    assert len(folder.names("many")) == 24


SPEC = ArraySpec("group/array", 5, (3,), "float32", float("nan"), 2, 2, ("video", "dim"))


def test_arrays_are_those_that_were_written_for_zarr_and_for_us(folder: StoreFolder) -> None:
    values = np.arange(15, dtype=np.float32).reshape(5, 3)
    create_array(folder, SPEC, {"made by": "hand"})
    shards = [Shard("test", 0, 0, 2), Shard("test", 1, 2, 4), Shard("test", 2, 4, 5)]
    for shard in shards[::2]:
        write_shard(folder, SPEC, shard, values[shard.start : shard.stop])
    array = open_array(folder, SPEC.name)
    assert array.attrs["made by"] == "hand"
    expected = values.copy()
    expected[2:4] = np.nan
    np.testing.assert_array_equal(array[:], expected)
    np.testing.assert_array_equal(array[1:3], expected[1:3])
    np.testing.assert_array_equal(read_shard(folder, SPEC, shards[2]), values[4:])
    group = zarr.open_group(ReadOnlyZarr(folder, "group"), mode="r", zarr_format=3)
    assert list(group.array_keys()) == ["array"]
    with pytest.raises(ValueError, match="read.only"):
        array[0] = 1


def test_zarr_gets_no_part_of_a_file_that_was_cut_off_since_it_was_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folder_at(tmp_path / "store")
    folder.write("a/one", b"0123456789")
    opened = folder.open

    def opened_and_cut(_: StoreFolder, name: str) -> OpenFile | None:
        file = opened(name)
        os.truncate(tmp_path / "store" / name, 5)
        return file

    monkeypatch.setattr(type(folder), "open", opened_and_cut)
    read = ReadOnlyZarr(folder, "a").get("one", default_buffer_prototype(), RangeByteRequest(2, 9))
    with pytest.raises(ShardDamagedError, match="a/one is cut off: .* rebuilds it"):
        asyncio.run(read)


def test_zarr_reads_parts_of_files_and_lists_them(folder: StoreFolder) -> None:
    folder.write("a/one", b"0123456789")
    folder.write("a/b/two", b"2")
    folder.write("ab/three", b"3")
    there, prototype = ReadOnlyZarr(folder, "a"), default_buffer_prototype()

    async def read() -> None:
        whole = await there.get("one", prototype)
        assert whole is not None
        assert whole.to_bytes() == b"0123456789"
        parts: list[ByteRequest | None] = [OffsetByteRequest(7), RangeByteRequest(2, 5), SuffixByteRequest(4), None]
        found = await there.get_partial_values(prototype, [("one", part) for part in parts])
        assert [part and part.to_bytes() for part in found] == [b"789", b"234", b"6789", b"0123456789"]
        assert await there.get("gone", prototype) is None
        assert await there.get("gone", prototype, SuffixByteRequest(4)) is None
        assert [await there.exists(name) for name in ("one", "b/two", "two")] == [True, True, False]
        assert sorted([name async for name in there.list()]) == ["b/two", "one"]
        assert [name async for name in there.list_prefix("b/")] == ["b/two"]
        assert sorted([name async for name in there.list_dir("")]) == ["b", "one"]
        with pytest.raises(ValueError, match="read.only"):
            await there.set("new", prototype.buffer.from_bytes(b"1"))
        with pytest.raises(ValueError, match="read.only"):
            await there.delete("one")

    asyncio.run(read())
