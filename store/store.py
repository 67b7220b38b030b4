"""A store as a whole: its manifest, its catalogue, and how it is opened and cleared."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from os import PathLike
from typing import Self

from store.arrays.codec_names import CodecName
from store.arrays.codecs import codec_named
from store.catalog import CAPTIONS_NAME, VIDEOS_NAME, Catalog, half_way
from store.errors import NotInStoreError, StoreFormatError, StoreMismatchError, StoreMissingError
from store.formats.parquet import max_rows
from store.formats.seal import BLANK, SEAL_KEY, check_sealed, sealed
from store.json_values import JSON, differences
from store.names import check_name
from store.own_files import OwnFile, Part, own_files, own_name, remove_own
from store.places.folder import CLAIMS_FOLDER, PARTIAL_FOLDER, StoredFile, StoreFolder
from store.places.opening import folder_at
from store.remedies import FROM_COPY, REBUILD_CATALOG, START_OVER
from store.schema import FORMAT_VERSION, Shard, SplitLayout, check_shard_size, shards_of

MANIFEST_NAME = "store.json"

MANIFEST_REMEDY = f"{FROM_COPY}, or make the store again in another folder by its `fda preprocess`"
"""For a manifest that was changed: it is the only file that counts the others."""


@dataclass(frozen=True)
class Manifest:
    """The content of `store.json`: everything that two runs must agree on to write into one store."""

    dataset: Mapping[str, JSON]
    """Name of the data set and digest of its catalogue; its published split (`protocol_split`, or None); and whether a
    caption is one `sentence`, or all captions of a video are joined into one `paragraph` (`caption_unit`)."""
    shard_size: int
    """Videos a shard."""
    splits: Mapping[str, SplitLayout]
    """Counts and shapes, by split."""
    options: Mapping[str, JSON]
    """The options that made the frames."""
    software: Mapping[str, str]
    """Versions of the packages that made the frames. Recorded; a difference is accepted."""
    frame_codec: CodecName = "raw"
    """How a clip's frames are stored: see `store.arrays.codecs`."""
    neighbours: bool = False
    """Whether the frame after each frame in its video is stored too, in grey."""
    format_version: int = FORMAT_VERSION

    def to_bytes(self) -> bytes:
        """The manifest as JSON. It contains no clock time: the same input gives the same bytes."""
        return sealed((json.dumps({**asdict(self), SEAL_KEY: BLANK}, indent=2) + "\n").encode())

    @classmethod
    def from_bytes(cls, content: bytes, place: str) -> Self:
        """Read a manifest; `place` is for the error.

        Raises:
            StoreFormatError: It is not a manifest, is damaged, or was written by another version.
        """
        path = f"{place}/{MANIFEST_NAME}"
        # Before the seal is checked: an older store shall be told its version, and not that it was changed.
        version = _version_without_seal(content)
        if version not in (None, FORMAT_VERSION):
            _check_version(version, place)
        check_sealed(content, path, MANIFEST_REMEDY)
        try:
            fields = json.loads(content)
            _check_version(fields["format_version"], place)
            del fields[SEAL_KEY]
            splits = {check_name("split", split): SplitLayout(**shape) for split, shape in fields["splits"].items()}
            manifest = cls(**{**fields, "splits": splits})
            manifest.check_kinds()
            return manifest
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            # It is a ValueError, too.
            if isinstance(error, StoreFormatError):
                raise
            raise StoreFormatError(f"{path} is not the manifest of a store: {error}") from error

    def check_kinds(self) -> None:
        """Raise ValueError for a field that no writer gives it: what follows from it may have no bounds."""
        codec_named(self.frame_codec)  # raises if there is no such codec
        for name in ("dataset", "options", "software"):
            if not isinstance(getattr(self, name), dict):
                raise ValueError(f"its {name} are {getattr(self, name)!r:.100}, not fields with values")
        if not all(isinstance(self.dataset.get(name), str) for name in ("name", "digest")):
            raise ValueError("its dataset has no name and digest")
        if type(self.neighbours) is not bool:
            raise ValueError(f"neighbours is {self.neighbours!r:.100}, not true or false")
        if not self.splits:
            raise ValueError("it has no split")
        check_shard_size(self.shard_size, max(layout.num_frames for layout in self.splits.values()))

    @property
    def num_rows(self) -> int:
        """Videos and captions of all splits."""
        return sum(layout.num_videos + layout.num_captions for layout in self.splits.values())

    def check_counts(self, num_bytes: int, place: str) -> None:
        """Refuse counts of videos and captions that no files of so many bytes can have, before anything is counted up.

        Raises:
            StoreFormatError: It is so.
        """
        if self.num_rows > 2 * max_rows(num_bytes):  # each of the two files has its own free rows
            raise StoreFormatError(
                f"{place}/{MANIFEST_NAME} counts {self.num_rows:,} videos and captions, and the catalogue has "
                f"{num_bytes:,} bytes: {FROM_COPY}"
            )

    def check_same(self, other: Manifest, place: str) -> None:
        """Raise if this run would mix options: `self` is in the store, `other` is what this run would make.

        Raises:
            StoreMismatchError: They differ. The message gives both values. Software is not compared, and the data set
                is compared by `store.growth`.
        """
        mine, theirs = asdict(self), asdict(other)
        for fields in (mine, theirs):
            del fields["software"], fields["dataset"]
        # Counts may grow, and splits may be added; the shape of the clips of a split must stay.
        for split in {*mine["splits"], *theirs["splits"]}:
            if split in mine["splits"] and split in theirs["splits"]:
                for fields in (mine, theirs):
                    del fields["splits"][split]["num_videos"], fields["splits"][split]["num_captions"]
            else:
                mine["splits"].pop(split, None)
                theirs["splits"].pop(split, None)
        if mine != theirs:
            raise StoreMismatchError(
                f"{place} was made with other inputs: {differences(mine, theirs)}. {START_OVER.capitalize()}"
            )


