"""Verifying files outside of shards: the table of failures, run records, leftovers, and foreign files."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from store.arrays.shards import GROUP_METADATA
from store.catalog import CAPTIONS_NAME, VIDEOS_NAME
from store.claims.holding import Claim
from store.commits import WITHDRAWN_FOLDER, CommitRecord
from store.errors import StoreFormatError, StoreMissingError
from store.failures import FAILURES_NAME
from store.formats.seal import is_sealed
from store.places.folder import PARTIAL_FOLDER, StoreFolder
from store.remedies import PREPROCESS_AGAIN, REMOVE
from store.store import MANIFEST_NAME
from store.verify.findings import Finding, Kind, Repair

_RUN = re.compile(r"runs/[0-9]{8}T[0-9]{6}-[a-z-]+-[0-9]+\.json")
_CLAIM = re.compile(r"claims/([0-9a-f]{32})\.(json|beat)")
_GROUP = re.compile(r"clips\.zarr(/[^/]+(/masks)?)?/zarr\.json|features\.zarr(/[^/]+(/[^/]+)?)?/zarr\.json")
"""Where the metadata of groups may lie."""
_RECORD = re.compile(r"commits/.+/[0-9]{5,}\.parquet")


def verify_rest(
    folder: StoreFolder,
    listed: Mapping[str, int],
    accounted: Collection[str],
    arrays: Collection[str],
    live: Collection[Claim],
) -> Iterator[Finding]:
    """Check every file that belongs to no shard and no array.

    Args:
        folder: The store.
        listed: Its files.
        accounted: Those that belong to a shard, or are metadata.
        arrays: Names of all arrays.
        live: Claims of runs that are, or may be, active: their files are not reported.
    """
    live_ids = {claim.id for claim in live}
    for name in sorted(listed):
        if name in accounted or name in (MANIFEST_NAME, VIDEOS_NAME, CAPTIONS_NAME) or _is_empty_group(folder, name):
            continue
        top = name.partition("/")[0]
        if name == FAILURES_NAME or _RUN.fullmatch(name):
            yield from _sealed(folder, name)
        elif found := _CLAIM.fullmatch(name):
            if found[1] not in live_ids:
                yield _leftover(name, f"the {'claim' if found[2] == 'json' else 'heartbeat'} of a run that has ended")
        elif top == PARTIAL_FOLDER and "/" in name:
            if not live_ids:
                yield _leftover(name, "a file that a killed run was writing")
        elif top == WITHDRAWN_FOLDER and "/" in name:
            yield _withdrawn(folder, name, listed)
        elif _is_in_array(name, arrays):
            what = "it is not a chunk of its array"
            yield Finding(Kind.CHUNK_FOREIGN, name, what, REMOVE, repair=Repair((name,)))
        elif _RECORD.fullmatch(name):
            what = "it is the record of a shard that the store does not have"
            yield Finding(Kind.RECORD_MISPLACED, name, what, REMOVE, repair=Repair((name,)))
        else:
            what = "it is not a file of a store, and nothing reads it"
            yield Finding(Kind.FOREIGN, name, what, "remove it by hand if you do not need it")


def _is_in_array(name: str, arrays: Collection[str]) -> bool:
    """Whether a file is in the folder of an array, or below it."""
    parts = name.split("/")
    return any("/".join(parts[:depth]) in arrays for depth in range(3, len(parts)))


def verify_links(folder: StoreFolder) -> Iterator[Finding]:
    """Find symbolic links that point out of the store, or to nothing."""
    if not folder.is_local:
        return
    root = Path(folder.place)
    inside = root.resolve()
    for link in _links(folder.place):
        if not (link.exists() and link.resolve().is_relative_to(inside)):
            yield Finding(
                Kind.LINK,
                link.relative_to(root).as_posix(),
                f"it is a link to {str(link.readlink())!r}, which may change, and is not copied with the store",
                "put the file itself in its place, or remove the link",
            )


def _links(folder: str) -> Iterator[Path]:
    """Every symbolic link below a folder."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_symlink():
                    yield Path(entry.path)
                elif entry.is_dir(follow_symlinks=False):
                    yield from _links(entry.path)
    except FileNotFoundError:  # another run has just removed it
        return


def _is_empty_group(folder: StoreFolder, name: str) -> bool:
    """Whether it is of a group without arrays: they were removed, or their run was killed before it made them."""
    if not _GROUP.fullmatch(name):
        return False
    try:
        return folder.read(name) == GROUP_METADATA
    except StoreMissingError:
        return True


def _sealed(folder: StoreFolder, name: str) -> Iterator[Finding]:
    try:
        if is_sealed(folder.read(name)):
            return
    except StoreMissingError:
        return
    is_run = name != FAILURES_NAME
    yield Finding(
        Kind.RUN_DAMAGED if is_run else Kind.FAILURES_DAMAGED,
        name,
        "it was changed since it was written: its checksum is wrong",
        f"nothing depends on it: {REMOVE}" if is_run else f"{REMOVE}, and `fda finalise` rebuilds it",
        repair=Repair((name,)),
    )


def _withdrawn(folder: StoreFolder, name: str, listed: Mapping[str, int]) -> Finding:
    """A record that was kept aside. The next run reuses its valid clips, so only useless ones are removed."""
    try:
        CommitRecord.from_bytes(folder.read(name), name)
    except (StoreFormatError, StoreMissingError):
        return _leftover(name, "a record that was kept aside, and is damaged")
    if name.replace(WITHDRAWN_FOLDER, "commits", 1) in listed:
        return _leftover(name, "a record that was kept aside while its shard was rewritten, which has ended")
    what = "a record kept aside of a shard that was being rewritten: its valid clips will be kept"
    return Finding(Kind.LEFTOVER, name, what, PREPROCESS_AGAIN)


def _leftover(name: str, what: str) -> Finding:
    remedy = "the next run that writes into the store removes it, and so does `fda verify --repair`"
    return Finding(Kind.LEFTOVER, name, what, remedy, repair=Repair((name,)))
