"""`fda masks`, as one function: another mask set from stored frames, without decoding."""

from __future__ import annotations

from dataclasses import replace
from os import PathLike

from pipeline.errors import OptionError
from pipeline.masks.mask_sets import MaskTask, create_mask_set, mask_shard
from pipeline.masks.options import MaskOptions
from pipeline.masks.overlap import mask_overlap
from pipeline.masks.pending import MaskRun, MasksResult, mask_memory
from pipeline.run.events import Listener, Reporter, ignore_events
from pipeline.run.fields import check_kinds
from pipeline.run.options import HERE, RunOptions
from pipeline.run.overwriting import announce, confirm_stale
from pipeline.run.partition import WHOLE
from pipeline.run.records import RunClock
from pipeline.run.software import FRAME_SOFTWARE, software_versions
from pipeline.run.writing import Job, claim_on
from pipeline.workers.place import check_place
from store.clips.mask_sets import mask_set_files, mask_set_names
from store.errors import NotInStoreError
from store.inventory import features_from_masks
from store.names import check_name
from store.stages import masks_stage
from store.store import Store


def make_masks(
    store: str | PathLike[str],
    name: str,
    options: MaskOptions | None = None,
    *,
    against: str | None = None,
    run: RunOptions = HERE,
    listener: Listener = ignore_events,
) -> MasksResult:
    """Make a mask set from the frames of a store. Killed and called again, it continues where it was.

    Args:
        store: A folder, or `s3://bucket/prefix`.
        name: Of the mask set.
        options: What makes a mask. Default: the paper's.
        against: A mask set, such as imported truth, with which the masks are compared.
        run: Where the work is done.
        listener: Hears how far the run is.

    Raises:
        OptionError: An option would change nothing, or `against` is given for a part of the shards.
        StoreMismatchError: Masks of this name were made with other options; the message names both values.
        ShardIncompleteError: Some shard has no frames yet.
        NotInStoreError: `difference="consecutive"`, and the store has no neighbours; or it has no masks `against`.
        StoreBusyError: Another run writes the same.
        UnconfirmedError: `run.overwrite` would make feature sets out of date, and `run.yes` is not set.
    """
    options, clock, report = options or MaskOptions(), RunClock(), Reporter(listener)
    check_kinds(options=(options, MaskOptions), run=(run, RunOptions))
    options.check_used()
    check_name("mask set", name)
    opened = Store.open(store)
    # Before the claim: a place of work that cannot be leaves no trace in the store.
    check_place(run, mask_memory(opened))
    if against is not None:
        _check_reference(opened, against, run)
    asked_for = {"name": name, **options.identity(), "software": dict(software_versions(FRAME_SOFTWARE))}
    job = Job("masks", [masks_stage(name)], options.identity(), asked_for)
    with claim_on(opened.folder, job, run, report) as folder:
        # Opened again, under the claim: another run may have changed the store since it was looked at.
        claimed = Store.open(folder)
        if run.overwrite:
            confirm_stale(features_from_masks(claimed, [name]), name, report, yes=run.yes)
            announce(mask_set_files(claimed, name), claimed.place, report, yes=run.yes)
        create_mask_set(claimed, name, options, overwrite=run.overwrite)
        mask_run = MaskRun(claimed, name, job, run, clock, report)
        result = mask_run.make(mask_shard, lambda shard: MaskTask(claimed.folder, shard, name, options))
    if against is None:
        return result
    # `mask_overlap` refuses a split without clips.
    splits = [one.split for one in result.splits if one.num_videos_masked]
    return replace(result, overlaps=tuple(mask_overlap(opened.place, name, against, split) for split in splits))


def _check_reference(store: Store, against: str, run: RunOptions) -> None:
    """Refuse a reference that is not there, before masks are made."""
    if run.partition != WHOLE:
        raise OptionError("--against compares whole splits, and --partition makes a part of them: give one of the two")
    names = mask_set_names(store)
    if against not in names:
        there = ", ".join(map(repr, names)) or "none"
        raise NotInStoreError(f"no masks {against!r} in {store.place} to compare with: there are {there}")