@dataclass(frozen=True)
class Store:
    """An open store."""

    folder: StoreFolder
    manifest: Manifest

    @cached_property
    def catalog(self) -> Catalog:
        """Every video and caption. Read on first use, so that a worker that only writes never loads it."""
        written = Catalog.read(self.folder)
        digest = str(self.manifest.dataset.get("digest"))
        catalog = written.first(self.manifest.splits, digest)
        # Where the store grows, the catalogue has videos that the manifest does not count yet, after the others.
        if catalog.video_rows.num_rows != written.video_rows.num_rows and catalog.digest() != digest:
            raise StoreFormatError(half_way(self.folder))
        return catalog

    @property
    def place(self) -> str:
        """Its path or address, for messages."""
        return self.folder.place

    @classmethod
    def open(cls, place: str | PathLike[str] | StoreFolder) -> Self:
        """Open an existing store.

        Raises:
            StoreMissingError: There is none, or it has no catalogue: its creation was cut short, or it was lost.
            StoreFormatError: It cannot be read by this version, or its manifest is damaged.
        """
        folder = place if isinstance(place, StoreFolder) else folder_at(place)
        if folder.num_bytes(MANIFEST_NAME) is None:
            raise no_store(folder)
        manifest = Manifest.from_bytes(folder.read(MANIFEST_NAME), folder.place)
        num_bytes = folder.num_bytes(VIDEOS_NAME)
        if num_bytes is None:
            raise StoreMissingError(
                f"{folder.place}/{VIDEOS_NAME} is missing: the store was never finished, or has lost it; "
                f"{REBUILD_CATALOG}"
            )
        # Before shards are counted: a hostile manifest could have so many that memory runs out.
        manifest.check_counts(num_bytes + (folder.num_bytes(CAPTIONS_NAME) or 0), folder.place)
        return cls(folder, manifest)

    def layout(self, split: str) -> SplitLayout:
        """Counts and shapes of a split.

        Raises:
            NotInStoreError: There is no such split.
        """
        if split not in self.manifest.splits:
            raise NotInStoreError(
                f"no split {split!r} in {self.place}: it has {', '.join(map(repr, self.manifest.splits))}"
            )
        return self.manifest.splits[split]

    def shards(self, split: str) -> tuple[Shard, ...]:
        """The shards of a split."""
        return shards_of(split, self.layout(split).num_videos, self.manifest.shard_size)

    def all_shards(self) -> tuple[Shard, ...]:
        """The shards of all splits, split by split."""
        return tuple(shard for split in self.manifest.splits for shard in self.shards(split))


