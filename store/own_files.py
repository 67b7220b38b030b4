"""The files that a store consists of, by their names: nothing else in its folder is ever removed.

Its user may keep other things there: notes, a checkpoint, arrays of another program. A file is the store's if it has a
name that only a writer of this package gives. Where another program may well give the same name (a Zarr array of
vectors), a commit record or the seal of the array's metadata has to vouch for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

from store.arrays.shards import GROUP_METADATA
from store.errors import StoreMissingError
from store.formats.seal import SEAL_KEY
from store.names import NAME
from store.places.folder import StoredFile, StoreFolder

MAX_METADATA_BYTES = 2**20
"""The metadata of an array have a few kilobytes; a larger file is not ours."""


REMOVED_AT_ONCE = 1000
"""Files: what S3 removes with one request, and a disk in a tenth of a second."""


class Part(IntEnum):
    """What a file is. In this order files are removed, so that a kill leaves nothing that counts and is incomplete."""

    RECORD = 0
    """A commit record, or one that was set aside."""
    CATALOG = 1
    DATA = 2
    ARRAY = 3
    """Metadata, by which the data are known as ours: after the data."""
    GROUP = 4
    RUN = 5
    CLAIM = 6
    PARTIAL = 7
    MANIFEST = 8


@dataclass(frozen=True, slots=True)
class OwnFile:
    """One file of a store."""

    name: str
    num_bytes: int
    part: Part
    split: str | None = None
    kind: str | None = None
    """`frames`, `masks` or `features`."""
    set_name: str | None = None
    """Of a mask set or a feature set."""


_ID = r"[0-9a-f]{32}"
_SPLIT = rf"(?P<split>{NAME})"
_CLIPS = rf"clips\.zarr/{_SPLIT}/(?:(?P<frames>frames|next_grey|pts_seconds|frame_index)|masks/(?P<masks>{NAME}))"
_FEATURES = rf"features\.zarr/(?P<features>{NAME})/{_SPLIT}"
_VECTORS = rf"{_FEATURES}/(?:video|frame|alpha_cosine|text|num_dropped)"
_CHUNK = r"c(?:\.[0-9]+)+"
_PATTERNS = tuple(
    (part, re.compile(pattern))
    for part, pattern in (
        (Part.MANIFEST, r"store\.json"),
        (Part.CATALOG, r"catalog/(?:videos|captions|failures)\.parquet"),
        (
            Part.RECORD,
            rf"(?:commits|withdrawn)/{_SPLIT}/(?:(?P<frames>frames)|masks/(?P<masks>{NAME})|"
            rf"features/(?P<features>{NAME})/(?:video|text))/[0-9]{{5,}}\.parquet",
        ),
        (Part.DATA, rf"{_CLIPS}/{_CHUNK}"),
        (Part.DATA, rf"{_VECTORS}/{_CHUNK}"),
        (Part.ARRAY, rf"{_CLIPS}/zarr\.json"),
        (Part.ARRAY, rf"{_VECTORS}/zarr\.json"),
        (Part.GROUP, rf"{_FEATURES}/zarr\.json"),
        (Part.GROUP, rf"features\.zarr/(?P<features>{NAME})/zarr\.json"),
        (Part.GROUP, rf"clips\.zarr/{_SPLIT}/(?:masks/)?zarr\.json"),
        (Part.GROUP, r"(?:clips|features)\.zarr/zarr\.json"),
        (Part.RUN, r"runs/[0-9]{8}T[0-9]{6}-[a-z-]+-[0-9]+\.json"),
        (Part.CLAIM, rf"claims/{_ID}\.(?:json|beat)"),
        (Part.PARTIAL, rf"partial/(?:{_ID}|unclaimed)/{_ID}"),
    )
)

_FOLDER = re.compile(
    rf"catalog|runs|claims|partial(?:/(?:{_ID}|unclaimed))?|clips\.zarr(?:/{NAME}(?:/(?:frames|next_grey|pts_seconds|"
    rf"frame_index|masks(?:/{NAME})?))?)?|features\.zarr(?:/{NAME}(?:/{NAME}(?:/(?:video|frame|alpha_cosine|text|"
    rf"num_dropped))?)?)?|(?:commits|withdrawn)(?:/{NAME}(?:/(?:frames|masks(?:/{NAME})?|"
    rf"features(?:/{NAME}(?:/(?:video|text))?)?))?)?"
)


def own_folder(name: str) -> bool:
    """Whether a folder of this name may be one of a store.

    >>> own_folder("commits/test/features/mine"), own_folder("commits/test/notes")
    (True, False)
    """
    return _FOLDER.fullmatch(name) is not None


def own_name(stored: StoredFile) -> OwnFile | None:
    """What a file is by its name alone; None if the name is none of a store.

    >>> own_name(StoredFile("commits/test/features/mine/text/00003.parquet", 9))
    OwnFile(name='commits/test/features/mine/text/00003.parquet', num_bytes=9, part=<Part.RECORD: 0>, split='test', \
kind='features', set_name='mine')
    >>> own_name(StoredFile("clips.zarr/test/notes.txt", 9)) is None
    True
    """
    for part, pattern in _PATTERNS:
        found = pattern.fullmatch(stored.name)
        if found is not None:
            groups = found.groupdict()
            kind = next((kind for kind in ("frames", "masks", "features") if groups.get(kind)), None)
            set_name = groups[kind] if kind in ("masks", "features") else None
            return OwnFile(stored.name, stored.num_bytes, part, groups.get("split"), kind, set_name)
    return None


def own_files(folder: StoreFolder, *below: str) -> tuple[OwnFile, ...]:
    """Every file of a store, in the order of their names; or only those in the given folders and below them."""
    return own_among(folder, (stored for part in below or ("",) for stored in folder.walk(part)))


def own_among(folder: StoreFolder, listed: Iterable[StoredFile]) -> tuple[OwnFile, ...]:
    """Of some files in the folder of a store, those that are the store's, in the order of their names."""
    named = [own for stored in listed if (own := own_name(stored)) is not None]
    vouched = set(_vouched(folder, named))
    return tuple(sorted((own for own in named if _is_ours(folder, own, vouched)), key=lambda own: own.name))


