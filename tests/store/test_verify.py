"""Whatever is done to a file of a store, `verify` names it; after `repair`, the same runs give the same store."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from pipeline.datasets.read import read_dataset
from pipeline.masks.mask_sets import create_mask_set, make_mask_set, plan_masks
from store.arrays.reading import ChunkReader, read_shard
from store.catalog import CAPTIONS_NAME, VIDEOS_NAME
from store.claims.holding import ANY_STAGE, claimed
from store.clips.layout import frame_index_spec, frames_spec, masks_spec
from store.clips.shards import read_frames, write_frames
from store.commits import CommitRecord, VideoOutcome, commit_shard, read_commit
from store.completion import committed, input_digests, outcomes_of
from store.features import ClipFeatures, caption_shards, create_features, write_clip_features, write_text_features
from store.places.folder import WrittenFile
from store.places.opening import folder_at
from store.schema import Shard
from store.stages import FRAMES_STAGE, features_stage, masks_stage
from store.store import MANIFEST_NAME, Store
from store.verify.findings import Finding, Kind
from store.verify.verification import Verification, repair, verify
from tests.clips_on_disk import SMALL, opened_store, record, run_preprocess, write_manifest, write_mixed_dataset
from tests.s3 import BUCKET, Server, use_server
from tests.stores import tree_digest

LOW = replace(SMALL.masks, threshold=9)
DIM = 4
FEATURE_PARTS = ("video", "frame", "alpha_cosine", "text", "num_dropped")


def make_features(store: Store) -> None:
    """What `fda encode` does, with vectors that only the row decides."""
    stages = [FRAMES_STAGE, masks_stage("low")]
    for split in store.manifest.splits:
        create_features(store, "mine", split, DIM, {"made by": "hand"})
        for shard in store.shards(split):
            if committed(store, shard, features_stage("mine", "video")) is None:
                write_videos(store, shard, stages)
        for shard in caption_shards(store, split):
            if committed(store, shard, features_stage("mine", "text")) is None:
                rows = np.arange(shard.start, shard.stop, dtype=np.float32)
                write_text_features(store, "mine", shard, np.repeat(rows[:, None], DIM, axis=1))


def write_videos(store: Store, shard: Shard, stages: list[str]) -> None:
    video = np.full((shard.num_rows, DIM), np.nan, np.float32)
    frame = np.full((shard.num_rows, store.layout(shard.split).num_frames, DIM), np.nan, np.float32)
    outcomes = []
    for slot, outcome in enumerate(outcomes_of(store, shard)):
        if outcome.filled:
            video[slot], frame[slot] = outcome.row, outcome.row
        outcomes.append(VideoOutcome(outcome.video_id, outcome.row, outcome.status, outcome.filled))
    write_clip_features(
        store, "mine", shard, ClipFeatures(video, frame, tuple(outcomes)), input_digests(store, shard, stages)
    )


def make_everything(manifest: Path, place: Path) -> Store:
    """Frames, two mask sets, features: the same calls make the store and repair it."""
    store = run_preprocess(manifest, place)
    create_mask_set(store, "low", LOW)
    make_mask_set(store, "low", LOW, plan_masks(store, "low"))
    make_features(store)
    return store


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mixed_dataset(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def whole(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete store that no test changes."""
    place = tmp_path_factory.mktemp("whole") / "store"
    make_everything(manifest, place)
    (place / "runs").mkdir()
    return place


@pytest.fixture
def place(whole: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole, tmp_path / "store")
    return tmp_path / "store"


def look(place: Path, *, is_quick: bool = False) -> Verification:
    return verify(folder_at(place), is_quick=is_quick)


def repair_under_claim(place: Path) -> None:
    with claimed(folder_at(place), "verify", [ANY_STAGE]) as folder:
        repair(folder, verify(folder).findings)


def flip(path: Path, bit: int = 77) -> None:
    content = bytearray(path.read_bytes())
    bit %= 8 * len(content)
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def kinds(found: Verification) -> set[Kind]:
    return {finding.kind for finding in found.findings}


def test_a_store_as_it_was_made_has_nothing_wrong(place: Path) -> None:
    for is_quick in (False, True):
        found = look(place, is_quick=is_quick)
        assert (found.findings, dict(found.pending), found.live) == ((), {}, ())
        assert found.num_files == len(tree_digest(place))
        assert (found.num_bytes_read == 0) == is_quick
    before = tree_digest(place)
    repair_under_claim(place)
    assert tree_digest(place) == before


