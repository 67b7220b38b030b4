"""Bad videos and manifests on the real command line: a recorded status or a clear message, and never a traceback."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import zarr

from store.clips.reader import ClipReader
from store.completion import outcomes_of
from store.store import Store
from tests.clips_on_disk import SERIAL_FLAGS, Commands, fda_in_a_process, record, write_clip, write_manifest
from tests.videos import Encoding, cut, grey_frames, write_audio, write_video

# Videos

BAD = {
    "missing": ("missing", "there is no such file"),
    "empty": ("empty", "the file has 0 bytes"),
    "folder": ("missing", "the path is a folder, not a file"),
    "text": ("corrupt", "Invalid data"),
    "audio": ("no_video_stream", "the file has no video stream"),
    "truncated": ("truncated", "the index (moov) is missing, the file was probably cut off"),
    "truncated late": ("truncated", "part of the file is lost"),
    "single frame": ("too_short", "1 frame"),
    "one pixel tall": ("unsupported", "48x1"),
}
"""Id -> status, and a part of the reason."""
GOOD = ("-leading", "ünïcødé 東京", "plain")


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest with a video of every bad kind among three good ones with difficult names."""
    folder = tmp_path_factory.mktemp("bad")
    whole = write_clip(folder / "-leading.mp4", 1)
    write_clip(folder / "ünïcødé 東京.mp4", 2)
    write_clip(folder / "plain.mp4", 3)
    (folder / "empty.mp4").touch()
    (folder / "folder.mp4").mkdir()
    (folder / "text.mp4").write_text("no video, but a poem\n" * 40)
    write_audio(folder / "audio.mp4")
    cut(whole, folder / "truncated.mp4", keep=0.5)
    index_first = write_video(
        folder / "index first.mp4",
        grey_frames(30, height=64, width=64),
        Encoding(container_options={"movflags": "faststart"}),
    )
    cut(index_first, folder / "truncated late.mp4", keep=0.8)
    write_video(folder / "single frame.mp4", grey_frames(1))
    write_video(
        folder / "one pixel tall.mp4",
        grey_frames(6, height=1, width=48),
        Encoding(codec="ffv1", pix_fmt="bgr0", format_name="matroska"),
    )
    records = [record(name, f"{name}.mp4") for name in (*GOOD, *BAD)]
    return write_manifest(folder, records)


def test_every_bad_video_is_a_row_with_a_status_and_a_reason(fda: Commands, bad: Path, tmp_path: Path) -> None:
    place = tmp_path / "store"
    ended = fda("preprocess", bad, place, *SERIAL_FLAGS, "--max-failed", "100%")
    assert ended.code == 0
    store = Store.open(place)
    outcomes = {one.video_id: one for shard in store.shards("test") for one in outcomes_of(store, shard)}
    assert set(outcomes) == {*GOOD, *BAD}
    for video_id, (status, reason) in BAD.items():
        outcome = outcomes[video_id]
        assert (str(outcome.status), outcome.filled) == (status, False)
        assert reason in (outcome.reason or "")
        assert "\n" not in (outcome.reason or "")
        assert f"  {video_id}  {status}: {outcome.reason}" in ended.out
    assert all(outcomes[video_id].status == "ok" for video_id in GOOD)
    assert f"3 clips; {len(BAD)} videos failed: 2 missing, 2 truncated, 1 empty" in ended.out


def test_a_bad_video_is_never_read_as_a_clip(fda: Commands, bad: Path, tmp_path: Path) -> None:
    fda("preprocess", bad, tmp_path / "store", *SERIAL_FLAGS)
    store = Store.open(tmp_path / "store")
    assert set(ClipReader(store, "test", "default").video_ids.values()) == set(GOOD)
    times = np.asarray(zarr.open_array(tmp_path / "store/clips.zarr/test/pts_seconds", mode="r")[:])
    assert np.isnan(times).all(axis=1).tolist() == [False] * len(GOOD) + [True] * len(BAD)


def test_json_is_all_that_stdout_holds_and_names_every_failure(fda: Commands, bad: Path, tmp_path: Path) -> None:
    ended = fda("preprocess", bad, tmp_path / "store", *SERIAL_FLAGS, "--json", "--progress")
    result = json.loads(ended.out)
    assert {failure["video_id"]: failure["status"] for failure in result["failures"]} == {
        video_id: status for video_id, (status, _) in BAD.items()
    }
    assert all(failure["reason"] for failure in result["failures"])
    assert (result["num_videos"], result["num_clips"]) == (len(BAD) + len(GOOD), len(GOOD))
    run = json.loads((tmp_path / "store" / result["run"]).read_text())
    assert run["result"]["failures"] == result["failures"]


