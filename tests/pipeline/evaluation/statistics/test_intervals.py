"""Intervals against loops that draw videos one by one, their coverage of a known truth, and refusals."""

from __future__ import annotations

import statistics

import numpy as np
import pytest
import scipy.optimize
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.evaluation.metrics import score
from pipeline.evaluation.names import METRICS
from pipeline.evaluation.options import BootstrapOptions
from pipeline.evaluation.protocols import PROTOCOLS, Protocol, Ties
from pipeline.evaluation.ranking import RankCounts, Ranking, rank
from pipeline.evaluation.scores.dot import DotScores
from pipeline.evaluation.statistics import resampling
from pipeline.evaluation.statistics.intervals import SHARES, Interval, intervals, metric_intervals, share_intervals
from pipeline.evaluation.statistics.resampling import Queries, RanksByVideo, draws, queries_of, resample
from store.features import Features

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
FDA = PROTOCOLS["fda"]


def hand_made(text: Floats, video: Floats, truth: Ints) -> Features:
    """Features of videos `v0`, `v1`, ... and captions `c0`, `c1`, ..."""
    return Features(
        video_ids=tuple(f"v{row}" for row in range(len(video))),
        video=video,
        caption_ids=tuple(f"c{row}" for row in range(len(text))),
        text=text,
        truth=truth,
        num_dropped=np.full(len(text), -1, np.int64),
        num_videos_expected=len(video),
        missing_video_ids=(),
        num_captions_expected=len(text),
        alpha_cosine=np.full(len(video), np.nan, np.float32),
        attributes={"weights": "by hand"},
    )


def ranking_of(text: Floats, video: Floats, truth: Ints) -> Ranking:
    return rank(hand_made(text, video, truth), DotScores(text, video))


@st.composite
def tied_rankings(draw: st.DrawFn, most_captions: int = 3) -> Ranking:
    """Small whole numbers, so that many scores are equal; some videos may have no caption."""
    num_videos = draw(st.integers(2, 9))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    owners = rng.permutation(num_videos)[: rng.integers(2, num_videos + 1)]
    truth = rng.permutation(np.repeat(owners, rng.integers(1, most_captions + 1, len(owners))))
    text = rng.integers(1, 4, (len(truth), 3)).astype(np.float32)
    return ranking_of(text, rng.integers(1, 4, (num_videos, 3)).astype(np.float32), truth)


def ranks_of_each_query(counts: RankCounts, ties: Ties) -> list[list[float]]:
    """The definition of each rule for ties, a list a query."""
    ranks: list[list[float]] = []
    for above, level in zip(counts.above.tolist(), counts.level.tolist(), strict=True):
        match ties:
            case Ties.PESSIMISTIC:
                ranks.append([above + level])
            case Ties.MEAN:
                ranks.append([above + (level + 1) / 2])
            case Ties.OPTIMISTIC:
                ranks.append([above + 1])
            case Ties.EACH:
                ranks.append([above + place for place in range(1, level + 1)])
    return ranks


def literal_metrics(ranks: list[float], protocol: Protocol, *, lower_median: bool) -> list[float]:
    counted = [float(int(one)) if protocol.rounds_half_down and one > 1.5 else one for one in ranks]
    at = [100 * sum(one <= k for one in counted) / len(counted) for k in (1, 5, 10, 50)]
    median = (statistics.median_low if lower_median else statistics.median)(ranks)
    return [*at, median, sum(ranks) / len(ranks)]


def literal_quantile(values: list[float], share: float) -> float:
    """Linear between the order statistics, of which the first is at 0 and the last at 1."""
    ordered, place = sorted(values), share * (len(values) - 1)
    low = min(int(place), len(values) - 2)
    return ordered[low] + (place - low) * (ordered[low + 1] - ordered[low])


