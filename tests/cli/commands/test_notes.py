"""What is to be known of a clip: recorded with it, counted in the result, and said at the command line."""

from __future__ import annotations

import json
from pathlib import Path

from pipeline.video.decoding import decode_clip
from pipeline.video.options import DecodeOptions
from store.completion import outcomes_of
from store.schema import VideoStatus
from store.store import Store
from tests.clips_on_disk import SERIAL_FLAGS, SIZE, Commands, record, write_clip, write_manifest
from tests.pipeline.video.reading.test_streams import THUMBNAIL, Track, write_tracks
from tests.videos import cut

NOTE = "video stream 1 (mpeg4, 64x48, 40 frames) was taken, not video stream 0 (mjpeg, 64x48, 1 frame)"
LOST = "part of the file is lost, after the last frame that was needed"


def test_notes_are_recorded_counted_and_said(fda: Commands, tmp_path: Path) -> None:
    write_clip(tmp_path / "plain.mp4", 0)
    write_tracks(tmp_path / "drone.mkv", [THUMBNAIL, Track(40)])
    cut(tmp_path / "drone.mkv", tmp_path / "cut.mkv", keep=0.94)
    names = ("plain.mp4", "drone.mkv", "cut.mkv")
    manifest = write_manifest(tmp_path, [record(name, name) for name in names])
    (of_what_is_left,) = decode_clip(tmp_path / "cut.mkv", DecodeOptions(3, SIZE)).notes
    notes = {"drone.mkv": NOTE, "cut.mkv": f"{LOST}; {of_what_is_left}"}

    ended = fda("preprocess", manifest, tmp_path / "store", *SERIAL_FLAGS)
    assert ended.code == 0
    store = Store.open(tmp_path / "store")
    outcomes = [one for shard in store.shards("test") for one in outcomes_of(store, shard)]
    assert [one.reason for one in outcomes] == [notes.get(name) for name in names]
    assert [one.status for one in outcomes] == [VideoStatus.OK, VideoStatus.OK, VideoStatus.TRUNCATED]
    said = [f"  {name}  {note}" for name, note in notes.items()]
    assert "\n".join(["2 clips with a note:", *said]) in ended.out
    assert "3 clips, 1 of them from files of which a part is lost; no video failed" in ended.out

    # They are those of earlier runs as well, and of all parts of a job.
    listed = [{"video_id": name, "note": note} for name, note in notes.items()]
    again = json.loads(fda("preprocess", manifest, tmp_path / "store", *SERIAL_FLAGS, "--json").out)
    assert (again["num_videos_made"], again["notes"]) == (0, listed)
    assert json.loads(fda("finalise", tmp_path / "store", "--json").out)["notes"] == listed
