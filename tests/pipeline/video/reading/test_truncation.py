from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from pipeline.video.clips import VideoError
from pipeline.video.decoding import decode_clip
from pipeline.video.frame_plan import plan_clip
from pipeline.video.options import WHOLE_VIDEO, DecodeOptions, Sampling, SamplingMode, Window
from pipeline.video.reading.probing import VideoScan
from pipeline.video.reading.timeline import UNKNOWN_END, Timeline, timeline_of
from pipeline.video.reading.truncation import file_extent
from store.schema import VideoStatus
from tests.videos import Encoding, cut, textured_frames, write_video

X264 = {"bf": "3", "g": "12", "x264-params": "threads=1:log-level=none"}
FASTSTART = {"movflags": "faststart"}
KINDS = {
    "faststart.mp4": {"options": X264, "container_options": FASTSTART},
    "fragmented.mp4": {"options": X264, "container_options": {"movflags": "frag_keyframe+empty_moov"}},
    "video.mkv": {"options": X264},
    "b_frames.avi": {"options": X264},
    "mpeg4.avi": {"codec": "mpeg4"},
    "video.webm": {"codec": "libvpx-vp9", "options": {"deadline": "realtime", "cpu-used": "8"}},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("truncation")


def make(folder: Path, name: str) -> Path:
    path = folder / name
    return path if path.exists() else write_video(path, textured_frames(40), Encoding(**KINDS[name]))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", KINDS)
def test_a_whole_file_is_whole(folder: Path, name: str) -> None:
    assert not file_extent(make(folder, name)).is_damaged
    assert not decode_clip(make(folder, name), DecodeOptions(4, 32)).truncated


@pytest.mark.parametrize("name", sorted(KINDS.keys() - {"fragmented.mp4"}))
@pytest.mark.parametrize("num_frames", [1, 6])
def test_a_cut_file_gives_the_clip_of_the_whole_or_none(folder: Path, name: str, num_frames: int) -> None:
    """Whatever the place of the cut, frames are never other ones than those of the whole file."""
    whole = make(folder, name)
    options = DecodeOptions(num_frames, 32)
    expected = decode_clip(whole, options).sample
    gave_clip = 0
    for keep in [*np.linspace(0.02, 0.98, 25).tolist(), 0.999]:
        path = cut(whole, folder / f"cut_{name}", keep=keep)
        try:
            clip = decode_clip(path, options)
        except VideoError as error:
            assert error.status == VideoStatus.TRUNCATED, (keep, error)  # noqa: PT017
            continue
        gave_clip += 1
        np.testing.assert_array_equal(clip.sample.frame_index, expected.frame_index)
        np.testing.assert_array_equal(clip.sample.frames, expected.frames)
        np.testing.assert_allclose(clip.sample.pts_seconds, expected.pts_seconds)
    assert gave_clip or num_frames > 1 or name == "b_frames.avi"


def test_a_cut_file_reports_how_much_is_readable(folder: Path) -> None:
    path = cut(make(folder, "faststart.mp4"), folder / "half.mp4", keep=0.6)
    with pytest.raises(VideoError, match=r"only the first 0\.\d+ s of 1\.335 s are readable") as caught:
        decode_clip(path, DecodeOptions(6, 32))
    assert caught.value.status == VideoStatus.TRUNCATED


def test_a_cut_file_whose_frames_survive_is_a_truncated_clip(folder: Path) -> None:
    clip = decode_clip(cut(make(folder, "faststart.mp4"), folder / "most.mp4", keep=0.97), DecodeOptions(2, 32))
    assert clip.truncated
    assert clip.source.duration_seconds == pytest.approx(40 * 1001 / 30000, abs=0.001)  # the declared length
    assert clip.source.num_frames < 40
    assert clip.source.fps == pytest.approx(29.97, abs=0.01)


@pytest.mark.parametrize("mode", [SamplingMode.UNIFORM, SamplingMode.CLIP4CLIP])
def test_a_window_behind_what_is_readable_is_truncated(mode: SamplingMode) -> None:
    timeline = Timeline(np.arange(13), UNKNOWN_END, 13, Fraction(1, 10))
    scan = cast("VideoScan", SimpleNamespace(average_rate=Fraction(10)))
    with pytest.raises(VideoError, match=r"only the first 1\.300 s are readable, of an unknown length") as caught:
        plan_clip(timeline, scan, DecodeOptions(2, 32, sampling=Sampling(mode)), Window(1.7))
    assert caught.value.status == VideoStatus.TRUNCATED


@pytest.mark.parametrize("keep", [0.01, 0.5, 0.99])
def test_an_mp4_without_its_index_is_truncated(folder: Path, keep: float) -> None:
    whole = write_video(folder / "index_last.mp4", textured_frames(40), Encoding(options=X264))
    path = cut(whole, folder / "no_index.mp4", keep=keep)
    assert file_extent(path).index_missing
    with pytest.raises(VideoError, match=r"the index \(moov\) is missing, the file was probably cut off") as caught:
        decode_clip(path, DecodeOptions(6, 32))
    assert caught.value.status == VideoStatus.TRUNCATED


def test_only_containers_that_count_their_bytes_are_judged(folder: Path) -> None:
    stream = write_video(folder / "stream.ts", textured_frames(20), Encoding(options=X264))
    extent = file_extent(cut(stream, folder / "cut.ts", keep=0.5))
    assert not extent.is_declared
    assert not extent.is_damaged
    live = Encoding(options=X264, container_options={"live": "1"})  # a segment of unknown size, without an index
    streamed = write_video(folder / "streamed.mkv", textured_frames(40), live)
    extent = file_extent(cut(streamed, folder / "cut.mkv", keep=0.5))
    assert not extent.is_declared
    assert not extent.is_damaged
    assert extent.walk.ends_inside


@pytest.mark.parametrize(
    ("content", "missing"),
    [
        (b"\0\0\0\x10ftypisom\0\0\0\0" + b"\0\0\0\x08moov" + b"\0\0\0\x20mdat", 24),
        (b"\0\0\0\x08moov" + b"\0\0\0\x01mdat" + (1 << 40).to_bytes(8, "big"), (1 << 40) - 16),
        (b"\0\0\0\x08moov" + b"\0\0\0\0mdat" + bytes(100), 0),
        (b"\0\0\0\x08moov" + bytes(3), 0),
        (b"RIFF\x20\0\0\0AVI ", 28),
        (b"RIFF\0\0\0\0AVI ", 0),
        (b"\x1a\x45\xdf\xa3\x81\0\x18\x53\x80\x67\x88", 8),
        (b"\x1a\x45\xdf\xa3\x81\0\x18\x53\x80\x67\x40\x02ab", 0),
        (b"\x1a\x45\xdf\xa3", 0),
        (b"", 0),
    ],
)
def test_bytes_that_are_missing_are_counted(tmp_path: Path, content: bytes, missing: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    assert file_extent(path).missing_bytes == missing


def test_a_target_beyond_what_is_readable_is_refused() -> None:
    cut_off = timeline_of([0, 10, 20, 30], 10, Fraction(1, 1000), 100, 40)
    assert cut_off.truncated
    with pytest.raises(VideoError, match=r"only the first 0\.040 s of 0\.100 s are readable"):
        cut_off.choose(DecodeOptions(1), WHOLE_VIDEO, None)
    survives = timeline_of([0, 10, 20, 30, 40, 50], 10, Fraction(1, 1000), 100, 60)
    assert survives.choose(DecodeOptions(1), WHOLE_VIDEO, None).tolist() == [5]
    assert survives.seconds_of(np.array([0, 5])).tolist() == [0.0, 0.05]


def test_a_timeline_checks_itself() -> None:
    pts = np.array([0, 1, 2])
    for wrong in [(pts[::-1], 3, 3), (pts, 0, 0), (pts, 3, 4), (pts[:0], 3, 3)]:
        with pytest.raises(ValueError, match=r"pts|no clip"):
            Timeline(*wrong, Fraction(1, 25))
