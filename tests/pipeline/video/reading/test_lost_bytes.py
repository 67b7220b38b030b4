"""Bytes that are lost inside a file of any container, and files that lack bytes but no frame."""

from __future__ import annotations

import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.audio.stream import AudioStream
from av.video.stream import VideoStream

from pipeline.video.clips import DecodedClip, VideoError
from pipeline.video.decoding import decode_clip
from pipeline.video.options import DecodeOptions, Keep, Sampling, SamplingMode, Window
from pipeline.video.reading.truncation import file_extent
from store.schema import VideoStatus
from tests.fuzzing import LOSSES, check_same, mutant, shows_loss
from tests.videos import Encoding, textured_frames, write_video
from tests.zoo.kinds import ZOO
from tests.zoo.making import coded, moving, x264

OPTIONS = DecodeOptions(8, 32)
X264 = x264(g=12)
KINDS = [
    "h264_gop12.mp4",
    "h264_faststart.mp4",
    "h264_fragmented.mp4",
    "h264_edit_middle.mp4",
    "h264_gop12.mov",
    "h264_gop12.mkv",
    "h264_vfr.mkv",
    "h264_gop12.ts",
    "h264_times_restart.ts",
    "h264_gop12.flv",
    "h264_no_b.avi",
    "h264_raw.h264",
    "mpeg4_dropped.avi",
    "mpeg2_open_gop.mpg",
    "msmpeg4.asf",
    "vp8_hidden.webm",
    "vp9_alt_ref.mp4",
    "vp9_repeats.webm",
    "vp9.ivf",
    "mjpeg.avi",
    "plain.apng",
    "disposal_background.gif",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lost_bytes")


def of_zoo(folder: Path, name: str) -> bytes:
    path = folder / name
    if ZOO[name].missing_encoder:
        pytest.skip(f"this build of ffmpeg has no encoder {ZOO[name].encoder}")
    return (path if path.exists() else ZOO[name].make(path)).read_bytes()


def clip_of(content: bytes, like: Path, options: DecodeOptions = OPTIONS, **window: float) -> DecodedClip:
    path = like.with_name(f"changed.{like.name}")
    path.write_bytes(content)
    return decode_clip(path, options, Window(**window))


def without(content: bytes, start: float, end: float) -> bytes:
    """Zeros from one part of the length to another."""
    first, last = int(len(content) * start), int(len(content) * end)
    return content[:first] + bytes(last - first) + content[last:]


@pytest.mark.parametrize("name", KINDS)
def test_a_clip_of_a_file_that_lost_bytes_is_that_of_the_whole_file(folder: Path, name: str) -> None:
    content = of_zoo(folder, name)
    whole = decode_clip(folder / name, OPTIONS)
    refused = 0
    for mutation in LOSSES:
        for number in range(8 if shows_loss(name, mutation) else 0):
            try:
                check_same(clip_of(mutant(content, mutation, f"{name} {number}"), folder / name), whole)
            except VideoError:
                refused += 1
    assert refused >= 4


@pytest.mark.parametrize("name", [name for name in KINDS if not name.endswith((".mp4", ".mov"))])
@pytest.mark.parametrize(("start", "end"), [(0.4, 0.6), (0.6, 1.0)])
def test_zeros_in_a_file_of_the_right_size_make_it_truncated(folder: Path, name: str, start: float, end: float) -> None:
    content = of_zoo(folder, name)
    with pytest.raises(VideoError, match="part of the file is lost") as caught:
        clip_of(without(content, start, end), folder / name)
    assert caught.value.status == VideoStatus.TRUNCATED


def test_a_clip_before_the_loss_is_given(folder: Path) -> None:
    """Frames of its first third; also if nothing says how long the whole file is."""
    for name in ("h264_gop12.mkv", "h264_gop12.ts"):
        content = of_zoo(folder, name)
        whole = decode_clip(folder / name, OPTIONS, Window(0, 0.8))
        for start in np.arange(0.5, 0.98, 0.03):  # what the demuxer says at the end depends on where that is
            clip = clip_of(without(content, start, 1.0), folder / name, end_seconds=0.8)
            assert clip.truncated
            check_same(clip, whole)


def blocks_of(content: bytes) -> list[tuple[int, int]]:
    """Where the blocks of the first cluster of a Matroska file begin and end."""

    def after_size(place: int) -> tuple[int, int]:
        length = 9 - content[place].bit_length()
        size = int.from_bytes(content[place : place + length], "big") & ((1 << 7 * length) - 1)
        return place + length, size

    place, size = after_size(content.index(bytes.fromhex("1f43b675")) + 4)
    end, found = place + size, []
    while place < end:
        inside, size = after_size(place + 1)
        if content[place] in (0xA0, 0xA3):  # BlockGroup, SimpleBlock
            found.append((place, inside + size))
        place = inside + size
    return found


@pytest.mark.parametrize("name", ["h264_gop12.mkv", "h264_vfr.mkv"])
def test_blocks_that_are_taken_out_whole_are_missed(folder: Path, name: str) -> None:
    """Without them, all elements follow each other: only the size of their cluster tells."""
    content = of_zoo(folder, name)
    decode_clip(folder / name, OPTIONS)
    blocks = blocks_of(content)
    assert len(blocks) >= 12
    for first in range(1, len(blocks) - 6, 3):
        for last in (first, first + 4):
            lost = content[: blocks[first][0]] + content[blocks[last][1] :]
            with pytest.raises(VideoError, match="part of the file is lost") as caught:
                clip_of(lost, folder / name)
            assert caught.value.status == VideoStatus.TRUNCATED


def test_one_frame_too_many_is_not_taken_for_the_next_of_a_lost_one(folder: Path) -> None:
    """The difference to the frame after the last readable one is not known."""
    content = of_zoo(folder, "mjpeg.avi")
    lost = without(content, 0.5, 1.0)
    num_left = clip_of(lost, folder / "mjpeg.avi", end_seconds=0.1).source.num_frames
    end = num_left * 1001 / 30000 - 0.001
    plain, with_next = DecodeOptions(1, 32), DecodeOptions(1, 32, neighbours=True)
    window = {"start_seconds": end - 0.05, "end_seconds": end}
    assert clip_of(lost, folder / "mjpeg.avi", plain, **window).sample.frame_index.tolist() == [num_left - 1]
    with pytest.raises(VideoError, match="part of the file is lost"):
        clip_of(lost, folder / "mjpeg.avi", with_next, **window)


@pytest.mark.parametrize("keep", list(Keep))
def test_lost_frames_have_numbers_in_clip4clip_too(folder: Path, keep: Keep) -> None:
    path = folder / "long.avi"
    content = (path if path.exists() else coded(150, "mpeg4", options={"g": "12"})(path)).read_bytes()
    options = DecodeOptions(2, 32, sampling=Sampling(SamplingMode.CLIP4CLIP, keep=keep))
    lost = without(content, 0.5, 1.0)
    if keep is Keep.HEAD:
        check_same(clip_of(lost, path, options), decode_clip(path, options))
    else:
        with pytest.raises(VideoError, match="part of the file is lost"):
            clip_of(lost, path, options)


def of_several_parts(content: bytes) -> bytes:
    """An AVI as one of over 1 GB is: half of its chunks in a second RIFF part, without an index."""
    movi = content.index(b"movi") - 8
    body = content[movi + 12 : movi + 8 + int.from_bytes(content[movi + 4 : movi + 8], "little")]
    chunks, place = [], 0
    while place + 8 <= len(body):
        length = int.from_bytes(body[place + 4 : place + 8], "little")
        chunks.append(body[place : place + 8 + length + length % 2])
        place += len(chunks[-1])

    def listed(kind: bytes, inside: bytes, tag: bytes = b"LIST") -> bytes:
        return tag + struct.pack("<I", len(inside) + 4) + kind + inside

    half = len(chunks) // 2
    first = listed(b"AVI ", content[12:movi] + listed(b"movi", b"".join(chunks[:half])), b"RIFF")
    return first + listed(b"AVIX", listed(b"movi", b"".join(chunks[half:])), b"RIFF")


@pytest.mark.parametrize("keep", [0.55, 0.75, 0.95])
def test_an_avi_of_several_parts_that_is_cut_in_the_last_one_is_truncated(folder: Path, keep: float) -> None:
    path = folder / "mjpeg.avi"
    content = of_several_parts(of_zoo(folder, "mjpeg.avi"))
    check_same(clip_of(content, path), decode_clip(path, OPTIONS))
    with pytest.raises(VideoError, match="part of the file is lost") as caught:
        clip_of(content[: int(len(content) * keep)], path)
    assert caught.value.status == VideoStatus.TRUNCATED


def mdat_of(content: bytes) -> int:
    return content.index(b"mdat") - 4


def sized(content: bytes, change: Callable[[int], int]) -> bytes:
    place = mdat_of(content)
    size = change(int.from_bytes(content[place : place + 4], "big"))
    return content[:place] + size.to_bytes(4, "big") + content[place + 4 :]


def test_an_mp4_to_the_end_of_the_file_is_judged_by_its_index(folder: Path) -> None:
    """An `mdat` of size 0 goes to the end: only the index says that frames are missing there."""
    path = folder / "h264_faststart.mp4"
    content = sized(of_zoo(folder, path.name), lambda _: 0)
    check_same(clip_of(content, path), decode_clip(path, OPTIONS))
    for keep in (0.6, 0.9):
        with pytest.raises(VideoError, match="part of the file is lost") as caught:
            clip_of(content[: int(len(content) * keep)], path)
        assert caught.value.status == VideoStatus.TRUNCATED


def test_lost_sound_makes_no_video_truncated(folder: Path) -> None:
    """The index of an MP4 is first, the sound goes on after the last picture, and its end is cut off."""
    path = folder / "sound.mp4"
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        video, sound = container.add_stream("libx264", rate=30, options=X264), container.add_stream("aac", rate=44100)
        assert isinstance(video, VideoStream)
        assert isinstance(sound, AudioStream)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        for picture in moving(20):
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(video.encode(None))
        for number in range(60):
            noise = np.random.default_rng(number).normal(size=(1, 1024)).astype(np.float32) / 9
            frame = av.AudioFrame.from_ndarray(noise, "fltp", "mono")
            frame.sample_rate, frame.pts = 44100, 1024 * number
            container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    clip = clip_of(path.read_bytes()[:-200], path)
    assert not clip.truncated
    check_same(clip, decode_clip(path, OPTIONS))


COMPLETE: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "bytes after the last box": ("h264_faststart.mp4", lambda c: c + b"GPS 52.1 4.3 trailer of the camera"),
    "zeros after the last box": ("h264_faststart.mp4", lambda c: c + bytes(5000)),
    "bytes after the index": ("h264_gop12.mp4", lambda c: c + b"GPS 52.1 4.3 trailer of the camera"),
    "mdat is said too long": ("h264_faststart.mp4", lambda c: sized(c, lambda size: size + 100)),
    "bytes after the segment": ("h264_gop12.mkv", lambda c: c + b"\0" * 50 + b"trailer"),
    "the index of Matroska is lost": ("h264_gop12.mkv", lambda c: c[: c.rindex(bytes.fromhex("1c53bb6b")) + 6]),
    "the index of Matroska is zeros": (
        "h264_gop12.mkv",
        lambda c: c[: c.rindex(bytes.fromhex("1c53bb6b"))] + bytes(len(c) - c.rindex(bytes.fromhex("1c53bb6b"))),
    ),
    "bytes after RIFF": ("mjpeg.avi", lambda c: c + b"trailer of a camera"),
    "the index of an AVI is lost": ("mjpeg.avi", lambda c: c[: c.rindex(b"idx1") + 20]),
    "the index of an AVI is zeros": ("mjpeg.avi", lambda c: c[: (at := c.rindex(b"idx1"))] + bytes(len(c) - at)),
    "more frames in the table of times than there are": (
        "h264_gop12.mp4",
        lambda c: (
            c[: (at := c.index(b"stts") + 12)]
            + struct.pack(">I", int.from_bytes(c[at : at + 4], "big") + 44)
            + c[at + 4 :]
        ),
    ),
}


