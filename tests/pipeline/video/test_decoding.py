from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.video import decoding
from pipeline.video.clips import ClipSample, DecodedClip, SourceFacts, VideoError
from pipeline.video.decoding import decode_clip
from pipeline.video.frame_plan import PacketPlan, plan_packets
from pipeline.video.options import DecodeOptions, Resize
from pipeline.video.reading.probing import VideoScan
from pipeline.video.reading.timeline import Timeline
from pipeline.video.resizing import resize_and_crop
from store.schema import VideoStatus
from tests.videos import (
    NTSC,
    Encoding,
    decode_all,
    decode_all_with_opencv,
    grey_frames,
    open_below,
    remux,
    textured_frames,
    write_numbered_video,
    write_video,
)

SIZE = 32
B_FRAMES = {"bf": "3", "g": "12", "x264-params": "threads=1:lookahead-threads=1:log-level=none"}
X265 = {"x265-params": "log-level=none:pools=none:frame-threads=1"}


def options(num_frames: int = 8, **limits: float) -> DecodeOptions:
    """With CLIP's own resizing, so that pixels can be compared with those of a full decode."""
    return DecodeOptions(num_frames, SIZE, resize=Resize.CLIP, **limits)  # type: ignore[arg-type]


def vfr_pts(num_frames: int) -> list[int]:
    """Milliseconds: gaps of 5 to 155."""
    return [int(time) for time in np.cumsum(5 + 10 * (np.arange(num_frames) * 7 % 16))]


def _texture(codec: str, count: int = 40, **arguments: object) -> Callable[[Path], Path]:
    return lambda path: write_video(path, textured_frames(count), Encoding(codec=codec, **arguments))  # type: ignore[arg-type]


def _with_edit_list(path: Path) -> Path:
    source = write_video(path.with_suffix(".whole.mp4"), textured_frames(40), Encoding(options=B_FRAMES | {"g": "40"}))
    return remux(source, path, shift=-10 * 1001)  # ten frames lie before zero: decoded for reference, never shown


