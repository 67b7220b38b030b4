from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import tensorstore
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from store.arrays.codec_names import CodecName
from store.arrays.shards import ArraySpec, attributes_of, create_array, open_array
from store.errors import NotInStoreError, StoreMismatchError
from store.json_values import differences
from store.places.local import LocalFolder
from store.schema import Shard, shards_of
from tests.stores import tree_digest, write_shard

LOSSLESS: st.SearchStrategy[CodecName] = st.sampled_from(["raw", "zstd", "blosc"])


def frames_spec(num_rows: int, shard_rows: int = 4, *, codec: CodecName = "raw") -> ArraySpec:
    return ArraySpec(
        name="clips.zarr/test/frames",
        num_rows=num_rows,
        item_shape=(2, 5, 3),
        dtype="uint8",
        fill_value=0,
        shard_rows=shard_rows,
        chunk_rows=1,
        dimensions=("video", "frame", "height", "width"),
        codec=codec,
    )


def write_all(folder: LocalFolder, spec: ArraySpec, values: np.ndarray) -> None:
    create_array(folder, spec, {"made by": "hand"})
    for shard in shards_of("test", spec.num_rows, spec.shard_rows):
        write_shard(folder, spec, shard, values[shard.start : shard.stop])


@given(num_rows=st.integers(1, 11), shard_rows=st.integers(1, 5), codec=LOSSLESS, seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_zarr_and_tensorstore_read_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, num_rows: int, shard_rows: int, codec: CodecName, seed: int
) -> None:
    root = tmp_path_factory.mktemp("store")
    spec = frames_spec(num_rows, shard_rows, codec=codec)
    values = np.random.default_rng(seed).integers(0, 255, spec.shape, dtype=np.uint8)
    values[:: seed % 3 + 1] = 0  # slots that Zarr leaves out
    write_all(LocalFolder.at(root), spec, values)
    by_zarr = zarr.open_group(root / "clips.zarr", mode="r")["test/frames"]
    assert isinstance(by_zarr, zarr.Array)
    assert by_zarr.metadata.zarr_format == 3
    np.testing.assert_array_equal(by_zarr[:], values)
    kvstore = {"driver": "file", "path": str(root / "clips.zarr/test/frames")}
    by_tensorstore = tensorstore.open({"driver": "zarr3", "kvstore": kvstore}, read=True).result()
    np.testing.assert_array_equal(by_tensorstore.read().result(), values)
    assert by_tensorstore.domain.labels == ("video", "frame", "height", "width")


@given(
    num_rows=st.integers(1, 9),
    shard_rows=st.integers(1, 4),
    whole=st.booleans(),
    codec=LOSSLESS,
    dtype=st.sampled_from(["uint8", "bool", "int64", "float32", "float64"]),
    fill=st.sampled_from([0.0, -1.0, np.nan]),
    empty=st.sets(st.integers(0, 8)),
)
@settings(max_examples=60, deadline=None)
def test_the_files_are_those_that_zarr_python_writes(
    tmp_path_factory: pytest.TempPathFactory,
    num_rows: int,
    shard_rows: int,
    whole: bool,
    codec: CodecName,
    dtype: Literal["uint8", "bool", "int64", "float32", "float64"],
    fill: float,
    empty: set[int],
) -> None:
    fill_value = fill if dtype.startswith("float") else -1 if dtype == "int64" else dtype == "bool" and fill != 0
    spec = ArraySpec(
        "a", num_rows, (3, 8), dtype, fill_value, shard_rows, shard_rows if whole else 1, ("x", "y", "z"), codec
    )
    values = np.random.default_rng(num_rows).integers(0, 3, spec.shape).astype(dtype)
    values[[row for row in empty if row < num_rows]] = fill_value
    ours, theirs = (LocalFolder.at(tmp_path_factory.mktemp(name)) for name in ("ours", "theirs"))
    for folder in (ours, theirs):
        create_array(folder, spec, {})
    for shard in shards_of("test", num_rows, shard_rows):
        write_shard(ours, spec, shard, values[shard.start : shard.stop])
    zarr.open_array(theirs.path("a"), mode="r+")[:] = values
    assert tree_digest(ours.root, leave_out=("partial",)) == tree_digest(theirs.root)