@pytest.mark.parametrize("kind", COMPLETE)
def test_a_file_that_lacks_no_frame_is_complete(folder: Path, kind: str) -> None:
    name, change = COMPLETE[kind]
    clip = clip_of(change(of_zoo(folder, name)), folder / name)
    assert not clip.truncated
    check_same(clip, decode_clip(folder / name, OPTIONS))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("live.mkv", {"live": "1"}),
        ("index_first.mkv", {"cues_to_front": "1"}),
        ("small_clusters.mkv", {"cluster_size_limit": "500"}),
        ("resent_tables.ts", {"mpegts_flags": "resend_headers"}),
        ("blu_ray.m2ts", {"mpegts_m2ts_mode": "1"}),
        ("no_duration.flv", {"flvflags": "no_duration_filesize"}),
        ("dash.mp4", {"movflags": "dash+global_sidx+frag_keyframe"}),
        ("hybrid.mp4", {"movflags": "hybrid_fragmented"}),
    ],
)
def test_a_recording_is_whole_however_it_was_written(folder: Path, name: str, options: dict[str, str]) -> None:
    """Long-held frames, no duration, clusters of unknown size: nothing of it is a loss."""
    times = [*range(0, 400, 40), *range(9000, 9400, 33), 30_000, 30_040]
    encoding = Encoding(options=X264, container_options=options, pts=times, time_base=Fraction(1, 1000))
    path = write_video(folder / name, textured_frames(len(times)), encoding)
    assert not file_extent(path).is_damaged
    clip = decode_clip(path, OPTIONS)
    assert not clip.truncated
    assert clip.source.num_frames == len(times)


