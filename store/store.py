"""A store as a whole: what it declares of itself, its catalogue, and how it is made and opened."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Self

from store.arrays import JSON, differences
from store.catalog import VIDEOS_NAME, Catalog
from store.codecs import CodecName, codec_named
from store.errors import NotInStoreError, StoreFormatError, StoreMismatchError, StoreMissingError
from store.files import StoreFolder
from store.schema import FORMAT_VERSION, Shard, SplitLayout, shards_of

MANIFEST_NAME = "store.json"


@dataclass(frozen=True)
class Manifest:
    """What `store.json` says: everything that two runs must agree on to write into one store."""

    dataset: Mapping[str, JSON]
    """Name and digest of the data set."""
    shard_size: int
    """Videos a shard."""
    splits: Mapping[str, SplitLayout]
    """Counts and shapes, by split."""
    options: Mapping[str, JSON]
    """The options that made the frames."""
    software: Mapping[str, str]
    """Versions of what made the frames. Recorded; a difference is not refused."""
    frame_codec: CodecName = "raw"
    """How a clip's frames are stored: see `store.codecs`."""
    neighbours: bool = False
    """Whether each frame's neighbour in its video is stored too, in grey."""
    format_version: int = FORMAT_VERSION

    def to_bytes(self) -> bytes:
        """The manifest as JSON. No clock time: the same input gives the same bytes."""
        return (json.dumps(asdict(self), indent=2) + "\n").encode()

    @classmethod
    def from_bytes(cls, content: bytes, place: Path) -> Self:
        """Read a manifest; `place` is for the error.

        Raises:
            StoreFormatError: It is not one, or another version wrote it.
        """
        try:
            fields = json.loads(content)
            version = fields["format_version"]
            if version != FORMAT_VERSION:
                raise StoreFormatError(
                    f"{place} has store format {version}, and this fda reads {FORMAT_VERSION}: "
                    "open it with the version that made it, or make it anew"
                )
            codec_named(fields["frame_codec"])  # there is such a codec
            splits = {split: SplitLayout(**shape) for split, shape in fields["splits"].items()}
            return cls(**{**fields, "splits": splits})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, StoreFormatError):
                raise
            raise StoreFormatError(f"{place / MANIFEST_NAME} is not the manifest of a store: {error}") from error

    def check_same(self, other: Manifest, place: Path) -> None:
        """Refuse to mix: `self` stands in the store, `other` is what this run would make.

        Raises:
            StoreMismatchError: They differ in anything but software and names; the message names both values.
        """
        mine, theirs = asdict(self), asdict(other)
        for fields in (mine, theirs):
            del fields["software"], fields["dataset"]["name"]
        if mine != theirs:
            raise StoreMismatchError(
                f"{place} was made with other inputs: {differences(mine, theirs)}. "
                "Use another store folder, or --overwrite to remove this store and make it anew"
            )


@dataclass(frozen=True)
class Store:
    """An open store."""

    folder: StoreFolder
    manifest: Manifest

    @cached_property
    def catalog(self) -> Catalog:
        """Every video and caption; read when first asked for, so that a worker that only writes never loads it."""
        return Catalog.read(self.folder)

    @classmethod
    def open(cls, place: str | PathLike[str]) -> Self:
        """Open a store that is there.

        Raises:
            StoreMissingError: There is none, or making it was cut short before the catalogue was written.
            StoreFormatError: It cannot be read by this version.
        """
        folder = StoreFolder.at(place)
        if folder.num_bytes(MANIFEST_NAME) is None:
            raise StoreMissingError(f"no store at {folder.root}: `fda preprocess` makes one")
        manifest = Manifest.from_bytes(folder.read(MANIFEST_NAME), folder.root)
        if folder.num_bytes(VIDEOS_NAME) is None:
            raise StoreMissingError(f"the store at {folder.root} was never finished: run its `fda preprocess` again")
        return cls(folder, manifest)

    @classmethod
    def create(cls, place: str | PathLike[str], manifest: Manifest, catalog: Catalog) -> Self:
        """Make a store, or open the one that the same inputs made. Killed at any point, it can be called again.

        The manifest is written first: what is in the folder is judged by it from then on.

        Raises:
            StoreMismatchError: The store there was made with other inputs or options.
            StoreFormatError: The folder holds something else.
        """
        folder = StoreFolder.at(place)
        if folder.num_bytes(MANIFEST_NAME) is not None:
            manifest_there = Manifest.from_bytes(folder.read(MANIFEST_NAME), folder.root)
            manifest_there.check_same(manifest, folder.root)
            manifest = manifest_there
        else:
            _check_empty(folder)
            folder.write(MANIFEST_NAME, manifest.to_bytes())
        if folder.num_bytes(VIDEOS_NAME) is None:
            catalog.write(folder)
        return cls(folder, manifest)

    def layout(self, split: str) -> SplitLayout:
        """Counts and shapes of a split.

        Raises:
            NotInStoreError: There is no such split.
        """
        if split not in self.manifest.splits:
            raise NotInStoreError(
                f"no split {split!r} in {self.folder.root}: it has {', '.join(map(repr, self.manifest.splits))}"
            )
        return self.manifest.splits[split]

    def shards(self, split: str) -> tuple[Shard, ...]:
        """The shards of a split."""
        return shards_of(split, self.layout(split).num_videos, self.manifest.shard_size)


def remove_store(place: str | PathLike[str]) -> None:
    """Remove a store with all that is in it; a folder that is not a store is left alone.

    The manifest goes last: what a removal that was killed has left is still known for a store.

    Raises:
        StoreFormatError: The folder exists and is not a store.
    """
    folder = StoreFolder.at(place)
    if not folder.root.exists():
        return
    if folder.num_bytes(MANIFEST_NAME) is None:
        _check_empty(folder)
    for entry in folder.root.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry.name != MANIFEST_NAME:
            entry.unlink()
    shutil.rmtree(folder.root)


def _check_empty(folder: StoreFolder) -> None:
    if not folder.root.exists():
        return
    foreign = [entry.name for entry in folder.root.iterdir() if entry.name != "partial"]
    if foreign:
        raise StoreFormatError(
            f"{folder.root} is not a store and not empty (it holds {sorted(foreign)[0]!r}): give another folder"
        )
