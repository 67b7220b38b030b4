"""Slices of the queries: on stores whose facts are known, and as partitions of anything."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.evaluation.metrics import metrics_of, score
from pipeline.evaluation.names import FAMILIES
from pipeline.evaluation.protocols import PROTOCOLS, Ties
from pipeline.evaluation.ranking import Ranking
from pipeline.evaluation.slices.caption_kinds import CaptionWords
from pipeline.evaluation.slices.families import Slice, SliceFamily, SliceOptions, _Queries, quantile_cuts, slice_queries
from pipeline.evaluation.slices.scoring import FEW_VIDEOS, SliceScores, score_slices
from store.errors import ShardIncompleteError
from tests.sliced import Known, known_ranking, known_store

KNOWN = [
    Known(["a man sits"], 0.0, num_empty=3, seconds=4.0, category="people"),
    Known(["a man runs", "a dog barks and jumps", "two men"], 0.1, num_empty=1, seconds=5.0, category="sport"),
    Known(["a red car"], 0.2, seconds=6.0, camera_motion=None),
    Known(["a woman is talking to a crowd of people", "a woman walks"], 0.3, seconds=7.0, category="people"),
    Known(["a man is cooking"], 1.0, num_full=3, seconds=None, camera_motion=True, category="food"),
    Known(["nothing at all"], None, camera_motion=None, seconds=9.0, category="food"),
]
"""Captions: c0 | c1 c2 c3 | c4 | c5 c6 | c7 | c8."""
TRUTH = [0, 1, 1, 1, 2, 3, 3, 4, 5]
ONE_HOT = np.eye(len(KNOWN))


@pytest.fixture(scope="module")
def ranking_and_families(tmp_path_factory: pytest.TempPathFactory) -> tuple[Ranking, dict[str, SliceFamily]]:
    """All right, but for the captions of videos 0 and 1, which are of video 4."""
    text = ONE_HOT[TRUTH].copy()
    text[:4] = 0.6 * text[:4] + 0.8 * ONE_HOT[4]
    store = known_store(tmp_path_factory.mktemp("known") / "store", KNOWN, ONE_HOT, text)
    ranking, _ = known_ranking(store)
    return ranking, {family.name: family for family in slice_queries(store, ranking, "test", SliceOptions(num_bins=2))}


@pytest.fixture
def ranking(ranking_and_families: tuple[Ranking, dict[str, SliceFamily]]) -> Ranking:
    return ranking_and_families[0]


@pytest.fixture
def families(ranking_and_families: tuple[Ranking, dict[str, SliceFamily]]) -> dict[str, SliceFamily]:
    return ranking_and_families[1]


def queries(family: SliceFamily) -> dict[str, tuple[list[int], list[int]]]:
    return {one.name: (one.captions.tolist(), one.videos.tolist()) for one in family.slices}


def test_families_come_in_order(families: dict[str, SliceFamily]) -> None:
    assert tuple(families) == FAMILIES


def test_motion_is_cut_at_its_quantiles(families: dict[str, SliceFamily]) -> None:
    """Of the coverages over zero, 0.1 0.2 0.3 1.0, the upper half begins at 0.3."""
    assert queries(families["motion"]) == {
        "none": ([0], [0]),
        "bin-1": ([1, 2, 3, 4], [1, 2]),
        "bin-2": ([5, 6, 7], [3, 4]),
        "unknown": ([8], [5]),
    }
    labels = [one.label for one in families["motion"].slices]
    assert labels == ["all masks empty", "under 30%", "30% and more", "unknown"]
    assert "'default'" in families["motion"].summary
    assert families["camera"].to_dict()["slices"] == {
        "still": "camera stands still",
        "moving": "camera moves",
        "unknown": "unknown",
    }


def test_empty_and_full_masks(families: dict[str, SliceFamily]) -> None:
    assert queries(families["empty-masks"]) == {
        "none": ([4, 5, 6, 7], [2, 3, 4]),
        "some": ([1, 2, 3], [1]),
        "all": ([0], [0]),
        "unknown": ([8], [5]),
    }
    assert {name: videos for name, (_, videos) in queries(families["full-masks"]).items()} == {
        "none": [0, 1, 2, 3],
        "all": [4],
        "unknown": [5],
    }


def test_camera(families: dict[str, SliceFamily]) -> None:
    videos = {name: videos for name, (_, videos) in queries(families["camera"]).items()}
    assert videos == {"still": [0, 1, 3], "moving": [4], "unknown": [2, 5]}


def test_a_video_goes_with_most_of_its_captions(families: dict[str, SliceFamily]) -> None:
    """Video 1 has two dynamic captions of three; video 3 one of each kind, of which `dynamic` comes first."""
    assert queries(families["caption"]) == {
        "dynamic": ([1, 2, 6, 7], [1, 3, 4]),
        "static": ([0, 5], [0]),
        "attributes": ([4], [2]),
        "other": ([3, 8], [5]),
    }


def test_the_words_that_made_it_are_named(families: dict[str, SliceFamily]) -> None:
    assert CaptionWords.read().digest[:8] in families["caption"].summary


def test_static_objects_by_captions_and_masks(families: dict[str, SliceFamily]) -> None:
    """Of all coverages, 0 0.1 0.2 0.3 1.0, the upper half begins at 0.2: low are those of videos 0 and 1."""
    assert queries(families["static"]) == {
        "static": ([0], [0]),
        "rest": ([1, 2, 3, 4, 5, 6, 7], [1, 2, 3, 4]),
        "unknown": ([8], [5]),
    }
    assert families["static"].slices[0].label == "static, coverage under 20%"


def test_duration_and_length(families: dict[str, SliceFamily]) -> None:
    assert {name: videos for name, (_, videos) in queries(families["duration"]).items()} == {
        "bin-1": [0, 1],
        "bin-2": [2, 3, 5],
        "unknown": [4],
    }
    assert [one.label for one in families["duration"].slices] == ["under 6 s", "6 s and more", "unknown"]
    # lengths 3 | 3 5 2 | 3 | 8 3 | 4 | 3
    assert queries(families["caption-length"])["bin-1"] == ([3], [])
    assert [one.label for one in families["caption-length"].slices] == ["up to 2 words", "3 words and more"]


def test_category(families: dict[str, SliceFamily]) -> None:
    videos = {name: videos for name, (_, videos) in queries(families["category"]).items()}
    assert videos == {"food": [4, 5], "people": [0, 3], "sport": [1], "unknown": [2]}


def test_scores_are_those_of_the_queries_among_all_candidates(
    ranking: Ranking, families: dict[str, SliceFamily]
) -> None:
    scores = score_slices(ranking, list(families.values()), PROTOCOLS["fda"])
    motion = {one.name: one for one in scores.families[0].slices}
    low = motion["bin-1"].text_to_video
    assert low is not None
    assert (low.num_queries, low.num_candidates, low.r1) == (4, 6, 25.0)
    assert low == metrics_of(ranking.to_video.of(np.array([1, 2, 3, 4])), Ties.PESSIMISTIC)
    high = motion["bin-2"].video_to_text
    assert high is not None
    assert (high.num_queries, high.num_candidates) == (2, 6)
    assert motion["bin-1"].is_few("text_to_video")
    assert scores.static_gap["text_to_video"] == pytest.approx(0 - 100 * 4 / 7)
    assert scores.to_dict()["static_gap_r1"] == scores.static_gap


def test_many_captions_of_few_videos_are_few(tmp_path: Path) -> None:
    """What counts is how many videos a slice rests on; its interval is as wide as these make it."""
    known = [Known([f"a man runs {number}" for number in range(30)], 0.9) for _ in range(4)]
    known += [Known(["a man sits"], 0.1) for _ in range(40)]
    video = np.eye(len(known))
    text = np.repeat(video, [len(one.texts) for one in known], axis=0)
    store = known_store(tmp_path, known, video, text)
    ranking, _ = known_ranking(store)
    (family,) = [one for one in slice_queries(store, ranking, "test") if one.name == "caption"]
    dynamic, static = score_slices(ranking, [family], PROTOCOLS["fda"], 0.9).families[0].slices
    assert (dynamic.text_to_video is not None, dynamic.num_videos) == (True, {"text_to_video": 4, "video_to_text": 4})
    assert dynamic.is_few("text_to_video")
    assert not static.is_few("text_to_video")
    assert 40 > FEW_VIDEOS > 4
    of_few, of_many = (one.intervals["text_to_video"]["r1"] for one in (dynamic, static))
    assert of_few.low < 50 < 90 < of_many.low
    assert of_few.level == 0.9
    shown = dynamic.to_dict()["text_to_video"]
    assert isinstance(shown, dict)
    assert (shown["num_videos"], shown["few"]) == (4, True)
    assert shown["intervals"] == {name: one.to_dict() for name, one in dynamic.intervals["text_to_video"].items()}


def test_all_queries_are_scored_as_the_protocol_scores_them(ranking: Ranking, families: dict[str, SliceFamily]) -> None:
    for protocol in PROTOCOLS.values():
        whole = score_slices(ranking, list(families.values()), protocol).all_queries
        result = score(ranking.to_video, ranking.to_text, protocol)
        assert whole.text_to_video == result.text_to_video
        assert whole.video_to_text is not None
        assert whole.video_to_text.r1 == result.video_to_text.r1


def test_r1_of_a_family_adds_up_to_that_of_the_split(ranking: Ranking, families: dict[str, SliceFamily]) -> None:
    scores = score_slices(ranking, list(families.values()), PROTOCOLS["fda"])
    for family in scores.families:
        parts = [one.text_to_video for one in family.slices if one.text_to_video]
        whole = scores.all_queries.text_to_video
        assert whole is not None
        assert sum(part.r1 * part.num_queries for part in parts) == pytest.approx(whole.r1 * whole.num_queries)


def test_a_direction_without_queries_has_no_metrics(ranking: Ranking, families: dict[str, SliceFamily]) -> None:
    scores: SliceScores = score_slices(ranking, [families["caption-length"]], PROTOCOLS["fda"])
    assert scores.families[0].slices[0].video_to_text is None
    assert scores.static_gap == {}
    few = scores.families[0].slices[0].to_dict()
    assert few["video_to_text"] is None
    assert isinstance(few["text_to_video"], dict)
    assert few["text_to_video"]["few"] is True


def test_features_that_name_no_masks_have_unknown_motion(tmp_path: Path) -> None:
    store = known_store(tmp_path, KNOWN, ONE_HOT, ONE_HOT[TRUTH])
    ranking, _ = known_ranking(store)
    object.__setattr__(ranking.features, "attributes", {"weights": "by hand"})
    families = {family.name: family for family in slice_queries(store, ranking, "test")}
    for name in ("motion", "empty-masks", "full-masks", "camera", "static"):
        assert [one.name for one in families[name].slices] == ["unknown"]
    named = slice_queries(store, ranking, "test", SliceOptions("default"))
    assert [one.name for one in named[0].slices][-1] == "unknown"
    assert len(named[0].slices) > 1
    with pytest.raises(ShardIncompleteError, match="masks/others"):
        slice_queries(store, ranking, "test", SliceOptions("others"))
    with pytest.raises(ValueError, match="num_bins must be at least 2, got 1"):
        SliceOptions(num_bins=1)


@pytest.mark.parametrize(("coverage", "label"), [(0.0, "static, all masks empty"), (0.3, "all others")])
def test_static_where_all_move_alike(tmp_path: Path, coverage: float, label: str) -> None:
    known = [Known(["a man sits"], coverage, num_empty=3 * (coverage == 0)) for _ in range(3)]
    store = known_store(tmp_path, known, np.eye(3), np.eye(3))
    ranking, _ = known_ranking(store)
    families = {family.name: family for family in slice_queries(store, ranking, "test")}
    assert [one.label for one in families["static"].slices] == [label]
    assert "category" not in families


def test_what_is_no_partition_is_refused() -> None:
    some = Slice("a", "a", np.array([0, 1]), np.array([0]))
    with pytest.raises(ValueError, match="slices of 'x' are not a partition of their 4 captions"):
        SliceFamily("x", "by x", (some, Slice("b", "b", np.array([1, 2]), np.array([1]))))


@given(st.lists(st.integers(0, 5), min_size=1, max_size=50), st.integers(2, 6))
def test_bins_hold_every_value_and_none_is_empty(values: list[int], num_bins: int) -> None:
    numbers = np.array(values, np.float64)
    cuts = quantile_cuts(numbers, num_bins)
    assert len(cuts) < num_bins
    assert set(cuts) <= set(numbers.tolist())
    of = np.searchsorted(cuts, numbers, side="right")
    assert set(of.tolist()) == set(range(len(cuts) + 1))


@given(st.integers(2, 8), st.integers(20, 200))
def test_bins_of_distinct_values_are_about_equally_large(num_bins: int, num_values: int) -> None:
    values = np.random.default_rng(num_values).permutation(num_values).astype(np.float64)
    counts = np.bincount(np.searchsorted(quantile_cuts(values, num_bins), values, side="right"))
    assert len(counts) == num_bins
    assert counts.max() - counts.min() <= 1


@given(st.data())
def test_any_kinds_make_a_partition(data: st.DataObject) -> None:
    """`SliceFamily` itself refuses what is none; here every query is looked for."""
    truth = np.array(data.draw(st.lists(st.integers(0, 7), min_size=1, max_size=30)), np.int64)
    given_queries = _Queries(truth, np.unique(truth))
    kinds = [(name, name) for name in "abc"]
    of_videos = np.array(data.draw(st.lists(st.integers(-1, 2), min_size=8, max_size=8)), np.int64)
    of_captions = np.array(data.draw(st.lists(st.integers(-1, 2), min_size=len(truth), max_size=len(truth))), np.int64)
    for family in (
        given_queries.by_video("videos", "by videos", kinds, of_videos),
        given_queries.by_caption("captions", "by captions", kinds, of_captions),
    ):
        assert sorted(row for one in family.slices for row in one.captions.tolist()) == list(range(len(truth)))
        assert sum(len(one.videos) for one in family.slices) == len(given_queries.videos)
        assert all(len(one.captions) or len(one.videos) for one in family.slices)
    for row, number in enumerate(truth.tolist()):
        video = given_queries.by_video("videos", "by videos", kinds, of_videos)
        mine = [one.name for one in video.slices if row in one.captions]
        place = int(np.searchsorted(given_queries.videos, number))
        assert mine == [one.name for one in video.slices if place in one.videos]
