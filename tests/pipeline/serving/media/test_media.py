"""Videos as browsers get them: ranges of bytes, and files that were made playable, with every frame at its time."""

from __future__ import annotations

import json
import os
import threading
import time
from contextlib import closing
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

import fda
from pipeline.serving.media import cache as cache_module
from pipeline.serving.media.cache import BusyError, MediaCache
from pipeline.serving.media.converting import MediaRequest, Prepared, answer, prepare
from pipeline.serving.media.playable import Way
from pipeline.serving.media.times import decoding_times
from pipeline.video.clips import VideoError
from pipeline.video.decoding import decode_clip
from pipeline.video.options import WHOLE_VIDEO, DecodeOptions, Window
from tests.crashing import end_at_once, sleep_long
from tests.pipeline.serving.conftest import HOST
from tests.serving import NO_B, NUM_NUMBERED, RATE, ServedStore, number_in, numbered_frames, write_with_sound
from tests.videos import Encoding, remux, write_audio, write_video
from tests.zoo.kinds import ZOO
from tests.zoo.truth import expected_picture


def shown(path: Path) -> list[tuple[float, int]]:
    """The time and the number of each frame of a file, as a player shows them."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    return [
        (float(frame.time or 0.0), number_in(np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)))
        for frame in frames
    ]


def prepared(path: Path, target: Path, window: Window = WHOLE_VIDEO, max_seconds: float = 60.0) -> Prepared:
    return prepare(MediaRequest(path, window, target, max_seconds, 60.0))


def assert_shows(path: Path, numbers: range, *, starts_at: int = 0) -> None:
    """Frame i is shown at (i - starts_at) over the rate."""
    found = shown(path)
    assert [number for _, number in found] == list(numbers)
    expected = [(number - starts_at) / float(RATE) for number in numbers]
    assert [seconds for seconds, _ in found] == pytest.approx(expected, abs=2e-3)


@given(st.permutations(range(12)))
def test_decoding_times_are_increasing_and_never_late(pts: list[int]) -> None:
    found = decoding_times(np.array(pts, np.int64))
    assert (np.diff(found) > 0).all()
    assert (found <= pts).all()


def test_what_browsers_play_goes_out_as_it_is(served: ServedStore, tmp_path: Path) -> None:
    for name, kind in (("walk.mp4", "video/mp4"), ("web.webm", "video/webm")):
        assert prepared(served.videos / name, tmp_path / "x") == Prepared(Way.DIRECT, kind, 0.0)
    assert not (tmp_path / "x").exists()


def test_an_avi_is_copied_with_the_true_times_of_its_b_frames(served: ServedStore, tmp_path: Path) -> None:
    """AVI stores no times of presentation: ffmpeg takes those of decoding for them."""
    with av.open(str(served.videos / "old.avi")) as container:
        given = [packet.pts for packet in container.demux(video=0) if packet.pts is not None]
        assert given == sorted(given)
        assert container.streams.video[0].codec_context.has_b_frames
    assert prepared(served.videos / "old.avi", tmp_path / "x") == Prepared(Way.COPY, "video/mp4", 0.0)
    assert_shows(tmp_path / "x", range(NUM_NUMBERED))


def test_a_video_that_does_not_start_at_zero_is_copied_so_that_it_does(served: ServedStore, tmp_path: Path) -> None:
    late = remux(served.videos / "walk.mp4", tmp_path / "late.mp4", shift=5000)
    assert prepared(late, tmp_path / "x").way is Way.COPY
    assert_shows(tmp_path / "x", range(NUM_NUMBERED))


def test_another_container_is_copied(served: ServedStore, tmp_path: Path) -> None:
    matroska = remux(served.videos / "walk.mp4", tmp_path / "walk.mkv")
    assert prepared(matroska, tmp_path / "x").way is Way.COPY
    assert_shows(tmp_path / "x", range(NUM_NUMBERED))
    vp8 = remux(served.videos / "web.webm", tmp_path / "web.mkv")
    assert prepared(vp8, tmp_path / "y") == Prepared(Way.COPY, "video/webm", 0.0)


@pytest.mark.parametrize(("name", "start", "way"), [("old.avi", 1.2, Way.COPY), ("mpeg.avi", 0.5, Way.TRANSCODE)])
def test_of_a_clip_only_its_part_is_made(
    served: ServedStore, tmp_path: Path, name: str, start: float, way: Way
) -> None:
    """A copy begins with the key frame before the clip, and ends with what its last frames refer to."""
    found = prepared(served.videos / name, tmp_path / "x", Window(start, start + 0.3))
    assert found.way is way
    first, begins, ends = (round(seconds * RATE) for seconds in (found.offset_seconds, start, start + 0.3))
    assert 0 < first <= begins
    assert first == begins or way is Way.COPY
    frames = shown(tmp_path / "x")
    assert [number for _, number in frames][: ends - first] == [*range(first, ends)]
    assert len(frames) <= ends - first + 3
    times = [seconds + found.offset_seconds for seconds, _ in frames]
    assert times == pytest.approx([number / float(RATE) for _, number in frames], abs=2e-3)


def test_another_codec_is_transcoded(served: ServedStore, tmp_path: Path) -> None:
    assert prepared(served.videos / "mpeg.avi", tmp_path / "x") == Prepared(Way.TRANSCODE, "video/mp4", 0.0)
    assert_shows(tmp_path / "x", range(30))
    with av.open(str(tmp_path / "x")) as container:
        assert container.streams.video[0].codec_context.name == "h264"


def test_of_a_long_video_only_the_first_part_is_transcoded(served: ServedStore, tmp_path: Path) -> None:
    found = prepared(served.videos / "mpeg.avi", tmp_path / "x", max_seconds=0.5)
    assert found.note == "only the first 0.5 s were transcoded"
    assert_shows(tmp_path / "x", range(15))


@pytest.mark.parametrize(("codec", "way"), [("libx264", Way.COPY), ("mpeg4", Way.TRANSCODE)])
@pytest.mark.parametrize("sound", ["mp2", "libmp3lame"])
def test_sound_comes_with_the_pictures(tmp_path: Path, codec: str, way: Way, sound: str) -> None:
    write_with_sound(tmp_path / "x.mkv", codec, sound, 15)
    assert prepared(tmp_path / "x.mkv", tmp_path / "y").way is way
    with av.open(str(tmp_path / "y")) as container:
        assert container.streams.audio[0].codec_context.codec.canonical_name == ("aac" if sound == "mp2" else "mp3")
        assert container.duration is not None
        assert sum(frame.samples for frame in container.decode(audio=0)) > 0.3 * 44100
    assert_shows(tmp_path / "y", range(15))


@pytest.mark.parametrize(("codec", "way", "start"), [("libx264", Way.COPY, 1.0), ("mpeg4", Way.TRANSCODE, 1.2)])
def test_the_sound_of_a_part_begins_with_its_pictures(tmp_path: Path, codec: str, way: Way, start: float) -> None:
    write_with_sound(tmp_path / "x.mkv", codec, "libmp3lame", 60)
    found = prepared(tmp_path / "x.mkv", tmp_path / "y", Window(1.2, 1.9))
    assert found.way is way
    assert found.offset_seconds == pytest.approx(start, abs=1e-3)
    with av.open(str(tmp_path / "y")) as container:
        num_samples = sum(frame.samples for frame in container.decode(audio=0))
    assert num_samples / 44100 == pytest.approx(60 * 1152 / 44100 - start, abs=0.1)


def test_pictures_are_turned_and_made_square_as_players_do(tmp_path: Path) -> None:
    frames = numbered_frames(6)
    write_video(tmp_path / "x.mp4", frames, Encoding(codec="mpeg4", rate=RATE, rotation=90))
    prepared(tmp_path / "x.mp4", tmp_path / "y")
    with av.open(str(tmp_path / "x.mp4")) as before, av.open(str(tmp_path / "y")) as after:
        assert next(after.decode(video=0)).rotation == next(before.decode(video=0)).rotation != 0


@pytest.mark.parametrize(
    ("name", "way"),
    [
        ("h264_fake_times.mp4", Way.COPY),
        ("h264_edit_swapped.mp4", Way.TRANSCODE),
        ("mpeg4_packed.avi", Way.TRANSCODE),
        ("mpeg2_open_gop.ts", Way.TRANSCODE),
        ("h264_422.mp4", Way.TRANSCODE),
    ],
)
def test_odd_files_show_what_the_store_has_at_each_time(tmp_path: Path, name: str, way: Way) -> None:
    path = ZOO[name].make(tmp_path / name)
    clip = decode_clip(path, DecodeOptions(num_frames=8, image_size=64)).sample
    found = prepared(path, tmp_path / "x")
    assert found.way is way
    with av.open(str(tmp_path / "x")) as container:
        frames = [(float(frame.time or 0), frame) for frame in container.decode(video=0)]
    pictures = [expected_picture(frame, 64, Fraction(1)).astype(int) for _, frame in frames]
    for picture, seconds in zip(clip.frames.astype(int), clip.pts_seconds.tolist(), strict=True):
        at = max(place for place, (time, _) in enumerate(frames) if time <= seconds - found.offset_seconds + 0.001)
        differences = [np.abs(picture - one).mean() for one in pictures]
        assert differences[at] < min(differences) + 2, seconds


@pytest.mark.parametrize("content", [b"", b"this is no video", b"\x00\x00\x00\x18ftypmp42" + bytes(99)])
def test_what_is_no_video_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.mp4").write_bytes(content)
    with pytest.raises(VideoError):
        prepared(tmp_path / "x.mp4", tmp_path / "y")
    with pytest.raises(VideoError, match="missing"):
        prepared(tmp_path / "nowhere.mp4", tmp_path / "y")


def test_sound_alone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="no_video_stream"):
        prepared(write_audio(tmp_path / "x.mp4"), tmp_path / "y")


class TestCache:
    """Where videos are kept that were made playable."""

    def test_each_is_made_once_and_found_again(self, served: ServedStore, tmp_path: Path) -> None:
        options = fda.ConversionOptions(folder=tmp_path)
        media = MediaCache(options)
        made = media.playable(served.videos / "old.avi", WHOLE_VIDEO)
        assert media.playable(served.videos / "old.avi", WHOLE_VIDEO) is made
        media.close()
        before = made.path.stat()
        again = MediaCache(options)
        again._process = None  # type: ignore[method-assign, assignment]  # nothing is made
        assert again.playable(served.videos / "old.avi", WHOLE_VIDEO) == made
        assert made.path.stat().st_ino == before.st_ino

    def test_a_video_that_has_changed_is_made_again(self, served: ServedStore, tmp_path: Path) -> None:
        media = MediaCache(fda.ConversionOptions(folder=tmp_path / "cache"))
        video = remux(served.videos / "old.avi", tmp_path / "video.avi")
        first = media.playable(video, WHOLE_VIDEO)
        write_video(video, numbered_frames(8), Encoding(rate=RATE, options=NO_B))
        second = media.playable(video, WHOLE_VIDEO)
        assert first.path != second.path
        assert len(shown(second.path)) == 8
        media.close()

    def test_what_a_killed_server_left_is_not_taken_for_a_video(self, served: ServedStore, tmp_path: Path) -> None:
        media = MediaCache(fda.ConversionOptions(folder=tmp_path))
        made = media.playable(served.videos / "old.avi", WHOLE_VIDEO).path
        made.with_name(f"{made.name}.json").unlink()
        made.write_bytes(b"half")
        old = tmp_path / "partial-x"
        old.write_bytes(b"half")
        os.utime(old, (time.time() - 7200,) * 2)
        media.close()
        again = MediaCache(fda.ConversionOptions(folder=tmp_path))
        assert_shows(again.playable(served.videos / "old.avi", WHOLE_VIDEO).path, range(NUM_NUMBERED))
        assert not old.exists()
        again.close()

    def test_it_grows_to_its_limit(self, served: ServedStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def write(path: Path, window: Window) -> Prepared:
            path.write_bytes(bytes(400 << 10))
            return Prepared(Way.COPY, "video/mp4", window.start_seconds)

        media = MediaCache(fda.ConversionOptions(folder=tmp_path, max_mib=1))
        monkeypatch.setattr(media, "_asked", lambda request: write(request.target, request.window))
        made = [media.playable(served.videos / "old.avi", Window(start)).path for start in (0.0, 1.0, 2.0)]
        assert [path.exists() for path in made] == [False, True, True]
        assert sorted(tmp_path.iterdir()) == sorted(one for path in made[1:] for one in (path, Path(f"{path}.json")))
        assert media.playable(served.videos / "old.avi", Window(0.0)).path.exists()

    def test_only_so_many_wait(self, served: ServedStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        goes_on, has_begun = threading.Event(), threading.Event()

        def asked(request: MediaRequest) -> Prepared:
            has_begun.set()
            goes_on.wait(30)
            return Prepared(Way.COPY, "video/mp4", 0.0)

        media = MediaCache(fda.ConversionOptions(folder=tmp_path, waiting=1))
        monkeypatch.setattr(media, "_asked", asked)
        first = threading.Thread(target=media.playable, args=(served.videos / "old.avi", WHOLE_VIDEO))
        first.start()
        has_begun.wait(30)
        with pytest.raises(BusyError):
            media.playable(served.videos / "mpeg.avi", WHOLE_VIDEO)
        goes_on.set()
        first.join()

    def test_its_end_does_not_wait_for_a_video(
        self, served: ServedStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(cache_module, "answer", sleep_long)
        media, has_begun, ended = MediaCache(fda.ConversionOptions(folder=tmp_path)), threading.Event(), []

        class Begun(set[object]):
            def add(self, process: object) -> None:
                super().add(process)
                has_begun.set()

        monkeypatch.setattr(media, "_busy", Begun())

        def play() -> None:
            with pytest.raises(VideoError, match="killed"):
                media.playable(served.videos / "old.avi", WHOLE_VIDEO)
            ended.append(True)

        viewer = threading.Thread(target=play)
        viewer.start()
        has_begun.wait(30)
        media.close()
        viewer.join()
        assert ended
        assert list(tmp_path.iterdir()) == []

    def test_a_process_that_crashes_costs_one_video(
        self, served: ServedStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(cache_module, "answer", end_at_once)
        media = MediaCache(fda.ConversionOptions(folder=tmp_path))
        with pytest.raises(VideoError, match="exit code 3"):
            media.playable(served.videos / "old.avi", WHOLE_VIDEO)
        monkeypatch.setattr(cache_module, "answer", answer)
        assert media.playable(served.videos / "old.avi", WHOLE_VIDEO).path.exists()
        assert not list(tmp_path.glob("partial-*"))
        media.close()


@pytest.mark.parametrize(
    ("header", "status", "content_range"),
    [
        ("bytes=0-99", 206, "bytes 0-99/{size}"),
        ("bytes=100-", 206, "bytes 100-{last}/{size}"),
        ("bytes=-50", 206, "bytes {tail}-{last}/{size}"),
        ("bytes=0-999999999", 206, "bytes 0-{last}/{size}"),
        ("bytes=999999999-", 416, "bytes */{size}"),
        ("bytes=0-0", 206, "bytes 0-0/{size}"),
        (None, 200, None),
    ],
)
def test_ranges_of_a_video(
    client: TestClient, served: ServedStore, header: str | None, status: int, content_range: str | None
) -> None:
    content = (served.videos / "walk.mp4").read_bytes()
    size = len(content)
    answer = client.get("/media?s=0&id=walk", headers={} if header is None else {"range": header})
    assert answer.status_code == status
    expected = content_range and content_range.format(size=size, last=size - 1, tail=size - 50)
    assert answer.headers.get("content-range") == expected
    if status != 416:
        start, end = (0, size - 1) if expected is None else map(int, expected[6:].partition("/")[0].split("-"))
        assert answer.content == content[start : end + 1]
        assert answer.headers["accept-ranges"] == "bytes"
        head = client.head("/media?s=0&id=walk", headers={} if header is None else {"range": header})
        assert (head.status_code, head.content) == (status, b"")
        assert head.headers["content-length"] == str(len(answer.content))


def test_a_video_that_has_not_changed_is_not_sent_again(client: TestClient) -> None:
    first = client.get("/media?s=0&id=walk")
    tag, when = first.headers["etag"], first.headers["last-modified"]
    assert client.get("/media?s=0&id=walk", headers={"if-none-match": tag}).status_code == 304
    for condition, status in ((tag, 206), (when, 206), ('"another"', 200)):
        answer = client.get("/media?s=0&id=walk", headers={"range": "bytes=0-9", "if-range": condition})
        assert answer.status_code == status


@pytest.mark.parametrize("header", ["bytes=", "bytes=a-b", "lines=0-1", "bytes=5-1", "bytes=" + "0-1," * 5000])
def test_ranges_that_cannot_be_do_no_harm(client: TestClient, header: str) -> None:
    assert client.get("/media?s=0&id=walk", headers={"range": header}).status_code in (200, 206, 400, 416)


def test_how_a_video_plays_is_said(client: TestClient, served: ServedStore) -> None:
    def about(video_id: str) -> dict[str, object]:
        return dict(client.get("/media/about", params={"s": 0, "id": video_id}).json())

    assert about("walk") == {
        "url": "/media?s=0&id=walk",
        "type": "video/mp4",
        "offset": 0.0,
        "way": "direct",
        "note": None,
    }
    assert about("old")["way"] == "copied"
    assert about("mpeg")["way"] == "transcoded"
    assert "videos/gone.mp4 in" in str(about("gone")["problem"])
    assert "--videos FOLDER" in str(about("gone")["problem"])
    assert "Invalid data" in str(about("text")["problem"])
    assert client.get("/media?s=0&id=text").status_code == 404
    assert client.get("/media?s=0&id=old").headers["content-type"] == "video/mp4"


def test_videos_that_have_moved_are_found_where_the_user_says(served: ServedStore, tmp_path: Path, cache: Path) -> None:
    options = fda.ServeOptions(videos=tmp_path, conversion=fda.ConversionOptions(folder=cache))
    with TestClient(fda.create_app(served.place, options), base_url=HOST) as client:
        assert str(tmp_path) in client.get("/media/about?s=0&id=walk").json()["problem"]
        assert client.get("/frame?s=0&id=walk&slots=0&side=32").status_code == 200
        (tmp_path / "videos").symlink_to(served.videos)
        assert client.get("/media/about?s=0&id=walk").json()["way"] == "direct"


def test_facts_that_are_damaged_are_made_again(served: ServedStore, tmp_path: Path) -> None:
    options = fda.ConversionOptions(folder=tmp_path)
    with closing(MediaCache(options)) as media:
        made = media.playable(served.videos / "old.avi", WHOLE_VIDEO)
    for content in ("", json.dumps({"way": "x"})):
        Path(f"{made.path}.json").write_text(content)
        with closing(MediaCache(options)) as media:
            assert media.playable(served.videos / "old.avi", WHOLE_VIDEO) == made
