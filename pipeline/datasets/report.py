"""What to know about a data set before it is decoded: counts against the published ones, leaks, unavoidable ties."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import asdict, dataclass

from pipeline.datasets.packed import common_hashes, repeated_hashes
from pipeline.datasets.published import Published
from pipeline.datasets.reading.files import first_few
from pipeline.datasets.records import CaptionUnit, Dataset, VideoRecord
from pipeline.run.words import cut, plural
from store.json_values import JSON

TRAIN_SPLIT = "train"
USUAL_SPLITS = (TRAIN_SPLIT, "val", "test")
"""Names that options have as defaults, and by which frames are counted."""
MOST_NAMED = 100
"""Ids of videos without a caption, and texts that several videos have."""
_SHOWN = 60
"""Characters of a text in a warning."""
Span = tuple[float, float]
"""`[start, end)` in seconds."""


@dataclass(frozen=True, slots=True)
class SplitReport:
    """One split of a data set."""

    split: str
    num_videos: int
    num_captions: int
    expected_videos: int | None
    """As published; otherwise as many as the data set lists; None if it lists no more than it has."""
    expected_captions: int | None
    """As published; None if nothing is published, or each video has one paragraph."""
    missing: tuple[str, ...]
    """Listed ids that are not used: see `Dataset.left_out`."""
    num_without_captions: int
    """Videos that have no caption: candidates, and no queries."""
    without_captions: tuple[str, ...]
    """Their ids, or the first `MOST_NAMED`: ten million videos may have none yet."""
    num_shared_captions: int
    """Texts that describe more than one video of the split; 0 for train, where nothing is ranked."""
    shared_captions: tuple[str, ...]
    """These texts, or the first `MOST_NAMED`, in lower case."""
    num_tied_captions: int
    """Captions with such a text. One of them must tie from text to video, and all of them from video to text."""


@dataclass(frozen=True, slots=True)
class DatasetReport:
    """What was found in a data set."""

    name: str
    protocol_split: str | None
    caption_unit: CaptionUnit
    splits: tuple[SplitReport, ...]
    leaked: tuple[str, ...]
    """Ids of videos outside train that overlap a video of train: the same file, at overlapping times."""
    missing_files: tuple[str, ...]
    warnings: tuple[str, ...]
    """Each a sentence."""

    def to_dict(self) -> dict[str, JSON]:
        """The report as JSON."""
        fields: dict[str, JSON] = asdict(self)
        return fields


def report_on(dataset: Dataset, published: Published) -> DatasetReport:
    """Compare a data set with what is published of it, and look for what would spoil numbers on it.

    Two captions are one text if they differ only in case and spaces: CLIP's tokenizer gives the same tokens.
    """
    names = dict.fromkeys([*dataset.records.split_sizes, *published.sizes, *dataset.left_out])
    splits = tuple(_split_report(split, dataset, published) for split in names)
    leaked = _leaked(dataset)
    return DatasetReport(
        name=dataset.name,
        protocol_split=dataset.protocol_split,
        caption_unit=dataset.caption_unit,
        splits=splits,
        leaked=leaked,
        missing_files=dataset.missing_files,
        warnings=(
            *dataset.likely_mistakes,
            *splits_in_other_case(dataset),
            *_warnings(splits, leaked, dataset.missing_files),
            *published.remarks,
        ),
    )


def splits_in_other_case(dataset: Dataset, known: Iterable[str] = ()) -> list[str]:
    """What to tell of splits whose names differ in case alone from a usual one, a `known` one or each other's."""
    there = dataset.records.split_sizes
    like: dict[str, str] = {split.casefold(): split for split in (*there, *known, *USUAL_SPLITS)}  # the last one wins
    return [
        f"split {split!r} is another one than {meant!r}: if it is the same, write {meant!r}"
        for split in there
        if (meant := like[split.casefold()]) != split and split not in known
    ]


def expected_videos(dataset: Dataset, published: Published) -> dict[str, int]:
    """Split -> number of videos that it should have, for the splits where this is known."""
    names = [*published.sizes, *dataset.left_out]
    there = dataset.records.split_sizes
    return {
        split: size.num_videos if (size := published.sizes.get(split)) else there[split] + len(dataset.left_out[split])
        for split in dict.fromkeys(names)
    }


def _split_report(split: str, dataset: Dataset, published: Published) -> SplitReport:
    missing = tuple(dataset.left_out.get(split, ()))
    size = published.sizes.get(split)
    shared, num_tied = ((), 0) if split == TRAIN_SPLIT else _ties(lambda: dataset.records.of_split(split))
    num_videos, num_captions, num_bare, bare = 0, 0, 0, list[str]()
    for video in dataset.records.of_split(split):
        num_videos, num_captions = num_videos + 1, num_captions + len(video.captions)
        if not video.captions:
            num_bare += 1
            bare += [video.video_id] if num_bare <= MOST_NAMED else []
    is_by_sentence = dataset.caption_unit is CaptionUnit.SENTENCE
    return SplitReport(
        split=split,
        num_videos=num_videos,
        num_captions=num_captions,
        expected_videos=size.num_videos if size else num_videos + len(missing) if missing else None,
        expected_captions=size.num_captions if size and is_by_sentence else None,
        missing=missing,
        num_without_captions=num_bare,
        without_captions=tuple(bare),
        num_shared_captions=len(shared),
        shared_captions=tuple(shared)[:MOST_NAMED],
        num_tied_captions=num_tied,
    )