FRAMES = "clips.zarr/test/frames/c.0.0.0.0.0"
LOW_MASKS = "clips.zarr/test/masks/low"
DAMAGE: dict[str, tuple[str, Callable[[Path], object], Kind]] = {
    "a flipped bit of frames": (FRAMES, flip, Kind.CHUNK_DAMAGED),
    "a flipped bit of times": ("clips.zarr/test/pts_seconds/c.0.0", flip, Kind.CHUNK_DAMAGED),
    "a flipped bit of masks": (f"{LOW_MASKS}/c.0.0.0.0", flip, Kind.CHUNK_DAMAGED),
    "a flipped bit of features": ("features.zarr/mine/test/video/c.0.0", flip, Kind.CHUNK_DAMAGED),
    "a flipped bit of text features": ("features.zarr/mine/test/text/c.0.0", flip, Kind.CHUNK_DAMAGED),
    "a chunk cut short": (FRAMES, lambda path: os.truncate(path, 100), Kind.CHUNK_SIZE),
    "an empty chunk": (FRAMES, lambda path: os.truncate(path, 0), Kind.CHUNK_SIZE),
    "a chunk made longer": (FRAMES, lambda path: path.write_bytes(path.read_bytes() + b"x"), Kind.CHUNK_SIZE),
    "a chunk of another shard": (FRAMES, lambda path: copy_over(path, "c.1.0.0.0.0"), Kind.CHUNK_DAMAGED),
    "a chunk gone": (FRAMES, Path.unlink, Kind.CHUNK_MISSING),
    "a chunk outside the array": ("clips.zarr/test/frames/c.99.0.0.0.0", lambda p: write(p), Kind.CHUNK_FOREIGN),
    "a file among chunks": ("clips.zarr/test/frames/x", lambda p: write(p), Kind.CHUNK_FOREIGN),
    "a damaged record": ("commits/test/frames/00000.parquet", flip, Kind.RECORD_DAMAGED),
    "a record cut short": ("commits/test/frames/00001.parquet", lambda p: os.truncate(p, 50), Kind.RECORD_DAMAGED),
    "a damaged mask record": ("commits/test/masks/low/00000.parquet", flip, Kind.RECORD_DAMAGED),
    "a damaged feature record": ("commits/test/features/mine/text/00000.parquet", flip, Kind.RECORD_DAMAGED),
    "a record of no shard": ("commits/test/frames/00099.parquet", lambda p: write(p), Kind.RECORD_MISPLACED),
    "a damaged group": ("clips.zarr/zarr.json", flip, Kind.GROUP_DAMAGED),
    "a missing group": ("features.zarr/mine/zarr.json", Path.unlink, Kind.GROUP_DAMAGED),
    "damaged metadata of frames": ("clips.zarr/test/frames/zarr.json", flip, Kind.ARRAY_DAMAGED),
    "missing metadata of frames": ("clips.zarr/test/frames/zarr.json", Path.unlink, Kind.ARRAY_DAMAGED),
    "damaged metadata of masks": (f"{LOW_MASKS}/zarr.json", flip, Kind.ARRAY_DAMAGED),
    "missing metadata of masks": (f"{LOW_MASKS}/zarr.json", Path.unlink, Kind.ARRAY_DAMAGED),
    "damaged metadata of features": ("features.zarr/mine/test/frame/zarr.json", flip, Kind.ARRAY_DAMAGED),
    "missing metadata of features": ("features.zarr/mine/test/text/zarr.json", Path.unlink, Kind.ARRAY_DAMAGED),
    "a damaged table of failures": ("catalog/failures.parquet", flip, Kind.FAILURES_DAMAGED),
    "a damaged run record": ("runs/20260101T000000-preprocess-1.json", lambda p: write(p), Kind.RUN_DAMAGED),
}
"""What is done to which file, and what it is called. All of it can be repaired."""


def copy_over(path: Path, other: str) -> None:
    """Whose chunks have their checksums, so that a CRC-32C of the file is the same."""
    there = path.with_name(other)
    assert there.stat().st_size == path.stat().st_size
    assert there.read_bytes() != path.read_bytes()
    shutil.copy(there, path)


def write(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"{}")


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_named_and_repaired(place: Path, whole: Path, manifest: Path, case: str) -> None:
    name, do, kind = DAMAGE[case]
    do(place / name)
    found = look(place)
    assert [(one.kind, one.name) for one in found.findings] == [(kind, name)]
    assert found.num_wrong == 1
    assert found.findings[0].is_repairable
    repair_under_claim(place)
    assert look(place).num_wrong == 0
    make_everything(manifest, place)
    assert tree_digest(place) == tree_digest(whole)
    assert look(place).findings == ()


