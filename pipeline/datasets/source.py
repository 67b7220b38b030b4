"""Reading a data set as its user describes it, and comparing it with what is published."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.datasets.options import AUTO, SourceOptions
from pipeline.datasets.published import published_of
from pipeline.datasets.read import Recognised, read_dataset, recognise_layout
from pipeline.datasets.records import CaptionUnit, Dataset, DatasetError, as_paragraphs
from pipeline.datasets.report import DatasetReport, SplitReport, report_on
from pipeline.run.words import plural


@dataclass(frozen=True, slots=True)
class ReadSource:
    """A data set that was read, and what was found."""

    source: Path
    recognised: Recognised
    dataset: Dataset
    report: DatasetReport

    def summary(self) -> Iterator[str]:
        """How it was read, and how large it is, in sentences. Warnings are in the report."""
        yield f"{self.source} is read as {self.recognised.layout}: {self.recognised.why}"
        report = self.report
        by = f", by the splits {report.protocol_split}" if report.protocol_split else ""
        unit = ", one paragraph a video" if report.caption_unit is CaptionUnit.PARAGRAPH else ""
        splits = "; ".join(f"{one.split} {_counts(one)}" for one in report.splits)
        yield f"data set {report.name}{by}{unit}: {splits}"


def read_source(source: Path, options: SourceOptions) -> ReadSource:
    """Read a data set, and compare it with what is published of it.

    Raises:
        DatasetError: It cannot be read. If its layout was recognised by its files, the message names these.
    """
    is_auto = options.layout == AUTO
    recognised = recognise_layout(source) if is_auto else Recognised(options.layout, "--dataset says so")
    given = {
        "path_key": options.path_key,
        "protocol_split": options.protocol_split,
        "extract_to": options.extract_to,
    }
    try:
        dataset = read_dataset(recognised.layout, source, options.videos, **given)
    except DatasetError as error:
        if not is_auto or not source.is_dir():
            raise
        why = f"it is read as {recognised.layout} because {recognised.why}; --dataset names another layout"
        raise DatasetError(f"{error} ({why})") from error
    if options.paragraphs:
        dataset = as_paragraphs(dataset)
    report = report_on(dataset, published_of(recognised.layout, dataset.protocol_split))
    return ReadSource(source, recognised, dataset, report)


def _counts(one: SplitReport) -> str:
    """How much of a split was found.

    >>> _counts(SplitReport("test", 2, 5, 3, None, (), 0, 0))
    '2 of 3 videos, 5 captions'
    """

    def of(number: int, expected: int | None, noun: str) -> str:
        return plural(number, noun) if expected is None else f"{number:,} of {plural(expected, noun)}"

    videos = of(one.num_videos, one.expected_videos, "video")
    captions = of(one.num_captions, one.expected_captions, "caption")
    return f"{videos}, {captions}"
