"""Arrays in .npy files that grow row by row, so that none is in memory as a whole."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import DTypeLike, NDArray

from pipeline.errors import InputError
from pipeline.exporting.destination import NewFile
from pipeline.exporting.options import VectorType


class GrowingArray:
    """An .npy file to which rows are appended; its header is written again at the end, when their number is known."""

    def __init__(self, file: NewFile, item_shape: tuple[int, ...], dtype: DTypeLike) -> None:
        self._file, self._item_shape, self._dtype = file, item_shape, np.dtype(dtype)
        self.num_rows = 0
        file.write(self._header())

    def append(self, rows: NDArray[np.generic]) -> None:
        """Add rows: shape (any, *item_shape)."""
        self._file.write(np.ascontiguousarray(rows, dtype=self._dtype).data.cast("B") if len(rows) else b"")
        self.num_rows += len(rows)

    def end(self) -> None:
        """Write how many there are."""
        self._file.rewrite_start(self._header())

    def _header(self) -> bytes:
        """NumPy leaves room in it for a first axis of 21 digits: it has the same length for every number of rows."""
        header = io.BytesIO()
        about = {
            "descr": np.lib.format.dtype_to_descr(self._dtype),
            "fortran_order": False,
            "shape": (self.num_rows, *self._item_shape),
        }
        # Version 1.0 in any case: `np.save` would choose one by the content.
        np.lib.format.write_array_header_1_0(header, about)
        return header.getvalue()


def npy_bytes(values: NDArray[np.generic]) -> bytes:
    """A small array as an .npy file."""
    content = io.BytesIO()
    np.save(content, values, allow_pickle=False)
    return content.getvalue()


def as_type(vectors: NDArray[np.float32], wanted: VectorType | None) -> NDArray[np.float32] | NDArray[np.float16]:
    """Embeddings as the numbers that were asked for.

    Raises:
        InputError: They are too large for float16.
    """
    if wanted is not VectorType.FLOAT16:
        return vectors
    with np.errstate(over="ignore"):
        half = vectors.astype(np.float16)
    if np.isinf(half).any():
        raise InputError("there are embeddings too large for float16 (65,504 at most): export them as float32")
    return half
