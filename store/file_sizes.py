"""Sizes of the files of one folder, of which there may be millions."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable
from typing import Self

import numpy as np

from store.places.folder import StoredFile


class FileSizes:
    """Name -> size in 16 bytes a file, where a dictionary takes 200: only hashes of names are kept.

    That a name which is not there has the hash of one that is happens once in 10^13 questions to a million files.
    """

    def __init__(self, names: array[int], sizes: array[int]) -> None:
        """Hashes of names, sorted, and the size of each."""
        self._names, self._sizes = names, sizes

    @classmethod
    def of(cls, files: Iterable[StoredFile]) -> Self:
        """Those of files in any order."""
        names, sizes = array("q"), array("q")
        for stored in files:
            # Other in each process, and never stored.
            names.append(hash(stored.name))
            sizes.append(stored.num_bytes)
        order = np.argsort(np.array(names, np.int64))
        return cls(*(array("q", np.array(one, np.int64)[order].tobytes()) for one in (names, sizes)))

    def get(self, name: str) -> int | None:
        """The size of a file; None if it is not there, or cannot be told from another."""
        wanted = hash(name)
        place = bisect_left(self._names, wanted)
        # Two files with one hash: neither is known here, and the folder is asked.
        same = self._names[place : place + 2].count(wanted)
        return self._sizes[place] if same == 1 else None
