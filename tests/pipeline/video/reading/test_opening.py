"""Files that are no video, names that look like something else, and damage: a status and a reason each."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.video.clips import VideoError
from pipeline.video.decoding import decode_clip
from pipeline.video.drawing import decode_facts
from pipeline.video.options import DecodeOptions
from pipeline.video.reading.opening import Deadline, check_file, open_video
from pipeline.video.reading.probing import scan_video
from pipeline.video.reading.truncation import file_extent
from pipeline.video.soundness import FrameFacts, sound_frames
from store.schema import VideoStatus
from tests.videos import (
    Encoding,
    damage,
    decode_all,
    grey_frames,
    textured_frames,
    write_audio,
    write_numbered_video,
    write_video,
)

OPTIONS = DecodeOptions(6, 32)
X264 = {"bf": "2", "g": "10", "x264-params": "threads=1:log-level=none"}


def refusal(path: Path, options: DecodeOptions = OPTIONS) -> VideoError:
    with pytest.raises(VideoError) as caught:
        decode_clip(path, options)
    assert "\n" not in caught.value.reason
    assert str(path.parent) not in caught.value.reason
    return caught.value


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four GOPs of H.264 with B pictures, index first."""
    path = tmp_path_factory.mktemp("video") / "video.mp4"
    return write_video(path, textured_frames(40), Encoding(options=X264, container_options={"movflags": "faststart"}))


