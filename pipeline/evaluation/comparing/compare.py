"""Compare feature sets on the same queries: differences, their confidence intervals and p-values.

Only videos that all sets have are queries and candidates, so that all sets are ranked in one gallery. A difference is a
metric of another set minus that of the first. Its confidence interval is a paired bootstrap (Koehn 2004, here by
videos): each resample is scored by both sets, and the percentiles are those of the differences. Its p-value comes from
`pipeline.evaluation.statistics.permutation`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.caveats import caveats_of
from pipeline.evaluation.comparing.pairing import pair, require_enough
from pipeline.evaluation.comparing.rank_changes import QueryNames, RankChanges, query_ranks, rank_changes
from pipeline.evaluation.evaluate import has_paragraphs, require_applicable, scorable_features
from pipeline.evaluation.metrics import RetrievalResult, score
from pipeline.evaluation.names import DIRECTIONS, METRICS
from pipeline.evaluation.options import CompareOptions, check_names
from pipeline.evaluation.protocols import Protocol
from pipeline.evaluation.ranking import Ranking, rank
from pipeline.evaluation.scores.dot import DotScores, Put
from pipeline.evaluation.statistics.intervals import Interval, metric_intervals, percentiles
from pipeline.evaluation.statistics.permutation import p_values
from pipeline.evaluation.statistics.resampling import Queries, RanksByVideo, queries_of, resample
from pipeline.run.events import Listener, ignore_events
from store.features import Features
from store.json_values import JSON, flattened
from store.store import Store

_INPUTS = ("clips", "masks")
"""Attributes of a feature set that describe its frames and masks, as opposed to its model."""


@dataclass(frozen=True, slots=True)
class ScoredSet:
    """Metrics of one feature set on the videos that all sets have."""

    name: str
    metrics: RetrievalResult
    intervals: Mapping[str, Mapping[str, Interval]]
    """Direction -> metric -> interval, as `pipeline.evaluation.statistics.intervals.intervals` returns them."""
    num_videos_left_out: int
    """Videos that have features in this set but not in all others."""
    num_captions_left_out: int
    """Captions of these videos."""
    attributes: Mapping[str, JSON]
    """What made the features."""
    caveats: tuple[str, ...]
    """See `caveats_of`."""

    def to_dict(self) -> dict[str, JSON]:
        """The fields as JSON."""
        return {
            "features": self.name,
            "num_videos_left_out": self.num_videos_left_out,
            "num_captions_left_out": self.num_captions_left_out,
            "caveats": list(self.caveats),
            **{
                direction: {
                    **getattr(self.metrics, direction).to_dict(),
                    "intervals": {metric: interval.to_dict() for metric, interval in self.intervals[direction].items()},
                }
                for direction in DIRECTIONS
            },
            "made_by": dict(self.attributes),
        }


@dataclass(frozen=True, slots=True)
class Difference:
    """One metric of another set minus that of the first, in percent or ranks."""

    value: float
    interval: Interval
    p_value: float
    """Two-sided, for this metric alone: with several metrics, some are small by chance."""


@dataclass(frozen=True, slots=True)
class DirectionCompared:
    """Another set compared with the first, in one direction of retrieval."""

    differences: Mapping[str, Difference]
    """One for each of `METRICS`."""
    changes: RankChanges

    def to_dict(self) -> dict[str, JSON]:
        """The fields as JSON."""
        changes = self.changes
        return {
            "differences": {
                metric: {"value": found.value, "interval": found.interval.to_dict(), "p_value": found.p_value}
                for metric, found in self.differences.items()
            },
            "num_better": changes.num_better,
            "num_worse": changes.num_worse,
            "num_same": changes.num_same,
            "risen": [asdict(one) for one in changes.risen],
            "fallen": [asdict(one) for one in changes.fallen],
        }


@dataclass(frozen=True, slots=True)
class AgainstFirst:
    """Another set compared with the first."""

    name: str
    directions: Mapping[str, DirectionCompared]
    """One for each of `DIRECTIONS`."""

    def to_dict(self) -> dict[str, JSON]:
        """The fields as JSON."""
        return {
            "features": self.name,
            **{direction: self.directions[direction].to_dict() for direction in DIRECTIONS},
        }


@dataclass(frozen=True, slots=True)
class UnlikeSetting:
    """One thing that not all sets were made with alike. Software is none: it is not to change what is made."""

    key: str
    """Such as `masks.options.threshold`."""
    values: tuple[JSON, ...]
    """One for each set; None also where a set has nothing of that name."""

    @property
    def is_input(self) -> bool:
        """Whether it makes other clips or masks; else it is of the model: weights, pooling, alpha, ..."""
        return self.key.partition(".")[0] in _INPUTS

    def differs(self, number: int) -> bool:
        """Whether a set, by its number, differs in this from the first."""
        return self.values[number] != self.values[0]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Feature sets of one split, side by side and each compared with the first."""

    split: str
    protocol: Protocol
    options: CompareOptions
    num_videos: int
    """Videos that all sets have."""
    num_videos_expected: int
    """Videos of the split."""
    num_captions: int
    num_captions_expected: int
    sets: tuple[ScoredSet, ...]
    against_first: tuple[AgainstFirst, ...]
    unlike: tuple[UnlikeSetting, ...]
    """What the sets were not made with alike: clips and masks first."""

    def to_dict(self) -> dict[str, JSON]:
        """The comparison as JSON."""
        bootstrap, protocol = self.options.bootstrap, self.protocol
        first = self.sets[0].name
        return {
            "split": self.split,
            "protocol": protocol.name,
            "ties": str(protocol.ties),
            "ties_of_several": None if protocol.ties_of_several is None else str(protocol.ties_of_several),
            "level": bootstrap.level,
            "num_resamples": bootstrap.num_resamples,
            "num_permutations": self.options.num_permutations,
            "seed": bootstrap.seed,
            "num_videos": self.num_videos,
            "num_videos_expected": self.num_videos_expected,
            "num_captions": self.num_captions,
            "num_captions_expected": self.num_captions_expected,
            "sets": [one.to_dict() for one in self.sets],
            "unlike": [
                {
                    "key": one.key,
                    "is_input": one.is_input,
                    "values": dict(zip((scored.name for scored in self.sets), one.values, strict=True)),
                }
                for one in self.unlike
            ],
            "against_first": [{**other.to_dict(), "against": first} for other in self.against_first],
        }


