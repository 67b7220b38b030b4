"""Parts of a run, for batch systems that start many processes which do not communicate."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self, TypeVar

from pipeline.errors import OptionError

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Partition:
    """Part `index` of `count`, counted from 1."""

    index: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.count:
            raise OptionError(f"a partition is i/n with i from 1 to n, got {self}")

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `"i/n"`.

        >>> str(Partition.parse("3/64"))
        '3/64'
        """
        found = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
        if found is None:
            raise OptionError(f"a partition is i/n with i from 1 to n, such as 3/64, got {text!r}")
        return cls(int(found[1]), int(found[2]))

    def take(self, items: Sequence[Item]) -> tuple[Item, ...]:
        """Every n-th item: each item is in exactly one part. Not blocks, so that parts are alike in any order of items.

        >>> [Partition(index, 3).take("abcdefg") for index in (1, 2, 3)]
        [('a', 'd', 'g'), ('b', 'e'), ('c', 'f')]
        """
        return tuple(items[self.index - 1 :: self.count])


WHOLE = Partition(1, 1)
"""The whole run as one part."""