def test_what_reads_no_data_finds_all_but_flipped_bits_of_data(whole: Path, tmp_path: Path) -> None:
    for number, (name, do, kind) in enumerate(DAMAGE.values()):
        place = tmp_path / str(number)
        shutil.copytree(whole, place)
        do(place / name)
        found = [] if kind is Kind.CHUNK_DAMAGED else [(kind, name)]
        assert [(one.kind, one.name) for one in look(place, is_quick=True).findings] == found


def rewritten(
    place: Path, name: str, change: Callable[[CommitRecord], CommitRecord], stage: str = FRAMES_STAGE
) -> None:
    """Put another record, with a right seal, where the one of test/00000 lies."""
    store = Store.open(place)
    record = read_commit(store.folder, store.shards("test")[0], stage)
    assert record is not None
    store.folder.write(name, change(record).to_bytes())


FIRST = "commits/test/frames/00000.parquet"


@pytest.mark.parametrize(
    ("name", "change", "kind"),
    [
        ("commits/test/frames/00001.parquet", lambda record: record, Kind.RECORD_MISPLACED),
        ("commits/test/masks/low/00000.parquet", lambda record: record, Kind.RECORD_MISPLACED),
        (FIRST, lambda record: replace(record, outcomes=record.outcomes[:1]), Kind.RECORD_DISAGREES),
        (FIRST, lambda record: replace(record, outcomes=record.outcomes[::-1]), Kind.RECORD_DISAGREES),
        (
            FIRST,
            lambda record: replace(
                record, outcomes=(replace(record.outcomes[0], video_id="other"), *record.outcomes[1:])
            ),
            Kind.RECORD_DISAGREES,
        ),
        (
            FIRST,
            lambda record: replace(record, files=(*record.files, WrittenFile("../elsewhere", 1, "0" * 8))),
            Kind.RECORD_DISAGREES,
        ),
        (FIRST, lambda record: replace(record, files=record.files[1:]), Kind.CHUNK_FOREIGN),
    ],
)  # fmt: skip
def test_records_that_are_whole_and_wrong(
    place: Path, whole: Path, manifest: Path, name: str, change: Callable[[CommitRecord], CommitRecord], kind: Kind
) -> None:
    rewritten(place, name, change)
    found = look(place)
    assert kind in kinds(found)
    assert {one.name for one in found.findings} & {name, FRAMES}
    repair_under_claim(place)
    assert look(place).num_wrong == 0
    make_everything(manifest, place)
    assert tree_digest(place) == tree_digest(whole)


def test_what_verify_takes_from_the_writer(whole: Path) -> None:
    """A row without a video has nothing in any array, a row with one has frames; and the catalogue counts from 0."""
    store = Store.open(whole)
    for split, layout in store.manifest.splits.items():
        for stage in (FRAMES_STAGE, masks_stage("default"), masks_stage("low")):
            for shard in store.shards(split):
                check_slots(store, shard, stage)
        videos, captions = store.catalog.split_videos(split), store.catalog.split_captions(split)
        ids = videos["video_id"].to_pylist()
        assert videos["row"].to_pylist() == list(range(layout.num_videos))
        assert captions["row"].to_pylist() == list(range(layout.num_captions))
        assert len(set(ids)) == len(ids)
        assert len(set(captions["caption_id"].to_pylist())) == layout.num_captions
        assert set(captions["video_id"].to_pylist()) <= set(ids)


def check_slots(store: Store, shard: Shard, stage: str) -> None:
    is_frames = stage == FRAMES_STAGE
    spec = frames_spec(store, shard.split) if is_frames else masks_spec(store, shard.split, stage.partition("/")[2])
    slots = ChunkReader(store.folder, spec)
    frame_index = read_shard(store.folder, frame_index_spec(store, shard.split), shard)
    outcomes = outcomes_of(store, shard, stage)
    for outcome, first in zip(outcomes, frame_index[:, 0], strict=True):
        assert outcome.filled == (first >= 0)
        assert (slots.stored(outcome.row) is not None) <= outcome.filled
        if is_frames and outcome.filled:  # a mask may be empty, and is then not stored
            assert slots.stored(outcome.row) is not None


