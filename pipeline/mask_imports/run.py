"""`fda import-masks`, as one function: files of masks, one a video, into a store as a mask set."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from pipeline.errors import InputError
from pipeline.mask_imports.files import mask_file_name
from pipeline.mask_imports.options import MaskImportOptions, Missing
from pipeline.mask_imports.shard import MaskImportTask, import_shard
from pipeline.masks.pending import MaskRun, MasksResult, mask_memory
from pipeline.masks.stored import check_origin
from pipeline.run.events import Listener, Phase, Reporter, ignore_events
from pipeline.run.fields import check_kinds
from pipeline.run.options import HERE, RunOptions
from pipeline.run.overwriting import announce, confirm_stale
from pipeline.run.partition import WHOLE
from pipeline.run.records import RunClock
from pipeline.run.words import listed, plural
from pipeline.run.writing import Job, claim_on
from pipeline.workers.place import check_place
from store.clips.mask_sets import mask_set_files
from store.clips.shards import create_mask_arrays
from store.completion import committed_of_each, require_committed_of_each
from store.errors import StoreMismatchError
from store.inventory import features_from_masks
from store.names import check_name
from store.own_files import remove_own
from store.stages import FRAMES_STAGE, masks_stage
from store.store import Store


def import_masks(
    store: str | PathLike[str],
    folder: str | PathLike[str],
    name: str,
    options: MaskImportOptions | None = None,
    *,
    run: RunOptions = HERE,
    listener: Listener = ignore_events,
) -> MasksResult:
    """Take masks of any origin into a store, as a mask set like any other.

    `folder` has one file a video, `VIDEO_ID.npz`, with the masks of all its frames or of some: see
    `pipeline.mask_imports.files`. They go through the same geometry as the frames: short side to the size of the
    stored frames, centre crop. Killed and called again, it continues where it was.

    Args:
        store: A folder, or `s3://bucket/prefix`.
        folder: Of the files; a local one.
        name: Of the mask set.
        options: How they are read.
        run: Where the work is done.
        listener: Hears how far the run is.

    Raises:
        InputError: A video has no file, or one that cannot be used; the message names it. What is committed is kept.
        StoreMismatchError: Masks of this name were computed, or imported otherwise or from other files.
        ShardIncompleteError: Some shard has no frames yet.
        StoreBusyError: Another run writes the same.
        UnconfirmedError: `run.overwrite` would make feature sets out of date, and `run.yes` is not set.
    """
    options, clock, report = options or MaskImportOptions(), RunClock(), Reporter(listener)
    check_kinds(options=(options, MaskImportOptions), run=(run, RunOptions))
    check_name("mask set", name)
    source = Path(folder).absolute()
    if not source.is_dir():
        raise InputError(f"{folder} is not a folder: give one with a file VIDEO_ID.npz for each video")
    opened = Store.open(store)
    check_place(run, mask_memory(opened))
    asked_for = {"name": name, "source": str(source), **options.identity()}
    job = Job("import-masks", [masks_stage(name)], options.identity(), asked_for)
    with claim_on(opened.folder, job, run, report) as store_folder:
        claimed = Store.open(store_folder)
        _check_files(claimed, source, options, run, report)
        if run.overwrite:
            confirm_stale(features_from_masks(claimed, [name]), name, report, yes=run.yes)
            announce(mask_set_files(claimed, name), claimed.place, report, yes=run.yes)
            remove_own(claimed.folder, mask_set_files(claimed, name))
        # Under the claim, and after what --overwrite removes: no other run can make such a set in between.
        check_origin(claimed, name, is_imported=True)
        made_by = {"options": options.identity()}
        create_mask_arrays(claimed, name, made_by, soft=options.soft, command="fda import-masks")
        _check_same_files(claimed, source, name, run)
        mask_run = MaskRun(claimed, name, job, run, clock, report)
        return mask_run.make(import_shard, lambda shard: MaskImportTask(claimed.folder, shard, name, source, options))


def _check_files(store: Store, source: Path, options: MaskImportOptions, run: RunOptions, report: Reporter) -> None:
    """Refuse videos without a file, unless they may be empty, before anything is written; name files without a video.

    Raises:
        InputError: There are some.
        ShardIncompleteError: Some shard has no frames.
    """
    # One listing, instead of a question for each video.
    there = {path.name for path in source.iterdir() if path.suffix == ".npz"}
    shards = run.partition.take(store.all_shards())
    phase = Phase("records", len(shards), report.hear)
    wanted: dict[str, str] = {}
    for _, (record,) in phase.each(require_committed_of_each(store, shards, [FRAMES_STAGE])):
        wanted |= {mask_file_name(one.video_id): one.video_id for one in record.outcomes if one.filled}
    if wanted and not there & wanted.keys():
        example = next(iter(wanted))
        raise InputError(f"{source} has no file of any video of {store.place}: the first would be {example!r}")
    missing = [video_id for file, video_id in wanted.items() if file not in there]
    if missing and options.missing is Missing.REFUSE:
        raise InputError(
            f"{source} has no masks of {plural(len(missing), 'video')} ({listed(missing)}): add the files, such as "
            f"{mask_file_name(missing[0])!r}, or give --missing empty to take them as still"
        )
    if missing:
        report.warn(f"{plural(len(missing), 'video')} without a file get empty masks: {listed(missing)}")
    others = sorted(there - wanted.keys())
    # Part of a store: files of the other parts are no mistake.
    if others and run.partition == WHOLE:
        report.say(f"{plural(len(others), 'file')} of {source} are of no video of the store: {listed(others)}")


def _check_same_files(store: Store, source: Path, name: str, run: RunOptions) -> None:
    """Refuse to go on from other files than those that were imported: their sizes differ.

    Raises:
        StoreMismatchError: See above.
    """
    for _, (record,) in committed_of_each(store, run.partition.take(store.all_shards()), [masks_stage(name)]):
        for outcome in () if record is None else record.outcomes:
            path = source / mask_file_name(outcome.video_id)
            # A file that is gone is no contradiction: its masks are in the store already.
            if not outcome.filled or not path.is_file() or outcome.source_bytes == path.stat().st_size:
                continue
            was = "no file" if outcome.source_bytes is None else f"a file of {outcome.source_bytes:,} bytes"
            raise StoreMismatchError(
                f"masks {name!r} of video {outcome.video_id!r} were made from {was}, and {path} has "
                f"{path.stat().st_size:,}: give these masks another name, or rebuild them with --overwrite"
            )