def no_store(folder: StoreFolder) -> StoreMissingError:
    """There is no store in a folder."""
    return StoreMissingError(f"no store at {folder.place}: `fda preprocess` makes one")


def clear_store(folder: StoreFolder) -> None:
    """Remove every file of a store except its manifest and the claims on it; what is not the store's stays.

    The commit records are removed first, so that nothing counts any more. The manifest stays until `create_store`
    replaces it: if the process is killed in between, the rest is still recognised as a store.

    Raises:
        StoreFormatError: The folder is not a store.
    """
    _check_ours(folder)
    remove_own(folder, files_to_clear(folder))


def files_to_clear(folder: StoreFolder) -> tuple[OwnFile, ...]:
    """The files that `clear_store` removes."""
    kept = (Part.MANIFEST, Part.CLAIM, Part.PARTIAL)
    return tuple(own for own in own_files(folder) if own.part not in kept)


def check_place(folder: StoreFolder) -> None:
    """Raise if a folder is neither a store nor empty.

    Raises:
        StoreFormatError: See above.
    """
    if folder.num_bytes(MANIFEST_NAME) is None:
        check_empty(folder)


def check_empty(folder: StoreFolder) -> None:
    """Raise if a folder contains anything but claims and partial files of this package.

    So a store is never made among other files.

    Raises:
        StoreFormatError: See above.
    """
    foreign = next(_foreign(folder), None)
    if foreign is not None:
        raise StoreFormatError(
            f"{folder.place} is not a store and not empty (it contains {foreign!r}): give another folder"
        )


def _foreign(folder: StoreFolder) -> Iterator[str]:
    for name in folder.entries():
        if name in (CLAIMS_FOLDER, PARTIAL_FOLDER):
            found = folder.scan(name)
            inside = sorted([*found.files, *found.odd])
            yield from (file for file in inside if file in found.odd or own_name(StoredFile(file, 0)) is None)
        else:
            yield name


def _check_ours(folder: StoreFolder) -> None:
    """Raise unless `store.json` is a manifest, of whatever version, damaged or not: other programs have such files."""
    content = folder.read(MANIFEST_NAME)
    # Either is enough: old formats have no seal, and a damaged file may have lost one of the two.
    if not (b'"format_version"' in content or SEAL_KEY.encode() in content):
        raise StoreFormatError(
            f"{folder.place}/{MANIFEST_NAME} is not the manifest of a store, so nothing here is removed: give another "
            "folder"
        )


def _version_without_seal(content: bytes) -> int | None:
    """The format of a manifest that has no seal, as old formats had none; None if it has one, or is no manifest."""
    try:
        fields = json.loads(content)
        version = fields["format_version"]
        return version if SEAL_KEY not in fields and type(version) is int else None
    except (ValueError, KeyError, TypeError, RecursionError):  # damaged, which the seal tells
        return None


def _check_version(version: object, place: str) -> None:
    if not isinstance(version, int):
        raise ValueError(f"format_version is {version!r}")
    if version > FORMAT_VERSION:
        raise StoreFormatError(
            f"{place} has store format {version}, made by a newer fda; this one reads format {FORMAT_VERSION}: "
            "upgrade fda (`fda --version` prints the version)"
        )
    if version < FORMAT_VERSION:
        raise StoreFormatError(
            f"{place} has store format {version}, made by an older fda; this one reads format {FORMAT_VERSION}: "
            "open it with the version that made it, or rebuild it (--overwrite)"
        )
