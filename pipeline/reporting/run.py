"""`fda report`, as one function: everything that a store shows, on one page to share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from os import PathLike
from pathlib import Path

from pipeline.pages.environment import write_page
from pipeline.reporting.options import ReportOptions
from pipeline.reporting.page import Page, Section
from pipeline.reporting.scoring import WRONG
from pipeline.reporting.sections.comparison import comparison_section
from pipeline.reporting.sections.contents import contents_section
from pipeline.reporting.sections.duplicates import duplicates_section
from pipeline.reporting.sections.experiments import experiment_folders, experiments_section
from pipeline.reporting.sections.failures import failures_section
from pipeline.reporting.sections.making import making_section
from pipeline.reporting.sections.masks import masks_section
from pipeline.reporting.sections.retrieval import retrieval_section
from pipeline.reporting.sections.retrieved import retrieved_section
from pipeline.reporting.sections.slices import slices_section
from pipeline.reporting.sections.summary import summary_section
from pipeline.reporting.subject import Subject, subject_of
from pipeline.run.events import Listener, Reporter, ignore_events
from pipeline.run.fields import check_kinds
from pipeline.run.files import check_writable
from pipeline.run.records import RunClock
from store.json_values import JSON
from store.store import Store

_IN_ORDER: Mapping[str, Callable[[Subject], Section | None]] = {
    "retrieval": retrieval_section,
    "comparison": comparison_section,
    "example retrievals": retrieved_section,
    "slices": slices_section,
    "experiments": experiments_section,
    "contents": contents_section,
    "masks": masks_section,
    "failed videos": failures_section,
    "duplicates": duplicates_section,
    "how it was made": making_section,
}
_OF_STATUS = ("masks", "failed videos")
"""Sections that say nothing where the commit records cannot be read."""


@dataclass(frozen=True, slots=True)
class ReportResult:
    """The page that was written."""

    store: str
    page: Path
    num_bytes: int
    sections: tuple[str, ...]
    """Their titles, in order."""
    num_sets_scored: int
    """Feature sets, over all splits."""
    seconds: float
    warnings: tuple[str, ...]
    """What the page cannot show, and why; it says so itself."""

    def to_dict(self) -> dict[str, JSON]:
        """The result as JSON."""
        return {
            "store": self.store,
            "page": str(self.page.absolute()),
            "num_bytes": self.num_bytes,
            "sections": list(self.sections),
            "num_sets_scored": self.num_sets_scored,
            "seconds": round(self.seconds, 3),
            "warnings": list(self.warnings),
        }


def report(
    store: str | PathLike[str],
    output: str | PathLike[str],
    options: ReportOptions | None = None,
    *,
    leading: Sequence[Section] = (),
    listener: Listener = ignore_events,
) -> ReportResult:
    """Write one HTML file with everything that a store can tell; it reads the store and changes nothing there.

    The same store gives the same bytes: no clock time of its own is in the page. What is missing or damaged becomes a
    sentence in the page, and a warning in the result.

    Args:
        store: A folder, or `s3://bucket/prefix`.
        output: The file.
        options: What goes into the page.
        leading: Sections that come first.
        listener: Hears how far it is.

    Raises:
        StoreMissingError: There is no store.
        StoreFormatError: Another version made it.
        NotInStoreError: The options name a split or feature set that it does not have, or no feature set of the splits
            that they name.
        FileExistsError: The file exists, and `overwrite` is not set.
        InputError: The file would lie in the store, or there is no experiment in `options.experiments`.
    """
    clock, options, told, path = RunClock(), options or ReportOptions(), Reporter(listener), Path(output)
    check_kinds(options=(options, ReportOptions))
    opened = Store.open(store)
    check_writable(path, opened.place, overwrite=options.overwrite)
    experiment_folders(opened.place, options.experiments)  # refuses a folder without any, before minutes of scoring
    subject = subject_of(opened, options, told)
    sections = tuple(_sections(subject, leading))
    page = Page(subject.title, opened.place, sections, f"fda {version('fda')}")
    html = page.html()
    write_page(path, html)
    return ReportResult(
        store=opened.place,
        page=path,
        num_bytes=len(html.encode()),
        sections=tuple(section.title for section in sections),
        num_sets_scored=sum(len(split.sets) for split in subject.scores.splits),
        seconds=clock.seconds,
        warnings=told.warnings,
    )


def _sections(subject: Subject, leading: Sequence[Section]) -> Iterator[Section]:
    subject.report.say("drawing the page")
    made = []
    for name, make in _IN_ORDER.items():
        if subject.status is None and name in _OF_STATUS:
            continue
        try:
            section = make(subject)
        # One section that fails does not cost the page, whose scores took minutes.
        except WRONG as error:
            subject.report.warn(f"the section on {name} is missing: {error}")
        else:
            made += [section] if section is not None else []
    yield from (*leading, summary_section(subject), *made)
