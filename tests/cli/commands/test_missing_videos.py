"""Videos that are not where they are looked for, captions that come later, and splits that are drawn or misspelt."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import fda as api
from pipeline.frames import missing
from pipeline.frames.missing import VideosMissingError, require_found, sampled
from pipeline.run.limits import Limit
from tests.clips_on_disk import SMALL, SMALL_FLAGS, Commands, record, write_clip, write_manifest
from tests.stores import tree_digest

FLAGS = (*SMALL_FLAGS, "--workers", "0", "--max-failed", "100%")
NUM_VIDEOS = 4


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    for number in range(NUM_VIDEOS):
        write_clip(folder / f"{number}.mp4", number)
    return folder


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    return write_manifest(tmp_path, [record(str(number), f"{number}.mp4") for number in range(NUM_VIDEOS)])


def only(clips: Path, folder: Path, *numbers: int) -> Path:
    """A folder with some of the clips."""
    folder.mkdir()
    for number in numbers:
        shutil.copy(clips / f"{number}.mp4", folder)
    return folder


# --- a wrong folder --------------------------------------------------------------------------------------------------


def test_a_wrong_folder_of_videos_makes_no_store(fda: Commands, manifest: Path, clips: Path, tmp_path: Path) -> None:
    wrong, store = only(clips, tmp_path / "wrong"), tmp_path / "store"
    ended = fda("preprocess", manifest, store, "--videos", wrong, *FLAGS)
    assert (ended.code, store.exists()) == (1, False)
    assert f"0 of 4 videos were found below {wrong}, and 4 are missing: '0.mp4', " in ended.error_line
    assert "Name their folder with --videos, or raise --max-missing (50%)" in ended.error_line


def test_a_wrong_folder_removes_no_store(fda: Commands, manifest: Path, clips: Path, tmp_path: Path) -> None:
    fda("preprocess", manifest, tmp_path / "store", "--videos", clips, *FLAGS)
    before, wrong = tree_digest(tmp_path / "store"), only(clips, tmp_path / "wrong")
    ended = fda("preprocess", manifest, tmp_path / "store", "--videos", wrong, *FLAGS, "--overwrite")
    assert (ended.code, tree_digest(tmp_path / "store")) == (1, before)
    # Without --overwrite there is nothing to decode, so nothing needs to be there.
    ended = fda("preprocess", manifest, tmp_path / "store", "--videos", wrong, *FLAGS)
    assert (ended.code, tree_digest(tmp_path / "store")) == (0, before)


def test_videos_that_are_missing_again_are_few_of_all(
    fda: Commands, manifest: Path, clips: Path, tmp_path: Path
) -> None:
    """Those that were found before count, too, although they are not decoded again."""
    arguments = (
        "preprocess",
        manifest,
        tmp_path / "store",
        "--videos",
        only(clips, tmp_path / "there", 0, 1, 3),
        *FLAGS,
    )
    assert "1 video failed: 1 missing" in fda(*arguments, "--shard-size", "2").out
    again = fda(*arguments, "--shard-size", "2", "--retry-failed")
    assert (again.code, "1 video failed: 1 missing" in again.out) == (0, True), again.err


def test_what_needs_no_video_looks_for_none(fda: Commands, manifest: Path, clips: Path, tmp_path: Path) -> None:
    fda("preprocess", manifest, tmp_path / "store", "--videos", clips, *FLAGS)
    wrong = only(clips, tmp_path / "wrong")
    masks = ("--masks", "high", "--threshold", "50", "--max-missing", "0")
    ended = fda("preprocess", manifest, tmp_path / "store", "--videos", wrong, *FLAGS, *masks)
    assert (ended.code, "4 clips; no video failed" in ended.out) == (0, True)


def test_videos_by_which_a_store_grows_are_looked_for(
    fda: Commands, manifest: Path, clips: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    one = write_manifest(tmp_path, [record("0", "0.mp4")], "one.jsonl")
    fda("preprocess", one, store, "--videos", clips, *FLAGS)
    ended = fda("preprocess", manifest, store, "--videos", only(clips, tmp_path / "wrong"), *FLAGS)
    assert (ended.code, "0 of 3 videos were found" in ended.error_line) == (1, True)
    ended = fda("preprocess", manifest, store, "--videos", clips, *FLAGS)
    assert (ended.code, "4 clips; no video failed" in ended.out) == (0, True)


@pytest.mark.parametrize(
    ("limit", "stops"), [("50%", True), ("75%", False), ("0.8", False), ("2", True), ("3", False), ("100%", False)]
)
def test_the_limit_of_missing_videos(
    fda: Commands, manifest: Path, clips: Path, tmp_path: Path, limit: str, stops: bool
) -> None:
    there = only(clips, tmp_path / "there", 2)
    ended = fda("preprocess", manifest, tmp_path / "store", "--videos", there, *FLAGS, "--max-missing", limit)
    assert ended.code == stops
    assert ("3 are missing" in ended.error_line) is stops
    assert ("3 videos failed: 3 missing" in ended.out) is not stops


def test_of_very_many_videos_some_stand_for_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(missing, "LOOKED_AT", 10)
    every = [f"{number:03}.mp4" for number in range(100)]
    paths = sampled(every, 100)
    with pytest.raises(VideosMissingError, match="0 of 10 videos that were looked for, of 100, were found below"):
        require_found(paths, tmp_path, Limit.of("99"), num_pending=100, num_videos=100)
    for path in every[:30]:
        (tmp_path / path).touch()
    with pytest.raises(FileNotFoundError, match="3 of 10 videos that were looked for, of 100, .* and 7 are missing"):
        require_found(paths, tmp_path, Limit.of("60%"), num_pending=100, num_videos=100)
    require_found(paths, tmp_path, Limit.of("70%"), num_pending=100, num_videos=100)
    require_found(paths, tmp_path, Limit.of("7%"), num_pending=100, num_videos=1000)
    require_found([], tmp_path, Limit.of(0), num_pending=0, num_videos=100)


@pytest.mark.parametrize("path", ["x" * 300 + ".mp4", "a/" * 2000 + "b.mp4", "loop.mp4", "closed/a.mp4"])
def test_what_cannot_be_looked_for_is_missing(tmp_path: Path, path: str) -> None:
    (tmp_path / "loop.mp4").symlink_to("loop.mp4")
    (tmp_path / "closed").touch()
    with pytest.raises(VideosMissingError):
        require_found([path], tmp_path, Limit.of(0), num_pending=1, num_videos=1)


def test_videos_that_have_come_since_are_told(fda: Commands, manifest: Path, clips: Path, tmp_path: Path) -> None:
    there, store = only(clips, tmp_path / "there", 0), tmp_path / "store"
    arguments = ("preprocess", manifest, store, "--videos", there, *FLAGS)
    assert "missing videos now exist" not in fda(*arguments, "--max-missing", "100%").err
    assert "nothing to do: 2 shards, all complete" in fda(*arguments).err
    for number in (1, 2):
        shutil.copy(clips / f"{number}.mp4", there)
    (there / "3.mp4").mkdir()  # no video
    told = fda(*arguments, "--json")
    warning = "2 of 3 missing videos now exist: --retry-failed decodes them"
    assert (f"warning: {warning}" in told.err, "nothing to do" in told.err) == (True, False)
    assert warning in json.loads(told.out)["warnings"]
    retried = fda(*arguments, "--retry-failed")
    assert ("3 clips; 1 video failed" in retried.out, "now exist" in retried.err) == (True, False)


def test_python_users_get_an_error_of_its_own(manifest: Path, tmp_path: Path) -> None:
    with pytest.raises(VideosMissingError):
        api.preprocess(manifest, tmp_path / "store", SMALL, run=api.RunOptions(workers=0))


# --- captions that come later ----------------------------------------------------------------------------------------


def texts(store: Path) -> list[str]:
    found: list[str] = pq.read_table(store / "catalog/captions.parquet")["text"].to_pylist()
    return found


def with_captions(folder: Path, *captions: list[str]) -> Path:
    return write_manifest(folder, [record(str(n), f"{n}.mp4", captions=some) for n, some in enumerate(captions)])


def test_captions_are_added_without_decoding(fda: Commands, clips: Path, tmp_path: Path) -> None:
    arguments = ("preprocess", tmp_path / "clips.jsonl", tmp_path / "store", "--videos", clips, *FLAGS, "--json")
    with_captions(tmp_path, [], ["b"], [])
    bare = fda(*arguments)
    assert (bare.code, "2 of 3 videos of test have no caption: '0', '2'" in bare.err) == (0, True)
    assert fda(*arguments, "--require-captions").code == 1
    with_captions(tmp_path, ["a", "aa"], ["b"], ["c"])
    added = fda(*arguments, "--require-captions")
    assert "captions are added to 2 videos of the store that had none" in added.err
    assert (added.code, json.loads(added.out)["num_videos_made"]) == (0, 0)
    assert texts(tmp_path / "store") == ["a", "aa", "b", "c"]
    assert fda("verify", tmp_path / "store").code == 0
    for changed in ((["a", "x"], ["b"], ["c"]), ([], ["b"], ["c"]), (["a"], ["b"], ["c"])):
        with_captions(tmp_path, *changed)
        refused = fda(*arguments)
        assert (refused.code, "give --update-captions" in refused.error_line) == (1, True)


def test_captions_may_all_come_later(fda: Commands, clips: Path, tmp_path: Path) -> None:
    arguments = ("preprocess", clips, tmp_path / "store", *FLAGS)
    assert fda(*arguments).code == 0
    assert texts(tmp_path / "store") == []
    shutil.copytree(clips, tmp_path / "clips")
    for number in range(NUM_VIDEOS):
        (tmp_path / f"clips/{number}.txt").write_text(f"clip {number}")
    ended = fda("preprocess", tmp_path / "clips", tmp_path / "store", *FLAGS)
    assert (ended.code, texts(tmp_path / "store")) == (0, [f"clip {number}" for number in range(NUM_VIDEOS)])


@pytest.mark.parametrize("written", ["captions", "videos"])
def test_captions_are_added_after_a_kill_between_two_files(
    fda: Commands, clips: Path, tmp_path: Path, written: str
) -> None:
    """The catalogue has the new captions, in the middle of the old ones, and the manifest still counts the old ones."""
    arguments = ("preprocess", tmp_path / "clips.jsonl", tmp_path / "store", "--videos", clips, *FLAGS)
    with_captions(tmp_path, [], ["b"], [])
    fda(*arguments)
    shutil.copytree(tmp_path / "store", tmp_path / "killed")
    with_captions(tmp_path, ["a", "aa"], ["b"], ["c"], ["d"])  # and a new video
    fda(*arguments)
    whole = tree_digest(tmp_path / "store")
    for name in ("captions", "videos")[: 1 if written == "captions" else 2]:
        shutil.copy(tmp_path / f"store/catalog/{name}.parquet", tmp_path / "killed/catalog")
    ended = fda(*arguments[:2], tmp_path / "killed", *arguments[3:])
    assert ended.code == 0, ended.err
    assert tree_digest(tmp_path / "killed") == whole


# --- splits ----------------------------------------------------------------------------------------------------------


def test_a_split_in_another_case_is_told_or_refused(fda: Commands, clips: Path, tmp_path: Path) -> None:
    arguments = ("preprocess", tmp_path / "clips.jsonl", tmp_path / "store", "--videos", clips, *FLAGS)
    write_manifest(tmp_path, [record("0", "0.mp4", "mine")])
    assert "another one than" not in fda(*arguments, "--strict").err
    rows = [record("0", "0.mp4", "mine"), record("1", "1.mp4", "TRAIN")]
    write_manifest(tmp_path, rows)
    refused = fda(*arguments, "--strict")
    assert (refused.code, "split 'TRAIN' is another one than 'train'" in refused.error_line) == (1, True)
    told = fda(*arguments)
    assert "warning: split 'TRAIN' is another one than 'train': if it is the same, write 'train'" in told.err


def test_a_split_in_another_case_than_that_of_the_store(fda: Commands, clips: Path, tmp_path: Path) -> None:
    arguments = ("preprocess", tmp_path / "clips.jsonl", tmp_path / "store", "--videos", clips, *FLAGS)
    write_manifest(tmp_path, [record("0", "0.mp4", "Mine")])
    fda(*arguments)
    before = tree_digest(tmp_path / "store")
    write_manifest(tmp_path, [record("0", "0.mp4", "Mine"), record("1", "1.mp4", "mine")])
    refused = fda(*arguments, "--strict")
    assert (refused.code, tree_digest(tmp_path / "store")) == (1, before)
    told = fda(*arguments)
    assert (told.code, told.err.count("split 'mine' is another one than 'Mine'")) == (0, 1)


def test_splits_are_drawn_and_a_store_grows_by_them(fda: Commands, clips: Path, tmp_path: Path) -> None:
    arguments = ("preprocess", clips, tmp_path / "store", *FLAGS, "--json")
    shares = ("--split-by-hash", "train=0.5,test=0.5")
    first = fda(*arguments, *shares)
    assert first.code == 0, first.err
    videos = pq.read_table(tmp_path / "store/catalog/videos.parquet").select(["video_id", "split"]).to_pylist()
    assert {one["split"] for one in videos} == {"train", "test"}
    (run,) = (tmp_path / "store/runs").iterdir()
    assert json.loads(run.read_text())["options"]["split_by_hash"] == {"train": 0.5, "test": 0.5}
    assert json.loads(fda(*arguments, *shares).out)["num_videos_made"] == 0
    other = fda(*arguments, "--split-by-hash", "train=0.01,test=0.99")
    assert (other.code, "train" in other.error_line) == (1, True)


def test_training_without_a_split_for_it_says_how_to_make_one(fda: Commands, clips: Path, tmp_path: Path) -> None:
    fda("preprocess", clips / "0.mp4", tmp_path / "store", *FLAGS)
    ended = fda("finetune", tmp_path / "store", tmp_path / "checkpoint", "--preset", "demo")
    assert (ended.code, (tmp_path / "checkpoint").exists()) == (1, False)
    assert "no split 'train' in " in ended.error_line
    remedy = "`fda preprocess --split-by-hash train=0.9,val=0.05,test=0.05` makes splits, in another store"
    assert remedy in ended.error_line
