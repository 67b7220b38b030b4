"""Rows of a data set in little memory: as Python objects, a million videos with a caption each take 700 MB."""

from __future__ import annotations

import pickle
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

_ROWS_AT_ONCE = 4096
_FASTEST = 1
"""Of zlib: a row is packed in 1.5 microseconds, to a third."""


class Packed:
    """Tuples of plain values, in order, of which some thousand are objects at a time: the others are compressed."""

    def __init__(self, rows: Iterable[tuple[Any, ...]] = ()) -> None:
        self._packs: list[bytes] = []
        self._last: list[tuple[Any, ...]] = []
        for row in rows:
            self.append(row)

    def append(self, row: tuple[Any, ...]) -> None:
        """Add one at the end."""
        self._last.append(row)
        if len(self._last) == _ROWS_AT_ONCE:
            self._packs.append(zlib.compress(pickle.dumps(self._last, pickle.HIGHEST_PROTOCOL), _FASTEST))
            self._last = []

    def __len__(self) -> int:
        return len(self._packs) * _ROWS_AT_ONCE + len(self._last)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        for number in range(len(self._packs)):
            yield from self._unpacked(number)
        yield from self._last

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        """One row; its neighbours are unpacked with it."""
        # The range takes negative numbers, and raises IndexError, as a list does.
        number, place = divmod(range(len(self))[index], _ROWS_AT_ONCE)
        return self._last[place] if number == len(self._packs) else self._unpacked(number)[place]

    def _unpacked(self, number: int) -> list[tuple[Any, ...]]:
        # Safe: these bytes were made above, in this process, and never leave its memory.
        rows: list[tuple[Any, ...]] = pickle.loads(zlib.decompress(self._packs[number]))
        return rows


def repeated_hashes(names: Iterable[str]) -> set[int]:
    """The hashes that several names have, in 8 bytes a name: all that are there twice, and hardly another one.

    >>> repeated_hashes("abcb") == {hash("b")}
    True
    """
    import numpy as np  # not for a help text, which takes half of its time

    # Python salts the hashes of texts in each process: they are compared here, and never stored.
    hashes = np.sort(np.fromiter(map(hash, names), np.int64))
    return set(hashes[1:][hashes[1:] == hashes[:-1]].tolist())


def common_hashes(names: Iterable[str], others: Iterable[str]) -> set[int]:
    """The hashes of names that are among both, and hardly another one.

    >>> common_hashes("abb", "bc") == {hash("b")}
    True
    """
    import numpy as np

    found, wanted = (np.fromiter(map(hash, some), np.int64) for some in (names, others))
    return set(np.intersect1d(found, wanted).tolist())


def repeated(names: Callable[[], Iterable[str]]) -> str | None:
    """The first name that was there before, or None; in 16 bytes a name, where a set of them takes a hundred.

    >>> repeated(lambda: iter("abcb")), repeated(lambda: "abc")
    ('b', None)
    """
    # Two texts may have one hash by chance: only those with a hash that is there twice are compared as texts.
    doubtful = repeated_hashes(names())
    seen: set[str] = set()
    for name in names() if doubtful else ():
        if hash(name) in doubtful:
            if name in seen:
                return name
            seen.add(name)
    return None
