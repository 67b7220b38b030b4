"""Verifying files outside of shards: the table of failures, run records, leftovers, and files of no store."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from store.arrays.shards import GROUP_METADATA
from store.catalog import CAPTIONS_NAME, VIDEOS_NAME
from store.claims.holding import Claim
from store.commits import WITHDRAWN_FOLDER, CommitRecord
from store.errors import StoreFormatError, StoreMissingError
from store.failures import FAILURES_NAME
from store.formats.seal import is_sealed
from store.own_files import OwnFile, Part
from store.places.folder import CLAIMS_FOLDER, StoreFolder
from store.remedies import PREPROCESS_AGAIN, REBUILD_FAILURES, REMOVE
from store.store import MANIFEST_NAME
from store.verify.findings import BY_HAND, CHANGED, Finding, Kind, Repair


def verify_rest(
    folder: StoreFolder,
    listed: Mapping[str, OwnFile],
    accounted: Collection[str],
    arrays: Collection[str],
    live: Collection[Claim],
) -> Iterator[Finding]:
    """Check every file of the store that belongs to no shard and no array.

    Args:
        folder: The store.
        listed: Its files.
        accounted: Those that belong to a shard, or are metadata.
        arrays: Names of all arrays.
        live: Claims of runs that are, or may be, active: their files are not reported.
    """
    live_ids = {claim.id for claim in live}
    for name in sorted(listed):
        if name in accounted or name in (MANIFEST_NAME, VIDEOS_NAME, CAPTIONS_NAME):
            continue
        match listed[name].part:
            case Part.CATALOG | Part.RUN:
                yield from _sealed(folder, name)
            case Part.CLAIM:
                claim_id, _, ending = name.removeprefix(f"{CLAIMS_FOLDER}/").partition(".")
                if claim_id not in live_ids:
                    yield leftover(name, f"the {'claim' if ending == 'json' else 'heartbeat'} of a run that has ended")
            case Part.PARTIAL:
                # Those of `unclaimed` may be of any live run.
                if not live_ids:
                    yield leftover(name, "a file that a killed run was writing")
            case Part.RECORD if name.startswith(f"{WITHDRAWN_FOLDER}/"):
                yield _withdrawn(folder, name, listed)
            case Part.RECORD:
                what = "it is the record of a shard that the store does not have"
                yield Finding(Kind.RECORD_MISPLACED, name, what, REMOVE, repair=Repair((name,)))
            case Part.DATA if _is_in_array(name, arrays):
                what = "it is not a chunk of its array"
                yield Finding(Kind.CHUNK_FOREIGN, name, what, REMOVE, repair=Repair((name,)))
            case _:
                if not _is_empty_group(folder, name):
                    yield foreign(name)


def foreign(name: str) -> Finding:
    """A file of no store: nobody vouches for it, so it is never removed."""
    what = "it is not a file of this store, and nothing reads it"
    return Finding(Kind.FOREIGN, name, what, BY_HAND)


def _is_in_array(name: str, arrays: Collection[str]) -> bool:
    """Whether a file is in the folder of an array, or below it."""
    parts = name.split("/")
    # The name of an array has three parts or more: `clips.zarr/test/frames`.
    return any("/".join(parts[:depth]) in arrays for depth in range(3, len(parts)))


def _is_empty_group(folder: StoreFolder, name: str) -> bool:
    """Whether it is of a group without arrays: they were removed, or their run was killed before it made them."""
    try:
        return folder.read(name) == GROUP_METADATA
    except StoreMissingError:
        # It was listed, and has been removed since: nothing is left to report.
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
        CHANGED,
        f"nothing depends on it: {REMOVE}" if is_run else f"{REMOVE}, and {REBUILD_FAILURES}",
        repair=Repair((name,)),
    )


def _withdrawn(folder: StoreFolder, name: str, listed: Collection[str]) -> Finding:
    """A record that was kept aside. The next run reuses its valid clips, so only useless ones are removed."""
    try:
        CommitRecord.from_bytes(folder.read(name), name)
    except (StoreFormatError, StoreMissingError):
        return leftover(name, "a record that was kept aside, and is damaged")
    if name.replace(WITHDRAWN_FOLDER, "commits", 1) in listed:
        return leftover(name, "a record that was kept aside while its shard was rewritten, which has ended")
    what = "a record kept aside of a shard that was being rewritten: its valid clips will be kept"
    return Finding(Kind.LEFTOVER, name, what, PREPROCESS_AGAIN)


def leftover(name: str, what: str) -> Finding:
    """A file of a run that has ended."""
    remedy = "the next run that writes into the store removes it, and so does `fda verify --repair`"
    return Finding(Kind.LEFTOVER, name, what, remedy, repair=Repair((name,)))
