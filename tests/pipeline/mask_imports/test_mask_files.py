"""Files of masks from anybody: what they may be, and one clear sentence for each that they may not."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.mask_imports import files
from pipeline.mask_imports.files import mask_file_name, read_masks
from pipeline.mask_imports.fitting import fitted_clip, fitted_mask
from pipeline.video.resizing import resize_and_crop

Array = NDArray[np.generic]
MASKS = np.random.default_rng(0).random((7, 5, 6)) < 0.5


def written(path: Path, **arrays: Array) -> Path:
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]
    return path


@given(wanted=st.sets(st.integers(0, 6), min_size=1))
def test_the_masks_of_the_frames_that_are_wanted(wanted: set[int], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = written(tmp_path_factory.mktemp("masks") / "a.npz", masks=MASKS)
    frames = sorted(wanted)
    np.testing.assert_array_equal(np.stack(list(read_masks(path, frames))), MASKS[frames])


def test_masks_of_some_frames_say_which(tmp_path: Path) -> None:
    path = written(tmp_path / "a.npz", masks=MASKS, frame_index=np.array([3, 5, 8, 13, 21, 34, 55]))
    np.testing.assert_array_equal(np.stack(list(read_masks(path, [5, 34]))), MASKS[[1, 5]])
    with pytest.raises(InputError, match=r"a\.npz: there is no mask of frame 4 \(counted from 0\)"):
        list(read_masks(path, [3, 4]))


def test_ids_that_no_file_system_takes_have_a_file() -> None:
    names = [mask_file_name(video_id) for video_id in ("a/b", "a_b", "-x", "видео", "..", "a b", "x" * 300)]
    assert names[:4] == ["a%2Fb.npz", "a_b.npz", "-x.npz", "видео.npz"]
    assert len(set(names)) == len(names)


def _truncated(path: Path) -> None:
    content = written(path, masks=MASKS).read_bytes()
    path.write_bytes(content[: len(content) // 2])


def _bit_flipped(path: Path) -> None:
    content = bytearray(written(path, masks=np.random.default_rng(1).random((50, 40, 30)) < 0.5).read_bytes())
    content[len(content) // 2] ^= 16
    path.write_bytes(content)


def _promising(path: Path, shape: tuple[int, ...]) -> None:
    """A header with a shape, and nothing after it."""
    header = io.BytesIO()
    described = {"descr": "|b1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, described)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("masks.npy", header.getvalue())


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda path: path.write_bytes(b""), "cannot be read as masks"),
    "a text": (lambda path: path.write_text("masks"), "cannot be read as masks"),
    "truncated": (_truncated, "cannot be read as masks"),
    "a flipped bit": (_bit_flipped, "cannot be read as masks"),
    "another array": (lambda path: written(path, arr_0=MASKS), "no array 'masks'; the arrays are 'arr_0'"),
    "one mask": (lambda path: written(path, masks=MASKS[0]), r"must have shape \(num_masks, height, width\), got"),
    "no mask": (lambda path: written(path, masks=MASKS[:0]), r"must have shape .* got \(0, 5, 6\)"),
    "numbers": (lambda path: written(path, masks=MASKS.astype(np.float32)), "must be bool, or uint8 0..255, got float"),
    "objects": (lambda path: written(path, masks=MASKS.astype(object)), "must be bool, or uint8 0..255, got object"),
    "Fortran order": (lambda path: written(path, masks=np.asfortranarray(MASKS)), "np.ascontiguousarray"),
    "too few": (lambda path: written(path, masks=MASKS[:3]), r"there are 3 masks, .* the clip has frame 6"),
    "huge": (lambda path: _promising(path, (1 << 40, 5, 6)), "at most 4,194,304 masks"),
    "wide": (lambda path: _promising(path, (7, 1 << 20, 1 << 20)), "at most"),
    "longer than it is": (lambda path: _promising(path, (7, 5, 6)), "30 bytes are missing"),
    "index of text": (
        lambda path: written(path, masks=MASKS, frame_index=np.array(list("abcdefg"))),
        "'frame_index' must be 7 integers, one a mask, got <U1",
    ),
    "short index": (lambda path: written(path, masks=MASKS, frame_index=np.arange(6)), "'frame_index' must be 7 int"),
    "index twice": (lambda path: written(path, masks=MASKS, frame_index=np.zeros(7, int)), "names a frame twice"),
    "index unsorted": (
        lambda path: written(path, masks=MASKS, frame_index=np.arange(7)[::-1].copy()),
        "'frame_index' is not ascending",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_cannot_be_read_is_named(kind: str, tmp_path: Path) -> None:
    write, message = BAD[kind]
    write(tmp_path / "video.npz")
    with pytest.raises(InputError, match=rf"(?s)video\.npz.*{message}"):
        list(read_masks(tmp_path / "video.npz", [0, 6]))


def test_what_a_file_promises_is_limited_before_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "a.npz", masks=MASKS)
    monkeypatch.setattr(files, "MAX_BYTES", 210)
    assert len(list(read_masks(path, [0, 2]))) == 2
    monkeypatch.setattr(files, "MAX_BYTES", 209)
    with pytest.raises(InputError, match="the masks are 210 bytes unpacked, more than 209"):
        list(read_masks(path, [6]))


@given(height=st.integers(8, 90), width=st.integers(8, 90), size=st.integers(4, 60), seed=st.integers(0, 99))
def test_a_mask_takes_the_way_of_its_frame(height: int, width: int, size: int, seed: int) -> None:
    """A block of a frame, resized as CLIP does it, has the mask that its fitted mask says, but for its edge."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((height, width), np.bool_)
    top, left = rng.integers(0, height // 2), rng.integers(0, width // 2)
    mask[top : top + height // 2 + 1, left : left + width // 2 + 1] = True
    frame = resize_and_crop(np.repeat(np.where(mask, 255, 0).astype(np.uint8)[..., None], 3, axis=2), size)[..., 0]
    fitted, soft = fitted_mask(mask, size, soft=False), fitted_mask(mask, size, soft=True)
    assert fitted.shape == soft.shape == (size, size)
    assert [str(one.dtype) for one in (soft, fitted)] == ["uint8", "bool"]
    assert fitted[frame > 215].all()
    assert not fitted[frame < 40].any()


def test_kinds_of_levels() -> None:
    ones = np.array([[0, 1], [1, 1]], np.uint8)
    for mask in (ones, 255 * ones, ones.astype(np.bool_)):
        np.testing.assert_array_equal(fitted_mask(mask, 2, soft=False), ones.astype(np.bool_))
    np.testing.assert_array_equal(fitted_mask(200 * ones, 2, soft=True), 200 * ones)
    with pytest.raises(InputError, match=r"such as 200: they are soft \(--soft\)"):
        fitted_mask(200 * ones, 2, soft=False)
    out = np.zeros((2, 2, 2), np.uint8)
    fitted_clip([ones, 9 * ones], out)
    with pytest.raises(InputError, match="no level but 0 and 1, of 255"):
        fitted_clip([ones, ones], out)


def test_a_pixel_is_the_mean_of_those_that_it_covers() -> None:
    levels = np.random.default_rng(0).integers(0, 256, (32, 32)).astype(np.uint8)
    means = levels.reshape(4, 8, 4, 8).mean(axis=(1, 3))
    np.testing.assert_allclose(fitted_mask(levels, 4, soft=True), means, atol=0.5)
