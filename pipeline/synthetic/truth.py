"""The truth of a clip as a file.

    truth/VIDEO_ID.npz      masks (num_frames, height, width) bool: what is seen of objects that move at that moment
                            camera (num_frames, 2, 3) float64: the map from the world to the picture, pixels

`fda import-masks` reads it. Deflated, a frame takes some hundred bytes; it is written a frame at a time.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import numpy as np
from numpy.typing import NDArray


class TruthWriter:
    """Writes the truth of one clip; a context manager."""

    def __init__(self, path: Path, shape: tuple[int, int, int]) -> None:
        """Open a file for masks of `shape`: (num_frames, height, width)."""
        self._file = zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED)
        self._masks = self._open("masks", np.dtype(np.bool_), shape)
        self._views: list[NDArray[np.float64]] = []

    def add(self, mask: NDArray[np.bool_], view: NDArray[np.float64]) -> None:
        """Add a frame."""
        self._masks.write(np.ascontiguousarray(mask).tobytes())
        self._views.append(view)

    def _open(self, name: str, dtype: np.dtype[np.generic], shape: Sequence[int]) -> IO[bytes]:
        # A ZipInfo of its own has the date 1980-01-01: the same truth gives the same bytes.
        info = zipfile.ZipInfo(f"{name}.npy")
        info.compress_type = zipfile.ZIP_DEFLATED
        # How large it will be is not known, and the header that says so is written first.
        member = self._file.open(info, "w", force_zip64=True)
        described = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": tuple(shape)}
        # The header of a .npy alone: its rows follow one by one.
        np.lib.format.write_array_header_1_0(member, described)
        return member

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._masks.close()
        if error is None:
            views = np.stack(self._views)
            with self._open("camera", views.dtype, views.shape) as member:
                member.write(views.tobytes())
        self._file.close()