@dataclass(frozen=True, slots=True)
class _RankedSet:
    """A feature set with its ranks and resamples."""

    name: str
    found: Features
    """As read from the store, with videos that other sets lack."""
    ranking: Ranking
    """On the videos that all sets have."""
    queries: Mapping[str, Queries]
    """One for each direction, like the next two."""
    samples: Mapping[str, RanksByVideo]
    resampled: Mapping[str, NDArray[np.float64]]
    """Shape (num_resamples, len(METRICS)) each; resample `i` draws the same videos in all sets."""


def compare(
    store: Store,
    names: Sequence[str],
    options: CompareOptions | None = None,
    *,
    put: Put = lambda array: array,
    listener: Listener = ignore_events,
) -> Comparison:
    """Compare feature sets of a split, each with the first.

    Args:
        store: The store.
        names: Two sets or more.
        options: The split, how ranks are counted, and how intervals and p-values are computed.
        put: Moves embeddings to the device that computes.
        listener: Hears how far it is: there is a plan for each set, one for resamples, and one for each set's p-values.

    Raises:
        ValueError: The names give nothing to compare, the protocol cannot be applied to these captions, there are fewer
            than two videos, or embeddings cannot be scored.
        CaptionsDifferError: The sets have other captions of the same videos.
        TooManyMissingError: Too many videos have no features.
        NotInStoreError: There are no such features.
        ShardIncompleteError: They are not complete, or out of date.
    """
    check_names(names)
    options = options or CompareOptions()
    # Each set alone first: its own gaps are told by its name, before those that sets have only together.
    found = {name: scorable_features(store, name, options.split, options.max_missing) for name in names}
    paired = _paired(store, found, options)
    rankings = {name: rank(one, DotScores(one.text, one.video, put), listener) for name, one in paired.items()}
    return _comparison(store, found, rankings, options, listener)


def compare_rankings(
    store: Store, rankings: Mapping[str, Ranking], options: CompareOptions, *, listener: Listener = ignore_events
) -> Comparison:
    """`compare`, of sets that are ranked already: only one that has videos which others lack is ranked again.

    Args:
        store: The store.
        rankings: Name -> all that is scored of a set, by its cosines.
        options: As for `compare`.
        listener: Likewise.

    Raises:
        ValueError: See `compare`, as for all else.
    """
    check_names(tuple(rankings))
    found = {name: one.features for name, one in rankings.items()}
    paired = _paired(store, found, options)
    return _comparison(
        store,
        found,
        {
            name: rankings[name]
            # Compared in order: a set with the same videos in another order would be paired with wrong ranks.
            if (one.video_ids, one.caption_ids) == (found[name].video_ids, found[name].caption_ids)
            else rank(one, DotScores(one.text, one.video), listener)
            for name, one in paired.items()
        },
        options,
        listener,
    )


def _paired(store: Store, found: Mapping[str, Features], options: CompareOptions) -> Mapping[str, Features]:
    """The sets with the videos that all of them have."""
    paired = pair(found)
    common = next(iter(paired.values()))
    require_enough(common, options.split, options.max_missing)
    are_paragraphs = has_paragraphs(store)
    require_applicable(common, f"split {options.split!r}", options.counted, are_paragraphs=are_paragraphs)
    return paired


