"""Files of several video streams: the one that a player shows, and a note that says so."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition
from av.video.stream import VideoStream
from PIL import Image

from pipeline.video.clips import VideoError
from pipeline.video.decoding import decode_clip
from pipeline.video.options import DecodeOptions
from pipeline.video.reading import probing
from pipeline.video.reading.streams import moving_streams
from store.schema import VideoStatus
from tests.videos import cut, textured_frames

OPTIONS = DecodeOptions(6, 32)


@dataclass(frozen=True, slots=True)
class Track:
    """One video stream of a file to be made."""

    num_frames: int
    height: int = 48
    width: int = 64
    codec: str = "mpeg4"
    flags: Disposition = Disposition.original


THUMBNAIL = Track(1, codec="mjpeg")
VIDEO = Track(20)
SMALL = Track(20, 32, 48)
DEFAULT = Disposition.default


def write_tracks(path: Path, tracks: list[Track]) -> Path:
    with av.open(str(path), "w") as container:
        streams = []
        for track in tracks:
            stream = container.add_stream(track.codec, rate=Fraction(25))
            assert isinstance(stream, VideoStream)
            stream.width, stream.height = track.width, track.height
            stream.pix_fmt = "yuvj420p" if track.codec == "mjpeg" else "yuv420p"
            stream.codec_context.thread_count = 1
            stream.disposition = track.flags
            streams.append(stream)
        packets = []
        for stream, track in zip(streams, tracks, strict=True):
            for index, rgb in enumerate(textured_frames(track.num_frames, height=track.height, width=track.width)):
                frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
                frame.pts, frame.time_base = index, Fraction(1, 25)
                packets += stream.encode(frame)
            packets += stream.encode(None)
        container.mux(packets)
    return path


CHOICES = {
    "a thumbnail first": ([THUMBNAIL, VIDEO], 1),
    "a thumbnail last": ([VIDEO, THUMBNAIL], 0),
    "a thumbnail that is the default": ([Track(1, codec="mjpeg", flags=DEFAULT), VIDEO], 1),
    "a large thumbnail": ([Track(1, 96, 128, "mjpeg"), SMALL], 1),
    "the default, though smaller": ([VIDEO, Track(20, 32, 48, flags=DEFAULT)], 1),
    "the larger": ([Track(20, 32, 48, flags=DEFAULT), Track(20, flags=DEFAULT)], 1),
    "more frames": ([Track(12, flags=DEFAULT), Track(20, flags=DEFAULT)], 1),
    "the first of equals": ([Track(20, flags=DEFAULT), Track(20, flags=DEFAULT)], 0),
    "thumbnails around": ([THUMBNAIL, THUMBNAIL, VIDEO, THUMBNAIL, THUMBNAIL, THUMBNAIL, THUMBNAIL], 2),
}


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
@pytest.mark.parametrize("name", CHOICES)
def test_the_stream_that_a_player_shows_is_the_video(tmp_path: Path, name: str, suffix: str) -> None:
    tracks, expected = CHOICES[name]
    clip = decode_clip(write_tracks(tmp_path / f"file{suffix}", tracks), OPTIONS)
    chosen = tracks[expected]
    assert (clip.source.num_frames, clip.source.codec) == (chosen.num_frames, chosen.codec)
    assert (clip.source.height, clip.source.width) == (chosen.height, chosen.width)
    (note,) = clip.notes
    assert note.startswith(f"video stream {expected} ({chosen.codec}, {chosen.width}x{chosen.height}, ")
    assert f"{chosen.num_frames} frames) was taken, not video stream " in note
    assert note.count("video stream ") == min(len(tracks), 5)


@pytest.mark.parametrize("suffix", [".ts", ".avi"])
def test_containers_without_a_default_give_the_larger(tmp_path: Path, suffix: str) -> None:
    clip = decode_clip(write_tracks(tmp_path / f"file{suffix}", [SMALL, VIDEO]), OPTIONS)
    assert (clip.source.width, len(clip.notes)) == (64, 1)


def test_a_file_of_one_stream_has_no_note(tmp_path: Path) -> None:
    cover = Track(1, codec="mjpeg", flags=Disposition.attached_pic)
    for name, tracks in {"one.mp4": [VIDEO], "cover.mp4": [cover, VIDEO]}.items():
        clip = decode_clip(write_tracks(tmp_path / name, tracks), OPTIONS)
        assert (clip.source.num_frames, clip.notes) == (20, ())


@pytest.mark.parametrize("flag", [Disposition.attached_pic, Disposition.timed_thumbnails, Disposition.still_image])
def test_streams_that_are_flagged_as_pictures_are_no_videos(tmp_path: Path, flag: Disposition) -> None:
    with av.open(str(write_tracks(tmp_path / "file.mkv", [Track(20, 96, 128), VIDEO]))) as container:
        first, second = container.streams.video
        first.disposition = flag
        assert moving_streams((first, second)) == (second,)


def test_an_animated_picture_is_a_video(tmp_path: Path) -> None:
    """An AVIF sequence begins with a still item, which is a stream of its own."""
    pictures = [Image.fromarray(frame) for frame in textured_frames(12)]
    path = tmp_path / "animated.avif"
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=40)
    clip = decode_clip(path, OPTIONS)
    assert (clip.source.num_frames, clip.sample.frame_index.tolist()) == (12, [1, 3, 5, 7, 9, 11])
    assert "was taken, not video stream 0 (av1, 64x48, 1 frame)" in clip.notes[0]


def test_a_stream_that_nothing_decodes_is_not_the_video(tmp_path: Path) -> None:
    path = write_tracks(tmp_path / "file.avi", [Track(20, 96, 128, "mjpeg"), VIDEO])
    path.write_bytes(path.read_bytes().replace(b"MJPG", b"ZZZZ"))
    clip = decode_clip(path, OPTIONS)
    assert clip.source.codec == "mpeg4"
    assert "not video stream 0 (no decoder, 0x0, 20 frames)" in clip.notes[0]


def test_streams_of_one_frame_are_too_short(tmp_path: Path) -> None:
    with pytest.raises(VideoError) as caught:
        decode_clip(write_tracks(tmp_path / "file.mkv", [THUMBNAIL, THUMBNAIL]), OPTIONS)
    assert caught.value.status == VideoStatus.TOO_SHORT


def test_the_chosen_stream_is_read_again_where_packets_are_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each way to read a file twice: packets that are too many to keep, and a decode from the start."""
    for name, codec in {"planned.mkv": "mpeg4", "timeless.avi": "libx264"}.items():
        tracks = [Track(1, 96, 128, "mjpeg"), Track(20, codec=codec)]
        path = write_tracks(tmp_path / name, tracks)
        kept = decode_clip(path, OPTIONS)
        monkeypatch.setattr(probing, "BUFFERED_BYTES", 0)
        again = decode_clip(path, OPTIONS)
        monkeypatch.undo()
        assert kept.source.num_frames == again.source.num_frames == 20
        np.testing.assert_array_equal(kept.sample.frames, again.sample.frames)


def test_a_file_that_is_cut_off_is_chosen_from_what_is_left(tmp_path: Path) -> None:
    whole = write_tracks(tmp_path / "whole.mkv", [THUMBNAIL, VIDEO])
    with pytest.raises(VideoError) as caught:
        decode_clip(cut(whole, tmp_path / "cut.mkv", keep=0.7), OPTIONS)
    assert caught.value.status == VideoStatus.TRUNCATED
    assert decode_clip(cut(whole, tmp_path / "end.mkv", keep=0.99), DecodeOptions(1, 32)).source.codec == "mpeg4"
