"""What is found, against plain NumPy; and what the engine refuses."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import fda
from pipeline.errors import InputError, OptionError
from pipeline.search.engine import SearchEngine
from pipeline.search.options import Query, QueryKind, SearchOptions
from store.completion import input_digests
from store.errors import NotInStoreError, ShardIncompleteError, ShardRebuiltError
from store.feature_dtypes import FeatureDtypes
from store.features import ClipFeatures, write_clip_features
from store.growth import create_store
from store.places.opening import folder_at
from store.stages import FRAMES_STAGE
from store.store import Store
from tests.pipeline.exporting import made
from tests.searching import add_features, random_frames, searchable, unit
from tests.sliced import Known, known_store
from tests.stores import fill_shard, make_catalog, make_manifest, make_store, outcomes

NUM_VIDEOS = 10
FAILED = frozenset({2, 9})


def video(row: int) -> Query:
    return Query(f"-vidéo_{row}", QueryKind.VIDEO)


def rows_of(answer: fda.Answer) -> list[int]:
    return [hit.row for hit in answer.hits]


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    return random_frames(NUM_VIDEOS)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, frames: np.ndarray) -> Store:
    return searchable(tmp_path_factory.mktemp("searched") / "store", frames, failed=FAILED)


@pytest.fixture(scope="module")
def engine(store: Store) -> SearchEngine:
    return SearchEngine.open([store.place])


def test_more_like_a_video_are_the_nearest_others_with_their_best_moments(
    engine: SearchEngine, frames: np.ndarray
) -> None:
    (answer,) = engine.search([video(0)], SearchOptions(top=5))
    vectors = unit(frames.mean(axis=1))
    cosines = vectors @ vectors[0]
    expected = [row for row in np.argsort(-cosines) if row not in {0, *FAILED}][:5]
    assert rows_of(answer) == expected
    assert [hit.rank for hit in answer.hits] == [1, 2, 3, 4, 5]
    assert [hit.score for hit in answer.hits] == pytest.approx(cosines[expected], abs=1e-5)
    assert answer.num_candidates == NUM_VIDEOS - len(FAILED) - 1
    assert answer.encoder == "by hand, weights aaaaaaaaaaaa"
    for hit in answer.hits:
        its = unit(frames[hit.row]) @ vectors[0]
        assert [frame.score for frame in hit.frames] == pytest.approx(its, abs=1e-5)
        assert hit.moment is not None
        assert (hit.moment.frame, hit.moment.seconds) == (its.argmax(), its.argmax() / 25)
        assert (hit.video_id, hit.caption) == (f"-vidéo_{hit.row}", f"caption 0 of {hit.row}")


def test_by_frame_the_best_frame_counts(engine: SearchEngine, frames: np.ndarray) -> None:
    (answer,) = engine.search([video(0)], SearchOptions(by="frame"))  # type: ignore[arg-type]
    best = (unit(frames) @ unit(frames.mean(axis=1))[0]).max(axis=1)
    expected = [row for row in np.argsort(-best) if row not in {0, *FAILED}]
    assert rows_of(answer) == expected
    assert [hit.score for hit in answer.hits] == [hit.moment.score for hit in answer.hits if hit.moment]
    assert [hit.score for hit in answer.hits] == pytest.approx(best[expected], abs=1e-5)


def test_a_video_finds_its_captions_and_a_caption_its_video(engine: SearchEngine) -> None:
    (answer,) = engine.search([video(3)], SearchOptions(find="captions", top=3))  # type: ignore[arg-type]
    assert [hit.caption_id for hit in answer.hits[:2]] == ["-vidéo_3#0", "-vidéo_3#1"]
    assert [hit.caption for hit in answer.hits[:2]] == ["caption 0 of 3", "caption 1 of 3"]
    assert answer.num_candidates == 2 * (NUM_VIDEOS - len(FAILED))
    caption = Query("-vidéo_3#1", QueryKind.CAPTION)
    (found,) = engine.search([caption], SearchOptions(top=1))
    assert rows_of(found) == [3]
    (others,) = engine.search([caption], SearchOptions(find="captions", top=1))  # type: ignore[arg-type]
    assert [hit.caption_id for hit in others.hits] == ["-vidéo_3#0"]


@pytest.mark.parametrize("by", ["video", "frame"])
def test_scores_do_not_depend_on_the_other_queries(engine: SearchEngine, by: str) -> None:
    queries = [video(row) for row in range(NUM_VIDEOS) if row not in FAILED]
    options = SearchOptions(by=by, top=10**9)  # type: ignore[arg-type]
    together = engine.search(queries, options)
    assert together == tuple(engine.search([query], options)[0] for query in queries)


def test_equal_scores_keep_the_order_of_the_catalogue_over_stores_too(tmp_path: Path) -> None:
    same = np.repeat(random_frames(1), 7, axis=0)
    places = [searchable(tmp_path / name, same).place for name in ("one", "two")]
    (answer,) = SearchEngine.open(places).search([video(5)], SearchOptions(top=100))
    assert [(hit.store, hit.row) for hit in answer.hits] == [
        *((places[0], row) for row in range(7) if row != 5),
        *((places[1], row) for row in range(7)),
    ]
    assert len({hit.score for hit in answer.hits}) == 1
    assert answer.stores == tuple(places)


def test_stores_of_other_encoders_are_answered_apart(tmp_path: Path, frames: np.ndarray) -> None:
    other = {"model": {"name": "another", "weights_sha256": "b" * 64}}
    one = searchable(tmp_path / "one", frames)
    two = searchable(tmp_path / "two", random_frames(NUM_VIDEOS, 1), made_by=other)
    answers = SearchEngine.open([one.place, two.place]).search([video(0)], SearchOptions(top=1))
    assert [(answer.encoder.split(",")[0], answer.stores) for answer in answers] == [
        ("by hand", (one.place,)),
        ("another", (two.place,)),
    ]


def test_feature_sets_are_answered_apart_and_one_without_the_video_is_left_out(tmp_path: Path) -> None:
    store = searchable(tmp_path / "store", random_frames(NUM_VIDEOS))
    add_features(store, "other", random_frames(NUM_VIDEOS, 1), failed=frozenset({4}))
    engine = SearchEngine.open([store.place])
    both = SearchOptions(("mine", "other"))
    answers = engine.search([video(0), video(4)], both)
    assert [(answer.query.value, answer.features) for answer in answers] == [
        ("-vidéo_0", "mine"),
        ("-vidéo_0", "other"),
        ("-vidéo_4", "mine"),
    ]
    with pytest.raises(InputError, match="which features are to be searched.*mine, other"):
        engine.search([video(0)], SearchOptions())
    with pytest.raises(NotInStoreError, match="no features 'none' in .*'mine', 'other'"):
        engine.search([video(0)], SearchOptions(("none",)))


def test_half_precision_frames_and_missing_frames(tmp_path: Path) -> None:
    frames = random_frames(NUM_VIDEOS)
    frames[1, 2:] = np.nan
    frames[3] = np.nan  # as an import without frames leaves it
    frames[4, 0] = 0  # no direction
    engine = SearchEngine.open([searchable(tmp_path / "store", frames, dtypes=FeatureDtypes(frames="float16")).place])
    for by in ("video", "frame"):
        (answer,) = engine.search([video(0)], SearchOptions(by=by))  # type: ignore[arg-type]
        num_frames = {hit.row: len(hit.frames) for hit in answer.hits}
        assert (num_frames[1], num_frames[4], num_frames[5]) == (2, 2, 3)
        assert num_frames.get(3) == (0 if by == "video" else None)
        assert all(np.isfinite(hit.score) for hit in answer.hits)


def test_times_that_are_damaged_cost_the_moments_alone(tmp_path: Path, frames: np.ndarray) -> None:
    store = searchable(tmp_path / "store", frames)
    store.folder.write("clips.zarr/test/pts_seconds/c.1.0", b"damaged")
    (answer,) = SearchEngine.open([store.place]).search([video(0)], SearchOptions(top=100))
    assert {hit.row: len(hit.frames) for hit in answer.hits} == {
        row: 0 if row in range(4, 8) else 3 for row in range(1, NUM_VIDEOS)
    }


def test_a_vector_that_is_not_finite_never_ranks(tmp_path: Path) -> None:
    store = searchable(tmp_path / "store", random_frames(NUM_VIDEOS))
    shard = store.shards("test")[0]
    rows = unit(random_frames(4).mean(axis=1))
    rows[1, 3:], rows[2, 3] = np.nan, np.inf
    inputs = input_digests(store, shard, (FRAMES_STAGE,))
    write_clip_features(store, "mine", shard, ClipFeatures(rows, random_frames(4), outcomes(store, shard)), inputs)
    (answer,) = SearchEngine.open([store.place]).search([video(0)], SearchOptions(top=100))
    assert sorted(rows_of(answer)) == [3, 4, 5, 6, 7, 8, 9]


def test_threads_share_an_engine_and_read_once(store: Store) -> None:
    heard: list[object] = []
    engine = SearchEngine.open([store.place], listener=heard.append)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda row: engine.search([video(row % 2)], SearchOptions()), range(8)))
    assert [event for event in heard if isinstance(event, fda.RunPlanned)] == [fda.RunPlanned("videos", NUM_VIDEOS, 0)]
    assert sum(event.num_done for event in heard if isinstance(event, fda.ItemsDone)) == NUM_VIDEOS
    assert answers[0] == answers[2] != answers[1]


def test_ids_that_are_not_there(engine: SearchEngine) -> None:
    with pytest.raises(NotInStoreError, match=r"no video '-video_3' in .*Did you mean '-vidéo_3'"):
        engine.search([Query("-video_3", QueryKind.VIDEO)], SearchOptions())
    with pytest.raises(NotInStoreError, match="no caption 'nothing'"):
        engine.search([Query("nothing", QueryKind.CAPTION)], SearchOptions())
    with pytest.raises(NotInStoreError, match="'-vidéo_2' of .* has no features mine: its video failed"):
        engine.search([video(2)], SearchOptions())
    with pytest.raises(NotInStoreError, match="no split 'val' with these features .*'test'"):
        engine.search([video(0)], SearchOptions(splits=("val",)))


def test_stores_without_features_or_with_pending_ones(tmp_path: Path) -> None:
    store = make_store(tmp_path / "bare", 3)
    with pytest.raises(InputError, match="there are no features, `fda encode` makes them"):
        SearchEngine.open([store.place]).search([video(0)], SearchOptions())
    half = searchable(tmp_path / "half", random_frames(NUM_VIDEOS))
    (Path(half.place) / "commits/test/features/mine/video/00001.parquet").unlink()
    with pytest.raises(
        ShardIncompleteError, match="'mine': 4 of 10 videos .* are not encoded yet .*run the `fda encode` that made"
    ):
        SearchEngine.open([half.place]).search([video(0)], SearchOptions())
    stale = searchable(tmp_path / "stale", random_frames(NUM_VIDEOS))
    fill_shard(stale, stale.shards("test")[0], frozenset({1}))
    with pytest.raises(ShardIncompleteError, match="commits/test/frames/00000.parquet has changed since"):
        SearchEngine.open([stale.place]).search([video(0)], SearchOptions())


def test_features_that_are_rebuilt_under_an_open_engine_are_refused_once(tmp_path: Path) -> None:
    store = searchable(tmp_path / "store", random_frames(NUM_VIDEOS))
    engine = SearchEngine.open([store.place])
    engine.search([video(0)], SearchOptions())
    shard, frames = store.shards("test")[1], random_frames(4, seed=5)
    inputs = input_digests(store, shard, (FRAMES_STAGE,))
    write_clip_features(
        store, "mine", shard, ClipFeatures(unit(frames.mean(axis=1)), frames, outcomes(store, shard)), inputs
    )
    with pytest.raises(ShardIncompleteError, match="rebuilt"):
        engine.search([video(0)], SearchOptions())
    (answer,) = engine.search([video(0)], SearchOptions())
    assert len(answer.hits) == NUM_VIDEOS - 1


def test_a_store_that_is_given_twice_is_searched_once(store: Store) -> None:
    engine = SearchEngine.open([store.place, f"{store.place}/../store"])
    (answer,) = engine.search([video(0)], SearchOptions(top=100))
    assert len(answer.hits) == NUM_VIDEOS - len(FAILED) - 1
    assert "is given twice" in engine.report.warnings[0]


def test_imported_features_have_no_encoder_but_find_by_id(tmp_path: Path) -> None:
    store = searchable(tmp_path / "store", random_frames(NUM_VIDEOS), made_by={"imported": {"text": "a.npz"}})
    engine = SearchEngine.open([store.place])
    assert engine.search([video(0)], SearchOptions())[0].encoder == "imported"
    model = fda.ModelSource(model="ViT-B-32", pretrained="none")
    for one in (engine, SearchEngine.open([store.place], model)):
        with pytest.raises(InputError, match="were imported.* search by --video or --caption"):
            one.search([Query("a dog")], SearchOptions())


def test_weights_that_no_run_names_leave_queries_by_id(store: Store) -> None:
    engine = SearchEngine.open([store.place])
    with pytest.raises(InputError, match="no run record .* give --checkpoint, .* or search by --video or --caption"):
        engine.search([Query("a dog")], SearchOptions())


def test_filters_take_what_is_known_of_each_video(tmp_path: Path) -> None:
    known = [
        Known(["a"], coverage=0.1, seconds=5.0, category="sports", camera_motion=False),
        Known(["b"], coverage=0.3, seconds=None, category="news", camera_motion=True),
        Known([], coverage=None, seconds=30.0, category=None, camera_motion=None),
        Known(["d"], coverage=0.5, seconds=60.0, category="sports", camera_motion=True),
    ]
    vectors = unit(random_frames(4).mean(axis=1))
    store = known_store(tmp_path / "store", known, vectors, vectors[[0, 1, 3]])
    engine = SearchEngine.open([store.place])

    def found(**filters: object) -> list[int]:
        options = SearchOptions(top=9, filters=fda.Filters(**filters))  # type: ignore[arg-type]
        (answer,) = engine.search([Query("c0", QueryKind.CAPTION)], options)
        assert answer.num_candidates == len(answer.hits)
        return sorted(rows_of(answer))

    assert found() == [0, 1, 2, 3]
    assert found(motion=(0.1, 0.3)) == [0, 1]
    assert found(duration_seconds=(5.0, 30.0)) == [0, 2]
    assert found(categories=("sports",)) == [0, 3]
    assert (found(camera_moves=True), found(camera_moves=False)) == ([1, 3], [0])
    assert found(categories=("sports", "news"), camera_moves=True, motion=(0.4, 1.0)) == [3]
    captions = SearchOptions(find="captions", filters=fda.Filters(motion=(0.2, 1.0)))  # type: ignore[arg-type]
    (answer,) = engine.search([Query("-v_0", QueryKind.VIDEO)], captions)
    assert sorted(str(hit.caption_id) for hit in answer.hits) == ["c1", "c2"]
    (none,) = engine.search([Query("-v_0", QueryKind.VIDEO)], SearchOptions(top=9))
    assert {hit.row: hit.caption for hit in none.hits}[2] is None
    with pytest.raises(InputError, match="no video has the category 'sport'; there: 'sports'"):
        found(categories=("sport",))


def test_masks_that_are_pending_cost_no_vectors_and_a_store_that_has_grown_does(tmp_path: Path) -> None:
    store = searchable(tmp_path / "store", random_frames(NUM_VIDEOS))
    engine = SearchEngine.open([store.place])
    engine.search([video(0)], SearchOptions())
    index, views = engine.index(engine.views[0], "mine", "test"), engine.views
    (record := Path(store.place) / "commits/test/masks/default/00001.parquet").unlink()
    moving = SearchOptions(filters=fda.Filters(motion=(0, 1)))
    with pytest.raises(ShardIncompleteError, match="masks"):
        engine.search([video(0)], moving)
    assert not record.exists()
    assert engine.views is views
    assert engine.index(engine.views[0], "mine", "test") is index
    create_store(folder_at(store.place), make_manifest(NUM_VIDEOS + 1, digest="e" * 64), make_catalog(NUM_VIDEOS + 1))
    with pytest.raises(ShardIncompleteError, match="masks"):
        engine.search([video(0)], moving)
    assert engine.views is not views
    assert engine.index(engine.views[0], "mine", "test") is not index
    engine._forget(views)  # as a second thread that fails on what was open before
    assert engine.views is not views


def test_a_store_that_grows_under_an_open_engine_is_opened_anew(tmp_path: Path) -> None:
    store = searchable(tmp_path / "store", random_frames(NUM_VIDEOS))
    engine = SearchEngine.open([store.place])
    engine.search([video(0)], SearchOptions())
    manifest, catalog = make_manifest(NUM_VIDEOS + 1, digest="e" * 64), make_catalog(NUM_VIDEOS + 1)
    grown = create_store(folder_at(store.place), manifest, catalog)[0]
    fill_shard(grown, grown.shards("test")[-1])
    with pytest.raises(ShardRebuiltError, match="has got other videos since it was opened"):
        engine.search([video(0)], SearchOptions(filters=fda.Filters(motion=(0, 1))))
    with pytest.raises(ShardIncompleteError, match="features 'mine': 3 of 11 videos .*not encoded yet"):
        engine.search([video(0)], SearchOptions())
    assert engine.views[0].splits["test"].num_videos == NUM_VIDEOS + 1


def test_an_id_whose_features_no_searched_split_can_be_compared_with(tmp_path: Path) -> None:
    one, other = searchable(tmp_path / "one", random_frames(NUM_VIDEOS)), made.make(tmp_path / "other")
    said = (
        "'-vidéo_0' has features mine, in split 'test' of .*one, but they cannot be compared with those of "
        "the searched split 'train', which another encoder made: search split 'test' too"
    )
    with pytest.raises(NotInStoreError, match=said):
        SearchEngine.open([one.place, other.place]).search([video(0)], SearchOptions(splits=("train",)))


@pytest.mark.parametrize(
    ("kind", "fields", "said"),
    [
        (fda.Filters, {"motion": (5.0, 50.0)}, "motion is from 0 to 1, got 5.0 to 50.0"),
        (fda.Filters, {"motion": (2, float("inf"))}, "motion is from 0 to 1"),
        (fda.Filters, {"motion": (-3, 1)}, "motion is from 0 to 1"),
        (fda.Filters, {"duration_seconds": (-1, 5)}, "duration_seconds is from 0 to inf"),
        (fda.Filters, {"motion": (0.5, 0.1)}, "motion goes from the lowest to the highest"),
        (fda.Filters, {"motion": (float("nan"), 0.1)}, "motion goes from the lowest to the highest"),
        (fda.Filters, {"motion": "ab"}, "motion must be two numbers, the lower one first, got 'ab'"),
        (fda.Filters, {"motion": "01"}, "motion must be two numbers"),
        (fda.Filters, {"motion": (1,)}, "motion must be two numbers"),
        (fda.Filters, {"duration_seconds": 3}, "duration_seconds must be two numbers"),
        (fda.Filters, {"categories": "sports"}, "categories must be several names"),
        (Query, {"value": None}, "what to search for must be text, got None"),
        (SearchOptions, {"top": 2.5}, "top must be a whole number, got 2.5"),
        (SearchOptions, {"top": None}, "top must be of the class int, got None"),
        (SearchOptions, {"filters": None}, "filters must be of the class Filters, got None"),
    ],
)
def test_options_that_cannot_be(kind: type, fields: dict[str, object], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        kind(**fields)


def test_ranges_have_open_ends_and_whole_numbers() -> None:
    assert fda.Filters(duration_seconds=[3, float("inf")]).duration_seconds == (3.0, float("inf"))  # type: ignore[arg-type]
    assert fda.Filters(motion=(0, 1)).motion == (0.0, 1.0)
    assert fda.Filters(motion=(0.5, float("inf"))).motion == (0.5, float("inf"))