def literal_share_interval(ranks: list[list[float]], owners: list[int], cutoff: int, level: float) -> Interval:
    """Wilson's interval by its definition: the shares from which the observed one is as many deviations away as t."""
    within = {owner: [0, 0] for owner in owners}
    for query, owner in zip(ranks, owners, strict=True):
        within[owner][0] += sum(one <= cutoff for one in query)
        within[owner][1] += len(query)
    hits, total = (sum(counts[place] for counts in within.values()) for place in (0, 1))
    share, num = hits / total, len(within)
    residuals = sum((counts[0] - share * counts[1]) ** 2 for counts in within.values())
    variance = residuals / total**2 * num / (num - 1)
    effective = num if variance < 1e-20 else min(max(share * (1 - share) / variance, 1), total)
    deviations = float(scipy.stats.t.ppf((1 + level) / 2, num - 1))

    def distance(true: float) -> float:
        return (share - true) ** 2 * effective - deviations**2 * true * (1 - true)

    # One end is the share itself where that is 0 or 1, and a root there would be found for the other end, too.
    low = 0.0 if share == 0 else float(scipy.optimize.brentq(distance, 0, min(share, 1 - 1e-9)))
    high = 1.0 if share == 1 else float(scipy.optimize.brentq(distance, max(share, 1e-9), 1))
    return Interval(100 * low, 100 * high, level)


def literal_intervals(
    ranking: Ranking, protocol: Protocol, options: BootstrapOptions
) -> dict[str, dict[str, Interval]]:
    """Draw a video, append the ranks of all its queries, and so on until there are as many videos as before."""
    videos = sorted(set(ranking.features.truth.tolist()))
    among_texts = ranking.to_text.single if protocol.by_single_captions else ranking.to_text.best
    several = len(ranking.features.truth) > len(videos)
    ranks = {
        "text_to_video": ranks_of_each_query(
            ranking.to_video, protocol.ties_of_several if several and protocol.ties_of_several else protocol.ties
        ),
        "video_to_text": ranks_of_each_query(among_texts, protocol.ties),
    }
    owners = {"text_to_video": ranking.features.truth.tolist(), "video_to_text": videos}
    rng = np.random.default_rng((options.seed, 0))
    drawn = [rng.integers(0, len(videos), len(videos)).tolist() for _ in range(options.num_resamples)]
    result: dict[str, dict[str, Interval]] = {}
    for direction in ranks:
        lower = protocol.lower_median and several and direction == "text_to_video"
        rows = []
        for numbers in drawn:
            pool: list[float] = []
            for number in numbers:
                for query, owner in zip(ranks[direction], owners[direction], strict=True):
                    pool += query if owner == videos[number] else []
            rows.append(literal_metrics(pool, protocol, lower_median=lower))
        ends = [(1 - options.level) / 2, (1 + options.level) / 2]
        result[direction] = {
            name: Interval(
                literal_quantile([row[column] for row in rows], ends[0]),
                literal_quantile([row[column] for row in rows], ends[1]),
                options.level,
            )
            for column, name in enumerate(METRICS)
        }
        for name, cutoff in zip(SHARES, (1, 5, 10, 50), strict=True):
            counted = [
                [float(int(one)) if protocol.rounds_half_down and one > 1.5 else one for one in query]
                for query in ranks[direction]
            ]
            result[direction][name] = literal_share_interval(counted, owners[direction], cutoff, options.level)
    return result


@settings(deadline=None, max_examples=30)
@given(
    ranking=tied_rankings(),
    name=st.sampled_from(["fda", "clip4clip", "collaborative-experts", "x-pool"]),
    ties=st.sampled_from([None, *Ties]),
    level=st.sampled_from([0.5, 0.9, 0.95]),
    seed=st.integers(0, 99),
    block=st.sampled_from([1, 40, 2**21]),
    cells=st.sampled_from([1, 2, 64]),
)
def test_intervals_are_those_of_loops(
    ranking: Ranking, name: str, ties: Ties | None, level: float, seed: int, block: int, cells: int
) -> None:
    protocol, options = PROTOCOLS[name].with_ties(ties), BootstrapOptions(level, 100, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resampling, "_BLOCK_WEIGHTS", block)
        patch.setattr(resampling, "_NUM_CELLS", cells)
        found = intervals(ranking, protocol, options)
    wanted = literal_intervals(ranking, protocol, options)
    for direction, by_metric in wanted.items():
        for metric, interval in by_metric.items():
            one = found[direction][metric]
            assert (one.low, one.high) == pytest.approx((interval.low, interval.high), abs=1e-6), (direction, metric)


