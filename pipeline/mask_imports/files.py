"""Files of masks, one a video, as they come from anybody.

    FOLDER/VIDEO_ID.npz     masks (num_masks, height, width) bool or uint8: as the video is shown, at any size
                            frame_index (num_masks,), integers, if they are not of all frames of the video from the
                            first on: the position of the frame of each mask, in order of presentation, from 0

A character of an id that no file name takes is written as in `pipeline.run.file_names`. Nothing is unpickled, a
header is believed only as far as memory allows, and of the masks one is in memory at a time.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.run.file_names import file_name

MAX_MASKS = 1 << 22
MAX_PIXELS = 1 << 26
"""Of one mask: as many as a frame of a video may have."""
MAX_BYTES = 1 << 36
"""Of the masks of one video, unpacked: a deflated file can promise any number."""
_MASKS, _FRAME_INDEX = "masks", "frame_index"


def mask_file_name(video_id: str) -> str:
    """The name of the file of a video's masks.

    >>> mask_file_name("test_00001"), mask_file_name("a/b")
    ('test_00001.npz', 'a%2Fb.npz')
    """
    return f"{file_name(video_id)}.npz"


def read_masks(path: Path, wanted: Sequence[int]) -> Iterator[NDArray[np.bool_ | np.uint8]]:
    """Read the masks of some frames of a video, one after the other.

    Args:
        path: See above.
        wanted: Positions of the frames in the video, from 0, each once, ascending.

    Yields:
        Shape (height, width), bool or uint8; all of one shape.

    Raises:
        InputError: The file is not of this kind, is damaged, or lacks the mask of a frame.
    """
    with _errors_at(path), zipfile.ZipFile(path) as archive, _member(archive, _MASKS) as masks:
        # An .npz is a zip of .npy files: each a magic number, a header in text, and then the numbers row by row.
        shape, dtype = _header(masks)
        _check_masks(shape, dtype)
        # Of frames of the video -> places in the array.
        places = _places(archive, shape[0], wanted)
        num_bytes = shape[1] * shape[2]
        if shape[0] * num_bytes > MAX_BYTES:
            raise InputError(f"the masks are {shape[0] * num_bytes:,} bytes unpacked, more than {MAX_BYTES:,}")
        order = np.argsort(places, kind="stable")
        # The file is a stream that is unpacked from front to back: there is no going back to an earlier mask.
        if not np.array_equal(order, np.arange(len(places))):
            raise InputError(f"{_FRAME_INDEX!r} is not ascending: sort the masks by it")
        passed = 0
        for place in places:
            _skip(masks, (place - passed) * num_bytes)
            content = _exactly(masks, num_bytes)
            yield _values(content, dtype).reshape(shape[1:])
            passed = place + 1
        # The rest as well: zipfile checks the sum of all bytes, and only at the end.
        _skip(masks, (shape[0] - passed) * num_bytes)
        masks.read(1)  # at its end, zipfile compares the checksum


@contextmanager
def _errors_at(path: Path) -> Iterator[None]:
    """Name the file in every error."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except MemoryError as error:
        raise InputError(f"{path}: it says that it has more masks than fit into memory") from error
    except (OSError, ValueError, EOFError, SyntaxError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        raise InputError(f"{path} cannot be read as masks, an .npz of arrays: {error}") from error
    except RuntimeError as error:  # zipfile's word for an encrypted file
        raise InputError(f"{path} cannot be read as masks: {error}") from error


@contextmanager
def _member(archive: zipfile.ZipFile, name: str) -> Iterator[IO[bytes]]:
    names = archive.namelist()
    if f"{name}.npy" not in names:
        there = ", ".join(repr(one.removesuffix(".npy")) for one in names[:5]) or "none"
        raise InputError(f"there is no array {name!r}; the arrays are {there}")
    with archive.open(f"{name}.npy") as member:
        yield member


def _header(member: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[np.generic]]:
    """Shape and type of an array."""
    version = np.lib.format.read_magic(member)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise InputError(f"an array is of the .npy version {version}, which is not read: use np.savez_compressed")
    shape, is_fortran, dtype = readers[version](member)
    if is_fortran and len(shape) > 1:
        raise InputError("an array is stored in Fortran order: save np.ascontiguousarray of it")
    return shape, dtype


def _check_masks(shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> None:
    if len(shape) != 3 or min(shape) < 1:
        raise InputError(f"{_MASKS!r} must have shape (num_masks, height, width), got {shape}")
    if dtype not in (np.dtype(np.bool_), np.dtype(np.uint8)):
        raise InputError(f"{_MASKS!r} must be bool, or uint8 0..255, got {dtype}")
    if shape[0] > MAX_MASKS or shape[1] * shape[2] > MAX_PIXELS:
        raise InputError(f"{_MASKS!r} has shape {shape}: at most {MAX_MASKS:,} masks of {MAX_PIXELS:,} pixels are read")


def _places(archive: zipfile.ZipFile, num_masks: int, wanted: Sequence[int]) -> list[int]:
    """Which mask is that of each frame."""
    if f"{_FRAME_INDEX}.npy" not in archive.namelist():
        if wanted[-1] >= num_masks:
            raise InputError(
                f"there are {num_masks:,} masks, one a frame of the video from the first on, and the clip has frame "
                f"{wanted[-1]} (counted from 0): give all, or say by an array {_FRAME_INDEX!r} which frames they are of"
            )
        return list(wanted)
    with _member(archive, _FRAME_INDEX) as member:
        shape, dtype = _header(member)
        if shape != (num_masks,) or dtype.kind not in "iu":
            raise InputError(f"{_FRAME_INDEX!r} must be {num_masks} integers, one a mask, got {dtype} of shape {shape}")
        # `dtype` knows the order of bytes that the file names.
        values = np.frombuffer(_exactly(member, num_masks * dtype.itemsize), dtype)
    place_of = {int(value): place for place, value in enumerate(values)}
    if len(place_of) < num_masks:
        raise InputError(f"{_FRAME_INDEX!r} names a frame twice")
    lacking = [index for index in wanted if index not in place_of]
    if lacking:
        raise InputError(f"there is no mask of frame {lacking[0]} (counted from 0), which the clip has")
    return [place_of[index] for index in wanted]


def _values(content: bytes, dtype: np.dtype[np.generic]) -> NDArray[np.bool_ | np.uint8]:
    """Bytes as pixels; a bool that is neither 0 nor 1 would be another number for each reader."""
    values = np.frombuffer(content, np.uint8)
    return values != 0 if dtype == np.dtype(np.bool_) else values


def _skip(member: IO[bytes], num_bytes: int) -> None:
    while num_bytes:
        # 16 MiB at a time, which are unpacked and dropped.
        num_bytes -= len(_exactly(member, min(num_bytes, 1 << 24)))


def _exactly(member: IO[bytes], num_bytes: int) -> bytes:
    content = member.read(num_bytes)
    if len(content) != num_bytes:
        raise InputError(f"it ends before its masks do: {num_bytes - len(content):,} bytes are missing")
    return content