def _mid_gop(path: Path) -> Path:
    whole = write_video(path.with_suffix(".whole.ts"), textured_frames(60), Encoding(options=B_FRAMES))
    content = whole.read_bytes()
    path.write_bytes(content[len(content) // 4 // 188 * 188 :])
    return path


RELIABLE: dict[str, Callable[[Path], Path]] = {
    "numbered.mkv": lambda path: write_numbered_video(path, 50),
    "b_frames.mp4": _texture("libx264", options=B_FRAMES),
    "no_b.mp4": _texture("libx264", options=B_FRAMES | {"bf": "0"}),
    "b_frames.mkv": _texture("libx264", options=B_FRAMES),
    "vfr.mp4": lambda path: write_video(
        path, textured_frames(40), Encoding(options=B_FRAMES, pts=vfr_pts(40), time_base=Fraction(1, 1000))
    ),
    "vfr.mkv": lambda path: write_video(
        path, grey_frames(40), Encoding(codec="ffv1", pix_fmt="bgr0", pts=vfr_pts(40), time_base=Fraction(1, 1000))
    ),
    "edit_list.mp4": _with_edit_list,
    "hevc.mp4": _texture("libx265", 30, options=X265),
    "ten_bit.mkv": _texture("libx264", 20, options=B_FRAMES, pix_fmt="yuv420p10le"),
    "full_chroma.mkv": _texture("libx264", 20, options=B_FRAMES, pix_fmt="yuv444p"),
    "vp9.webm": _texture("libvpx-vp9", 12, options={"deadline": "realtime", "cpu-used": "8"}),
    "mjpeg.avi": _texture("mjpeg", 20, pix_fmt="yuvj420p"),
    "mpeg4_no_b.avi": _texture("mpeg4"),
    "mpeg4.mp4": _texture("mpeg4", options={"bf": "2"}),
    "pictures.gif": _texture("gif", 12, pix_fmt="rgb8", rate=Fraction(20)),
    "flash.flv": _texture("flv1"),
    "stream.ts": _texture("libx264", options=B_FRAMES),
    "program.mpg": _texture("mpeg2video", options={"bf": "2"}, rate=Fraction(25)),
}
"""Files whose frames carry true times."""

TIMELESS: dict[str, Callable[[Path], Path]] = {
    "b_frames.avi": _texture("libx264", options=B_FRAMES),
    "raw.h264": _texture("libx264", options=B_FRAMES, rate=Fraction(25)),
}
"""Files whose frames have no true times: frame i is shown at i over the rate."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    folder = tmp_path_factory.mktemp("videos")

    def make(name: str) -> Path:
        path = folder / name
        return path if path.exists() else (RELIABLE | TIMELESS)[name](path)

    return make


def expected_clip(
    pts: list[int | None], pictures: list[NDArray[np.uint8]], end: int, num_frames: int
) -> tuple[list[int], NDArray[np.uint8]]:
    """Indices and frames by the definition, from a full decode."""
    times = [time for time in pts if time is not None]
    centres = [times[0] + (i + Fraction(1, 2)) * (end - times[0]) / num_frames for i in range(num_frames)]
    index = [max(k for k, time in enumerate(times) if time <= centre) for centre in centres]
    return index, np.stack([resize_and_crop(pictures[k], SIZE) for k in index])


def end_of(path: Path, last: int) -> int:
    """The end of the last frame by its packet's duration, or the mean interval if it has none."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.pts is not None and not packet.is_discard]
        times = sorted(packet.pts for packet in packets if packet.pts is not None)
        durations = [packet.duration or 0 for packet in packets if packet.pts == last]
        return last + (durations[0] or round((times[-1] - times[0]) / (len(times) - 1)))


@pytest.mark.parametrize("num_frames", [1, 12])
@pytest.mark.parametrize("name", RELIABLE)
def test_frames_are_those_of_a_full_decode(made: Callable[[str], Path], name: str, num_frames: int) -> None:
    path = made(name)
    pts, pictures = decode_all(path)
    assert pts[-1] is not None
    assert pts[0] is not None
    index, frames = expected_clip(pts, pictures, end_of(path, pts[-1]), num_frames)
    clip = decode_clip(path, options(num_frames))
    assert clip.sample.frame_index.tolist() == index
    np.testing.assert_array_equal(clip.sample.frames, frames)
    with av.open(str(path)) as container:
        time_base = container.streams.video[0].time_base
    assert time_base is not None
    assert clip.sample.pts_seconds.tolist() == [float(((pts[k] or 0) - pts[0]) * time_base) for k in index]
    assert clip.source.num_frames == len(pictures)
    assert not clip.truncated


@pytest.mark.parametrize("name", TIMELESS)
def test_frames_without_times_are_counted(made: Callable[[str], Path], name: str) -> None:
    path = made(name)
    _, pictures = decode_all(path)
    total = len(pictures)
    clip = decode_clip(path, options(8))
    index = [(2 * i + 1) * total // 16 for i in range(8)]
    assert clip.sample.frame_index.tolist() == index
    np.testing.assert_array_equal(clip.sample.frames, np.stack([resize_and_crop(pictures[k], SIZE) for k in index]))
    rate = NTSC if name.endswith("avi") else Fraction(25)
    assert clip.sample.pts_seconds.tolist() == [float(k / rate) for k in index]
    assert clip.source.fps == float(rate)


@pytest.mark.parametrize("name", ["b_frames.mp4", "vfr.mp4", "mpeg4_no_b.avi", "b_frames.avi", "vp9.webm", "hevc.mp4"])
def test_frames_are_those_of_opencv(made: Callable[[str], Path], name: str) -> None:
    path = made(name)
    pictures = decode_all_with_opencv(path)
    clip = decode_clip(path, options())
    assert clip.source.num_frames == len(pictures)
    expected = np.stack([resize_and_crop(pictures[k], SIZE) for k in clip.sample.frame_index])
    np.testing.assert_array_equal(clip.sample.frames, expected)


def test_every_frame_of_a_numbered_video_is_its_number(made: Callable[[str], Path]) -> None:
    clip = decode_clip(made("numbered.mkv"), options(50))
    assert clip.sample.frames[:, 0, 0, 0].tolist() == clip.sample.frame_index.tolist() == list(range(50))
    assert clip.source == SourceFacts(
        duration_seconds=clip.source.duration_seconds,
        fps=clip.source.fps,
        codec="ffv1",
        num_frames=50,
        width=48,
        height=32,
    )
    assert clip.source.fps == pytest.approx(float(NTSC), rel=1e-3)  # Matroska counts milliseconds


def test_more_frames_than_there_are_repeats_them(made: Callable[[str], Path]) -> None:
    clip = decode_clip(made("vp9.webm"), options(30))
    assert sorted(set(clip.sample.frame_index.tolist())) == list(range(12))
    assert bool(np.all(np.diff(clip.sample.frame_index) >= 0))


@pytest.mark.parametrize("name", ["b_frames.mp4", "edit_list.mp4", "vfr.mp4", "stream.ts", "vp9.webm", "mjpeg.avi"])
def test_the_plan_holds_if_packets_have_the_times(
    made: Callable[[str], Path], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("decoded twice")

    path = made(name)
    monkeypatch.setattr(decoding, "decode_facts", refuse)
    assert len(decode_clip(path, options(6)).sample.frames) == 6


def test_a_plan_that_does_not_hold_gives_way_to_the_exact_decode(
    made: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = made("b_frames.mp4")
    right = decode_clip(path, options())
    planned = plan_packets

    def wrong(timeline: Timeline, wanted: Sequence[int], scan: VideoScan) -> PacketPlan:
        plan = planned(timeline, wanted, scan)
        return replace(plan, segments=tuple(replace(part, shown_pts=part.shown_pts + 1) for part in plan.segments))

    monkeypatch.setattr(decoding, "plan_packets", wrong)
    again = decode_clip(path, options())
    np.testing.assert_array_equal(again.sample.frames, right.sample.frames)
    np.testing.assert_array_equal(again.sample.frame_index, right.sample.frame_index)
    assert again.source == right.source


def test_a_stream_cut_in_mid_gop_starts_at_its_first_whole_frame(tmp_path: Path) -> None:
    path = _mid_gop(tmp_path / "mid.ts")
    _, pictures = decode_all(path)
    clip = decode_clip(path, options())
    assert clip.source.num_frames == len(pictures)
    expected = np.stack([resize_and_crop(pictures[k], SIZE) for k in clip.sample.frame_index])
    np.testing.assert_array_equal(clip.sample.frames, expected)


def test_a_size_that_changes_is_resized_from_each_size(tmp_path: Path) -> None:
    parts = [textured_frames(10, height=48, width=64), textured_frames(10, height=80, width=60, seed=1)]
    content = b""
    for index, frames in enumerate(parts):
        part = write_video(tmp_path / f"{index}.h264", frames, Encoding(options=B_FRAMES, rate=Fraction(25)))
        content += part.read_bytes()
    path = tmp_path / "both.h264"
    path.write_bytes(content)
    _, pictures = decode_all(path)
    assert {picture.shape for picture in pictures} == {(48, 64, 3), (80, 60, 3)}
    clip = decode_clip(path, options(20))
    expected = np.stack([resize_and_crop(picture, SIZE) for picture in pictures])
    np.testing.assert_array_equal(clip.sample.frames, expected)
    assert (clip.source.width, clip.source.height) == (64, 48)


def test_nothing_stays_open(made: Callable[[str], Path], tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(made("b_frames.mp4").read_bytes()[:2000])
    for _ in range(3):
        decode_clip(made("b_frames.mp4"), options(2))
        decode_clip(made("b_frames.avi"), options(2))
        for arguments, path in [({}, broken), ({"timeout_seconds": 1e-9}, made("b_frames.mp4"))]:
            with pytest.raises(VideoError):
                decode_clip(path, options(2, **arguments))
    assert open_below(tmp_path) == open_below(made("b_frames.mp4").parent) == []


def test_a_clip_checks_that_its_parts_agree() -> None:
    frames = np.zeros((3, 4, 4, 3), np.uint8)
    times, index = np.zeros(3), np.zeros(3, np.int64)
    assert (
        DecodedClip(
            ClipSample(frames, times, index), SourceFacts(1.0, 25.0, "h264", 25, 4, 4), truncated=False
        ).sample.frames
        is frames
    )
    with pytest.raises(ValueError, match=r"got \(3, 2, 4, 3\)"):
        ClipSample(frames[:, :2], times, index)
    with pytest.raises(ValueError, match=r"pts_seconds \(2,\)"):
        ClipSample(frames, times[:2], index)
    with pytest.raises(ValueError, match="int32"):
        ClipSample(frames, times, index.astype(np.int32))
    with pytest.raises(ValueError, match="num_frames"):
        DecodeOptions(0)
    with pytest.raises(ValueError, match="timeout_seconds"):
        DecodeOptions(1, timeout_seconds=0.0)
    with pytest.raises(ValueError, match="max_aspect"):
        DecodeOptions(1, max_aspect=0.5)
    with pytest.raises(ValueError, match="a video has frames"):
        SourceFacts(0.0, 25.0, "h264", 25, 4, 4)


def test_an_error_survives_pickling_between_processes() -> None:
    error = pickle.loads(pickle.dumps(VideoError(VideoStatus.CORRUPT, "two\n lines")))
    assert (error.status, error.reason) == (VideoStatus.CORRUPT, "two lines")


def _annex_b(packet: bytes, head: bytes) -> bytes:
    """NAL units with start codes instead of lengths, behind parameter sets of one's own; nothing but slices."""
    content, place = head, 0
    while place < len(packet):
        end = place + 4 + int.from_bytes(packet[place : place + 4], "big")
        if packet[place + 4] & 31 in (1, 5):
            content += b"\0\0\0\1" + packet[place + 4 : end]
        place = end
    return content


def _parameter_sets(avcc: bytes) -> bytes:
    """The SPS and the PPS of an mp4's extradata, with start codes."""
    sps_end = 8 + int.from_bytes(avcc[6:8], "big")
    pps_end = sps_end + 3 + int.from_bytes(avcc[sps_end + 1 : sps_end + 3], "big")
    return b"\0\0\0\1" + avcc[8:sps_end] + b"\0\0\0\1" + avcc[sps_end + 3 : pps_end]


def test_parameter_sets_that_change_on_the_way_are_not_skipped(tmp_path: Path) -> None:
    """Two streams joined: the second sends another PPS (chroma quantisers) with its first picture, and never again."""
    path = tmp_path / "joined.ts"
    with av.open(str(path), "w") as output:
        joined = output.add_stream("libx264", rate=25)
        joined.width, joined.height, joined.pix_fmt = 64, 48, "yuv420p"
        for number, offset in enumerate((-6, 12)):
            parameters = f"keyint=10:scenecut=0:bframes=0:qp=20:chroma-qp-offset={offset}:log-level=none"
            part = write_video(
                tmp_path / f"{number}.mp4", textured_frames(50), Encoding(options={"x264-params": parameters})
            )
            with av.open(str(part)) as source:
                stream = source.streams.video[0]
                head = _parameter_sets(stream.codec_context.extradata or b"")
                for index, packet in enumerate(packet for packet in source.demux(stream) if packet.size):
                    copy = av.Packet(_annex_b(bytes(packet), b"" if index else head))
                    copy.time_base, copy.pts, copy.dts = Fraction(1, 25), 50 * number + index, 50 * number + index
                    copy.is_keyframe, copy.stream = packet.is_keyframe, joined
                    output.mux(copy)
    _, pictures = decode_all(path)
    clip = decode_clip(path, options(4))
    assert clip.sample.frame_index.tolist() == [12, 37, 62, 87]
    expected = np.stack([resize_and_crop(pictures[k], SIZE) for k in clip.sample.frame_index])
    np.testing.assert_array_equal(clip.sample.frames, expected)
