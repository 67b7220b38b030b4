"""Where a store lies: files that are written whole or not at all, on a local disk or in an object store.

`StoreFolder` says what every such place can do; `store.places.local` and `store.places.objects` do it. One test suite
holds for both.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self

import numpy as np
import xxhash
from numpy.typing import NDArray

if TYPE_CHECKING:
    from zarr.abc.store import Store as ZarrStore

PARTIAL_FOLDER = "partial"
"""Files on their way to a local disk. What a killed run left there is removed by the next."""

UNCLAIMED = "unclaimed"
"""Among the partial files, in place of a claim: what is written without one, such as the claims themselves."""

CLAIMS_FOLDER = "claims"
"""Who is writing into the store: see `store.claims.holding`."""


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """One file of a store as it was written; what a commit record vouches for."""

    name: str
    """Relative to the store, with forward slashes."""
    num_bytes: int
    xxh128: str
    """The XXH3 checksum of the whole file, 32 hexadecimal digits: taken as fast as a file is read.

    A CRC-32C would not do: each chunk ends with its own, and the CRC-32C of anything that ends so is the same.
    """

    @classmethod
    def of(cls, name: str, content: bytes | memoryview) -> Self:
        """What is written when `content` is written under `name`."""
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
    """One file of a store as it is listed."""

    name: str
    num_bytes: int


class OpenFile(Protocol):
    """One version of a file, open for reading at any place; it is closed when nobody holds it any more."""

    @property
    def num_bytes(self) -> int:
        """Its size."""

    def fill(self, offset: int, buffers: Sequence[NDArray[np.uint8]]) -> bool:
        """Read from `offset` on into buffers, one after the other; False where the file ends before they are full."""


class StoreFolder(ABC):
    """A place for a store. Names of files are relative to it, with forward slashes.

    A value: it can be compared, hashed and pickled, and holds no connection that would have to be closed.
    """

    @property
    @abstractmethod
    def place(self) -> str:
        """Where it is, as a user would write it; `folder_at(folder.place)` is the same folder."""

    @property
    @abstractmethod
    def is_local(self) -> bool:
        """Whether a request costs microseconds, and not a trip through a network."""

    @property
    @abstractmethod
    def claim(self) -> str | None:
        """Id of the claim under which this run writes, or None: see `store.claims.holding`."""

    @abstractmethod
    def claimed_by(self, claim: str | None) -> StoreFolder:
        """The same folder, whose `write` and `remove` raise `ClaimLostError` once that claim is gone."""

    @abstractmethod
    def write(self, name: str, content: bytes | memoryview) -> WrittenFile:
        """Write a file atomically and durably: after a crash at any point it is there whole, or as it was before.

        Raises:
            StoreWriteError: The disk is full, read-only or failing. Nothing is left under `name`.
            ClaimLostError: Another run has taken this run for dead, and taken over.
        """

    @abstractmethod
    def read(self, name: str) -> bytes:
        """The content of a file.

        Raises:
            StoreMissingError: There is none.
        """

    @abstractmethod
    def open(self, name: str) -> OpenFile | None:
        """Open a file for reading, or None where there is none. What is written under its name later is not seen."""

    @abstractmethod
    def num_bytes(self, name: str) -> int | None:
        """The size of a file, or None where there is none."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Remove a file durably, if it is there.

        Raises:
            StoreWriteError: The disk is read-only or failing.
            ClaimLostError: As of `write`.
        """

    @abstractmethod
    def remove_tree(self, folder: str) -> None:
        """Remove a folder with all that is in it, if it is there; errors are those of `remove`."""

    @abstractmethod
    def names(self, folder: str) -> list[str]:
        """The names of the files directly in a folder of the store, sorted."""

    @abstractmethod
    def folders(self, folder: str) -> list[str]:
        """The folders directly in a folder of the store, sorted; `""` is the store itself."""

    @abstractmethod
    def walk(self, folder: str = "") -> Iterator[StoredFile]:
        """Every file in a folder and below it, in no order that could be relied on."""

    @abstractmethod
    def zarr_store(self, name: str) -> ZarrStore:
        """A folder as zarr-python reads it, read-only."""

    @abstractmethod
    def remove_partial_files(self) -> None:
        """Remove what is half-written by runs that hold no claim, or none any more."""