def _ties(videos: Callable[[], Iterable[VideoRecord]]) -> tuple[Collection[str], int]:
    """The texts that several videos have, in the order of the data set, and number of captions with such a text."""

    def texts() -> Iterator[tuple[str, str]]:
        """Each as CLIP's tokenizer sees it, and the id of its video."""
        return ((" ".join(one.lower().split()), video.video_id) for video in videos() for one in video.captions)

    first_of: dict[str, str] = {}
    shared: dict[str, None] = {}
    counts: Counter[str] = Counter()
    again = repeated_hashes(text for text, _ in texts())
    for text, video_id in texts() if again else ():
        if hash(text) in again:  # else it is not kept: there may be millions
            counts[text] += 1
            if first_of.setdefault(text, video_id) != video_id:
                shared[text] = None
    return shared, sum(counts[text] for text in shared)


def _leaked(dataset: Dataset) -> tuple[str, ...]:
    """Ids outside train whose clip overlaps a clip of train in the same file. `Dataset` ensures that ids differ."""
    others = [split for split in dataset.records.split_sizes if split != TRAIN_SPLIT]

    def paths(*splits: str) -> Iterator[str]:
        return (video.path for split in splits for video in dataset.records.of_split(split))

    # Files of both sides, by hash: in most data sets there are none, and no span is kept.
    elsewhere = common_hashes(paths(TRAIN_SPLIT), paths(*others)) if TRAIN_SPLIT in dataset.records.split_sizes else ()
    spans_of: defaultdict[str, list[Span]] = defaultdict(list)
    for video in dataset.records.of_split(TRAIN_SPLIT) if elsewhere else ():
        if hash(video.path) in elsewhere:
            spans_of[video.path].append(_span(video))
    if not spans_of:
        return ()
    # Merged and sorted first, so that each video is looked up by bisection: comparing all pairs is quadratic.
    merged = {path: _merged(spans) for path, spans in spans_of.items()}
    inside = (video for video in dataset.videos if video.split != TRAIN_SPLIT and video.path in merged)
    return tuple(video.video_id for video in inside if _touches(_span(video), merged[video.path]))


def _span(video: VideoRecord) -> Span:
    end = video.window.end_seconds
    # An open end overlaps whatever comes later: how long the file is, is not known yet.
    return video.window.start_seconds, math.inf if end is None else end


def _merged(spans: list[Span]) -> list[Span]:
    """The union of the spans, as disjoint spans in order.

    >>> _merged([(4.0, 5.0), (0.0, 2.0), (1.0, 3.0)])
    [(0.0, 3.0), (4.0, 5.0)]
    """
    apart: list[Span] = []
    for start, end in sorted(spans):
        # Spans that only touch stay apart: their ends do not belong to them.
        if apart and start < apart[-1][1]:
            apart[-1] = (apart[-1][0], max(end, apart[-1][1]))
        else:
            apart.append((start, end))
    return apart


def _touches(span: Span, apart: list[Span]) -> bool:
    """Whether a span overlaps one of the merged spans: only the last one that begins before it ends can.

    >>> _touches((3.0, 4.0), [(0.0, 3.0), (4.0, 5.0)]), _touches((3.0, 4.5), [(0.0, 3.0), (4.0, 5.0)])
    (False, True)
    """
    # A tuple of one sorts before any pair with the same start: spans that begin at the end do not count.
    before = bisect_left(apart, (span[1],))
    return before > 0 and apart[before - 1][1] > span[0]


def _warnings(splits: tuple[SplitReport, ...], leaked: tuple[str, ...], missing_files: tuple[str, ...]) -> list[str]:
    found = [f"{name} is missing" for name in missing_files]
    for one in splits:
        if one.expected_videos not in (None, one.num_videos):
            of_them = f"; left out: {first_few(one.missing)}" if one.missing else ""
            found.append(f"{one.split} has {one.num_videos:,} of {one.expected_videos:,} videos{of_them}")
        elif one.expected_captions not in (None, one.num_captions):
            found.append(
                f"{one.split} has {one.num_captions:,} captions, and {one.expected_captions:,} are published: "
                "numbers on it cannot be compared"
            )
        if one.num_without_captions:
            num, have = one.num_without_captions, "has" if one.num_without_captions == 1 else "have"
            found.append(
                f"{num:,} of {plural(one.num_videos, 'video')} of {one.split} {have} no caption: "
                f"{first_few(one.without_captions, num)}. Decoding needs none: add captions and run this again before "
                "`fda encode`"
            )
        if one.num_shared_captions:
            texts, verb = ("text", "describes") if one.num_shared_captions == 1 else ("texts", "describe")
            found.append(
                f"{one.num_shared_captions:,} {texts} of {one.split} {verb} more than one video "
                f"({one.num_tied_captions:,} captions): ties are unavoidable, most of all from video to text: "
                f"{first_few((cut(text, _SHOWN) for text in one.shared_captions), one.num_shared_captions)}"
            )
    if leaked:
        overlap = "overlaps" if len(leaked) == 1 else "overlap"
        found.append(f"{plural(len(leaked), 'video')} outside train {overlap} videos of train: {first_few(leaked)}")
    return found
