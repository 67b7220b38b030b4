"""`fda export`, as one function."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import TypeVar

from pipeline.errors import InputError
from pipeline.exporting.croissant import CROISSANT_FILE, croissant
from pipeline.exporting.formats.table import writer_of
from pipeline.exporting.options import ExportFormat, ExportOptions
from pipeline.exporting.place import check_free, check_out, exporting_to
from pipeline.exporting.source import Selected
from pipeline.exporting.writer import FormatWriter
from pipeline.run.events import ItemsDone, Listener, Reporter, RunPlanned, ignore_events
from pipeline.run.fields import check_kinds
from pipeline.run.records import RunClock
from pipeline.run.software import software_versions
from pipeline.run.words import plural
from store.features import feature_names
from store.json_values import JSON
from store.store import Store

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class SplitExported:
    """What was exported of one split."""

    split: str
    num_videos: int
    """Videos in the export."""
    num_videos_left_out: int
    """Videos of the split that failed, or have no embedding: they are not in the export."""
    num_captions: int
    """Captions of the videos in the export."""


@dataclass(frozen=True, slots=True)
class ExportResult:
    """What an export wrote."""

    store: str
    out: Path
    format: ExportFormat
    features: str | None
    """Name of the feature set; None if there are no vectors in the export."""
    dim: int | None
    """Numbers of a vector."""
    masks: str | None
    """Name of the mask set; None if there is nothing of masks in the export."""
    splits: tuple[SplitExported, ...]
    num_files: int
    num_bytes: int
    seconds: float
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, JSON]:
        """The result as JSON."""
        return {
            **asdict(self),
            "out": str(self.out),
            "format": str(self.format),
            "splits": [asdict(split) for split in self.splits],
            "seconds": round(self.seconds, 3),
            "warnings": list(self.warnings),
        }


def export(
    store: str | PathLike[str],
    out: str | PathLike[str],
    options: ExportOptions,
    *,
    listener: Listener = ignore_events,
) -> ExportResult:
    """Write what is in a store into a folder, in a layout that other programs read. The store is not changed.

    The folder appears when the export is complete. Videos that failed are left out, and counted. Equal stores give
    equal bytes. Of all videos at once, no more than the catalogue is in memory.

    Args:
        store: A folder, or `s3://bucket/prefix`.
        out: A local folder that is not there yet, or is empty.
        options: What to export, and how.
        listener: Hears how far it is.

    Raises:
        OptionError: The format needs an option that is not given, or has no use for one that is; or `out` is no place
            beside the store.
        InputError: There is something else at `out`; no video can be exported; or the feature set has no embeddings of
            frames, which the format needs.
        MissingPackageError: The format needs a package that is not installed.
        NotInStoreError: There is no such split, mask set or feature set.
        ShardIncompleteError: Something that is needed is pending, or was rebuilt while it was read.
        ExportBusyError: Another export to `out` is running.
        ExportWriteError: The disk is full, read-only or failing; nothing is left at `out`.
    """
    clock, report = RunClock(), Reporter(listener)
    check_kinds(options=(options, ExportOptions))
    kind = writer_of(options)
    opened = Store.open(store)
    place = check_out(out, opened.place)
    # Early, before records are read; again under the lock, and before the move.
    check_free(place, overwrite=options.overwrite)
    splits = _splits(opened, options, report)
    others = {} if options.features else {one: None for split in splits for one in feature_names(opened, split)}
    if others and kind.parts.features:
        report.say(f"without vectors: --features {' or '.join(others)} would add them")
    selected = [Selected.of(opened, split, options, kind.parts, report) for split in splits]
    listener(RunPlanned("videos", sum(opened.layout(split).num_videos for split in splits), 0))
    with exporting_to(place, overwrite=options.overwrite) as destination:
        # Ends what is still open also after an error: a library's file would otherwise be closed after its folder is
        # gone.
        with destination.open:
            writer = kind(destination, options, selected)
            exported = tuple(_export_split(writer, one, listener) for one in selected)
            if not any(split.num_videos for split in exported):
                num = sum(split.num_videos_left_out for split in exported)
                raise InputError(
                    f"there is nothing to export: {plural(num, 'video')} failed. `fda status --failures` says why"
                )
            described = writer.finish()
        about = _about(opened, options, exported)
        destination.write(CROISSANT_FILE, croissant(str(opened.manifest.dataset["name"]), about, described))
        # Last of all: a folder with a record is a whole export.
        destination.finish(_record(opened, options, selected, exported))
    for sentence in writer.warnings():
        report.warn(sentence)
    return ExportResult(
        store=opened.place,
        out=place,
        format=options.format,
        features=selected[0].features,
        dim=_first_of(one.dim for one in selected),
        masks=_first_of(one.masks for one in selected),
        splits=exported,
        num_files=destination.num_files,
        num_bytes=destination.num_bytes,
        seconds=clock.seconds,
        warnings=report.warnings,
    )


def _first_of(values: Iterable[_T | None]) -> _T | None:
    """The first that is there: a split may lack what others have."""
    return next((one for one in values if one is not None), None)


def _splits(store: Store, options: ExportOptions, report: Reporter) -> Sequence[str]:
    """The splits that were asked for; else those that have the features."""
    every = tuple(store.manifest.splits)
    if options.splits or options.features is None:
        return options.splits or every
    found = [split for split in every if options.features in feature_names(store, split)]
    if found and len(found) < len(every):
        others = ", ".join(repr(split) for split in every if split not in found)
        report.warn(f"there are no features {options.features!r} of split {others}: left out")
    return found or every


def _export_split(writer: FormatWriter, selected: Selected, listener: Listener) -> SplitExported:
    num_videos = num_left_out = num_captions = 0
    for batch in selected.batches():
        writer.add(batch)
        num_videos += len(batch)
        num_left_out += batch.num_left_out
        num_captions += batch.captions.num_rows
        listener(ItemsDone(batch.shard.num_rows, batch.num_left_out))
    return SplitExported(selected.split, num_videos, num_left_out, num_captions)


def _about(store: Store, options: ExportOptions, exported: Sequence[SplitExported]) -> str:
    """What an export is, for people."""
    counts = "; ".join(f"{one.split}: {plural(one.num_videos, 'video')}" for one in exported)
    what = f", with embeddings {options.features!r}" if options.features is not None else ""
    return (
        f"Clips of {store.manifest.dataset['name']} ({counts}){what}, as `fda export --format {options.format}` writes"
    )


def _record(
    store: Store, options: ExportOptions, selected: Sequence[Selected], exported: Sequence[SplitExported]
) -> dict[str, JSON]:
    """What an export says of itself. No clock time, and no path of the machine: it may be passed on."""
    dataset: Mapping[str, JSON] = store.manifest.dataset
    return {
        "format": str(options.format),
        "dataset": {key: dataset[key] for key in ("name", "digest")},
        "features": options.features,
        "masks": _first_of(one.masks for one in selected),
        "splits": [asdict(split) for split in exported],
        "made_with": {one.split: one.made_with for one in selected},
        "software": dict(software_versions(("fda",))),
    }
