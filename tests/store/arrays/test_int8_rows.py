"""Vectors of a byte a number: what is rounded, what is not, and that every reader agrees."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from store.arrays.int8_rows import decode_rows, encode_rows
from store.feature_dtypes import FEATURE_DTYPES, FeatureDtype, FeatureDtypes
from store.feature_reader import FeatureReader
from store.features import caption_shards, read_features, read_frame_features
from store.open_features import OpenFeatures
from store.places.opening import folder_at
from store.store import Store
from store.verify.verification import verify
from tests.searching import searchable
from tests.stores import NUM_FRAMES

LARGEST_ERROR = {"float32": 0.0, "float16": 2.0**-11, "int8": 0.5 / 127 + 2e-3}
"""Of a number, as a share of the largest of its row; of int8, the scale moves it too."""


def rounded(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    out = np.full(rows.shape, 7, np.float32)
    decode_rows(encode_rows(rows), out.view(np.uint8))
    return out


@given(
    arrays.arrays(
        np.float32,
        st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 40)),
        elements=st.floats(-(2.0**60), 2.0**60, width=32, allow_subnormal=False),
    )
)
def test_a_row_keeps_its_length_and_its_direction(rows: NDArray[np.float32]) -> None:
    found = rounded(rows)
    for row, its in zip(rows.reshape(-1, rows.shape[-1]), found.reshape(-1, rows.shape[-1]), strict=True):
        exact, read = row.astype(np.float64), its.astype(np.float64)
        largest = np.abs(exact).max()
        assert np.linalg.norm(read) == pytest.approx(np.linalg.norm(exact), rel=1e-6)
        # half a step of rounding, and the share by which the length of the rounded row was off
        assert np.abs(read - exact).max() <= largest * (0.5 / 127 + 0.5 * np.sqrt(len(exact)) / 127) * (1 + 1e-6)
    again = rounded(found)  # what was rounded once is not rounded again, but for the last bit of the scale
    np.testing.assert_allclose(again, found, rtol=1e-6)


def test_a_row_uses_the_whole_range_of_its_numbers() -> None:
    """The bytes are what other readers of a store decode: four of the scale, then one a number."""
    content = encode_rows(np.array([[0.5, -1.0, 0.25]], np.float32))
    assert content[4:].view(np.int8).tolist() == [64, -127, 32]


def test_a_row_with_nan_is_a_row_of_nan_and_zeros_stay() -> None:
    rows = np.array([[1, np.nan, 3], [0, 0, 0], [np.inf, 1, 1], [0, 0, -5]], np.float32)
    found = rounded(rows)
    assert np.isnan(found[[0, 2]]).all()
    np.testing.assert_array_equal(found[[1, 3]], rows[[1, 3]])


@pytest.mark.parametrize("size", [0, 1, 11, 13])
def test_a_chunk_of_another_length_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="a chunk is not 2 rows of 2 int8 with their scales"):
        decode_rows(np.zeros(size, np.uint8), np.empty((2, 2), np.float32).view(np.uint8))


@pytest.fixture(scope="module", params=FEATURE_DTYPES)
def stored(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[FeatureDtype, Path]:
    place = tmp_path_factory.mktemp("dtypes") / "store"
    frames = np.random.default_rng(0).normal(size=(10, NUM_FRAMES, 6)).astype(np.float32)
    searchable(place, frames, failed=frozenset({3}), dtypes=FeatureDtypes(request.param, request.param))
    return request.param, place


def test_all_readers_read_the_same(stored: tuple[FeatureDtype, Path]) -> None:
    dtype, place = stored
    store = Store.open(place)
    features, (_, frames) = read_features(store, "mine", "test"), read_frame_features(store, "mine", "test")
    opened, reader = OpenFeatures.open(store, "mine", "test"), FeatureReader(store, "mine", "test")
    known = [row for row in range(10) if row != 3]
    np.testing.assert_array_equal(opened.video()[known], features.video)
    np.testing.assert_array_equal(opened.all_frames()[known].astype(np.float32), frames)
    np.testing.assert_array_equal(opened.frames(known), frames)
    assert np.isnan(opened.video()[3]).all()
    assert np.isnan(opened.all_frames()[3]).all()
    np.testing.assert_array_equal(np.concatenate([reader.videos(one) for one in store.shards("test")]), opened.video())
    texts = np.concatenate([reader.texts(one.start, one.stop) for one in caption_shards(store, "test")])
    np.testing.assert_array_equal(texts, opened.text())
    np.testing.assert_array_equal(opened.text_row(5), texts[5])
    plain = zarr.open_array(place / "features.zarr/mine/test/video", mode="r")
    np.testing.assert_array_equal(np.asarray(plain[:], np.float32), opened.video())
    assert np.abs(np.linalg.norm(features.video, axis=1) - 1).max() < (1e-6 if dtype != "float16" else 2.0**-10)


def test_a_smaller_type_is_near_and_takes_less_space(stored: tuple[FeatureDtype, Path], tmp_path: Path) -> None:
    dtype, place = stored
    frames = np.random.default_rng(0).normal(size=(10, NUM_FRAMES, 6)).astype(np.float32)
    exact = Store.open(searchable(tmp_path / "exact", frames, failed=frozenset({3})).place)
    expected, found = read_features(exact, "mine", "test"), read_features(Store.open(place), "mine", "test")
    for one, other in ((expected.video, found.video), (expected.text, found.text)):
        assert np.abs(one - other).max() <= LARGEST_ERROR[dtype] * np.abs(one).max(axis=1, keepdims=True).max()
    sizes = [(where / "features.zarr/mine/test/frame/c.0.0.0").stat().st_size for where in (tmp_path / "exact", place)]
    assert (sizes[1] < sizes[0]) == (dtype != "float32")


def test_verify_finds_nothing_wrong_in_it_but_a_flipped_bit(stored: tuple[FeatureDtype, Path]) -> None:
    _, place = stored

    def wrong() -> list[str]:
        found = [finding.name for finding in verify(folder_at(place)).findings]
        return [name for name in found if name.startswith("features.zarr")]

    assert wrong() == []
    file = next((place / "features.zarr/mine/test/video").glob("c.0*"))
    content = file.read_bytes()
    try:
        file.write_bytes(bytes([content[0] ^ 1]) + content[1:])
        assert wrong() == [str(file.relative_to(place))]
    finally:
        file.write_bytes(content)