def test_a_shard_is_one_file_and_writing_it_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    folder, spec = LocalFolder.at(tmp_path), frames_spec(6)
    values = np.random.default_rng(0).integers(0, 255, (4, *spec.item_shape), dtype=np.uint8)
    create_array(folder, spec, {})
    first = write_shard(folder, spec, Shard("test", 0, 0, 4), values)
    second = write_shard(folder, spec, Shard("test", 0, 0, 4), values)
    assert first == second
    assert first is not None
    assert first.name == "clips.zarr/test/frames/c.0.0.0.0"
    assert [path.name for path in tmp_path.rglob("c.*")] == ["c.0.0.0.0"]


def test_an_empty_shard_replaces_a_full_one(tmp_path: Path) -> None:
    folder, spec, shard = LocalFolder.at(tmp_path), frames_spec(4), Shard("test", 0, 0, 4)
    values = np.ones((4, *spec.item_shape), dtype=np.uint8)
    create_array(folder, spec, {})
    write_shard(folder, spec, shard, values)
    assert write_shard(folder, spec, shard, np.zeros_like(values)) is None
    np.testing.assert_array_equal(open_array(folder, spec.name)[:], 0)


def test_a_flipped_bit_is_found_by_the_reader(tmp_path: Path) -> None:
    folder, spec = LocalFolder.at(tmp_path), frames_spec(4)
    values = np.random.default_rng(0).integers(0, 255, spec.shape, dtype=np.uint8)
    write_all(folder, spec, values)
    path = folder.path(spec.shard_name(0))
    content = bytearray(path.read_bytes())
    content[10] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="[cC]hecksum"):
        open_array(folder, spec.name)[0]


def test_values_of_another_shape_or_type_are_refused(tmp_path: Path) -> None:
    folder, spec, shard = LocalFolder.at(tmp_path), frames_spec(4), Shard("test", 0, 0, 4)
    with pytest.raises(ValueError, match=r"needs uint8 of shape \(4, 2, 5, 3\), got uint8 of shape \(3, 2, 5, 3\)"):
        write_shard(folder, spec, shard, np.zeros((3, 2, 5, 3), dtype=np.uint8))
    with pytest.raises(ValueError, match="got float32"):
        write_shard(folder, spec, shard, np.zeros((4, 2, 5, 3), dtype=np.float32))


def test_an_array_made_otherwise_is_not_mixed_with(tmp_path: Path) -> None:
    folder, spec = LocalFolder.at(tmp_path), frames_spec(4)
    create_array(folder, spec, {"options": {"threshold": 25}, "software": {"numpy": "1"}})
    create_array(folder, spec, {"options": {"threshold": 25}, "software": {"numpy": "2"}})  # recorded, not compared
    with pytest.raises(StoreMismatchError, match=r"options.threshold is 25 in the store and 50 now"):
        create_array(folder, spec, {"options": {"threshold": 50}, "software": {"numpy": "1"}})
    with pytest.raises(StoreMismatchError, match=r"array.shape is \[2, 5, 3\] in the store and \[3, 5, 3\] now"):
        create_array(folder, replace(spec, item_shape=(3, 5, 3)), {"options": {"threshold": 25}})


def test_an_array_grows_and_keeps_what_made_it(tmp_path: Path) -> None:
    folder, grown = LocalFolder.at(tmp_path / "grown"), frames_spec(7)
    create_array(folder, frames_spec(4), {"software": {"numpy": "1"}})
    create_array(folder, grown, {"software": {"numpy": "2"}})
    array = open_array(folder, grown.name)
    assert (array.shape, attributes_of(array)) == ((7, 2, 5, 3), {"software": {"numpy": "1"}})
    create_array(LocalFolder.at(tmp_path / "at_once"), grown, {"software": {"numpy": "1"}})
    assert tree_digest(tmp_path / "grown") == tree_digest(tmp_path / "at_once")


def test_differences_name_what_only_one_side_has() -> None:
    assert differences({"a": 1}, {"b": {"c": None}}) == (
        'a is 1 in the store and not set now; b is not set in the store and {"c": null} now'
    )
    assert differences({"a": [1, 2]}, {"a": [1, 2]}) == ""


def test_an_array_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotInStoreError, match="has no array clips.zarr/test/frames"):
        open_array(LocalFolder.at(tmp_path), "clips.zarr/test/frames")