def remove_own(
    folder: StoreFolder, files: Iterable[OwnFile], tell: Callable[[int], None] = lambda number: None
) -> None:
    """Remove files of a store. If the process is killed, call `own_files` again for what is left.

    Commit records go first, so that nothing half-removed counts, and data before the metadata that vouch for them.

    Args:
        folder: Of the store.
        files: What to remove.
        tell: Hears how many more are removed, now and then.
    """
    files = list(files)
    for part in Part:
        # the longest name first: the group of an array before the group that it lies in
        names = sorted((own.name for own in files if own.part is part), key=lambda name: (-name.count("/"), name))
        for start in range(0, len(names), REMOVED_AT_ONCE):
            some = names[start : start + REMOVED_AT_ONCE]
            folder.remove_files(some)
            tell(len(some))


_Set = tuple[str | None, str | None, str | None]


def _set_of(own: OwnFile) -> _Set:
    return own.kind, own.set_name, own.split


def _vouched(folder: StoreFolder, named: Sequence[OwnFile]) -> Iterator[_Set]:
    """The mask and feature sets of which a record exists, or an array with a seal."""
    for own in named:
        # The seal is looked for, and not checked: a damaged file of ours stays ours.
        if own.part is Part.RECORD or (own.part is Part.ARRAY and SEAL_KEY.encode() in _small(folder, own)):
            yield _set_of(own)
            yield own.kind, own.set_name, None  # the group of all splits


def _is_ours(folder: StoreFolder, own: OwnFile, vouched: set[_Set]) -> bool:
    if own.kind in ("masks", "features") and own.part in (Part.DATA, Part.ARRAY, Part.GROUP):
        # A group whose arrays are gone has no other voucher than its content.
        return _set_of(own) in vouched or (own.part is Part.GROUP and _small(folder, own) == GROUP_METADATA)
    return True


def _small(folder: StoreFolder, own: OwnFile) -> bytes:
    if own.num_bytes > MAX_METADATA_BYTES:
        return b""
    try:
        return folder.read(own.name)
    except StoreMissingError:  # another run has just removed it
        return b""
