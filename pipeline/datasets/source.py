"""Reading a data set as its user describes it, and comparing it with what is published."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.datasets.options import AUTO, SourceOptions
from pipeline.datasets.published import published_of
from pipeline.datasets.read import Recognised, read_dataset, recognise_layout
from pipeline.datasets.reading.files import first_few
from pipeline.datasets.records import CaptionUnit, Dataset, DatasetError, as_paragraphs
from pipeline.datasets.report import DatasetReport, SplitReport, report_on, splits_in_other_case
from pipeline.datasets.splitting import DEFAULT_SPLIT, EXAMPLE, split_by_hash
from pipeline.run.words import plural

MANY = 50
"""Videos: of so many, some may be meant to be trained on."""


@dataclass(frozen=True, slots=True)
class ReadSource:
    """A data set that was read, and what was found."""

    source: Path
    recognised: Recognised
    dataset: Dataset
    report: DatasetReport
    options: SourceOptions

    @property
    def is_elsewhere(self) -> bool:
        """Whether the paths of a manifest lead out of its folder, and nobody named the folder that they lie in."""
        is_named = self.options.videos is not None or not self.source.is_file()
        return not is_named and self.dataset.root != self.source.parent.absolute()

    def summary(self) -> Iterator[str]:
        """How it was read, and how large it is, in sentences. Warnings are in the report."""
        yield f"{self.source} is read as {self.recognised.layout}: {self.recognised.why}"
        if self.is_elsewhere:
            yield (
                f"its paths are absolute: videos are taken from {self.dataset.root} (name another folder with "
                "--videos; no path leaves that)"
            )
        report = self.report
        by = f", by the splits {report.protocol_split}" if report.protocol_split else ""
        unit = ", one paragraph a video" if report.caption_unit is CaptionUnit.PARAGRAPH else ""
        splits = "; ".join(f"{one.split} {_counts(one)}" for one in report.splits)
        yield f"data set {report.name}{by}{unit}: {splits}"
        if [one.split for one in report.splits] == [DEFAULT_SPLIT] and report.splits[0].num_videos >= MANY:
            yield (
                f"all are in the split {DEFAULT_SPLIT!r}: to train on a part of them, name splits in the data set or "
                f"give --split-by-hash {EXAMPLE}, before they are decoded"
            )


def read_source(source: Path, options: SourceOptions) -> ReadSource:
    """Read a data set, and compare it with what is published of it.

    Raises:
        DatasetError: It cannot be read. If its layout was recognised by its files, the message names these.
    """
    try:
        recognised, dataset = _read(source, options)
    except OSError as error:  # no permission, a disk that fails
        raise DatasetError(f"{source} cannot be read: {error.strerror}: {error.filename}") from error
    if options.paragraphs:
        dataset = as_paragraphs(dataset)
    if options.split_by_hash is not None:
        # After the paragraphs and before the checks, which tell of the splits that the store will have.
        dataset = split_by_hash(dataset, options.split_by_hash)
    _check(dataset, options)
    report = report_on(dataset, published_of(recognised.layout, dataset.protocol_split))
    return ReadSource(source, recognised, dataset, report, options)


def _read(source: Path, options: SourceOptions) -> tuple[Recognised, Dataset]:
    is_auto = options.layout == AUTO
    recognised = recognise_layout(source) if is_auto else Recognised(options.layout, "--dataset says so")
    names = ("id_key", "path_key", "caption_key", "protocol_split", "extract_to")
    given = {name: getattr(options, name) for name in names}
    try:
        return recognised, read_dataset(recognised.layout, source, options.videos, **given)
    except DatasetError as error:
        if not is_auto or not source.is_dir():
            raise
        why = f"it is read as {recognised.layout} because {recognised.why}; --dataset names another layout"
        raise DatasetError(f"{error} ({why})") from error


def _check(dataset: Dataset, options: SourceOptions) -> None:
    """Refuse what the options say that must not be in a data set."""
    bare = [video.video_id for video in dataset.videos if not video.captions] if options.require_captions else []
    if bare:
        have = "has" if len(bare) == 1 else "have"
        raise DatasetError(
            f"{len(bare):,} of {plural(len(dataset.videos), 'video')} of data set {dataset.name!r} {have} no caption: "
            f"{first_few(bare)}. Leave --require-captions out to keep them"
        )
    if options.strict:
        refuse_mistakes(dataset.name, [*dataset.likely_mistakes, *splits_in_other_case(dataset)])


def refuse_mistakes(name: str, mistakes: Sequence[str]) -> None:
    """Refuse a data set if there are likely mistakes.

    Raises:
        DatasetError: There are some; it names all.
    """
    if mistakes:
        raise DatasetError(
            f"data set {name!r} is refused: {'; '.join(mistakes)}. Leave --strict out to be warned of it alone"
        )


def _counts(one: SplitReport) -> str:
    """How much of a split was found.

    >>> _counts(SplitReport("test", 2, 5, 3, None, (), 0, (), 0, (), 0))
    '2 of 3 videos, 5 captions'
    """

    def of(number: int, expected: int | None, noun: str) -> str:
        return plural(number, noun) if expected is None else f"{number:,} of {plural(expected, noun)}"

    videos = of(one.num_videos, one.expected_videos, "video")
    captions = of(one.num_captions, one.expected_captions, "caption")
    return f"{videos}, {captions}"
