"""The page about a store: its numbers are those of the other commands, and whatever the store is like, there is one."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import fda
from pipeline.errors import InputError, OptionError
from pipeline.evaluation.evaluate import Evaluation
from pipeline.reporting import scoring
from pipeline.reporting.examples import Example, find_examples
from pipeline.reporting.options import ReportOptions
from pipeline.reporting.run import report
from pipeline.run.events import Listener, Message, Reporter, ignore_events
from pipeline.run.records import RunClock, recorded_run
from store.catalog import Catalog
from store.claims.holding import claimed
from store.clips.shards import ShardFrames, create_clip_arrays, create_mask_arrays, write_masks
from store.completion import input_digests
from store.errors import NotInStoreError, StoreMissingError
from store.features import (
    ClipFeatures,
    TextFeatures,
    caption_shards,
    create_features,
    write_clip_features,
    write_text_features,
)
from store.growth import create_store
from store.places.opening import folder_at
from store.schema import Caption, SplitLayout, Video
from store.stages import FRAMES_STAGE, masks_stage
from store.store import Store
from tests.html_pages import ParsedPage
from tests.retrieval_cases import unit_rows
from tests.sliced import Known, known_store
from tests.stores import (
    MASKS,
    NUM_FRAMES,
    SIZE,
    clip_frames,
    clip_masks,
    fill_shard,
    make_manifest,
    make_store,
    outcomes,
    tree_digest,
    write_frames,
)

NUM_VIDEOS, DIM = 6, 5
EVIL = "<script>alert('x')</script>\" onload='y' \u202e{{ 7*7 }} &amp;"
KNOWN = [
    Known((f"caption {row} is moving", EVIL), coverage=row / 10, seconds=1.0 + row, category=EVIL if row % 2 else "b")
    for row in range(NUM_VIDEOS)
]


def add_features(store: Store, name: str, seed: int, split: str = "test") -> None:
    """Another feature set, of random directions."""
    rng, layout = np.random.default_rng(seed), store.layout(split)
    video, text = unit_rows(rng, layout.num_videos, DIM), unit_rows(rng, layout.num_captions, DIM)
    create_features(store, name, split, DIM, {"masks": {"name": MASKS}, "model": {"name": name, "kind": "by hand"}})
    for shard in store.shards(split):
        rows = video[shard.start : shard.stop]
        inputs = input_digests(store, shard, (FRAMES_STAGE, masks_stage(MASKS)))
        frame = np.repeat(rows[:, None], layout.num_frames, axis=1)
        write_clip_features(store, name, shard, ClipFeatures(rows, frame, outcomes(store, shard)), inputs)
    for shard in caption_shards(store, split):
        write_text_features(store, name, shard, TextFeatures(text[shard.start : shard.stop]))


def make_known(place: Path) -> Store:
    rng = np.random.default_rng(3)
    store = known_store(place, KNOWN, unit_rows(rng, NUM_VIDEOS, DIM), unit_rows(rng, 2 * NUM_VIDEOS, DIM))
    add_features(store, "yours", 4)
    return store


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, fda.ReportResult, ParsedPage]:
    """A store with two feature sets, and the page about it."""
    folder = tmp_path_factory.mktemp("known")
    store = make_known(folder / "store")
    before = tree_digest(folder / "store", leave_out=())
    result = report(store.place, folder / "page.html")
    assert tree_digest(folder / "store", leave_out=()) == before
    return store, result, page_at(result.page)


def page_at(path: Path) -> ParsedPage:
    page = ParsedPage(path.read_text(encoding="utf-8"))
    page.check()
    return page


def page_of(store: Store | str, path: Path, **options: object) -> tuple[fda.ReportResult, ParsedPage]:
    options = {"thumbnails": False, "overwrite": True, **options}
    result = report(store if isinstance(store, str) else store.place, path, ReportOptions(**options))  # type: ignore[arg-type]
    return result, page_at(path)


def test_its_numbers_are_those_of_eval_and_compare(known: tuple[Store, fda.ReportResult, ParsedPage]) -> None:
    store, result, page = known
    assert (result.num_sets_scored, result.warnings) == (2, ())
    for name in ("mine", "yours"):
        found = fda.evaluate(store.place, name)
        assert found.intervals is not None
        for direction in ("text_to_video", "video_to_text"):
            metrics, interval = getattr(found.result.metrics, direction), found.intervals[direction]["r1"]
            shown = f"{metrics.r1:.1f} {interval.low:.1f} to {interval.high:.1f}"
            assert f"{name} {direction.replace('_', ' ')} {shown}" in page.text
    options = fda.CompareOptions(num_permutations=2_000)
    compared = fda.compare(store.place, ["mine", "yours"], options).against_first[0].directions["text_to_video"]
    assert f"p {compared.differences['r1'].p_value:.4f}" in page.text
    assert f"{compared.differences['r1'].value:+.1f}" in page.text


def test_its_sections(known: tuple[Store, fda.ReportResult, ParsedPage]) -> None:
    _, result, page = known
    assert page.titles == list(result.sections)
    assert page.titles == [
        "In short",
        "Retrieval",
        "Feature sets compared",
        "Example retrievals",
        "Slices of the queries",
        "What is in the store",
        "Masks",
        "Failed videos",
        "How it was made",
    ]  # and no "same videos in two splits": there is one split
    assert "No video of a complete shard failed" in page.text
    assert page.tags.count("svg") == 5  # metrics, differences, slices of two families, masks
    assert result.num_bytes == result.page.stat().st_size < 2_000_000


def test_the_same_store_gives_the_same_bytes(known: tuple[Store, fda.ReportResult, ParsedPage], tmp_path: Path) -> None:
    store, result, _ = known
    again = report(store.place, tmp_path / "again.html")
    assert again.page.read_bytes() == result.page.read_bytes()


def test_captions_ids_and_categories_are_text(
    known: tuple[Store, fda.ReportResult, ParsedPage], tmp_path: Path
) -> None:
    _, _, page = known
    assert page.script.count("alert") == 0
    assert page.text.count(EVIL) > 5
    assert not set(page.tags) & {"iframe", "object", "embed"}
    assert page.tags.count("script") == 1


def test_what_is_scored_can_be_chosen(known: tuple[Store, fda.ReportResult, ParsedPage], tmp_path: Path) -> None:
    store, _, all_of_it = known
    result, page = page_of(store, tmp_path / "page.html", features=("yours",), title=EVIL, protocol="clip4clip")
    assert result.num_sets_scored == 1
    assert page.tags.count("img") == 0 < all_of_it.tags.count("img")  # without thumbnails
    assert "Feature sets compared" not in page.titles
    assert "Protocol clip4clip" in page.text
    assert page.text.startswith(EVIL)
    for options, message in (({"features": ("no",)}, "no features 'no'"), ({"splits": ("no",)}, "no split 'no'")):
        with pytest.raises(NotInStoreError, match=message):
            page_of(store, tmp_path / "page.html", **options)
    with pytest.raises(OptionError, match="features has 'a' twice"):
        ReportOptions(features=("a", "a"))
    with pytest.raises(OptionError, match="no protocol 'best'"):
        ReportOptions(protocol="best")


def test_where_the_page_may_lie(known: tuple[Store, fda.ReportResult, ParsedPage], tmp_path: Path) -> None:
    store = known[0]
    (tmp_path / "mine.html").write_text("mine")
    with pytest.raises(FileExistsError, match=r"mine\.html exists already"):
        report(store.place, tmp_path / "mine.html")
    with pytest.raises(InputError, match="would lie in the store"):
        report(store.place, Path(store.place) / "page.html")
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        report(store.place, tmp_path / "nowhere/page.html")
    with pytest.raises(StoreMissingError):
        report(tmp_path / "no store", tmp_path / "page.html")
    assert (tmp_path / "mine.html").read_text() == "mine"


def test_a_store_in_which_nothing_is_made_yet(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store", 5)
    result, page = page_of(store, tmp_path / "page.html", thumbnails=True)
    assert result.warnings == ()
    assert "test: 2 of 2 shards of frames pending" in page.text
    assert "No feature set could be scored" in page.text
    assert "no run record says from where the videos were decoded" in page.text
    assert "No shard of it is complete" in page.text
    (Path(store.place) / "clips.zarr/test/masks/default/zarr.json").unlink()
    _, page = page_of(store, tmp_path / "page.html")
    assert "The store has no masks" in page.text


def test_one_video(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store", 1)
    fill_shard(store, store.shards("test")[0])
    add_features(store, "mine", 1)
    result, page = page_of(store, tmp_path / "page.html", thumbnails=True)
    assert result.num_sets_scored == 1
    assert "100.0" in page.text
    assert "no intervals: they are over videos" in page.text


def test_incomplete_and_damaged_parts_are_said(tmp_path: Path) -> None:
    store = make_known(tmp_path / "store")
    place = Path(store.place)
    fill_shard(store, store.shards("test")[1], failed=frozenset({4}))  # which makes the features out of date
    (place / "runs").mkdir()
    (place / "runs/20260101T000000-encode-1.json").write_text("{}")
    (place / "commits/test/masks/default/00000.parquet").write_bytes(b"no record")
    with claimed(folder_at(place), "fda preprocess", ["frames"]):
        result, page = page_of(store, tmp_path / "page.html", thumbnails=True)
    assert result.num_sets_scored == 0
    assert "A run is writing into the store" in page.text
    assert "fda preprocess" in page.text
    assert "1 video of 6 failed" in page.text
    assert "broken on purpose" in page.text
    for words in ("features 'mine' of split 'test' are not scored", "20260101T000000-encode-1.json"):
        assert any(words in warning for warning in result.warnings)
        assert words in page.text
    assert "commits/test/masks/default/00000.parquet" in page.text


def test_a_damaged_catalogue(tmp_path: Path) -> None:
    store = make_known(tmp_path / "store")
    path = Path(store.place) / "catalog/captions.parquet"
    path.write_bytes(path.read_bytes()[:-1])
    result, page = page_of(store.place, tmp_path / "page.html", thumbnails=True)
    assert any("captions.parquet" in warning for warning in result.warnings)
    assert "What is in the store" in page.titles
    assert "captions.parquet" in page.text


def test_damaged_frames_are_a_sentence(tmp_path: Path) -> None:
    store = make_known(tmp_path / "store")
    path = Path(store.place) / "clips.zarr/test/frames/c.0.0.0.0.0"
    content = bytearray(path.read_bytes())
    content[:2000] = bytes(2000)
    path.write_bytes(bytes(content))
    result, page = page_of(store, tmp_path / "page.html", thumbnails=True, features=("mine",))
    assert any("some frames are not shown" in warning for warning in result.warnings)
    assert "its frames cannot be read" in page.text
    assert "img" in page.tags  # of the other shard


def test_embeddings_of_a_video_without_a_clip(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store", 2)
    fill_shard(store, store.shards("test")[0], failed=frozenset({0}))
    add_features(store, "mine", 1)
    result, page = page_of(store, tmp_path / "page.html", thumbnails=True)
    assert (result.num_sets_scored, result.warnings) == (1, ())
    assert "it has no clip" in page.text
    assert "img" in page.tags  # of the other video


def test_a_set_that_cannot_be_shown_is_not_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = make_known(tmp_path / "store")
    add_features(store, "also", 5)
    searched: list[object] = []

    def failing(store: Store, result: Evaluation) -> tuple[Example, ...]:
        if result.features == "also":
            raise InputError("no examples")
        return find_examples(store, result)

    monkeypatch.setattr(scoring, "find_examples", failing)
    monkeypatch.setattr(scoring, "near_duplicates", lambda store, features, name, *_: searched.append(name))
    scored = scoring.score_all(store, ReportOptions(), (), Reporter(ignore_events)).splits[0]
    assert dict(scored.not_scored) == {"also": "no examples"}
    assert scored.comparison is not None
    assert [one.name for one in scored.sets] == [one.name for one in scored.comparison.sets] == ["mine", "yours"]
    assert searched == ["mine"]


def test_a_bug_of_ours_is_no_sentence(
    known: tuple[Store, fda.ReportResult, ParsedPage], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ValueError("a bug")

    monkeypatch.setattr(scoring, "find_examples", broken)
    with pytest.raises(ValueError, match="a bug"):
        page_of(known[0], tmp_path / "page.html")


def test_many_feature_sets_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.reporting.scoring.MAX_SETS", 1)
    store = make_store(tmp_path / "store", 2)
    fill_shard(store, store.shards("test")[0])
    for number in range(3):
        add_features(store, f"set-{number}", number)
    result, page = page_of(store, tmp_path / "page.html")
    assert result.num_sets_scored == 1
    assert "Not scored, for want of room: set-1, set-2" in page.text


def test_of_many_feature_sets_the_newest_are_scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.reporting.scoring.MAX_SETS", 2)
    store = make_store(tmp_path / "store", 2)
    fill_shard(store, store.shards("test")[0])
    for number, name in enumerate(("c", "b", "a")):
        add_features(store, name, number)
        with recorded_run(store.folder, "encode", RunClock(), {"features": name}):
            time.sleep(0.001)  # so that no two begin at one time
    told: list[str] = []
    result = report(store.place, tmp_path / "page.html", ReportOptions(thumbnails=False), listener=heard(told))
    assert result.num_sets_scored == 2
    assert "Not scored, for want of room: c." in ParsedPage((tmp_path / "page.html").read_text()).text
    assert "split 'test': the 2 newest of 3 feature sets are scored, and 1 left out: --features names others" in told


def heard(told: list[str]) -> Listener:
    return lambda event: told.append(event.text) if isinstance(event, Message) else None


def test_warnings_are_heard_and_in_the_result_as_json(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store", 2)
    (Path(store.place) / "runs").mkdir()
    (Path(store.place) / "runs/x.json").write_text("{}")
    heard: list[object] = []
    result = report(store.place, tmp_path / "page.html", listener=heard.append)
    told = [event.text for event in heard if isinstance(event, fda.Message) and event.is_warning]
    assert tuple(told) == result.warnings != ()
    assert json.loads(json.dumps(result.to_dict()))["warnings"] == told


def make_two_splits(place: Path) -> Store:
    """`train` and `test` have one file in common, and two videos whose features are nearly the same."""
    videos = [
        Video(f"{split}_{row}", split, row, f"{split}_{row}.mp4") for split in ("train", "test") for row in range(3)
    ]
    captions = [Caption(f"{one.video_id}#0", one.video_id, one.split, one.row, f"of {one.video_id}") for one in videos]
    layout = SplitLayout(3, 3, NUM_FRAMES, SIZE, SIZE)
    manifest = replace(make_manifest(3), splits={"train": layout, "test": layout})
    store = create_store(folder_at(place), manifest, Catalog.of(videos, captions))[0]
    create_clip_arrays(store, {"made by": "hand"})
    create_mask_arrays(store, MASKS, {"options": {"threshold": 25}})
    rng, near = np.random.default_rng(1), unit_rows(np.random.default_rng(2), 1, DIM)
    for split in ("train", "test"):
        video = unit_rows(rng, 3, DIM)
        video[1] = near + (0.001 if split == "test" else 0.0)
        video /= np.linalg.norm(video, axis=1, keepdims=True)
        create_features(store, "mine", split, DIM, {"model": {"kind": "by hand"}})
        (shard,) = store.shards(split)
        plain = outcomes(store, shard)
        known = tuple(replace(one, source_sha256=f"{split if one.row else 'same'}{one.row}") for one in plain)
        clips = ShardFrames(
            np.stack([clip_frames(row) for row in range(3)]),
            np.tile(np.arange(NUM_FRAMES) / 25, (3, 1)),
            np.tile(np.arange(NUM_FRAMES), (3, 1)),
        )
        written = write_frames(store, shard, clips, known)
        write_masks(store, shard, MASKS, np.stack([clip_masks(row) for row in range(3)]), known, written.clips.inputs)
        inputs = input_digests(store, shard, (FRAMES_STAGE,))
        frame = np.repeat(video[:, None], NUM_FRAMES, axis=1)
        write_clip_features(store, "mine", shard, ClipFeatures(video, frame, known), inputs)
        for of_captions in caption_shards(store, split):
            write_text_features(store, "mine", of_captions, TextFeatures(unit_rows(rng, 3, DIM)))
    return store


def test_videos_that_two_splits_share(tmp_path: Path) -> None:
    store = make_two_splits(tmp_path / "store")
    result, page = page_of(store, tmp_path / "page.html", thumbnails=True)
    assert "The same videos in two splits" in page.titles
    assert "train and test share 1 video" in page.text
    assert "train_0 = test_0" in page.text
    assert "1 of 3 scored videos is far nearer to one of another split" in page.text
    assert result.num_sets_scored == 1  # train is there to be trained on
    assert "not scored here: train" in page.text
    both, page = page_of(store, tmp_path / "page.html", splits=("train", "test"))
    assert both.num_sets_scored == 2


def test_feature_sets_of_other_splits(tmp_path: Path) -> None:
    store = make_two_splits(tmp_path / "store")
    add_features(store, "only", 1, "train")
    result, _ = page_of(store, tmp_path / "page.html", features=("mine", "only"))
    told = f"no features 'only' of split test in {store.place}: they are of split train"
    assert (result.num_sets_scored, result.warnings) == (1, (f"{told}, which --split would score",))
    with pytest.raises(NotInStoreError, match=told):
        page_of(store, tmp_path / "page.html", features=("only",), splits=("test",))
    result, _ = page_of(store, tmp_path / "page.html", features=("only",))
    assert (result.num_sets_scored, result.warnings) == (1, ())