def _comparison(
    store: Store,
    found: Mapping[str, Features],
    rankings: Mapping[str, Ranking],
    options: CompareOptions,
    listener: Listener,
) -> Comparison:
    ranked = _resampled(found, rankings, options, listener)
    common = ranked[0].ranking.features
    texts = _texts(store, options.split) if options.num_moved else {}  # only rank changes show texts
    return Comparison(
        split=options.split,
        protocol=options.counted,
        options=options,
        num_videos=len(common.video_ids),
        num_videos_expected=common.num_videos_expected,
        num_captions=len(common.caption_ids),
        num_captions_expected=common.num_captions_expected,
        sets=tuple(_scored(store, one, options) for one in ranked),
        against_first=tuple(_against(ranked[0], other, options, texts, listener) for other in ranked[1:]),
        unlike=_unlike([one.found.attributes for one in ranked]),
    )


def _resampled(
    found: Mapping[str, Features], rankings: Mapping[str, Ranking], options: CompareOptions, listener: Listener
) -> list[_RankedSet]:
    queries = {name: queries_of(ranking, options.counted) for name, ranking in rankings.items()}
    samples = {
        name: {direction: RanksByVideo.of(one) for direction, one in by_direction.items()}
        for name, by_direction in queries.items()
    }
    # One call for all sets and directions, because a paired bootstrap needs the same draws of videos in all of them.
    flat = [sample for by_direction in samples.values() for sample in by_direction.values()]
    drawn = iter(resample(flat, options.bootstrap.num_resamples, options.bootstrap.seed, listener))
    return [
        _RankedSet(
            name=name,
            found=found[name],
            ranking=rankings[name],
            queries=queries[name],
            samples=by_direction,
            resampled={direction: next(drawn) for direction in by_direction},  # in the order of `flat`
        )
        for name, by_direction in samples.items()
    ]


def _texts(store: Store, split: str) -> dict[str, str]:
    captions = store.catalog.split_captions(split)
    return dict(zip(captions["caption_id"].to_pylist(), captions["text"].to_pylist(), strict=True))


def _scored(store: Store, one: _RankedSet, options: CompareOptions) -> ScoredSet:
    features, level = one.ranking.features, options.bootstrap.level
    return ScoredSet(
        name=one.name,
        metrics=score(one.ranking.to_video, one.ranking.to_text, options.counted),
        intervals={
            direction: metric_intervals(one.samples[direction], drawn, level)
            for direction, drawn in one.resampled.items()
        },
        num_videos_left_out=len(one.found.video_ids) - len(features.video_ids),
        num_captions_left_out=len(one.found.caption_ids) - len(features.caption_ids),
        attributes=one.found.attributes,
        caveats=caveats_of(store, one.found, options.split),
    )


def _against(
    first: _RankedSet, other: _RankedSet, options: CompareOptions, texts: Mapping[str, str], listener: Listener
) -> AgainstFirst:
    tested = p_values(
        [first.samples[direction] for direction in DIRECTIONS],
        [other.samples[direction] for direction in DIRECTIONS],
        options.num_permutations,
        options.bootstrap.seed,
        listener,
    )
    videos = {"text_to_video": None, "video_to_text": first.ranking.to_text.videos}
    return AgainstFirst(
        name=other.name,
        directions={
            direction: DirectionCompared(
                _differences(first, other, direction, found, options.bootstrap.level),
                rank_changes(
                    query_ranks(first.queries[direction]),
                    query_ranks(other.queries[direction]),
                    QueryNames(first.ranking.features, videos[direction], texts),
                    options.num_moved,
                ),
            )
            for direction, found in zip(DIRECTIONS, tested, strict=True)
        },
    )


def _differences(
    first: _RankedSet, other: _RankedSet, direction: str, p_of_each: NDArray[np.float64], level: float
) -> dict[str, Difference]:
    values = other.samples[direction].unweighted() - first.samples[direction].unweighted()
    # (num_resamples, metrics): paired, as resample i has drawn the same videos in both.
    spread = percentiles(other.resampled[direction] - first.resampled[direction], level)
    return {
        # Rounded, because two equal sets differ by rounding alone; + 0.0 makes 0 of -0.
        metric: Difference(round(value, 12) + 0.0, spread[metric], p_value)
        for metric, value, p_value in zip(METRICS, values.tolist(), p_of_each.tolist(), strict=True)
    }


def _unlike(made_with: Sequence[Mapping[str, JSON]]) -> tuple[UnlikeSetting, ...]:
    flat = [flattened({key: value for key, value in one.items() if key != "software"}) for one in made_with]
    # Which videos weights were trained on is told by a line of its own, and not by thousands of digests.
    keys = sorted(key for key in set().union(*flat) if not key.endswith("sha256_starts"))
    settings = [UnlikeSetting(key, tuple(one.get(key) for one in flat)) for key in keys]
    unlike = [one for one in settings if any(map(one.differs, range(len(flat))))]
    # `sorted` is stable: by name within each of the two.
    return tuple(sorted(unlike, key=lambda one: not one.is_input))
