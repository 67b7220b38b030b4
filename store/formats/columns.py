"""Values as columns of Arrow, without pandas.

Where pandas is installed, `pyarrow.array` imports it to ask whether the values are its own: a quarter of a second of
every command.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

_NUMBERS = {pa.int64(): "q", pa.float64(): "d"}
_MOST_BYTES = 2**31 - 1
"""Of text in one column of Arrow."""


def table_of(columns: Mapping[str, Sequence[object]], schema: pa.Schema) -> pa.Table:
    """A table of the columns that a schema names, in its order; None is a value that is missing.

    Raises:
        TypeError: A value is not of the type of its column.
    """
    return pa.Table.from_arrays([column(columns[field.name], field.type) for field in schema], schema=schema)


def column(values: Sequence[object], kind: pa.DataType) -> pa.Array | pa.ChunkedArray:
    """Values as a column of integers or floats of 64 bits, booleans, or strings; None is a value that is missing.

    Raises:
        TypeError: A value is not of this type.

    >>> column(["a", None, "b"], pa.string()).to_pylist()
    ['a', None, 'b']
    """
    num_missing = sum(value is None for value in values)
    if num_missing == len(values):
        return pa.nulls(num_missing, kind)
    validity = _bits(np.array([value is not None for value in values])) if num_missing else None
    if kind in _NUMBERS:
        # What stands at a missing value is never read: its bit in `validity` is 0.
        given: list[Any] = [0 if value is None else value for value in values]
        # It raises TypeError for what is not such a number: 1.5 is no integer.
        numbers = array(_NUMBERS[kind], given)
        return pa.Array.from_buffers(kind, len(values), [validity, pa.py_buffer(numbers)], num_missing)
    if pa.types.is_boolean(kind):
        if not all(value is None or isinstance(value, bool | np.bool_) for value in values):
            raise TypeError(f"not all are booleans: {values}")
        return pa.Array.from_buffers(kind, len(values), [validity, _bits(np.array(values, np.bool_))], num_missing)
    # `str.encode`, and not `value.encode`: it raises TypeError for what is not text.
    texts = [b"" if value is None else str.encode(value) for value in values]  # type: ignore[arg-type]
    joined = b"".join(texts)
    if len(joined) > _MOST_BYTES:
        return pa.array(values, kind)  # in several pieces
    # Arrow's strings are one block of bytes, and n + 1 offsets of 32 bits into it.
    ends = array("i", accumulate(map(len, texts), initial=0))
    buffers = [validity, pa.py_buffer(ends), pa.py_buffer(joined)]
    return pa.Array.from_buffers(kind, len(values), buffers, num_missing)


def _bits(values: NDArray[np.bool_]) -> pa.Buffer:
    # Arrow's bitmaps begin with the lowest bit of a byte.
    return pa.py_buffer(np.packbits(values, bitorder="little").tobytes())


def integers(values: NDArray[np.int64] | Sequence[int]) -> pa.Array:
    """Integers as a column, none of which is missing."""
    numbers = np.ascontiguousarray(values, np.int64)
    return pa.Array.from_buffers(pa.int64(), len(numbers), [None, pa.py_buffer(numbers)], 0)


def numbers_of(values: pa.Array | pa.ChunkedArray) -> NDArray[np.int64]:
    """The inverse of `integers`, for integers of 32 and 64 bits.

    >>> numbers_of(pa.chunked_array([integers([7, 8]), integers([9]).slice(1), integers([1, 2]).slice(1)])).tolist()
    [7, 8, 2]
    """
    chunks = values.chunks if isinstance(values, pa.ChunkedArray) else [values]
    if any(chunk.null_count for chunk in chunks):
        raise ValueError("a number is missing")
    found = []
    for chunk in chunks:
        num_bytes = chunk.type.bit_width // 8
        if len(chunk):
            # Buffer 0 is the bitmap of missing values. A slice has the buffers of its whole, and an offset into them.
            found.append(np.frombuffer(chunk.buffers()[1], f"=i{num_bytes}", len(chunk), chunk.offset * num_bytes))
    # The first part makes 64 bits of 32, and a result where there is no chunk.
    return np.concatenate([np.zeros(0, np.int64), *found])