def test_the_writer_refuses_what_verify_does_not_look_for(place: Path) -> None:
    store = Store.open(place)
    shard = store.shards("test")[0]
    clips, outcomes = read_frames(store, shard), outcomes_of(store, shard)
    turned = [replace(outcomes[0], filled=not outcomes[0].filled), *outcomes[1:]]
    with pytest.raises(ValueError, match="test/00000: outcomes and frame_index disagree on which rows have a video"):
        write_frames(store, shard, clips, turned)
    for wrong in (outcomes[:1], outcomes[::-1]):
        with pytest.raises(ValueError, match="test/00000 of frames: outcomes are for rows"):
            commit_shard(store.folder, shard, FRAMES_STAGE, wrong, [], {})
    assert look(place).findings == ()


def test_masks_and_features_older_than_their_frames(place: Path) -> None:
    rewritten(
        place,
        FIRST,
        lambda record: replace(record, outcomes=(replace(record.outcomes[0], fps=1.0), *record.outcomes[1:])),
    )
    found = look(place)
    stages = ["masks/default", "masks/low", "features/mine/video"]
    assert [(one.kind, one.split, one.shard, one.stage) for one in found.findings] == [
        (Kind.STALE, "test", 0, stage) for stage in stages
    ]
    repair_under_claim(place)
    assert look(place).findings == ()
    assert set(look(place).pending) == {("test", stage) for stage in stages}


def test_data_without_a_record_are_harmless_unless_they_are_being_written(place: Path) -> None:
    (place / FIRST).unlink()
    found = look(place)
    assert kinds(found) == {Kind.UNCOMMITTED}
    assert found.num_wrong == 0
    assert found.pending == {
        ("test", stage): 1 for stage in ("frames", "masks/default", "masks/low", "features/mine/video")
    }
    with claimed(folder_at(place), "preprocess", [FRAMES_STAGE]):
        busy = look(place)
        assert (busy.findings, len(busy.live)) == ((), 1)


def test_leftovers_and_strangers_are_named_and_harmless(place: Path) -> None:
    write(place / "partial/unclaimed/0123")
    write(place / f"claims/{'0' * 32}.beat")
    write(place / "withdrawn/test/frames/00000.parquet")
    strangers = ["notes.txt", "clips.zarr/test/notes.txt", "commits/notes", "runs/notes.txt", "claims/notes", "x/y/zarr.json"]  # fmt: skip  # noqa: E501
    for name in strangers:
        write(place / name)
    found = look(place)
    assert found.num_wrong == 0
    assert {one.name for one in found.findings if one.kind is Kind.FOREIGN} == set(strangers)
    assert sum(one.kind is Kind.LEFTOVER for one in found.findings) == 3
    repair_under_claim(place)
    left = look(place)
    assert {one.name for one in left.findings} == set(strangers)


def test_links_that_lead_out(place: Path, tmp_path: Path) -> None:
    outside = tmp_path / "frames"
    (place / FRAMES).rename(outside)
    (place / FRAMES).symlink_to(outside)
    (place / "nowhere").symlink_to(tmp_path / "gone")
    (place / "inside").symlink_to(place / "store.json")
    assert {one.name for one in look(place).findings if one.kind is Kind.LINK} == {FRAMES, "nowhere"}


@pytest.mark.parametrize("name", [VIDEOS_NAME, CAPTIONS_NAME])
def test_a_damaged_catalogue_is_repaired_as_its_remedy_says(
    place: Path, whole: Path, manifest: Path, name: str
) -> None:
    flip(place / name)
    found = look(place)
    assert [(one.kind, one.name, one.is_repairable) for one in found.findings] == [(Kind.CATALOG_DAMAGED, name, False)]
    assert f"remove {VIDEOS_NAME} and run `fda preprocess`" in found.findings[0].remedy
    (place / VIDEOS_NAME).unlink()
    assert look(place).findings[0].name == VIDEOS_NAME
    make_everything(manifest, place)
    assert tree_digest(place) == tree_digest(whole)


def test_a_manifest_that_counts_otherwise_and_one_that_is_damaged(place: Path) -> None:
    store = Store.open(place)
    layouts = store.manifest.splits
    fewer = {**layouts, "test": replace(layouts["test"], num_videos=4)}
    store.folder.write(MANIFEST_NAME, replace(store.manifest, splits=fewer).to_bytes())
    assert kinds(look(place)) == {Kind.CATALOG_DISAGREES}
    more = {**layouts, "test": replace(layouts["test"], num_videos=9)}
    store.folder.write(MANIFEST_NAME, replace(store.manifest, splits=more).to_bytes())
    assert kinds(look(place)) == {Kind.CATALOG_DISAGREES}
    flip(place / MANIFEST_NAME)
    found = look(place)
    assert [(one.kind, one.is_repairable) for one in found.findings] == [(Kind.MANIFEST_DAMAGED, False)]