@settings(deadline=None)
@given(ranking=tied_rankings(), ties=st.sampled_from([None, *Ties]))
def test_each_video_once_is_what_is_reported(ranking: Ranking, ties: Ties | None) -> None:
    for name in ("fda", "clip4clip", "collaborative-experts"):
        protocol = PROTOCOLS[name].with_ties(ties)
        result = score(ranking.to_video, ranking.to_text, protocol)
        for direction, queries in queries_of(ranking, protocol).items():
            reported = getattr(result, direction)
            assert RanksByVideo.of(queries).unweighted() == pytest.approx(
                [getattr(reported, metric) for metric in METRICS]
            )


@pytest.mark.parametrize("scale", [0.3, 1.0, 4.0])
def test_medians_of_many_ranks(scale: float) -> None:
    """Medians among few ranks of many queries and among many of few; windows with a part before them, and without."""
    rng = np.random.default_rng(0)
    video = np.repeat(np.arange(300), 5)
    above = np.floor(np.exp(scale * np.abs(rng.standard_normal(len(video)) + 1.5))).astype(np.int64)
    counts = RankCounts(above, np.ones_like(above), int(above.max()) + 1)
    for lower_median in (False, True):
        sample = RanksByVideo.of(Queries(counts, video, Ties.PESSIMISTIC, lower_median=lower_median))
        (weights,) = draws(300, 200, np.random.default_rng(1))
        medians = sample.metrics(weights)[:, METRICS.index("median_rank")]
        median = statistics.median_low if lower_median else statistics.median
        for row, found in zip(weights, medians.tolist(), strict=True):
            assert found == median((above + 1).repeat(row.astype(np.int64)[video]).tolist())


def test_captions_of_a_video_move_together() -> None:
    """Video 0 has three captions, all found; video 1 has one, not found. Of two draws none, one or both are video 0."""
    counts = RankCounts(np.array([0, 0, 0, 1]), np.ones(4, np.int64), 2)
    sample = RanksByVideo.of(Queries(counts, np.array([0, 0, 0, 1]), Ties.PESSIMISTIC))
    (resampled,) = resample([sample], 500, seed=0)
    r1 = resampled[:, METRICS.index("r1")].tolist()
    assert set(r1) == {0.0, 75.0, 100.0}
    assert [r1.count(value) / 500 for value in (0.0, 75.0, 100.0)] == pytest.approx([0.25, 0.5, 0.25], abs=0.05)


def test_all_samples_are_drawn_alike() -> None:
    counts = RankCounts(np.arange(20), np.ones(20, np.int64), 20)
    sample = RanksByVideo.of(Queries(counts, np.arange(20), Ties.PESSIMISTIC))
    one, two = resample([sample, sample], 100, seed=3)
    assert (one == two).all()
    assert (one == resample([sample], 100, seed=3)[0]).all()
    assert (one != resample([sample], 100, seed=4)[0]).any()


def clustered_counts(rng: np.random.Generator, num_videos: int, num_captions: int) -> tuple[RankCounts, Ints]:
    """Captions of a hard video are all hard: of the spread of log ranks, most lies between videos."""
    video = np.repeat(np.arange(num_videos), num_captions)
    hardness = rng.standard_normal(num_videos)[video] + 0.5 * rng.standard_normal(len(video))
    above = np.minimum(np.floor(np.exp(1 + 1.2 * hardness)), 999).astype(np.int64)
    return RankCounts(above, np.ones_like(above), 1000), video


