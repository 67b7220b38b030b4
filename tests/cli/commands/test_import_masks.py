"""`fda import-masks` as a user calls it."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import fda as api
from store.clips.reader import ClipReader
from store.completion import require_committed
from store.stages import masks_stage
from store.store import Store
from tests.clips_on_disk import SERIAL_FLAGS, Commands, record, write_clip, write_manifest
from tests.stores import tree_digest
from tests.videos import write_video

IDS = {"-x_1": "test", "a/b": "test", "видео": "train", "plain": "test"}
FILES = {"-x_1": "-x_1.npz", "a/b": "a%2Fb.npz", "видео": "видео.npz", "plain": "plain.npz"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of clips of 8 frames of 48 x 64, one of which failed, and masks of each that is there."""
    folder = tmp_path_factory.mktemp("made")
    records = [record("broken", "broken.mp4")]
    (folder / "broken.mp4").write_text("no video")
    (folder / "truth").mkdir()
    for number, (video_id, split) in enumerate(IDS.items()):
        write_clip(folder / f"{number}.mp4", number)
        records.append(record(video_id, f"{number}.mp4", split))
        masks = np.zeros((8, 48, 64), np.bool_)
        for frame in range(8):
            masks[frame, 24 - frame :, 8 + number : 40] = True
        np.savez_compressed(folder / "truth" / FILES[video_id], masks=masks)
    api.preprocess(
        write_manifest(folder, records),
        folder / "store",
        api.PreprocessOptions(
            train_frames=2, eval_frames=3, image_size=24, shard_size=2, masks=api.MaskOptions(kernel_size=3, min_area=4)
        ),
        run=api.RunOptions(workers=0),
    )
    return folder


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made / "store", tmp_path / "store")
    shutil.copytree(made / "truth", tmp_path / "truth")
    return tmp_path


def test_masks_are_those_of_the_stored_frames(fda: Commands, place: Path) -> None:
    (place / "truth/other.npz").write_bytes(b"of no video")
    ended = fda("import-masks", place / "store", place / "truth", "--masks", "truth", "--workers", "0")
    assert (ended.code, "4 videos" in ended.err or "5 videos" in ended.err) == (0, True)
    assert "1 file of" in ended.err
    assert "are of no video of the store: other.npz" in ended.err
    reader = ClipReader(Store.open(place / "store"), "test", "truth")
    for row in sorted(reader.video_ids):
        frames = api.open_store(place / "store").frame_index([row], split="test")[0]
        with np.load(place / "truth" / FILES[reader.video_ids[row]]) as file:
            its = file["masks"][frames]
        half = its.reshape(len(frames), 24, 2, 32, 2).mean(axis=(2, 4))[:, :, 4:28] >= 0.5
        np.testing.assert_array_equal(reader.read_masks([row])[0], half)
    assert fda("verify", place / "store").code == 0
    outcome = api.mask_overlap(place / "store", "truth", "truth", "test")
    assert (outcome.mean_iou, len(outcome.videos)) == (1.0, 3)


def test_masks_of_the_stored_frames_alone_at_their_own_size(fda: Commands, place: Path) -> None:
    assert fda("import-masks", place / "store", place / "truth", "--masks", "truth", "--workers", "0").code == 0
    (place / "own").mkdir()
    for split in ("train", "test"):
        reader = ClipReader(Store.open(place / "store"), split, "truth")
        for row, video_id in reader.video_ids.items():
            index = api.open_store(place / "store").frame_index([row], split=split)[0]
            masks = reader.read_masks([row])[0]
            np.savez(place / "own" / FILES[video_id], masks=masks, frame_index=index)
    assert fda("import-masks", place / "store", place / "own", "--masks", "own", "--workers", "0").code == 0
    for split in ("train", "test"):
        assert api.mask_overlap(place / "store", "own", "truth", split).mean_iou == 1.0


def test_frames_that_are_not_in_the_order_of_time_and_clips_with_empty_slots(fda: Commands, tmp_path: Path) -> None:
    records, masks = [], {}
    (tmp_path / "truth").mkdir()
    for video_id, num_frames in {"long": 36, "short": 2}.items():
        frames = np.random.default_rng(num_frames).integers(0, 256, (num_frames, 32, 32, 3)).astype(np.uint8)
        write_video(tmp_path / f"{video_id}.mp4", list(frames))
        records.append(record(video_id, f"{video_id}.mp4"))
        masks[video_id] = np.random.default_rng(num_frames).random((num_frames, 32, 32)) < 0.5
        np.savez(tmp_path / "truth" / f"{video_id}.npz", masks=masks[video_id])
    manifest, store = write_manifest(tmp_path, records), tmp_path / "store"
    flags = ("--image-size", "32", "--eval-frames", "12", "--eval-sampling", "prompt-switch", "--workers", "0")
    assert fda("preprocess", manifest, store, *flags).code == 0
    assert fda("import-masks", store, tmp_path / "truth", "--masks", "truth", "--workers", "0").code == 0
    overlaps = {one.video_id: one for one in api.mask_overlap(store, "truth", "truth", "test").videos}
    reader = ClipReader(Store.open(store), "test", "truth")
    indices = api.open_store(store).frame_index(list(masks), split="test")
    assert (np.diff(indices[0]) < 0).any()
    for row, (video_id, its) in enumerate(masks.items()):
        is_frame = indices[row] >= 0
        expected = its[indices[row][is_frame]]
        np.testing.assert_array_equal(reader.read_masks([row])[0][is_frame], expected)
        assert overlaps[video_id].coverage == expected.mean()  # empty slots do not count
    opened = Store.open(store)
    for outcome in require_committed(opened, opened.shards("test")[0], masks_stage("truth")).outcomes:
        content = (tmp_path / "truth" / f"{outcome.video_id}.npz").read_bytes()
        assert (outcome.source_bytes, outcome.source_sha256) == (len(content), hashlib.sha256(content).hexdigest())


