"""Masks are unpacked without Blosc; what comes out is what Blosc gives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numcodecs import blosc

from store.arrays.codecs import codec_named


def smooth(shape: tuple[int, ...], most: int, seed: int) -> np.ndarray:
    """Runs of values from 0 to `most`, which compress."""
    rng = np.random.default_rng(seed)
    values = rng.integers(0, most + 1, (*shape[:-1], 1), dtype=np.uint8)
    return np.ascontiguousarray(np.broadcast_to(values, shape))


@given(
    shape=st.tuples(st.integers(1, 4), st.integers(1, 40), st.integers(1, 40)),
    most=st.sampled_from([0, 1, 1, 1, 2, 128, 255]),
    is_noise=st.booleans(),
    seed=st.integers(0, 99),
)
def test_any_values_come_back(shape: tuple[int, int, int], most: int, is_noise: bool, seed: int) -> None:
    """Zeros and ones, and others; of whole bytes of bits, and not; compressed, and stored as they are."""
    values = smooth(shape, most, seed)
    if is_noise:
        values = np.random.default_rng(seed).integers(0, most + 1, shape, dtype=np.uint8)
    codec, out = codec_named("blosc"), np.full(shape, 7, np.uint8)
    content = codec.encode(values)
    codec.decode(content, out)
    np.testing.assert_array_equal(out, values)
    np.testing.assert_array_equal(np.frombuffer(blosc.decompress(content.tobytes()), np.uint8), values.reshape(-1))


def test_masks_do_not_need_blosc(monkeypatch: pytest.MonkeyPatch) -> None:
    masks = smooth((12, 32, 32), 1, 0).astype(np.bool_)
    codec, out = codec_named("blosc"), np.zeros(masks.shape, np.bool_)
    content = codec.encode(masks)
    monkeypatch.setattr(blosc, "decompress", pytest.fail)
    codec.decode(content, out.view(np.uint8))
    np.testing.assert_array_equal(out, masks)


def test_blosc_made_by_others_is_decoded_too() -> None:
    """In several blocks, by another compressor, unshuffled."""
    masks = smooth((12, 64, 64), 1, 0).reshape(-1)
    decode, out = codec_named("blosc").decode, np.zeros(masks.shape, np.uint8)
    for name, shuffle, block in ((b"zstd", blosc.BITSHUFFLE, 4096), (b"lz4", blosc.BITSHUFFLE, 0),
                                 (b"zstd", blosc.NOSHUFFLE, 0), (b"zstd", blosc.SHUFFLE, 0)):  # fmt: skip
        out[:] = 7
        decode(np.frombuffer(blosc.compress(masks, name, 1, shuffle, block, 1), np.uint8), out)
        np.testing.assert_array_equal(out, masks)
