"""`fda status`, `verify`, `finalise` and `remove`, as one function each."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from os import PathLike

from pipeline.run.events import ItemsDone, Listener, Reporter, RunPlanned, ignore_events
from pipeline.run.options import RunOptions
from pipeline.run.records import RunClock
from pipeline.run.writing import Job, claim_on, recorded
from pipeline.upkeep.finalise import Finalised
from pipeline.upkeep.finalise import finalise as finalise_store
from pipeline.upkeep.options import RemoveOptions
from pipeline.upkeep.removal import Removal, find_removal
from pipeline.upkeep.removal import remove as remove_from
from pipeline.upkeep.status import SplitStatus, StoreStatus, store_status
from store.claims.claim import Claim
from store.claims.holding import ANY_STAGE, claims_on
from store.failures import FAILURES_NAME
from store.json_values import JSON
from store.places.opening import folder_at
from store.stages import FRAMES_STAGE
from store.store import Manifest, Store
from store.verify.catalog import read_manifest
from store.verify.rest import leftover
from store.verify.verification import Verification
from store.verify.verification import repair as repair_store
from store.verify.verification import verify as verify_store


@dataclass(frozen=True, slots=True)
class StatusResult:
    """What a store holds, what is pending, and who is writing into it."""

    store: str
    manifest: Manifest
    status: StoreStatus
    claims: tuple[Claim, ...]
    """Of the runs that are writing now."""

    def to_dict(self) -> dict[str, JSON]:
        """The result as JSON."""
        manifest, status = self.manifest, self.status
        return {
            "store": self.store,
            "dataset": dict(manifest.dataset),
            "num_bytes": status.num_bytes,
            "frame_codec": manifest.frame_codec,
            "neighbours": manifest.neighbours,
            "shard_size": manifest.shard_size,
            "options": dict(manifest.options),
            "splits": {split.split: _split_dict(split) for split in status.splits},
            "failures": [dict(asdict(one)) for one in status.failures],
            "pending": [dict(asdict(one)) for one in status.pending],
            "damaged": list(status.damaged),
            "runs": [run.to_dict() for run in status.runs],
            "claims": [str(claim) for claim in self.claims],
        }


@dataclass(frozen=True, slots=True)
class Repaired:
    """What `verify` with `repair` did."""

    num_removed: int
    """Files."""
    num_written: int


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """What was found in a store, file by file."""

    store: str
    found: Verification
    repaired: Repaired | None
    """None if nothing was to be repaired."""
    seconds: float

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong, or nothing is left that is wrong."""
        return all(
            finding.kind.is_harmless or (self.repaired is not None and finding.is_repairable)
            for finding in self.found.findings
        )

    def to_dict(self) -> dict[str, JSON]:
        """The result as JSON."""
        found, repaired = self.found, self.repaired
        return {
            "store": self.store,
            "num_files": found.num_files,
            "num_bytes_read": found.num_bytes_read,
            "seconds": round(self.seconds, 3),
            "num_wrong": found.num_wrong,
            "counts": {str(kind): number for kind, number in found.counts.items()},
            "pending": [
                {"split": split, "stage": stage, "num_shards": num} for (split, stage), num in found.pending.items()
            ],
            "findings": [finding.to_dict() for finding in found.findings],
            "repaired": None if repaired is None else asdict(repaired),
            "live_claims": [str(claim) for claim in found.live],
        }


@dataclass(frozen=True, slots=True)
class FinaliseResult:
    """The end of a job that was done in parts."""

    store: str
    finalised: Finalised

    @property
    def is_done(self) -> bool:
        """Whether no shard is pending."""
        return not self.finalised.pending

    def to_dict(self) -> dict[str, JSON]:
        """The result as JSON."""
        tally = self.finalised.tally
        return {
            "store": self.store,
            "num_videos": tally.num_videos,
            "num_clips": tally.num_clips,
            "num_clips_truncated": tally.num_truncated,
            "num_failed": len(tally.failures),
            "failures": FAILURES_NAME,
            "notes": [{"video_id": one.video_id, "note": one.note} for one in tally.noted],
            "num_shards": self.finalised.num_shards,
            "pending": [
                {"split": one.split, "stage": one.stage, "num_shards": one.num_shards, "num_pending": one.num_pending}
                for one in self.finalised.pending
            ],
        }


@dataclass(frozen=True, slots=True)
class RemoveResult:
    """What was removed, or would be."""

    store: str
    removal: Removal
    is_removed: bool
    """False for a preview."""

    def to_dict(self) -> dict[str, JSON]:
        """The result as JSON."""
        return {"store": self.store, "removed": self.is_removed, **self.removal.to_dict()}


def status(store: str | PathLike[str], *, listener: Listener = ignore_events) -> StatusResult:
    """What a store holds and what is pending. Reads the commit records, and no frame; changes nothing.

    Args:
        store: A folder, or `s3://bucket/prefix`.
        listener: Hears how far it is.

    Raises:
        StoreMissingError: There is no store.
        StoreFormatError: Another version made it.
    """
    opened = Store.open(store)
    # Claims last: a run that ends while the records are read is not told as one that is writing.
    return StatusResult(opened.place, opened.manifest, store_status(opened, listener), claims_on(opened.folder))


