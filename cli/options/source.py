"""The options by which `fda preprocess` reads a data set, and what it says of it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click

from cli.output.printing import plural, say
from pipeline.datasets.layouts.msrvtt import PROTOCOL_SPLITS
from pipeline.datasets.published import published_of
from pipeline.datasets.read import LAYOUTS, Recognised, read_dataset, recognise_layout
from pipeline.datasets.records import CaptionUnit, Dataset, DatasetError, as_paragraphs
from pipeline.datasets.report import DatasetReport, SplitReport, report_on

AUTO = "auto"

_OPTIONS = (
    click.option(
        "--dataset",
        "layout",
        type=click.Choice([AUTO, *LAYOUTS]),
        default=AUTO,
        show_default=True,
        help="How SOURCE is laid out; auto tells by the names of its files, and says so.",
    ),
    click.option(
        "--videos",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        help="Folder of the videos, where it is not that of SOURCE.",
    ),
    click.option("--path-key", metavar="KEY", help="jsonl: the key of a video's path.  [default: path]"),
    click.option(
        "--protocol-split",
        type=click.Choice(list(PROTOCOL_SPLITS)),
        help="msrvtt: by which of its published splits.  [default: the only one that the files are there for]",
    ),
    click.option(
        "--extract-to",
        type=click.Path(file_okay=False, path_type=Path),
        help="video2dataset: take the videos out of their tars into this folder, from which they are decoded.",
    ),
    click.option(
        "--paragraphs", is_flag=True, help="Join all captions of a video into one text: a query is then a paragraph."
    ),
)


@dataclass(frozen=True, slots=True)
class ReadSource:
    """A data set that was read, and what was found."""

    source: Path
    recognised: Recognised
    dataset: Dataset
    report: DatasetReport

    def say(self) -> None:
        """Tell how it was read, how large it is, and what to beware of."""
        say(f"{self.source} is read as {self.recognised.layout}: {self.recognised.why}")
        report = self.report
        by = f", by the splits {report.protocol_split}" if report.protocol_split else ""
        unit = ", one paragraph a video" if report.caption_unit is CaptionUnit.PARAGRAPH else ""
        splits = "; ".join(f"{one.split} {_counts(one)}" for one in report.splits)
        say(f"data set {report.name}{by}{unit}: {splits}")
        for warning in report.warnings:
            say(f"warning: {warning}")


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """How a data set is read."""

    layout: str
    """A key of `LAYOUTS`, or `AUTO`."""
    videos: Path | None
    path_key: str | None
    protocol_split: str | None
    extract_to: Path | None
    paragraphs: bool

    def read(self, source: Path) -> ReadSource:
        """Read a data set, and hold it against what is published of it.

        Raises:
            DatasetError: It cannot be read; where the layout of a folder was told by its files, the message says by
                which.
        """
        is_auto = self.layout == AUTO
        recognised = recognise_layout(source) if is_auto else Recognised(self.layout, "--dataset says so")
        given = {"path_key": self.path_key, "protocol_split": self.protocol_split, "extract_to": self.extract_to}
        try:
            dataset = read_dataset(recognised.layout, source, self.videos, **given)
        except DatasetError as error:
            if not is_auto or not source.is_dir():
                raise
            told = f"it is read as {recognised.layout} because {recognised.why}; --dataset names another layout"
            raise DatasetError(f"{error} ({told})") from error
        if self.paragraphs:
            dataset = as_paragraphs(dataset)
        report = report_on(dataset, published_of(recognised.layout, dataset.protocol_split))
        return ReadSource(source, recognised, dataset, report)


def source_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add the flags that make up `SourceOptions`, and hand them on as that one value, `how`."""

    @functools.wraps(function)
    def with_options(
        *,
        layout: str,
        videos: Path | None,
        path_key: str | None,
        protocol_split: str | None,
        extract_to: Path | None,
        paragraphs: bool,
        **others: object,
    ) -> None:
        how = SourceOptions(layout, videos, path_key, protocol_split, extract_to, paragraphs)
        function(how=how, **others)

    for option in reversed(_OPTIONS):
        with_options = option(with_options)
    return with_options


def _counts(one: SplitReport) -> str:
    """How much of a split is there.

    >>> _counts(SplitReport("test", 2, 5, 3, None, (), 0, 0))
    '2 of 3 videos, 5 captions'
    """

    def of(number: int, expected: int | None, noun: str) -> str:
        return plural(number, noun) if expected is None else f"{number:,} of {plural(expected, noun)}"

    videos, captions = (
        of(one.num_videos, one.expected_videos, "video"),
        of(one.num_captions, one.expected_captions, "caption"),
    )
    return f"{videos}, {captions}"
