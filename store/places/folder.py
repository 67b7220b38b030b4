"""The folder of a store: files that are written whole or not at all, on a local disk or in an object store.

`StoreFolder` is the interface; `store.places.local` and `store.places.objects` implement it. Both pass one test suite.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, Self

import numpy as np
import xxhash
from numpy.typing import NDArray

Content = bytes | memoryview

PARTIAL_FOLDER = "partial"
"""Files that are being written to a local disk. The next run removes what a killed run left there."""

UNCLAIMED = "unclaimed"
"""Folder of the partial files of writers without a claim, for example of the claims themselves."""

CLAIMS_FOLDER = "claims"
"""Claims of the runs that write into the store: see `store.claims.holding`."""


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """One file of a store as it was written, with the checksum that goes into a commit record."""

    name: str
    """Relative to the store, with forward slashes."""
    num_bytes: int
    xxh128: str
    """The XXH3 checksum of the whole file, 32 hexadecimal digits. It is computed as fast as a file is read.

    Not a CRC-32C: each chunk ends with its own CRC-32C, and the CRC-32C of anything that ends with its own is a
    constant. Two different chunks of one size could not be told apart.
    """

    @classmethod
    def of(cls, name: str, content: Content) -> Self:
        """The description of a file `name` with this content."""
        return cls(name, len(content), xxhash.xxh3_128_hexdigest(content))

    def to_dict(self) -> dict[str, str | int]:
        """The fields as JSON."""
        return {"name": self.name, "num_bytes": self.num_bytes, "xxh128": self.xxh128}

    @classmethod
    def from_dict(cls, fields: Mapping[str, str | int]) -> Self:
        """The inverse of `to_dict`."""
        return cls(str(fields["name"]), int(fields["num_bytes"]), str(fields["xxh128"]))


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file of a store as a listing gives it."""

    name: str
    num_bytes: int


@dataclass(frozen=True, slots=True)
class Scan:
    """Everything in a folder of a store and below it, its user's things among it."""

    files: Mapping[str, int]
    """Name -> size of the files that can be read."""
    folders: tuple[str, ...] = ()
    """Every folder, empty ones too; none in an object store, which has no folders."""
    odd: Mapping[str, str] = field(default_factory=dict)
    """Name -> what it is, of all else: links, FIFOs, files and folders that this user may not read."""


class OpenFile(Protocol):
    """One version of a file, open for reading at any offset. The garbage collector closes it."""

    @property
    def num_bytes(self) -> int:
        """Its size."""

    def fill(self, offset: int, buffers: Sequence[NDArray[np.uint8]]) -> bool:
        """Read from `offset` into buffers, one after the other; False if the file ends before they are full."""

    def stamp(self) -> tuple[int, ...] | None:
        """Another one as soon as the file is written to; None if its bytes come over a network each time.

        What was read and checked need not be checked again while the stamp stays.
        """


class StoreFolder(ABC):
    """The folder of a store. Names of files are relative to it, with forward slashes.

    It is a value: it can be compared, hashed and pickled, and has no connection that must be closed.

    A link is never followed, and whatever is neither a file nor a folder is never opened. Where such a thing lies at a
    name that is read or written, each method raises `StoreReadError` or `StoreWriteError`; listings leave it out.
    """

    @property
    @abstractmethod
    def place(self) -> str:
        """Its path or address, as a user writes it: `folder_at(folder.place)` is the same folder."""

    @property
    @abstractmethod
    def is_local(self) -> bool:
        """Whether a request takes microseconds, and not a trip through a network."""

    @property
    @abstractmethod
    def claim(self) -> str | None:
        """Id of the claim with which this run writes, or None: see `store.claims.holding`."""

    @abstractmethod
    def claimed_by(self, claim: str | None) -> StoreFolder:
        """The same folder, whose `write` and `remove` raise `ClaimLostError` once that claim has been removed."""

    @abstractmethod
    def write(self, name: str, content: Content) -> WrittenFile:
        """Write a file atomically and durably: after a crash at any point it is complete, or as it was before.

        Raises:
            StoreWriteError: The disk is full, read-only or failing. The file `name` is as it was before.
            ClaimLostError: Another run considered this one dead, and claimed the store.
        """

    def write_in_order(self, groups: Sequence[Mapping[str, Content]]) -> None:
        """`write` many files, group by group: where one of a group is found, also after a crash, all before it are.

        Raises:
            StoreWriteError: See `write`. Files of the first groups may be written.
            ClaimLostError: See `write`.
        """
        # Right where `write` returns only once the file is durable: then the order of the calls is the order on the
        # disk.
        for group in groups:
            for name, content in group.items():
                self.write(name, content)

    @abstractmethod
    def read(self, name: str) -> bytes:
        """The content of a file.

        Raises:
            StoreMissingError: There is none.
            StoreReadError: It is no file, or cannot be read.
        """

    @abstractmethod
    def open(self, name: str) -> OpenFile | None:
        """Open a file for reading; None if there is none. A file that is written under its name later is not seen."""

    def opener(self, folder: str) -> Callable[[str], OpenFile | None]:
        """`open` for thousands of files that lie directly in one folder: takes the name in it, and gives the same."""
        return lambda name: self.open(f"{folder}/{name}")

    @abstractmethod
    def num_bytes(self, name: str) -> int | None:
        """The size of a file, or None if there is none."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Remove a file durably, if it exists.

        Raises:
            StoreWriteError: The disk is read-only or failing.
            ClaimLostError: See `write`.
        """

    @abstractmethod
    def remove_files(self, names: Sequence[str]) -> None:
        """Remove files durably, and the folders that are empty then; errors are those of `remove`.

        There is no call that removes a folder with whatever is in it: a folder of a store may contain files that are
        not the store's. `store.own_files` says which are.
        """

    @abstractmethod
    def names(self, folder: str) -> list[str]:
        """The names of the files directly in a folder of the store, sorted."""

    @abstractmethod
    def folders(self, folder: str) -> list[str]:
        """The folders directly in a folder of the store, sorted; `""` is the store itself."""

    @abstractmethod
    def walk(self, folder: str = "") -> Iterator[StoredFile]:
        """Every file in a folder and below it, in any order."""

    @abstractmethod
    def scan(self, folder: str = "") -> Scan:
        """Everything in a folder and below it, also what no other method opens or lists."""

    @abstractmethod
    def entries(self, folder: str = "") -> list[str]:
        """The names of whatever is directly in a folder of the store, sorted."""

    @abstractmethod
    def remove_partial_files(self) -> list[str]:
        """Remove half-written files of runs that hold no claim, or no longer hold one, and return their names."""
