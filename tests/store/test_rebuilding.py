"""A catalogue that is lost or damaged is rebuilt as it was, or not at all; and no clip ever gets another id."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from pipeline.run.plan import make_plan
from pipeline.upkeep.status import store_status
from store.catalog import CAPTIONS_NAME, VIDEOS_NAME, Catalog
from store.clips.reader import ClipReader
from store.clips.shards import create_clip_arrays, create_mask_arrays
from store.commits import VideoOutcome, commit_name, commit_shards, draft_shard
from store.completion import committed_of_each, outcomes_of_each
from store.errors import ShardIncompleteError, StoreFormatError, StoreMismatchError, StoreMissingError
from store.growth import create_store
from store.json_values import JSON
from store.merging import Growth
from store.places.opening import folder_at
from store.schema import Caption, Shard, SplitLayout, Video, VideoStatus
from store.stages import FRAMES_STAGE
from store.store import MANIFEST_NAME, Manifest, Store
from store.verify.findings import Kind
from store.verify.verification import verify
from store.view import open_store
from tests.store.verifying import flip
from tests.stores import MASKS, NUM_FRAMES, SIZE, fill_shard, tree_digest

GROWN = ("a", "b", "c", "d", "e")
"""In the order of the data set; in the store, `d` and `b` came first."""
ARRAYS: dict[str, JSON] = {"options": {}, "software": {}}


def data_set(ids: Sequence[str], change: Callable[[Video], Video] = lambda video: video, words: str = "") -> Catalog:
    """Videos of one split, each with a caption, but for those whose name ends with `e`."""
    videos = [change(Video(video_id, "test", row, f"{video_id}.mp4", 1.0, 2.5)) for row, video_id in enumerate(ids)]
    told = [video.video_id for video in videos if not video.video_id.endswith("e")]
    captions = [Caption(f"{one}#0", one, "test", row, f"this is {one}{words}") for row, one in enumerate(told)]
    return Catalog.of(videos, captions)


def put(place: Path, catalog: Catalog, *, update_captions: bool = False) -> tuple[Store, Growth]:
    """What `fda preprocess` does before it decodes."""
    layout = SplitLayout(catalog.videos.num_rows, catalog.captions.num_rows, NUM_FRAMES, SIZE, SIZE)
    dataset = {"name": "made by hand", "digest": catalog.digest()}
    manifest = Manifest(dataset, shard_size=2, splits={"test": layout}, options={}, software={})
    store, growth = create_store(folder_at(place), manifest, catalog, update_captions=update_captions)
    return store, growth


def commit(store: Store, shard: Shard) -> None:
    """Record which videos are in a shard. That they have no clips makes it faster, and no difference here."""
    outcomes = [
        VideoOutcome(video.video_id, video.row, VideoStatus.MISSING, filled=False)
        for video in store.catalog.shard_videos(shard)
    ]
    commit_shards(store.folder, [draft_shard(shard, FRAMES_STAGE, outcomes, {}, {})])


def grown_store(place: Path, first: Sequence[str] = ("d", "b"), num_done: int = 3) -> Store:
    """A store that has grown, with so many shards committed."""
    for ids in (first, GROWN):
        store, _ = put(place, data_set(ids))
        for shard in store.all_shards()[:num_done]:
            commit(store, shard)
    return store


LOSSES: dict[str, tuple[tuple[str, ...], Callable[[Path], object]]] = {
    "videos lost": ((VIDEOS_NAME,), Path.unlink),
    "videos damaged": ((VIDEOS_NAME,), flip),
    "captions lost": ((CAPTIONS_NAME,), Path.unlink),
    "captions damaged": ((CAPTIONS_NAME,), flip),
    "both lost": ((VIDEOS_NAME, CAPTIONS_NAME), Path.unlink),
    "both emptied": ((VIDEOS_NAME, CAPTIONS_NAME), lambda path: path.write_bytes(b"")),
}


def lose(place: Path, how: str) -> None:
    names, do = LOSSES[how]
    for name in names:
        do(place / name)


@pytest.mark.parametrize("how", LOSSES)
def test_a_lost_catalogue_is_refused_and_rebuilt_with_the_same_bytes(tmp_path: Path, how: str) -> None:
    create_clip_arrays(grown_store(tmp_path), ARRAYS)
    before = tree_digest(tmp_path)
    lose(tmp_path, how)
    with pytest.raises(
        (StoreFormatError, StoreMissingError), match="catalog/.*parquet.* run its `fda preprocess` again"
    ):
        open_store(tmp_path).captions()
    found = verify(folder_at(tmp_path))
    assert {finding.kind for finding in found.findings} == {Kind.CATALOG_DAMAGED}
    assert all("`fda preprocess` again" in finding.remedy for finding in found.findings)
    store, growth = put(tmp_path, data_set(GROWN))
    assert growth.rebuilt is not None
    assert LOSSES[how][0][0] in growth.rebuilt
    assert tree_digest(tmp_path) == before
    assert store.catalog.videos["video_id"].to_pylist() == ["d", "b", "a", "c", "e"]
    assert put(tmp_path, data_set(GROWN))[1].rebuilt is None


@pytest.mark.parametrize("names", [(VIDEOS_NAME, CAPTIONS_NAME), (VIDEOS_NAME,)], ids=["both", "videos"])
def test_a_store_whose_making_was_cut_short_is_unfinished_and_not_damaged(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    """The manifest is written first, then captions, then videos; nothing is committed before."""
    put(tmp_path, data_set(GROWN))
    before = tree_digest(tmp_path)
    for name in names:
        (tmp_path / name).unlink()
    found = verify(folder_at(tmp_path))
    assert {(finding.kind, finding.name) for finding in found.findings} == {(Kind.UNFINISHED, one) for one in names}
    assert not found.num_wrong
    put(tmp_path, data_set(GROWN))
    assert tree_digest(tmp_path) == before


@settings(max_examples=8)
@given(
    order=st.permutations(GROWN),
    num_first=st.integers(1, 5),
    num_done=st.integers(0, 3),
    how=st.sampled_from(sorted(LOSSES)),
    has_grown=st.booleans(),
)
def test_no_clip_gets_another_id(
    order: Sequence[str], num_first: int, num_done: int, how: str, has_grown: bool
) -> None:
    """Whatever was committed when the catalogue was lost, and whether the data set has grown since."""
    with TemporaryDirectory() as folder:
        place = Path(folder)
        grown_store(place, order[:num_first], num_done=num_done)
        lose(place, how)
        try:
            store, _ = put(place, data_set(["0", *GROWN] if has_grown else GROWN))
        except StoreMismatchError:  # not all is known of rows that were never committed, and it is not guessed
            assert num_done < 3
            return
        for shard in store.all_shards():
            (record,) = next(iter(committed_of_each(store, [shard], [FRAMES_STAGE])))[1]
            ids = store.catalog.video_ids("test", shard.start, shard.stop)
            assert record is None or [outcome.video_id for outcome in record.outcomes] == ids


@pytest.mark.parametrize(
    ("catalog", "message"),
    [
        (data_set(GROWN, lambda video: replace(video, start_seconds=1.5)), "its times, paths or captions are not"),
        (
            data_set(GROWN, lambda video: replace(video, path=f"new/{video.path}")),
            "its times, paths or captions are not",
        ),
        (data_set(GROWN[1:]), "video 'a' is not in it"),
    ],
)
def test_another_data_set_rebuilds_nothing(tmp_path: Path, catalog: Catalog, message: str) -> None:
    grown_store(tmp_path)
    lose(tmp_path, "videos lost")
    before = tree_digest(tmp_path)
    with pytest.raises(StoreMismatchError, match=f"damaged or lost, and cannot be rebuilt.*{message}.*--overwrite"):
        put(tmp_path, catalog)
    assert tree_digest(tmp_path) == before


def test_lost_captions_that_have_changed_are_taken_if_that_is_asked_for(tmp_path: Path) -> None:
    create_clip_arrays(grown_store(tmp_path), ARRAYS)
    lose(tmp_path, "captions lost")
    changed = data_set(GROWN, words=", in other words")
    with pytest.raises(StoreMismatchError, match="--update-captions"):
        put(tmp_path, changed)
    store, growth = put(tmp_path, changed, update_captions=True)
    assert growth.rebuilt is not None
    assert store.catalog.videos["video_id"].to_pylist() == ["d", "b", "a", "c", "e"]
    assert store.catalog.captions["text"].to_pylist()[0] == "this is d, in other words"
    assert verify(store.folder).findings == ()


def test_a_store_whose_making_was_cut_short_is_made_with_any_data_set(tmp_path: Path) -> None:
    put(tmp_path, data_set(("d", "b")))
    (tmp_path / VIDEOS_NAME).unlink()
    store, growth = put(tmp_path, data_set(GROWN))
    assert growth.rebuilt is None
    assert store.catalog.videos["video_id"].to_pylist() == list(GROWN)


def test_a_catalogue_of_other_videos_has_no_clips(tmp_path: Path) -> None:
    """One whose seals are right: an old copy, or one that was written over rows of other videos."""
    store = grown_store(tmp_path)
    create_mask_arrays(store, MASKS, {"options": {}})
    wrong = data_set(GROWN)
    wrong.write(store.folder)
    store.folder.write(
        MANIFEST_NAME, replace(store.manifest, dataset={"name": "x", "digest": wrong.digest()}).to_bytes()
    )
    store = Store.open(tmp_path)
    shards, name = store.all_shards(), commit_name(store.all_shards()[0], FRAMES_STAGE)
    message = (
        f"{name} is of other videos: its row 0 is of video 'd', and the catalogue has 'a' there.* `fda preprocess`"
    )
    with pytest.raises(ShardIncompleteError, match=message):
        ClipReader(store, "test", MASKS)
    with pytest.raises(ShardIncompleteError, match=message):
        open_store(tmp_path).frames(0, split="test")
    with pytest.raises(ShardIncompleteError, match=message):
        list(outcomes_of_each(store, shards, FRAMES_STAGE))
    plan = make_plan(store, shards, [FRAMES_STAGE])
    assert [pending.shard for pending in plan.pending] == list(shards[:2])  # `e` is in its row
    assert store_status(store).damaged[0].startswith(name)
    assert Kind.RECORD_DISAGREES in {finding.kind for finding in verify(store.folder).findings}


def test_clips_kept_aside_go_to_their_own_videos_only(tmp_path: Path) -> None:
    """Records of a shard that has grown since, under a catalogue of other videos."""
    store, _ = put(tmp_path, data_set(("d", "b", "e")))
    for shard in store.all_shards():
        commit(store, shard)
    for last, kept in (("e", (2,)), ("f", ())):
        wrong = data_set(("d", "b", last, "x"))
        wrong.write(store.folder)
        layout = replace(store.layout("test"), num_videos=4, num_captions=wrong.captions.num_rows)
        manifest = replace(store.manifest, splits={"test": layout}, dataset={"name": "x", "digest": wrong.digest()})
        grown = Store(store.folder, manifest)
        assert make_plan(grown, grown.all_shards(), [FRAMES_STAGE]).pending[0].kept_rows == kept


def test_damage_elsewhere_is_found_without_a_catalogue(tmp_path: Path) -> None:
    store = grown_store(tmp_path, num_done=2)
    create_clip_arrays(store, ARRAYS)
    create_mask_arrays(store, MASKS, {"options": {}})
    fill_shard(store, store.all_shards()[0])
    damaged = (
        "clips.zarr/test/frames/c.0.0.0.0.0",
        "commits/test/frames/00001.parquet",
        "clips.zarr/test/pts_seconds/zarr.json",
    )
    for name in (*damaged, CAPTIONS_NAME):
        flip(tmp_path / name)
    found = verify(folder_at(tmp_path))
    assert {finding.name for finding in found.findings} == {*damaged, CAPTIONS_NAME}
    assert {finding.name for finding in found.findings if not finding.is_repairable} == {CAPTIONS_NAME}
