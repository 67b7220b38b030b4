"""Slices of the queries of a split: does motion as alpha help if things move, and does it hurt if they rest?

A slice selects queries: captions for text to video, videos for video to text. The candidates stay those of the whole
split, so that metrics of two slices, and of a slice and the split, can be compared. The slices of a family are a
partition of the queries of each direction; queries whose property is not known go to a slice `unknown`.

- What is known of a video (motion, masks, camera, duration, category) holds for each of its captions.
- What is known of a caption (kind, length) holds, for video to text, of a video if most of its captions have it; of two
  kinds with equally many captions, the one whose slice comes first in the family.

The statistics of masks are those before the rules for empty and full masks (`when_empty`, `when_full`). They come from
the mask set that the features name, even if the features were made with another alpha channel: so feature sets with
masks and with `--alpha ones` have the same slices, and their tables can be compared row by row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.ranking import Ranking
from pipeline.evaluation.slices.caption_kinds import CaptionKind, CaptionWords, words_of
from pipeline.evaluation.slices.inputs import SplitFacts, split_facts
from pipeline.run.words import plural
from store.json_values import JSON
from store.store import Store

UNKNOWN = "unknown"
STATIC = "static"
"""Name of the family of static objects, and of its slice of static objects."""


@dataclass(frozen=True, slots=True)
class SliceOptions:
    """How queries are sorted into slices."""

    mask_name: str | None = None
    """The mask set by which motion is measured; None: the one that the features name."""
    words: CaptionWords | None = None
    """Which words speak of motion; None: those of `caption_words.toml`."""
    num_bins: int = 4
    """Slices of about equally many videos, or captions, that a quantity is cut into."""

    def __post_init__(self) -> None:
        if self.num_bins < 2:
            raise ValueError(f"num_bins must be at least 2, got {self.num_bins}")


@dataclass(frozen=True, slots=True)
class Slice:
    """Some queries of both directions."""

    name: str
    """Name in files and JSON."""
    label: str
    """Name in tables for people, with the bounds of the bin if there are any."""
    captions: NDArray[np.int64]
    """Shape (num_captions,): queries of text to video: rows of `Ranking.to_video`, ascending."""
    videos: NDArray[np.int64]
    """Shape (num_videos,): queries of video to text: rows of `Ranking.to_text`, ascending."""


@dataclass(frozen=True, slots=True)
class SliceFamily:
    """Slices by one property: each query of each direction is in exactly one of them."""

    name: str
    summary: str
    """The property, as half a sentence."""
    slices: tuple[Slice, ...]
    """Slices that have a query, in the order of the property, `unknown` last."""

    def __post_init__(self) -> None:
        for direction in ("captions", "videos"):
            queries = np.sort(np.concatenate([getattr(one, direction) for one in self.slices]))
            if not np.array_equal(queries, np.arange(len(queries))):
                raise ValueError(f"the slices of {self.name!r} are not a partition of their {len(queries)} {direction}")

    def to_dict(self) -> dict[str, JSON]:
        """The summary, and the label of each slice by its name, for JSON."""
        return {"summary": self.summary, "slices": {one.name: one.label for one in self.slices}}


@dataclass(frozen=True, slots=True)
class _Queries:
    """Which video each query belongs to."""

    truth: NDArray[np.int64]
    """Shape (num_captions,): see `Features`."""
    videos: NDArray[np.int64]
    """Shape (num_queries,): see `TextRankCounts`."""

    def by_video(self, name: str, summary: str, kinds: Sequence[tuple[str, str]], of: NDArray[np.int64]) -> SliceFamily:
        """A family by a property of videos.

        Args:
            name: Name of the family.
            summary: Summary of the family.
            kinds: Name and label of each slice.
            of: Shape (num_videos,): the kind of each video, or -1 if it is not known.
        """
        return _family(name, summary, kinds, of[self.truth], of[self.videos])

    def by_caption(
        self, name: str, summary: str, kinds: Sequence[tuple[str, str]], of: NDArray[np.int64]
    ) -> SliceFamily:
        """A family by a property of captions; `of` has shape (num_captions,)."""
        return _family(name, summary, kinds, of, self.most(of, len(kinds)))

    def most(self, of: NDArray[np.int64], num_kinds: int) -> NDArray[np.int64]:
        """The kind that most captions have, for each video that is a query; of equally many, the first, unknown last.

        Args:
            of: Shape (num_captions,): the kind of each caption, or -1.
            num_kinds: Number of kinds.

        >>> _Queries(np.array([0, 0, 2]), np.array([0, 2])).most(np.array([1, 0, -1]), 2)
        array([ 0, -1])
        """
        counts = np.zeros((int(self.truth.max()) + 1, num_kinds + 1), np.int64)
        # -1 becomes the last column, and `argmax` takes the first of equal counts: unknown loses to any known kind.
        np.add.at(counts, (self.truth, of % (num_kinds + 1)), 1)
        best = counts[self.videos].argmax(axis=1)
        return np.where(best == num_kinds, -1, best)


def slice_queries(
    store: Store,
    ranking: Ranking,
    split: str,
    options: SliceOptions | None = None,
) -> tuple[SliceFamily, ...]:
    """Sort the queries of a split into slices.

    Args:
        store: The store of the features.
        ranking: The ranked features.
        split: The split of the features.
        options: The mask set, the words and the number of bins.

    Returns:
        `FAMILIES`, in order; `category` only if the catalogue has categories.

    Raises:
        ShardIncompleteError: Frames or masks are not complete.
    """
    options = options or SliceOptions()
    num_bins, words = options.num_bins, options.words or CaptionWords.read()
    facts = split_facts(store, ranking.features, split, options.mask_name)
    queries = _Queries(ranking.features.truth, ranking.to_text.videos)
    kinds = np.array([list(CaptionKind).index(words.kind_of(text)) for text in facts.texts], np.int64)
    families = [
        _motion(queries, facts, num_bins),
        _masks_that_are("empty", queries, facts.num_masks, facts.num_empty),
        _masks_that_are("full", queries, facts.num_masks, facts.num_full),
        _camera(queries, facts),
        _captions(queries, kinds, words),
        _static(queries, facts, kinds, num_bins),
        _duration(queries, facts, num_bins),
        _lengths(queries, facts, num_bins),
    ]
    if any(category is not None for category in facts.categories):
        families.append(_categories(queries, facts))
    return tuple(families)


def quantile_cuts(values: NDArray[np.float64], num_bins: int) -> tuple[float, ...]:
    """Where to cut values into bins of about equally many; fewer bins if values repeat.

    Cuts are values that occur. Bin `k` has the values `cuts[k - 1] <= value < cuts[k]`; no bin is empty.

    Args:
        values: Shape (num_values,), none of them NaN.
        num_bins: Bins at most.

    >>> quantile_cuts(np.array([1.0, 2.0, 3.0, 4.0]), 2), quantile_cuts(np.array([5.0, 5.0, 5.0, 9.0]), 4)
    ((3.0,), (9.0,))
    """
    if not len(values):
        return ()
    ordered = np.sort(values)
    places = [len(ordered) * number // num_bins for number in range(1, num_bins)]
    return tuple(float(cut) for cut in np.unique(ordered[places]) if cut > ordered[0])


def _family(
    name: str,
    summary: str,
    kinds: Sequence[tuple[str, str]],
    of_captions: NDArray[np.int64],
    of_videos: NDArray[np.int64],
) -> SliceFamily:
    """The slices that have a query; the kind -1 is `unknown`."""
    slices = [
        Slice(kind, label, np.flatnonzero(of_captions == number), np.flatnonzero(of_videos == number))
        for number, (kind, label) in [*enumerate(kinds), (-1, (UNKNOWN, UNKNOWN))]
    ]
    return SliceFamily(name, summary, tuple(one for one in slices if len(one.captions) or len(one.videos)))


def _motion(queries: _Queries, facts: SplitFacts, num_bins: int) -> SliceFamily:
    """Videos whose masks are all empty, then the others by the share of the picture that masks cover."""
    coverage = facts.coverage
    moves = coverage > 0
    cuts = quantile_cuts(coverage[moves], num_bins)
    # -1 unknown, 0 nothing moves, then the bins. NaN > 0 is false, so it is no bin.
    of = np.where(moves, 1 + np.searchsorted(cuts, coverage, side="right"), np.where(np.isnan(coverage), -1, 0))
    kinds = [("none", "all masks empty"), *_bins(cuts, _percent)]
    return queries.by_video("motion", f"by the mean coverage of the masks {facts.mask_name!r}", kinds, of)


def _masks_that_are(
    what: str, queries: _Queries, num_masks: NDArray[np.float64], number: NDArray[np.float64]
) -> SliceFamily:
    """Whether none, some or all masks of a clip are empty, or full."""
    known = ~np.isnan(num_masks) & ~np.isnan(number)
    # 0 none, 1 some, 2 all: "all" is "some", and one more.
    of = np.where(known, (number > 0).astype(np.int64) + (known & (number == num_masks)), -1)
    kinds = [("none", f"no mask {what}"), ("some", f"some masks {what}"), ("all", f"all masks {what}")]
    return queries.by_video(f"{what}-masks", f"by how many masks of the clip are {what}", kinds, of)


def _camera(queries: _Queries, facts: SplitFacts) -> SliceFamily:
    of = np.where(np.isnan(facts.camera_motion), -1, facts.camera_motion).astype(np.int64)
    kinds = [("still", "camera stands still"), ("moving", "camera moves")]
    return queries.by_video(
        "camera", "by whether the camera moves, detected from the border of the pictures", kinds, of
    )


def _captions(queries: _Queries, kinds: NDArray[np.int64], words: CaptionWords) -> SliceFamily:
    """By the kind of the caption; `kinds` are indices into `CaptionKind`."""
    labels = ("a verb of motion", "a verb of rest", "looks alone", "none of these")
    named = list(zip(map(str, CaptionKind), labels, strict=True))
    summary = f"by the words of the caption (caption_words.toml, sha256 {words.digest[:8]})"
    return queries.by_caption("caption", summary, named, kinds)


def _static(queries: _Queries, facts: SplitFacts, kinds: NDArray[np.int64], num_bins: int) -> SliceFamily:
    """Static objects: the caption describes no motion, and the masks cover little. Both must hold."""
    known = ~np.isnan(facts.coverage)
    cuts = quantile_cuts(facts.coverage[known], num_bins)
    moves_little = facts.coverage < cuts[0] if cuts else facts.coverage == 0
    little = f"coverage under {_percent(cuts[0])}" if cuts else "all masks empty"
    speaks_of_rest = np.isin(
        kinds, [list(CaptionKind).index(kind) for kind in (CaptionKind.STATIC, CaptionKind.ATTRIBUTES)]
    )

    def kind(videos: NDArray[np.int64], speaks_of_rest: NDArray[np.bool_]) -> NDArray[np.int64]:
        # The numbers of `labels` below.
        return np.where(known[videos], np.where(moves_little[videos] & speaks_of_rest, 0, 1), -1)

    of_captions = kind(queries.truth, speaks_of_rest)
    of_videos = kind(queries.videos, queries.most(np.where(speaks_of_rest, 0, 1), 2) == 0)
    labels = [(STATIC, f"static, {little}"), ("rest", "all others")]
    summary = "static objects: the caption has a verb of rest or looks alone, and the masks cover little"
    return _family(STATIC, summary, labels, of_captions, of_videos)


def _duration(queries: _Queries, facts: SplitFacts, num_bins: int) -> SliceFamily:
    seconds = facts.duration_seconds
    known = ~np.isnan(seconds)
    cuts = quantile_cuts(seconds[known], num_bins)
    of = np.where(known, np.searchsorted(cuts, seconds, side="right"), -1)
    return queries.by_video("duration", "by the duration of the clip", _bins(cuts, "{:.3g} s".format), of)


def _lengths(queries: _Queries, facts: SplitFacts, num_bins: int) -> SliceFamily:
    lengths = np.array([len(words_of(text)) for text in facts.texts])
    cuts = quantile_cuts(lengths.astype(np.float64), num_bins)
    of = np.searchsorted(cuts, lengths, side="right")
    return queries.by_caption("caption-length", "by how many words the caption has", _word_bins(cuts), of)


def _categories(queries: _Queries, facts: SplitFacts) -> SliceFamily:
    names = sorted({category for category in facts.categories if category is not None})
    of = np.array([-1 if one is None else names.index(one) for one in facts.categories], np.int64)
    return queries.by_video("category", "by the category of the catalogue", [(name, name) for name in names], of)


def _bins(cuts: Sequence[float], shown: Callable[[float], str]) -> list[tuple[str, str]]:
    """Name and label of each bin.

    >>> _bins([0.25], "{:.0%}".format)
    [('bin-1', 'under 25%'), ('bin-2', '25% and more')]
    """
    if not cuts:
        return [("bin-1", "all")]  # all values are equal
    texts = [shown(cut) for cut in cuts]
    between = [f"{low} to under {high}" for low, high in pairwise(texts)]
    labels = [f"under {texts[0]}", *between, f"{texts[-1]} and more"]
    return [(f"bin-{number}", label) for number, label in enumerate(labels, 1)]


def _percent(share: float) -> str:
    return f"{100 * share:.3g}%"


def _word_bins(cuts: Sequence[float]) -> list[tuple[str, str]]:
    """Name and label of bins of whole numbers; the labels include both ends.

    >>> [label for _, label in _word_bins([6.0, 7.0, 9.0])]
    ['up to 5 words', '6 words', '7 to 8 words', '9 words and more']
    """
    if not cuts:
        return _bins(cuts, str)
    ends = [int(cut) for cut in cuts]
    between = [plural(low, "word") if high == low + 1 else f"{low} to {high - 1} words" for low, high in pairwise(ends)]
    labels = [f"up to {plural(ends[0] - 1, 'word')}", *between, f"{plural(ends[-1], 'word')} and more"]
    return [(f"bin-{number}", label) for number, label in enumerate(labels, 1)]