def test_a_picture_with_a_hole_is_damaged_and_black_pictures_are_not(folder: Path) -> None:
    """Decoders of VP8 and JPEG take zeros for a picture."""
    noise = np.random.default_rng(0).integers(0, 256, (6, 96, 128, 3), dtype=np.uint8)
    path = write_video(folder / "noise.avi", noise, Encoding("mjpeg", pix_fmt="yuvj420p"))
    content = path.read_bytes()
    start = content.index(b"00dc", content.index(b"movi")) + 2000
    with pytest.raises(VideoError, match="zeros stand where") as caught:
        clip_of(content[:start] + bytes(1024) + content[start + 1024 :], path, DecodeOptions(6, 32))
    assert caught.value.status == VideoStatus.CORRUPT
    black = write_video(folder / "black.avi", 0 * moving(6, 480, 640), Encoding("mjpeg", pix_fmt="yuvj420p"))
    assert not decode_clip(black, DecodeOptions(6, 32)).truncated


@pytest.mark.parametrize("name", ["noise.avi", "noise.mov", "noise.mkv"])
@pytest.mark.parametrize("nonsense", [b"\xff\x00" * 200, b"\xff\xd9" * 200], ids=["no code", "ends early"])
def test_a_damaged_jpeg_picture_is_not_shown(folder: Path, name: str, nonsense: bytes) -> None:
    """Its decoder would show the rest of an older picture, and say nothing."""
    noise = np.random.default_rng(0).integers(0, 256, (6, 96, 128, 3), dtype=np.uint8)
    path = write_video(folder / name, noise, Encoding("mjpeg", pix_fmt="yuvj420p"))
    content = path.read_bytes()
    starts = [place for place in range(len(content)) if content.startswith(b"\xff\xd8\xff", place)]
    start = (starts[3] + starts[4]) // 2
    damaged = content[:start] + nonsense + content[start + len(nonsense) :]
    with pytest.raises(VideoError, match="is damaged or depends on damage") as caught:
        clip_of(damaged, path, DecodeOptions(6, 32))
    assert caught.value.status == VideoStatus.CORRUPT
    with_others = clip_of(damaged, path, DecodeOptions(2, 32), end_seconds=0.1)
    check_same(with_others, decode_clip(path, DecodeOptions(2, 32), Window(end_seconds=0.1)))
