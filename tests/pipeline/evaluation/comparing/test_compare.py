"""Feature sets against each other: pairing, differences worked by hand, permutations against loops and under chance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.evaluation.comparing.compare import compare
from pipeline.evaluation.comparing.pairing import CaptionsDifferError, pair
from pipeline.evaluation.comparing.rank_changes import QueryNames, RankChange, rank_changes
from pipeline.evaluation.evaluate import TooManyMissingError, evaluate
from pipeline.evaluation.names import DIRECTIONS, METRICS
from pipeline.evaluation.options import BootstrapOptions, CompareOptions, EvalOptions, check_names
from pipeline.evaluation.protocols import PROTOCOLS, Ties
from pipeline.evaluation.ranking import RankCounts
from pipeline.evaluation.statistics.intervals import Interval
from pipeline.evaluation.statistics.permutation import p_values
from pipeline.evaluation.statistics.resampling import Queries, RanksByVideo, resample
from pipeline.run.limits import Limit
from store.completion import input_digests
from store.errors import NotInStoreError, ShardIncompleteError
from store.features import (
    ClipFeatures,
    Features,
    TextFeatures,
    caption_shards,
    create_features,
    write_clip_features,
    write_text_features,
)
from store.json_values import JSON
from store.stages import FRAMES_STAGE, masks_stage
from store.store import Store
from tests.pipeline.evaluation.statistics.test_intervals import Floats, Ints, hand_made
from tests.pipeline.evaluation.test_evaluate import NUM_VIDEOS, ONE_HOT, cached
from tests.stores import MASKS, fill_shard, outcomes

QUICK = CompareOptions(max_missing=Limit.of(0.0), bootstrap=BootstrapOptions(num_resamples=100), num_permutations=200)
PERFECT = np.repeat(ONE_HOT, 2, axis=0)
"""Text features of a store of `cached`: two captions a video, each like its video."""


def add(
    store: Store,
    name: str,
    video: NDArray[np.float64],
    text: NDArray[np.float64],
    failed: frozenset[int] = frozenset(),
    made_by: Mapping[str, JSON] | None = None,
) -> None:
    """Another feature set of a store of `cached`."""
    create_features(store, name, "test", video.shape[1], made_by or {"weights": "by hand"})
    for shard in store.shards("test"):
        rows = video[shard.start : shard.stop].astype(np.float32)
        rows[[row in failed for row in range(shard.start, shard.stop)]] = np.nan
        inputs = input_digests(store, shard, (FRAMES_STAGE, masks_stage(MASKS)))
        frame = np.repeat(rows[:, None], 3, axis=1)
        write_clip_features(store, name, shard, ClipFeatures(rows, frame, outcomes(store, shard, failed)), inputs)
    for shard in caption_shards(store, "test"):
        write_text_features(store, name, shard, TextFeatures(text[shard.start : shard.stop].astype(np.float32)))


def confused(*videos: int) -> NDArray[np.float64]:
    """Captions as in `PERFECT`, but those of some videos, which like the next video more: rank 2."""
    text = PERFECT.copy()
    for video in videos:
        text[2 * video : 2 * video + 2] = 0.6 * ONE_HOT[video] + 0.8 * ONE_HOT[(video + 1) % NUM_VIDEOS]
    return text


def by_video(ranks: list[int], videos: list[int]) -> RanksByVideo:
    above = np.array(ranks) - 1
    return RanksByVideo.of(
        Queries(RankCounts(above, np.ones_like(above), max(ranks)), np.array(videos), Ties.PESSIMISTIC)
    )


def test_worked_by_hand(tmp_path: Path) -> None:
    """The first set ranks the two captions of videos 0 and 1 second, the other those of video 5: else all are first."""
    store = cached(tmp_path, ONE_HOT, confused(0, 1))
    add(store, "yours", ONE_HOT, confused(5))
    result = compare(store, ["mine", "yours"], QUICK)
    (other,) = result.against_first
    assert (other.name, result.unlike) == ("yours", ())
    compared = other.directions["text_to_video"]
    found = compared.differences
    assert found["r1"].value == pytest.approx(100 * (10 - 8) / 12)
    assert found["mean_rank"].value == pytest.approx((14 - 16) / 12)
    assert (found["r5"].value, found["r5"].interval, found["r5"].p_value) == (0.0, Interval(0.0, 0.0, 0.95), 1.0)
    # 3 videos differ, by 2 captions each: one way or the other, |difference| is 3 of them (2 of 8 swaps) or 1.
    assert found["r1"].p_value == 1.0
    changes = compared.changes
    assert (changes.num_better, changes.num_worse, changes.num_same) == (4, 2, 6)
    first, last = "-vidéo_0", "-vidéo_5"
    texts = [[f"caption {n} of {row}" for n in range(2)] for row in (0, 5)]
    assert changes.risen[:2] == tuple(RankChange(first, f"{first}#{n}", texts[0][n], 2.0, 1.0) for n in range(2))
    assert changes.fallen == tuple(RankChange(last, f"{last}#{n}", texts[1][n], 1.0, 2.0) for n in range(2))
    assert len(changes.risen) == 4
    # To text: in the first set, video 1 has a caption of video 0 at 0.8 and its own at 0.6; in the other at 0 and 1.
    to_text = other.directions["video_to_text"].changes
    assert (to_text.num_better, to_text.num_worse, to_text.num_same) == (1, 0, 5)
    assert to_text.risen == (RankChange("-vidéo_1", None, None, 2.0, 1.0),)


def test_resamples_are_the_same_of_both_sets() -> None:
    """One is always a rank behind the other: whatever is drawn, so it is on average, and at the median."""
    ranks, videos = [1, 40, 7, 7, 300, 2], [0, 0, 1, 2, 2, 3]
    sets = [by_video([rank + behind for rank in ranks], videos) for behind in (0, 1)]
    first, other = resample(sets, 100, seed=0)
    assert (np.abs((other - first)[:, -2:] - 1) < 1e-9).all()
    assert np.ptp(first[:, -1]) > 10


def test_numbers_side_by_side_are_those_of_eval(tmp_path: Path) -> None:
    store = cached(tmp_path, ONE_HOT, confused(0, 1))
    add(store, "yours", ONE_HOT, confused(5))
    result = compare(store, ["mine", "yours"], QUICK)
    for one in result.sets:
        assert one.metrics == evaluate(store, one.name, EvalOptions("test", max_missing=Limit.of(0.0))).metrics
        assert set(one.intervals) == set(DIRECTIONS)
        assert all(interval.low <= interval.high for interval in one.intervals["text_to_video"].values())
    assert result.protocol == PROTOCOLS["fda"]


@pytest.mark.parametrize("protocol", ["fda", "clip4clip", "collaborative-experts", "x-pool"])
def test_identical_sets_do_not_differ(tmp_path: Path, protocol: str) -> None:
    store = cached(tmp_path, ONE_HOT, confused(0, 1))
    add(store, "copy", ONE_HOT, confused(0, 1))
    (other,) = compare(store, ["mine", "copy"], replace(QUICK, protocol=protocol)).against_first
    for compared in other.directions.values():
        for found in compared.differences.values():
            assert (found.value, found.interval, found.p_value) == (0.0, Interval(0.0, 0.0, 0.95), 1.0)
        assert (compared.changes.num_better, compared.changes.num_worse) == (0, 0)
        assert compared.changes.risen == compared.changes.fallen == ()


def test_three_sets_are_each_against_the_first(tmp_path: Path) -> None:
    store = cached(tmp_path, ONE_HOT, confused(0, 1))
    add(store, "b", ONE_HOT, confused(5))
    add(store, "c", ONE_HOT, PERFECT)
    result = compare(store, ["mine", "b", "c"], QUICK)
    assert [one.name for one in result.sets] == ["mine", "b", "c"]
    r1 = [other.directions["text_to_video"].differences["r1"].value for other in result.against_first]
    assert r1 == pytest.approx([100 * 2 / 12, 100 * 4 / 12])


def test_only_videos_that_all_sets_have_are_queries_and_candidates(tmp_path: Path) -> None:
    """Video 1 is missing in one set; in the other it stood before video 0, and must not count against it."""
    store = cached(tmp_path, ONE_HOT, confused(0))
    add(store, "yours", ONE_HOT, PERFECT, failed=frozenset({1}))
    result = compare(store, ["mine", "yours"], replace(QUICK, max_missing=Limit.of(0.5)))
    assert (result.num_videos, result.num_videos_expected) == (5, 6)
    assert (result.num_captions, result.num_captions_expected) == (10, 12)
    assert [(one.num_videos_left_out, one.num_captions_left_out) for one in result.sets] == [(1, 2), (0, 0)]
    assert result.sets[0].metrics.text_to_video.r1 == 100.0
    assert result.against_first[0].directions["text_to_video"].differences["r1"].value == 0.0


def test_too_many_missing_in_one_set_or_another(tmp_path: Path) -> None:
    store = cached(tmp_path, ONE_HOT, PERFECT)
    add(store, "b", ONE_HOT, PERFECT, failed=frozenset({1}))
    add(store, "c", ONE_HOT, PERFECT, failed=frozenset({2}))
    with pytest.raises(TooManyMissingError, match=r"1 of 6 videos .* have no features, over the limit of 10%:"):
        compare(store, ["mine", "b"], replace(QUICK, max_missing=Limit.of(0.1)))
    with pytest.raises(TooManyMissingError, match=r"2 of 6 .*\(33.3%\) lack features in one set or another.*of 20%:"):
        compare(store, ["b", "c"], replace(QUICK, max_missing=Limit.of(0.2)))
    assert compare(store, ["b", "c"], replace(QUICK, max_missing=Limit.of(2 / 6))).num_videos == 4


def test_differences_of_inputs_and_models_are_reported_apart(tmp_path: Path) -> None:
    store = cached(tmp_path, ONE_HOT, PERFECT)
    made_by: dict[str, JSON] = {
        "weights": "by another hand",
        "masks": {"options": {"threshold": 50}},
        "model": {"chosen_on_test": True},
        "software": {"numpy": "0"},
    }
    add(store, "a", ONE_HOT, PERFECT, made_by={"masks": {"options": {"threshold": 25}}, "weights": "x"})
    add(store, "b", ONE_HOT, PERFECT, made_by=made_by)
    result = compare(store, ["a", "b"], QUICK)
    assert [(one.key, one.is_input, one.values) for one in result.unlike] == [
        ("masks.options.threshold", True, (25, 50)),
        ("model.chosen_on_test", False, (None, True)),
        ("weights", False, ("x", "by another hand")),
    ]
    assert [bool(one.caveats) for one in result.sets] == [False, True]


def test_what_is_refused(tmp_path: Path) -> None:
    for names, message in (((), "two feature sets or more, got 0"), (("a",), "got 1: a"), (("a", "b", "a"), "'a' is")):
        with pytest.raises(ValueError, match=message):
            check_names(names)
    store = cached(tmp_path, ONE_HOT, PERFECT)
    add(store, "yours", ONE_HOT, PERFECT)
    with pytest.raises(NotInStoreError, match=r"no features 'theirs' .*there: 'mine', 'yours'"):
        compare(store, ["mine", "theirs"], QUICK)
    with pytest.raises(ValueError, match="'paired' cannot be applied to split 'test': it takes one caption a video"):
        compare(store, ["mine", "yours"], replace(QUICK, protocol="paired"))
    fill_shard(store, store.shards("test")[1], failed=frozenset({5}))
    with pytest.raises(ShardIncompleteError, match="are out of date"):
        compare(store, ["mine", "yours"], QUICK)
    with pytest.raises(ValueError, match="there is no protocol 'mine'"):
        CompareOptions(protocol="mine")
    with pytest.raises(ValueError, match="at least 100 permutations, got 1"):
        CompareOptions(num_permutations=1)
    with pytest.raises(ValueError, match="must not be negative, got -1"):
        CompareOptions(num_moved=-1)


def test_ties_other_than_the_protocols_own(tmp_path: Path) -> None:
    same = np.tile(ONE_HOT[0], (NUM_VIDEOS, 1))
    store = cached(tmp_path, same, np.repeat(same, 2, axis=0))
    add(store, "yours", ONE_HOT, PERFECT)
    ranks = {Ties.PESSIMISTIC: 6.0, Ties.MEAN: 3.5, Ties.OPTIMISTIC: 1.0, Ties.EACH: 3.5}
    for ties, rank in ranks.items():
        result = compare(store, ["mine", "yours"], replace(QUICK, ties=ties))
        compared = result.against_first[0].directions["text_to_video"]
        assert compared.differences["mean_rank"].value == pytest.approx(1 - rank)
        assert compared.changes.num_better == (12 if rank > 1 else 0)


def test_pairing_goes_by_ids_not_by_rows() -> None:
    eye = np.eye(3, dtype=np.float32)
    first = hand_made(eye[[0, 1, 2, 0]], eye, np.array([0, 1, 2, 0]))
    turned = replace(
        first,
        video_ids=("v2", "v0"),
        video=eye[[2, 0]],
        caption_ids=("c3", "c2", "c0"),
        text=eye[[0, 2, 0]],
        truth=np.array([1, 0, 1]),
        num_dropped=np.array([3, 2, 0]),
        alpha_cosine=np.array([0.2, 0.0], np.float32),
        missing_video_ids=("v1",),
    )
    paired = pair({"first": first, "turned": turned})
    for one in paired.values():
        assert (one.video_ids, one.caption_ids) == (("v0", "v2"), ("c0", "c2", "c3"))
        assert one.truth.tolist() == [0, 1, 0]
        assert (one.video == eye[[0, 2]]).all()
        assert (one.text == eye[[0, 2, 0]]).all()
        assert one.missing_video_ids == ("v1",)
    assert paired["turned"].num_dropped.tolist() == [0, 2, 3]
    assert paired["turned"].alpha_cosine.tolist() == pytest.approx([0.0, 0.2])


def test_other_captions_or_another_truth_are_refused() -> None:
    eye = np.eye(2, dtype=np.float32)
    first = hand_made(eye, eye, np.array([0, 1]))
    changed: list[tuple[Features, str]] = [
        (
            replace(first, caption_ids=("c0", "x1")),
            "2 differ, the first is 'c1': 'a' has it for 'v1', 'b' does not have it",
        ),
        (
            replace(first, truth=np.array([0, 0])),
            "1 differ, the first is 'c1': 'a' has it for 'v1', 'b' has it for 'v0'",
        ),
    ]
    for other, message in changed:
        with pytest.raises(CaptionsDifferError, match=message):
            pair({"a": first, "b": other})


def test_rank_changes_are_ordered_by_quotients() -> None:
    before, after = np.array([200.0, 2, 900, 1, 5, 50]), np.array([100.0, 1, 500, 3, 5, 60])
    names = QueryNames(
        hand_made(np.ones((6, 1), np.float32), np.ones((6, 1), np.float32), np.arange(6)), np.arange(6), {}
    )
    found = rank_changes(before, after, names, 2)
    assert [(one.video_id, one.before, one.after) for one in found.risen] == [("v0", 200, 100), ("v1", 2, 1)]
    assert [one.video_id for one in found.fallen] == ["v3", "v5"]
    assert (found.num_better, found.num_worse, found.num_same) == (3, 2, 1)
    assert rank_changes(before, after, names, 0).risen == ()


def test_p_values_worked_by_hand() -> None:
    """Five videos, each better: of 32 swaps, two give a difference as large. Four better, one worse: 12 do."""
    videos = list(range(5))
    for after, swaps in (([1, 1, 1, 1, 1], 2), ([1, 1, 1, 1, 3], 12)):
        before = [2 if rank == 1 else 1 for rank in after]
        (p,) = p_values(
            [by_video(before, videos)], [by_video([min(rank, 2) for rank in after], videos)], 20_000, seed=0
        )
        assert p[METRICS.index("r1")] == pytest.approx(swaps / 32, abs=0.01)
        assert p[METRICS.index("r5")] == 1.0


def test_captions_of_a_video_are_swapped_together() -> None:
    """Fifty captions, all better, but of one video: that is one coin."""
    videos = [0] * 50 + [1]
    (p,) = p_values([by_video([9] * 50 + [4], videos)], [by_video([1] * 50 + [4], videos)], 100, seed=0)
    assert (p == 1.0).all()


@st.composite
def two_sets(draw: st.DrawFn) -> tuple[RankCounts, RankCounts, Ints]:
    num_videos = draw(st.integers(2, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    video = rng.permutation(np.repeat(np.arange(num_videos), rng.integers(1, 4, num_videos)))
    level = rng.integers(1, 4, (2, len(video)))
    above = rng.integers(0, draw(st.sampled_from([2, 12])), (2, len(video)))
    return RankCounts(above[0], level[0], 20), RankCounts(above[1], level[1], 20), video


@settings(deadline=None, max_examples=25)
@given(sets=two_sets(), ties=st.sampled_from(list(Ties)), block=st.sampled_from([1, 2**21]), lower=st.booleans())
def test_p_values_are_those_of_loops(
    sets: tuple[RankCounts, RankCounts, Ints], ties: Ties, block: int, lower: bool
) -> None:
    first, other, video = sets
    num_videos, num_permutations = int(video.max()) + 1, 100
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.evaluation.statistics.resampling._BLOCK_WEIGHTS", block)
        samples = [RanksByVideo.of(Queries(one, video, ties, lower_median=lower)) for one in (first, other)]
        (found,) = p_values([samples[0]], [samples[1]], num_permutations, seed=5)

    def difference(swaps: list[int]) -> Floats:
        metrics = []
        for kept in (0, 1):
            above, level = [], []
            for query, owner in enumerate(video.tolist()):
                taken = other if swaps[owner] != kept else first
                above.append(taken.above[query])
                level.append(taken.level[query])
            # Whose queries they are is no matter where each counts once.
            mixed = RankCounts(np.array(above), np.array(level), 20)
            metrics.append(RanksByVideo.of(Queries(mixed, video, ties, lower_median=lower)).unweighted())
        return np.abs(metrics[1] - metrics[0])

    rng = np.random.default_rng((5, 1))
    drawn = [difference(rng.integers(0, 2, num_videos).tolist()) for _ in range(num_permutations)]
    observed = difference([0] * num_videos)
    at_least = np.sum([one >= observed - 1e-9 for one in drawn], axis=0)
    assert found == pytest.approx((1 + at_least) / (1 + num_permutations))


def test_chance_alone_is_seldom_significant() -> None:
    """Two sets of one quality, each with videos that it likes: at 5%, about one in twenty pairs differs.

    Swapping caption by caption calls many more of them different.
    """
    rng, num_trials, rejected = np.random.default_rng(0), 200, np.zeros((2, len(METRICS)))
    video = np.repeat(np.arange(60), 5)
    for trial in range(num_trials):
        shared = rng.standard_normal(60)
        sets = []
        for _ in range(2):
            hardness = (shared + rng.standard_normal(60))[video] + 0.5 * rng.standard_normal(len(video))
            above = np.minimum(np.exp(1 + hardness).astype(np.int64), 999)
            sets.append(RankCounts(above, np.ones_like(above), 1000))
        for number, owners in enumerate((video, np.arange(len(video)))):
            samples = [RanksByVideo.of(Queries(one, owners, Ties.PESSIMISTIC)) for one in sets]
            rejected[number] += p_values(samples[:1], samples[1:], 100, trial)[0] <= 0.05
    shares = dict(zip(METRICS, (rejected[0] / num_trials).tolist(), strict=True))
    assert all(0.01 <= shares[metric] <= 0.09 for metric in ("r1", "r5", "r10", "mean_rank")), shares
    assert shares["r50"] <= 0.09  # few videos are that far down
    assert shares["median_rank"] <= 0.09  # whole numbers
    assert (rejected[1, [0, 1, 5]] / num_trials > 0.12).all(), rejected[1] / num_trials


def test_results_do_not_depend_on_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = cached(tmp_path, ONE_HOT, confused(0, 1))
    add(store, "yours", ONE_HOT, confused(5))
    whole = compare(store, ["mine", "yours"], QUICK)
    monkeypatch.setattr("pipeline.evaluation.statistics.resampling._BLOCK_WEIGHTS", 7)
    assert compare(store, ["mine", "yours"], QUICK).against_first == whole.against_first
