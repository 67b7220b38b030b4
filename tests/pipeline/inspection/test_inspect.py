"""`fda.inspect`: which videos are chosen, what is known of them, and what the page and the sheet show."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import fda
from pipeline.inspection import clips, page, sheet
from pipeline.inspection.facts import InspectedVideo
from pipeline.pages.pictures import evenly
from pipeline.run.limits import Limit
from store.clips.shards import create_clip_arrays, create_mask_arrays, write_masks
from store.completion import input_digests
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
from store.schema import VideoStatus
from store.stages import FRAMES_STAGE
from store.store import Store
from tests.retrieval_cases import unit_rows
from tests.sliced import Known, known_store
from tests.stores import (
    clip_masks,
    fill_shard,
    fill_store,
    make_catalog,
    make_manifest,
    make_store,
    outcomes,
    tree_digest,
)

KNOWN = (
    Known(["a dog", "a cat"], coverage=0.5, camera_motion=True, category="Animal"),
    Known(["a car"], coverage=0.1),
    Known(["the same car", "again", "and again"], coverage=0.9, camera_motion=True),
    Known([], coverage=0.3),
    Known(["a bus"], coverage=None),
    Known(["a <b>bold</b> one"], coverage=0.1, camera_motion=None),
)
NUM_CAPTIONS = sum(len(one.texts) for one in KNOWN)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(4)
    place = tmp_path_factory.mktemp("known") / "store"
    known_store(place, KNOWN, unit_rows(rng, len(KNOWN), 5), unit_rows(rng, NUM_CAPTIONS, 5))
    return place


def ids(result: fda.InspectionResult) -> list[str]:
    return [one.video.video_id for one in result.videos]


class Parsed(HTMLParser):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "img":
            self.images.append(dict(attrs))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (fda.InspectOptions(emptiest=2), ["-v_1", "-v_5"]),
        (fda.InspectOptions(fullest=3), ["-v_2", "-v_0", "-v_3"]),
        (fda.InspectOptions(fullest=100), ["-v_2", "-v_0", "-v_3", "-v_1", "-v_5"]),
        (fda.InspectOptions(camera=9), ["-v_2", "-v_0"]),
        (fda.InspectOptions(video_ids=("-v_4", "-v_1", "-v_4")), ["-v_4", "-v_1"]),
        (fda.InspectOptions(fullest=1, emptiest=1, video_ids=("-v_3",)), ["-v_3", "-v_1", "-v_2"]),
    ],
)
def test_choices(place: Path, options: fda.InspectOptions, expected: list[str]) -> None:
    assert ids(fda.inspect(place, options)) == expected


def test_each_video_is_shown_once_and_says_what_chose_it(place: Path) -> None:
    found = fda.inspect(place, fda.InspectOptions(video_ids=("-v_2",), fullest=2, camera=2))
    assert ids(found) == ["-v_2", "-v_0"]
    assert [dict(one.chosen_by) for one in found.videos] == [
        {"named": 1, "fullest": 1, "camera": 1},
        {"fullest": 2, "camera": 2},
    ]


def test_drawing_follows_from_the_seed(place: Path) -> None:
    drawn = [ids(fda.inspect(place, fda.InspectOptions(random=4, seed=seed))) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(set(drawn[0])) == 4
    assert sorted(ids(fda.inspect(place))) == [f"-v_{row}" for row in range(6)]  # by default, at most 8


def test_ranks_are_those_of_eval(place: Path) -> None:
    table = fda.evaluate(place, "mine", fda.EvalOptions(max_missing=Limit.of(1.0))).per_query()
    expected = {
        row["query_id"]: (row["rank"], row["top1_video_id"], row["own_score"], row["top1_score"])
        for row in table.to_pylist()
        if row["direction"] == "text_to_video"
    }
    found = fda.inspect(place, fda.InspectOptions(worst_rank=20, features="mine"))
    ranks = {
        caption.caption_id: (its.rank, its.first_video_id, its.score, its.first_score)
        for one in found.videos
        for caption in one.captions
        if (its := caption.rank) is not None
    }
    assert len(ranks) == NUM_CAPTIONS
    assert ranks == expected
    worst = [max(its.rank for caption in one.captions if (its := caption.rank)) for one in found.videos]
    assert worst == sorted(worst, reverse=True)
    assert len(worst) == 5  # one video has no caption
    some = fda.inspect(place, fda.InspectOptions(video_ids=("-v_2",), features="mine")).videos[0]
    assert [one.rank for one in some.captions] == [one.rank for one in _by_id(found)["-v_2"].captions]


def _by_id(result: fda.InspectionResult) -> dict[str, InspectedVideo]:
    return {one.video.video_id: one for one in result.videos}


def test_the_page_shows_everything_as_text(place: Path, tmp_path: Path) -> None:
    before = tree_digest(place, leave_out=())
    files = fda.InspectFiles(tmp_path / "all.html", tmp_path / "all.png")
    found = fda.inspect(place, fda.InspectOptions(random=6, features="mine"), files)
    assert tree_digest(place, leave_out=()) == before
    parsed = Parsed(tmp_path / "all.html")
    assert parsed.tags.count("article") == 6
    assert "script" not in parsed.tags
    for one in KNOWN:
        assert all(text in parsed.text for text in one.texts)
    assert "All 3 captions" in parsed.text
    assert "No caption." in parsed.text
    assert all(one["alt"] for one in parsed.images)
    strips = [one for one in parsed.images if "outline" in str(one["alt"])]
    assert len(strips) == 6
    assert all(str(one["src"]).startswith("data:image/jpeg;base64,") for one in parsed.images)
    assert "0.04 s" in parsed.text  # the second frame
    assert parsed.tags.count("polyline") == 6
    assert found.warnings == (
        f"no attention: features 'mine' of {place} were imported, and no model of theirs is known",
    )
    assert f"No attention: features 'mine' of {place} were imported" in parsed.text
    with Image.open(tmp_path / "all.png") as picture:
        assert picture.format == "PNG"
        assert picture.getpixel((0, 0)) == (255, 255, 255)


def test_how_many_clips_are_in_memory_changes_nothing(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = fda.InspectOptions(random=6, features="mine", attention=False)
    written = []
    for size in (2**27, 2000, 1):
        monkeypatch.setattr(clips, "_BYTES_AT_ONCE", size)
        files = fda.InspectFiles(tmp_path / f"{size}.html", tmp_path / f"{size}.png")
        fda.inspect(place, options, files)
        written.append([path.read_bytes() for path in (files.page, files.sheet) if path])
    assert written[0] == written[1] == written[2]


def test_a_page_that_becomes_large_is_announced(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "_BYTES_TO_WARN", 1000)
    found = fda.inspect(place, fda.InspectOptions(random=6), fda.InspectFiles(tmp_path / "a.html"))
    assert [text for text in found.warnings if "browsers open slowly" in text]


def test_a_sheet_without_room_says_so(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sheet, "_MAX_PIXELS", 1)
    found = fda.inspect(place, fda.InspectOptions(random=6), fda.InspectFiles(sheet=tmp_path / "a.png"))
    assert found.warnings == ("the sheet has no room for 4 of 6 videos: they are on the page only",)
    assert len(found.videos) == 6


def test_failed_and_pending_videos_are_shown_with_their_reasons(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store", 8)
    fill_shard(store, store.shards("test")[0], failed=frozenset({1, 2}))
    options = fda.InspectOptions(failed=1, video_ids=("-vidéo_0", "-vidéo_2", "-vidéo_7"), random=9)
    found = fda.inspect(tmp_path / "store", options, fda.InspectFiles(tmp_path / "a.html", tmp_path / "a.png"))
    assert ids(found) == ["-vidéo_0", "-vidéo_2", "-vidéo_7", "-vidéo_1", "-vidéo_3"]
    assert [str(one.status) for one in found.videos] == ["ok", "corrupt", "pending", "corrupt", "ok"]
    assert found.warnings == (
        "split 'test': frames of 1 of 2 shards are pending, and their videos are not chosen from",
    )
    parsed = Parsed(tmp_path / "a.html")
    assert parsed.text.count("broken on purpose") == 2
    assert "its shard is pending: there is no commits/test/frames/00001.parquet" in parsed.text
    assert parsed.tags.count("article") == 5


def test_masks_that_are_pending_are_named(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store", 2)
    fill_store(store)
    (record,) = (tmp_path / "store/commits/test/masks/default").glob("*.parquet")
    record.unlink()
    (one, *_) = fda.inspect(tmp_path / "store", fda.InspectOptions(masks=("default",))).videos
    assert one.has_clip
    assert list(one.masks_pending) == ["default"]
    found = fda.inspect(tmp_path / "store", files=fda.InspectFiles(tmp_path / "a.html"))
    assert found.videos[0].masks_pending == {}  # nobody asked for them
    assert ", outline" not in Parsed(tmp_path / "a.html").text


def test_several_mask_sets(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store", 2)
    fill_store(store)
    (shard,) = store.shards("test")
    for name in ("b", "a", "d", "c"):
        create_mask_arrays(store, name, {"options": {"threshold": 25}})
        masks = np.stack([clip_masks(row) for row in range(2)])
        inputs = input_digests(store, shard, [FRAMES_STAGE])
        write_masks(store, shard, name, masks, outcomes(store, shard), inputs)
    heard: list[object] = []
    found = fda.inspect(store.place, files=fda.InspectFiles(tmp_path / "a.html"), listener=heard.append)
    assert [masks.name for masks in found.videos[0].masks] == ["default", "a", "b"]
    said = "shown are 'default', 'a', 'b'; 2 further mask sets: 'c', 'd' (--masks NAME shows it)"
    assert heard[0] == fda.Message(said)
    assert Parsed(tmp_path / "a.html").tags.count("polyline") == 2 * 3
    named = fda.inspect(store.place, fda.InspectOptions(masks=("d", "c", "b", "a")))
    assert [masks.name for masks in named.videos[0].masks] == ["d", "c", "b", "a"]


def test_a_damaged_clip_costs_one_video_and_not_the_page(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store", 6)  # of which the last two are in a shard of their own
    fill_store(store)
    damage_frames(store, 1)
    options = fda.InspectOptions(video_ids=("-vidéo_5", "-vidéo_0"))
    found = fda.inspect(store.place, options, fda.InspectFiles(tmp_path / "a.html", tmp_path / "a.png"))
    (warning,) = found.warnings
    assert warning.startswith("the clip of '-vidéo_5' cannot be shown: ")
    parsed = Parsed(tmp_path / "a.html")
    assert parsed.tags.count("article") == 2
    assert parsed.text.count("cannot be read: ") == 1
    assert warning.removeprefix("the clip of '-vidéo_5' cannot be shown: ") in parsed.text
    assert {str(one["alt"]).split(",")[0] for one in parsed.images} == {"-vidéo_0"}
    assert (tmp_path / "a.png").stat().st_size


def damage_frames(store: Store, shard: int) -> None:
    (path,) = Path(store.place).glob(f"clips.zarr/test/frames/c.{shard}.*")
    content = bytearray(path.read_bytes())
    content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
    path.write_bytes(content)


def test_a_first_video_without_a_clip_costs_the_others_no_picture(tmp_path: Path) -> None:
    """Two videos whose captions find another one first: one of these can be shown, and one has no clip."""
    store = make_store(tmp_path / "store", 8)
    fill_store(store, failed=frozenset({7}))
    vectors = np.eye(8, dtype=np.float32)
    create_features(store, "near", "test", 8, {"imported": {"by": "hand"}})
    for shard in store.shards("test"):
        rows = range(shard.start, shard.stop)
        outcomes_here = tuple(replace(one, filled=True, status=VideoStatus.OK) for one in outcomes(store, shard))
        clip_features = ClipFeatures(vectors[rows], np.full((len(rows), 3, 8), np.nan, np.float32), outcomes_here)
        write_clip_features(store, "near", shard, clip_features, {})
    firsts = {0: 5, 1: 7}
    for shard in caption_shards(store, "test"):
        targets = [firsts.get(row // 2, row // 2) for row in range(shard.start, shard.stop)]
        write_text_features(store, "near", shard, TextFeatures(vectors[targets]))
    options = fda.InspectOptions(features="near", video_ids=("-vidéo_0", "-vidéo_1"), attention=False)
    found = fda.inspect(store.place, options, fda.InspectFiles(tmp_path / "a.html"))
    parsed = Parsed(tmp_path / "a.html")
    assert [one["alt"] for one in parsed.images if str(one["alt"]).endswith("frames of -vidéo_5")]
    assert parsed.text.count("First for its") == 1
    assert [text for text in found.warnings if "'-vidéo_7', which is first for a caption of another video" in text]


@pytest.fixture
def maskless(tmp_path: Path) -> Store:
    store = create_store(folder_at(tmp_path / "store"), make_manifest(1), make_catalog(1))[0]
    create_clip_arrays(store, {"made by": "hand"})
    return store


def test_a_store_without_masks_captions_or_features(maskless: Store, tmp_path: Path) -> None:
    with pytest.raises(fda.InputError, match="has no mask set to choose by"):
        fda.inspect(maskless.place, fda.InspectOptions(emptiest=1))
    with pytest.raises(fda.NotInStoreError, match="no features 'mine'"):
        fda.inspect(maskless.place, fda.InspectOptions(features="mine"))
    with pytest.raises(fda.InputError, match="nothing to show: --random finds no video in 'test'"):
        fda.inspect(maskless.place)  # its one shard is pending


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"random": 0}, "random must be at least 1, got 0"),
        ({"failed": -1}, "failed must be at least 1"),
        ({"num_frames": 0}, "num_frames must be at least 1"),
        ({"num_frames": 101}, "num_frames must be at most 100"),
        ({"emptiest": "many"}, "emptiest must be a whole number"),
        ({"video_ids": "a"}, "video_ids must be several names"),
        ({"worst_rank": 3}, "--worst-rank needs --features"),
    ],
)
def test_options_that_cannot_be(fields: dict[str, object], message: str) -> None:
    with pytest.raises(fda.OptionError, match=message):
        fda.InspectOptions(**fields)  # type: ignore[arg-type]


def test_files_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text("mine")
    for files, error in (
        (fda.InspectFiles(tmp_path / "a.html"), FileExistsError),
        (fda.InspectFiles(tmp_path / "nowhere/a.html"), FileNotFoundError),
        (fda.InspectFiles(sheet=tmp_path), FileExistsError),
    ):
        with pytest.raises(error):
            fda.inspect(tmp_path / "no-store", files=files)
    with pytest.raises(fda.OptionError, match="cannot be one file"):
        fda.InspectFiles(tmp_path / "a", tmp_path / "a")
    assert (tmp_path / "a.html").read_text() == "mine"


@given(num_frames=st.integers(1, 200), num_shown=st.integers(1, 40))
def test_frames_are_shown_at_even_distances(num_frames: int, num_shown: int) -> None:
    shown = evenly(num_frames, num_shown)
    assert len(shown) == min(num_frames, num_shown)
    steps = np.diff(shown)
    assert (steps >= 1).all()
    assert not len(steps) or np.ptp(steps) <= 1
    assert shown.min() >= 0
    assert shown.max() < num_frames
    assert num_shown == 1 or (shown[0], shown[-1]) == (0, num_frames - 1)