def test_videos_without_a_file(fda: Commands, place: Path) -> None:
    (place / "truth/a%2Fb.npz").unlink()
    before = tree_digest(place / "store")
    arguments = ("import-masks", place / "store", place / "truth", "--masks", "truth", "--workers", "0")
    ended = fda(*arguments)
    assert ended.code == 1
    assert "has no masks of 1 video (a/b): add the files, such as 'a%2Fb.npz', or give --missing empty" in ended.err
    assert tree_digest(place / "store") == before
    assert fda(*arguments, "--missing", "empty").code == 0
    found = {one.video_id: one for one in api.mask_overlap(place / "store", "truth", "truth", "test").videos}
    assert (found["a/b"].coverage, found["a/b"].iou) == (0.0, None)
    assert found["plain"].coverage > 0
    assert fda(*arguments).code == 1  # other options
    (place / "empty").mkdir()
    ended = fda("import-masks", place / "store", place / "empty", "--masks", "other", "--missing", "empty")
    assert ended.code == 1
    assert "has no file of any video" in ended.err


def test_a_bad_file_costs_nothing_that_is_committed(fda: Commands, place: Path) -> None:
    good = (place / "truth/plain.npz").read_bytes()
    (place / "truth/plain.npz").write_bytes(good[:200])
    arguments = ("import-masks", place / "store", place / "truth", "--masks", "truth", "--workers", "0")
    ended = fda(*arguments)
    assert (ended.code, "truth/plain.npz cannot be read as masks" in ended.err) == (1, True)
    (place / "truth/plain.npz").write_bytes(good)
    summary = json.loads(fda(*arguments, "--json").out)
    assert 0 < summary["num_shards_made"] < summary["num_shards"]
    assert json.loads(fda(*arguments, "--json").out)["num_shards_made"] == 0
    assert fda("verify", place / "store").code == 0


def test_masks_of_one_name_are_never_mixed(fda: Commands, place: Path) -> None:
    arguments = ("import-masks", place / "store", place / "truth", "--masks", "truth", "--workers", "0")
    assert fda(*arguments).code == 0
    np.savez(place / "truth/plain.npz", masks=np.ones((8, 48, 64), np.bool_))
    ended = fda(*arguments)
    assert (ended.code, "masks 'truth' of video 'plain' were made from a file of" in ended.err) == (1, True)
    assert fda(*arguments, "--overwrite").code == 0
    found = {one.video_id: one.coverage for one in api.mask_overlap(place / "store", "truth", "truth", "test").videos}
    assert found["plain"] == 1.0
    ended = fda("import-masks", place / "store", place / "truth", "--masks", "default", "--workers", "0")
    assert (ended.code, "`fda import-masks --masks default --overwrite`" in ended.err) == (1, True)
    assert "were computed: give these another name (--masks)" in ended.err
    ended = fda("masks", place / "store", "--masks", "truth", "--workers", "0")
    assert (ended.code, "masks 'truth' of" in ended.err, "were imported" in ended.err) == (1, True, True)


def test_soft_masks(fda: Commands, place: Path) -> None:
    for file in FILES.values():
        np.savez(place / "truth" / file, masks=np.full((8, 48, 64), 100, np.uint8))
    arguments = ("import-masks", place / "store", place / "truth", "--masks", "soft", "--workers", "0")
    ended = fda(*arguments)
    assert (ended.code, "they are soft (--soft)" in ended.err) == (1, True)
    assert fda(*arguments, "--soft", "--overwrite").code == 0
    masks = ClipReader(Store.open(place / "store"), "train", "soft").read_masks([0])
    assert (str(masks.dtype), set(np.unique(masks))) == ("uint8", {100})


def test_a_folder_that_is_not_there(fda: Commands, place: Path) -> None:
    ended = fda("import-masks", place / "store", place / "nowhere", "--masks", "truth", *SERIAL_FLAGS[-2:])
    assert (ended.code, "is not a folder: give one with a file VIDEO_ID.npz" in ended.err) == (1, True)


def test_masks_against_the_truth(fda: Commands, place: Path) -> None:
    assert fda("import-masks", place / "store", place / "truth", "--masks", "truth", "--workers", "0").code == 0
    arguments = ("masks", place / "store", "--masks", "low", "--threshold", "9", "--min-area", "4", "--workers", "0")
    ended = fda(*arguments, "--against", "nothing")
    assert (ended.code, "no masks 'nothing' in" in ended.err, "'default', 'truth'" in ended.err) == (1, True, True)
    ended = fda(*arguments, "--against", "truth", "--partition", "1/2")
    assert (ended.code, "give one of the two" in ended.err) == (2, True)
    overlaps = {
        one["split"]: one for one in json.loads(fda(*arguments, "--against", "truth", "--json").out)["overlaps"]
    }
    assert overlaps.keys() == {"train", "test"}
    assert overlaps["test"] == api.mask_overlap(place / "store", "low", "truth", "test").to_dict()
    made = api.make_masks(place / "store", "low", api.MaskOptions(threshold=9, min_area=4), against="truth")
    assert {one.split: one.to_dict() for one in made.overlaps or ()} == overlaps
    ended = fda(*arguments, "--against", "truth")
    assert "masks low against truth" in ended.out
    assert f"{100 * overlaps['test']['mean_iou']:.1f}%" in ended.out