@pytest.mark.parametrize("num_videos", [18, 80])
def test_coverage_of_a_known_truth(num_videos: int) -> None:
    """Of 90% intervals over videos with five captions each, nine tenths contain the value of the population.

    Counting captions as if each were a video of its own gives intervals that contain it far less often.
    """
    rng = np.random.default_rng(0)
    counts, video = clustered_counts(rng, 100_000, 5)
    truth = RanksByVideo.of(Queries(counts, video, Ties.PESSIMISTIC)).unweighted()
    num_trials, held, held_by_captions = 150, np.zeros(len(METRICS)), np.zeros(len(METRICS))
    for trial in range(num_trials):
        counts, video = clustered_counts(rng, num_videos, 5)
        for owners, count in ((video, held), (np.arange(len(video)), held_by_captions)):
            sample = RanksByVideo.of(Queries(counts, owners, Ties.PESSIMISTIC))
            found = metric_intervals(sample, resample([sample], 200, trial)[0], 0.9)
            count += [found[name].low <= value <= found[name].high for name, value in zip(METRICS, truth, strict=True)]
    by_metric = dict(zip(METRICS, (held / num_trials).tolist(), strict=True))
    # R@50 is 98.5%: that only few videos tell of the misses makes its interval longer, not wrong.
    assert all(0.84 <= by_metric[metric] <= 0.98 for metric in SHARES), by_metric
    if num_videos == 80:
        assert 0.78 <= by_metric["mean_rank"] <= 0.95, by_metric  # long tails
        assert 0.84 <= by_metric["median_rank"] <= 1.0, by_metric  # whole numbers: the interval has some more
        assert (held_by_captions[:3] / num_trials < 0.75).all(), held_by_captions / num_trials


@pytest.mark.parametrize("num_videos", [2, 18, 670, 10_000])
def test_nothing_found_is_not_certainty(num_videos: int) -> None:
    """The interval of 0 of n and of n of n is not a point, and with many videos it is the rule of three: 3 / n."""
    for rank_of_all, metric in ((99, "high"), (1, "low")):
        counts = RankCounts(np.full(num_videos, rank_of_all - 1), np.ones(num_videos, np.int64), 10**5)
        sample = RanksByVideo.of(Queries(counts, np.arange(num_videos), Ties.PESSIMISTIC))
        for interval in share_intervals(sample, 0.95):
            end = interval.high if metric == "high" else 100 - interval.low
            assert (interval.low if metric == "high" else 100 - interval.high) == 0
            assert min(98, 285 / num_videos) <= end <= min(100, 500 / num_videos)


def test_the_seed_is_all_that_is_random() -> None:
    rng = np.random.default_rng(0)
    text, video = (rng.standard_normal((rows, 4)).astype(np.float32) for rows in (40, 20))
    ranking = ranking_of(text, video, np.repeat(np.arange(20), 2))
    first = intervals(ranking, FDA, BootstrapOptions(num_resamples=200))
    assert first == intervals(ranking, FDA, BootstrapOptions(num_resamples=200))
    other = intervals(ranking, FDA, BootstrapOptions(num_resamples=200, seed=1))
    assert first["text_to_video"]["mean_rank"] != other["text_to_video"]["mean_rank"]
    assert first["text_to_video"]["r5"] == other["text_to_video"]["r5"]  # nothing is drawn for it
    wide, narrow = (intervals(ranking, FDA, BootstrapOptions(level))["text_to_video"]["r5"] for level in (0.99, 0.5))
    assert wide.low < narrow.low <= narrow.high < wide.high


def test_what_is_refused() -> None:
    one_video = np.ones((1, 2), np.float32)
    with pytest.raises(ValueError, match="at least 2 videos with captions, got 1"):
        intervals(ranking_of(np.ones((3, 2), np.float32), one_video, np.zeros(3, np.int64)), FDA)
    for level in (0.0, 1.0, 95.0, float("nan")):
        with pytest.raises(ValueError, match="between 0 and 1"):
            BootstrapOptions(level)
    with pytest.raises(ValueError, match="at least 100 resamples, got 99"):
        BootstrapOptions(num_resamples=99)