def test_a_store_that_has_grown_and_one_whose_growth_was_cut_short(
    place: Path, whole: Path, manifest: Path, tmp_path: Path
) -> None:
    clip = manifest.parent / "test_0.mp4"
    more = [*map(json.loads, manifest.read_text().splitlines()), record("new", clip.name), record("newer", clip.name)]
    grown = write_manifest(manifest.parent, more, "grown.jsonl")
    opened_store(read_dataset("jsonl", grown), place, SMALL)
    found = look(place)
    assert {(one.kind, one.name) for one in found.findings} == {
        (Kind.UNFINISHED, f"{array}/zarr.json")
        for array in (
            LOW_MASKS,
            *(f"features.zarr/mine/test/{part}" for part in FEATURE_PARTS),
        )
    }
    assert found.num_wrong == 0
    assert found.pending[("test", FRAMES_STAGE)] == 2  # the last shard: one row is old, the other new; and one more
    before = tree_digest(place)
    repair_under_claim(place)
    assert tree_digest(place) == before
    make_everything(grown, place)
    assert (look(place).findings, dict(look(place).pending)) == ((), {})

    shutil.copytree(whole, tmp_path / "short")  # killed between the catalogue and the manifest
    shutil.copytree(place / "catalog", tmp_path / "short/catalog", dirs_exist_ok=True)
    shutil.copy(whole / "catalog/failures.parquet", tmp_path / "short/catalog/failures.parquet")
    found = look(tmp_path / "short")
    assert [(one.kind, one.name) for one in found.findings] == [(Kind.UNFINISHED, VIDEOS_NAME)]
    assert "2 videos more" in found.findings[0].what
    assert not found.pending


def test_an_object_store(place: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    use_server(monkeypatch, server)
    objects = folder_at(f"s3://{BUCKET}/verified")
    here = folder_at(place)
    for stored in here.walk():
        objects.write(stored.name, here.read(stored.name))
    assert verify(objects).findings == ()
    content = bytearray(here.read(FRAMES))
    content[1000] ^= 1
    objects.write(FRAMES, bytes(content))
    assert [(one.kind, one.name) for one in verify(objects).findings] == [(Kind.CHUNK_DAMAGED, FRAMES)]


@contextmanager
def copied(whole: Path) -> Iterator[Path]:
    with TemporaryDirectory() as folder:
        shutil.copytree(whole, Path(folder, "store"))
        yield Path(folder, "store")


@settings(max_examples=15)
@given(data=st.data())
def test_any_change_of_any_file_is_named_and_repaired(whole: Path, manifest: Path, data: st.DataObject) -> None:
    names = list(tree_digest(whole))
    name = data.draw(st.sampled_from(names))
    how = data.draw(st.sampled_from(["flip", "cut", "extend", "delete", "add"]))
    with copied(whole) as place:
        path = place / name
        if how == "flip":
            flip(path, data.draw(st.integers(0, 8 * path.stat().st_size - 1)))
        elif how == "cut":
            os.truncate(path, data.draw(st.integers(0, path.stat().st_size - 1)))
        elif how == "extend":
            path.write_bytes(path.read_bytes() + data.draw(st.binary(min_size=1, max_size=9)))
        elif how == "delete":
            path.unlink()
        else:
            path = path.with_name(f"{path.name}-copy")
            path.write_bytes(b"anything")
            name = f"{name}-copy"
        if name == MANIFEST_NAME and how == "delete":
            return  # it is no store then
        found = look(place)
        record_gone = how == "delete" and name.startswith("commits/")
        if record_gone:
            assert found.pending
        elif not (how == "delete" and name == "catalog/failures.parquet"):
            assert name in {one.name for one in found.findings}
        if name in (MANIFEST_NAME, VIDEOS_NAME, CAPTIONS_NAME):
            assert not any(one.is_repairable for one in found.findings)
            return
        repair_under_claim(place)
        assert look(place).num_wrong == 0
        make_everything(manifest, place)
        (place / name).unlink() if how == "add" and (place / name).exists() else None
        assert tree_digest(place) == tree_digest(whole)


def test_findings_are_plain_json(place: Path) -> None:
    flip(place / FRAMES)
    found: Finding = look(place).findings[0]
    assert json.loads(json.dumps(found.to_dict())) == {
        "kind": "chunk damaged", "name": FRAMES, "split": "test", "shard": 0, "stage": "frames",
        "what": found.what, "remedy": found.remedy, "harmless": False, "repairable": True,
    }  # fmt: skip
