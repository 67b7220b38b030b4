"""`fda inspect`, as one function: a page and a contact sheet of some videos."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from encoders.options import ModelSource
from pipeline.errors import OptionError
from pipeline.inspection.attention import Attention, find_attention
from pipeline.inspection.choosing import choose, existing_masks
from pipeline.inspection.clips import InspectedClip, inspected_clips
from pipeline.inspection.facts import InspectedVideo, describe, without_many_masks
from pipeline.inspection.options import InspectFiles, InspectOptions
from pipeline.inspection.page import PageHead, write_inspection_page
from pipeline.inspection.ranks import Ranks
from pipeline.inspection.sheet import Sheet
from pipeline.run.events import ItemsDone, Listener, Reporter, RunPlanned, ignore_events
from pipeline.run.fields import check_kinds
from pipeline.run.files import check_writable
from pipeline.run.records import RunClock
from store.json_values import JSON
from store.view import StoreView, open_store


@dataclass(frozen=True, slots=True)
class InspectionResult:
    """The videos that were shown, and where."""

    store: str
    videos: tuple[InspectedVideo, ...]
    """In the order of the page."""
    page: Path | None
    sheet: Path | None
    attention: str | None
    """Which model's attention is shown; None if none is."""
    seconds: float
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, JSON]:
        """The result as JSON."""
        return {
            "store": self.store,
            "page": None if self.page is None else str(self.page.absolute()),
            "sheet": None if self.sheet is None else str(self.sheet.absolute()),
            "attention": self.attention,
            "videos": [one.to_dict() for one in self.videos],
            "seconds": round(self.seconds, 3),
            "warnings": list(self.warnings),
        }


def inspect(
    store: str | PathLike[str],
    options: InspectOptions | None = None,
    files: InspectFiles | None = None,
    *,
    model: ModelSource | None = None,
    listener: Listener = ignore_events,
) -> InspectionResult:
    """Show some videos of a store: frames, masks, attention, captions with their ranks, facts.

    Memory is bounded: a few clips at a time, whatever the number of videos.

    Args:
        store: A folder, or `s3://bucket/prefix`.
        options: Which videos, and what of them. Default: some at random.
        files: The page and the sheet to write. Default: none; facts and ranks are in the result.
        model: Whose attention is shown. Default: the model that made the features, from where its run took it.
        listener: Hears how far it is.

    Raises:
        NotInStoreError: There is no such video, split, mask set or feature set.
        ShardIncompleteError: The features are not complete.
        InputError: No video is found, another model made the features, or a file would lie in the store.
        OptionError: A model is given, and `options.attention` is false.
        FileExistsError: A file is there, and `files.overwrite` is false.
        FileNotFoundError: The folder of a file is not there.
    """
    clock, report = RunClock(), Reporter(listener)
    options, files = options or InspectOptions(), files or InspectFiles()
    check_kinds(options=(options, InspectOptions), files=(files, InspectFiles))
    if model is not None and not options.attention:
        raise OptionError("--checkpoint, or --model, is for attention, which --no-attention leaves out")
    for path in (files.page, files.sheet):
        if path is not None:
            check_writable(path, store, overwrite=files.overwrite)
    view = open_store(store)
    ranks = Ranks(view.store, options.features, report)
    masks = existing_masks(view.store, options)
    chosen = choose(view.store, options, masks, ranks, report)
    videos = describe(view.store, chosen, masks, ranks)
    videos = without_many_masks(videos, bool(options.masks), report)
    # Those up to here: what is warned of while the page is written cannot be at its head.
    notes = report.warnings
    attention = Attention(None, None, "no file is written")
    if files.page is not None or files.sheet is not None:
        if any(one.has_clip for one in videos):
            attention = find_attention(view.store, options, model, ranks, report)
        head = PageHead(view.place, videos, options.features, attention.words, attention.encoder is not None, notes)
        _write(view, head, options.num_frames, files, attention, report)
    return InspectionResult(
        store=view.place,
        videos=videos,
        page=files.page,
        sheet=files.sheet,
        attention=attention.words if attention.encoder is not None else None,
        seconds=clock.seconds,
        warnings=report.warnings,
    )


def _write(
    view: StoreView, head: PageHead, num_frames: int, files: InspectFiles, attention: Attention, report: Reporter
) -> None:
    """Show each clip on the page and on the sheet at once, so that it is read once and not kept."""
    videos = head.videos
    layouts = [view.splits[one.video.split] for one in videos]
    # Splits may have frames of other sizes; a card has room for the widest.
    proportion = max(layout.width / layout.height for layout in layouts)
    sheet = None if files.sheet is None else Sheet(view.place, len(videos), proportion)
    report.listener(RunPlanned("videos", len(videos), 0))

    def shown() -> Iterator[InspectedClip]:
        for clip in inspected_clips(view, videos, num_frames, attention, report):
            if sheet is not None:
                sheet.add(clip)
            yield clip
            report.listener(ItemsDone(1))

    if files.page is not None:
        write_inspection_page(files.page, head, shown(), report)
    else:
        for _ in shown():
            pass
    if sheet is not None and files.sheet is not None:
        sheet.write(files.sheet, report)