def test_a_path_without_a_file_names_what_it_is(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    cases = {
        tmp_path / "absent.mp4": "there is no such file",
        tmp_path: "a folder",
        tmp_path / "pipe": "a named pipe",
        Path("/dev/zero"): "a device",
        tmp_path / "nul\0.mp4": "cannot be read",
        tmp_path / ("x" * 300): "cannot be read",
    }
    for path, words in cases.items():
        error = refusal(path)
        assert (error.status, words in error.reason) == (VideoStatus.MISSING, True), error


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_missing(tmp_path: Path, video: Path) -> None:
    path = tmp_path / "locked.mp4"
    path.write_bytes(video.read_bytes())
    path.chmod(0)
    assert refusal(path).status == VideoStatus.MISSING


def test_no_permission_is_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "locked.mp4"
    path.write_bytes(b"x")

    def deny(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", deny)
    with pytest.raises(VideoError, match="cannot be read: Permission denied") as caught:
        check_file(path)
    assert caught.value.status == VideoStatus.MISSING


def _text(path: Path) -> Path:
    path.write_text("hello world\n" * 50)
    return path


def _bytes(content: bytes) -> Callable[[Path], Path]:
    def write(path: Path) -> Path:
        path.write_bytes(content)
        return path

    return write


def _playlist(path: Path) -> Path:
    write_numbered_video(path.with_name("inner.mkv"), 5)
    path.write_text("ffconcat version 1.0\nfile inner.mkv\n")
    return path


def _hls(path: Path) -> Path:
    write_video(path.with_name("inner.ts"), textured_frames(20), Encoding(options=X264))
    path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\ninner.ts\n#EXT-X-ENDLIST\n")
    return path


def _one_pixel_tall(path: Path) -> Path:
    return write_video(path, grey_frames(5, height=1, width=64), Encoding(codec="ffv1", pix_fmt="bgr0"))


@pytest.mark.parametrize(
    ("name", "make", "status", "words"),
    [
        ("empty.mp4", _bytes(b""), VideoStatus.EMPTY, "0 bytes"),
        ("text.txt", _text, VideoStatus.CORRUPT, "not a video in a format that is accepted"),
        ("text.mp4", _text, VideoStatus.CORRUPT, "Invalid data"),
        ("noise.avi", _bytes(random.Random(1).randbytes(5000)), VideoStatus.CORRUPT, "Invalid data"),
        ("list.ffconcat", _playlist, VideoStatus.CORRUPT, "format that is accepted"),
        ("list.m3u8", _hls, VideoStatus.CORRUPT, "format that is accepted"),
        ("sound.m4a", write_audio, VideoStatus.NO_VIDEO_STREAM, "no video stream"),
        (
            "sound.wav",
            lambda path: write_audio(path, codec="pcm_s16le"),
            VideoStatus.NO_VIDEO_STREAM,
            "no video stream",
        ),
        ("cover.mp4", lambda path: write_audio(path, cover=True), VideoStatus.NO_VIDEO_STREAM, "only a cover picture"),
        ("one.mkv", lambda path: write_numbered_video(path, 1), VideoStatus.TOO_SHORT, "1 frame, and motion needs two"),
        ("flat.mkv", _one_pixel_tall, VideoStatus.UNSUPPORTED, "64x1"),
    ],
)
def test_what_is_no_video_has_a_status_and_a_reason(
    tmp_path: Path, name: str, make: Callable[[Path], Path], status: VideoStatus, words: str
) -> None:
    error = refusal(make(tmp_path / name))
    assert error.status == status, error
    assert words in error.reason


def test_sizes_outside_the_limits_are_refused(tmp_path: Path) -> None:
    path = write_video(
        tmp_path / "wide.mkv", grey_frames(4, height=16, width=600), Encoding(codec="ffv1", pix_fmt="bgr0")
    )
    assert "a factor of 32" in refusal(path).reason
    assert "9599 pixels" in refusal(path, DecodeOptions(2, 32, max_aspect=40, max_pixels=9599)).reason
    assert decode_clip(path, DecodeOptions(2, 32, max_aspect=40)).source.width == 600


def test_a_codec_that_nothing_decodes_is_unsupported(tmp_path: Path) -> None:
    path = write_video(tmp_path / "coded.avi", textured_frames(5), Encoding(codec="mjpeg", pix_fmt="yuvj420p"))
    path.write_bytes(path.read_bytes().replace(b"MJPG", b"ZZZZ"))
    assert refusal(path).status == VideoStatus.UNSUPPORTED


@pytest.mark.parametrize(
    "name", ["-rf.mkv", "concat:a.mkv|b.mkv", "http:host.mkv", "vidéo 视频 🎬.mkv", "frame%03d.mkv", "a'b\"c;d.mkv"]
)
def test_a_name_is_only_ever_a_name(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write_numbered_video(tmp_path / "plain.mkv", 30).rename(tmp_path / name)
    assert decode_clip(tmp_path / name, OPTIONS).sample.frame_index.tolist() == [2, 7, 12, 17, 22, 27]
    monkeypatch.chdir(tmp_path)
    assert decode_clip(Path(name), OPTIONS).source.num_frames == 30


def test_time_runs_out(video: Path) -> None:
    error = refusal(video, DecodeOptions(6, 32, timeout_seconds=1e-6))
    assert (error.status, error.reason) == (VideoStatus.TIMEOUT, "not decoded within 1e-06 s")


def test_time_runs_out_while_decoding(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moment = time.monotonic()
    ticks = iter(range(10_000))
    monkeypatch.setattr("pipeline.run.running_time.time.monotonic", lambda: moment + next(ticks))
    assert refusal(video, DecodeOptions(6, 32, timeout_seconds=30)).status == VideoStatus.TIMEOUT


def test_damage_refuses_the_frames_that_depend_on_it_and_no_others(tmp_path: Path, video: Path) -> None:
    """Bytes inverted in the third of four GOPs: the clip is refused, a clip from the first two is as it was."""
    broken = damage(video, tmp_path / "broken.mp4", at=0.62, num_bytes=150)
    error = refusal(broken, DecodeOptions(20, 32))
    assert error.status == VideoStatus.CORRUPT
    assert "damage" in error.reason
    deadline = Deadline(60)
    with open_video(broken, deadline, OPTIONS) as video_there:
        scan = scan_video(video_there, file_extent(broken), OPTIONS, deadline)
    events, _ = decode_facts(broken, scan, OPTIONS, deadline)
    kept = [event.pts for event in events if isinstance(event, FrameFacts)]
    sound = sound_frames(events)
    assert 0 < sound.sum() < 40
    whole_pts, whole = decode_all(video)
    _, pictures = decode_all(broken, skip_refused=True)
    for position, pts in enumerate(kept):
        if sound[position]:
            np.testing.assert_array_equal(pictures[position], whole[whole_pts.index(pts)])


def test_damage_after_the_last_frame_wanted_does_no_harm(tmp_path: Path, video: Path) -> None:
    broken = damage(video, tmp_path / "broken.mp4", at=0.97, num_bytes=40)
    one = DecodeOptions(1, 32)
    np.testing.assert_array_equal(decode_clip(broken, one).sample.frames, decode_clip(video, one).sample.frames)


@pytest.mark.parametrize("name", ["a.mp4", "a.avi", "a.webm", "a.ts"])
def test_mutated_files_give_a_clip_or_a_video_error(tmp_path: Path, name: str) -> None:
    codec = {"a.avi": "mpeg4", "a.webm": "libvpx-vp9"}.get(name, "libx264")
    arguments = X264 if codec == "libx264" else {}
    content = write_video(tmp_path / name, textured_frames(12), Encoding(codec=codec, options=arguments)).read_bytes()
    chance = random.Random(name)
    outcomes = set()
    for _ in range(15):
        mutated = bytearray(content[: chance.randrange(1, len(content) + 1)] if chance.random() < 0.4 else content)
        for _ in range(chance.choice([0, 1, 20])):
            mutated[chance.randrange(len(mutated))] ^= 1 << chance.randrange(8)
        (tmp_path / name).write_bytes(mutated)
        try:
            outcomes.add(decode_clip(tmp_path / name, DecodeOptions(4, 32, timeout_seconds=20)).truncated)
        except VideoError as error:
            outcomes.add(bool(error.reason))
    assert outcomes


@pytest.mark.parametrize("name", ["raw.mjpeg", "no_ending"])
@pytest.mark.parametrize("side", [64, 600])
def test_a_file_of_nothing_but_jpegs_is_a_video(tmp_path: Path, name: str, side: int) -> None:
    """However large they are: ffmpeg's own probing sees only the first one, and takes it for a still."""
    noise = np.random.default_rng(0).integers(0, 100, (side, side, 3), dtype=np.uint8)
    pictures = [BytesIO() for _ in range(3)]
    for level, picture in zip((0, 40, 80), pictures, strict=True):
        Image.fromarray(noise + np.uint8(level)).save(picture, "JPEG", quality=98)
    path = tmp_path / name
    path.write_bytes(b"".join(picture.getvalue() for picture in pictures))
    clip = decode_clip(path, DecodeOptions(3, 32))
    assert (clip.source.num_frames, clip.source.width) == (3, side)
    assert np.abs(np.diff(clip.sample.frames.mean(axis=(1, 2, 3))) - 40).max() < 2
    path.write_bytes(pictures[0].getvalue())
    assert refusal(path).status == VideoStatus.TOO_SHORT