def verify(
    store: str | PathLike[str],
    *,
    quick: bool = False,
    repair: bool = False,
    wait: bool = False,
    listener: Listener = ignore_events,
) -> VerifyResult:
    """Compare every file of a store with its checksum.

    Args:
        store: A folder, or `s3://bucket/prefix`.
        quick: Look at names, sizes, records and metadata, and read no data.
        repair: Remove what is damaged and can be rebuilt: commit records first, then their data.
        wait: With `repair`, wait for other runs. Default: raise `StoreBusyError`.
        listener: Hears how far it is.

    Raises:
        StoreMissingError: There is no store.
        StoreFormatError: Another version made it.
        StoreBusyError: With `repair`: another run is writing.
    """
    folder, began, report = folder_at(store), time.perf_counter(), Reporter(listener)
    repaired: Repaired | None = None
    if repair:
        read_manifest(folder)  # so that nothing is claimed where there is no store
    job = Job("verify", [ANY_STAGE])
    removed: list[str] = []  # to take the claim removes what dead runs left: that is counted as well
    claim = claim_on(folder, job, RunOptions(wait=wait), report, removed.extend) if repair else nullcontext(folder)
    with claim as held:
        found = verify_store(held, is_quick=quick, listener=_as_events(listener))
        counts = repair_store(held, found.findings) if repair else None
    if counts is not None:
        leftovers = tuple(leftover(name, "a file of a run that has ended, or was killed") for name in removed)
        found = replace(found, findings=(*found.findings, *leftovers))
        repaired = Repaired(counts[0] + len(removed), counts[1])
    return VerifyResult(folder.place, found, repaired, time.perf_counter() - began)


def finalise(store: str | PathLike[str], *, wait: bool = False, listener: Listener = ignore_events) -> FinaliseResult:
    """End a job that was done in parts: find what is pending, and write the table of failed videos if nothing is.

    Args:
        store: A folder, or `s3://bucket/prefix`.
        wait: Wait for other runs. Default: raise `StoreBusyError`.
        listener: Hears how far it is.

    Raises:
        StoreMissingError: There is no store.
        StoreBusyError: A part is still running.
    """
    clock, report, folder = RunClock(), Reporter(listener), folder_at(store)
    Store.open(folder)  # so that nothing is claimed where there is no store
    job = Job("finalise", [FRAMES_STAGE], recorded={})
    with claim_on(folder, job, RunOptions(wait=wait), report) as claimed, recorded(claimed, job, clock) as record:
        result = FinaliseResult(folder.place, finalise_store(Store.open(claimed), listener))
        record.result = result.to_dict()
    return result


def remove(
    store: str | PathLike[str],
    options: RemoveOptions,
    *,
    preview: bool = False,
    wait: bool = False,
    listener: Listener = ignore_events,
) -> RemoveResult:
    """Remove mask sets, feature sets or splits from a store.

    Commit records go first, so that nothing half-removed counts. Killed and called again, it ends what it began.

    Args:
        store: A folder, or `s3://bucket/prefix`.
        options: What to remove.
        preview: Find what would be removed, and remove nothing.
        wait: Wait for other runs. Default: raise `StoreBusyError`.
        listener: Hears how far it is.

    Raises:
        NotInStoreError: There is nothing of that name.
        StoreBusyError: Another run is writing.
        InputError: No split would be left.
    """
    opened, report = Store.open(store), Reporter(listener)
    names: Mapping[str, tuple[str, ...]] = asdict(options)
    if preview:
        return RemoveResult(opened.place, find_removal(opened, **names), is_removed=False)
    with claim_on(opened.folder, Job("remove", [ANY_STAGE]), RunOptions(wait=wait), report) as folder:
        claimed = Store.open(folder)
        # Under the claim: what another run wrote before it ended is found as well.
        removal = find_removal(claimed, **names)
        remove_from(claimed, removal, listener)
    return RemoveResult(opened.place, removal, is_removed=True)


def _as_events(listener: Listener) -> Callable[[int, int], None]:
    """Counts of shards, as the events of a run."""

    def heard(num_done: int, num_shards: int) -> None:
        if num_done == 1:
            listener(RunPlanned("shards", num_shards, 0))
        listener(ItemsDone(1))

    return heard


def _split_dict(split: SplitStatus) -> dict[str, JSON]:
    return {
        "num_videos": split.num_videos,
        "num_captions": split.num_captions,
        "num_frames": split.num_frames,
        "stages": {
            stage.stage: {
                "num_shards": stage.num_shards,
                "num_done": stage.num_done,
                "num_pending": stage.num_shards - stage.num_done,
                "outcomes": dict(stage.outcomes),
                "num_filled": stage.num_filled,
                "num_truncated": stage.num_truncated,
                "num_bytes": stage.num_bytes,
                "bytes_per_video": stage.bytes_per_video,
                "masks": None if stage.masks is None else stage.masks.to_dict(),
            }
            for stage in split.stages
        },
        "features": {
            one.name: {
                "state": one.state,
                "num_shards": one.num_shards,
                "num_current": one.num_current,
                "num_stale": one.num_stale,
                "alpha_cosine": one.alpha_cosine,
                "made_with": dict(one.made_with),
            }
            for one in split.features
        },
    }