def test_names_with_a_leading_dash_on_the_command_line(
    fda: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_clip(tmp_path / "-a.mp4", 1)
    write_manifest(tmp_path, [record("-a", "-a.mp4")], "-ü.jsonl")
    monkeypatch.chdir(tmp_path)
    assert fda("preprocess", "./-ü.jsonl", "./-störe", *SERIAL_FLAGS).code == 0
    assert Store.open("-störe").catalog.split_videos("test")["path"].to_pylist() == ["-a.mp4"]
    assert fda("preprocess", *SERIAL_FLAGS, "--", "-ü.jsonl", "-störe").code == 0
    assert fda("preprocess", "-ü.jsonl", "store", *SERIAL_FLAGS).code == 2


# How many may fail


@pytest.mark.parametrize(
    ("limit", "code"), [("0", 3), ("8", 3), ("9", 0), ("75%", 0), ("74%", 3), ("100%", 0), ("0%", 3), (None, 3)]
)
def test_the_limit_of_failures_decides_the_exit_code(
    fda: Commands, bad: Path, tmp_path_factory: pytest.TempPathFactory, limit: str | None, code: int
) -> None:
    place = bad.parent.parent / "store of limits"  # made once, and then there is nothing to do
    ended = fda("preprocess", bad, place, *SERIAL_FLAGS, *(["--max-failed", limit] if limit else []))
    assert ended.code == code
    assert (f"9 of 12 videos failed, over --max-failed {limit or '10%'}\n" in ended.err) is (code == 3)
    assert "9 videos failed" in ended.out


def test_the_shell_sees_exit_code_3(bad: Path, tmp_path: Path) -> None:
    ended = fda_in_a_process("preprocess", bad, tmp_path / "store", *SERIAL_FLAGS)
    assert ended.code == 3
    assert "Traceback" not in ended.err


@pytest.mark.parametrize("limit", ["x", "-1", "nan", "1%%", ""])
def test_a_limit_that_is_none_is_wrong_usage(fda: Commands, bad: Path, tmp_path: Path, limit: str) -> None:
    ended = fda("preprocess", bad, tmp_path / "store", *SERIAL_FLAGS, "--max-failed", limit)
    assert ended.code == 2
    assert "--max-failed" in ended.err
    assert not (tmp_path / "store").exists()


# The manifest


def lines(*texts: object) -> str:
    return "".join((text if isinstance(text, str) else json.dumps(text)) + "\n" for text in texts)


FINE = record("a", "a.mp4")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lines(FINE, record("b", "b.mp4"), record("a", "c.mp4")), ":3: video_id 'a' is already on line 1"),
        (lines(FINE, record("b", "b.mp4", captions=["x", "\0"])), ":2: caption 2 of video 'b' has a NUL in it"),
        (lines(FINE, record("b", "b.mp4", captions=["x", "  "])), ":2: caption 2 of video 'b' is blank"),
        (lines(FINE, "", "{'video_id': 'b'}"), ":3: not JSON"),
        (lines(FINE, "{"), ":2: not JSON"),
        (lines(FINE, "[1]"), ":2: the line must be a JSON object, got list"),
        (lines(FINE, {"path": "b.mp4", "captions": ["x"]}), ":2: no 'video_id'"),
        (lines(record("b", "../b.mp4")), ":1: path '../b.mp4' leaves "),
        (lines(record("b", "b.mp4", split="a/b")), ":1: split name "),
        ("", "contains no record"),
    ],
)
def test_a_bad_manifest_is_refused_with_the_line(fda: Commands, tmp_path: Path, content: str, message: str) -> None:
    manifest = tmp_path / "clips.jsonl"
    manifest.write_text(content)
    ended = fda("preprocess", manifest, tmp_path / "store", *SERIAL_FLAGS)
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.count("\n") == 1
    assert ended.err.startswith(f"fda: error: {manifest}")
    assert message in ended.err
    assert not (tmp_path / "store").exists()


def test_a_source_that_is_not_there_or_of_no_known_kind(fda: Commands, tmp_path: Path) -> None:
    missing = fda("preprocess", tmp_path / "nowhere.jsonl", tmp_path / "store")
    assert missing.code == 1
    assert "nowhere.jsonl" in missing.error_line
    (tmp_path / "clips.json").write_text("[]")
    unknown = fda("preprocess", tmp_path / "clips.json", tmp_path / "store")
    assert unknown.code == 1
    assert "cannot detect the layout of" in unknown.error_line


def test_a_folder_of_videos_with_one_bad_among_them(fda: Commands, tmp_path: Path) -> None:
    folder = tmp_path / "videos"
    write_clip(folder / "good.mp4", 1)
    (folder / "bad.mp4").write_text("no")
    for name in ("good", "bad"):
        (folder / f"{name}.txt").write_text(f"{name} one\n{name} two\n")
    ended = fda("preprocess", folder, tmp_path / "store", *SERIAL_FLAGS, "--max-failed", "1")
    assert ended.code == 0
    assert "1 clip; 1 video failed: 1 corrupt" in ended.out
    (folder / "good.txt").unlink()
    again = fda("preprocess", folder, tmp_path / "other", *SERIAL_FLAGS, "--max-failed", "1")
    assert (again.code, "1 of 2 videos of test has no caption: 'good'" in again.err) == (0, True)
