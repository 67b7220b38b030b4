"""Which frames a clip takes: windows of longer videos, constant rates, CLIP4Clip's rule, and true neighbours."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.video.clips import VideoError
from pipeline.video.decoding import decode_clip
from pipeline.video.options import DecodeOptions, Keep, Resize, Sampling, SamplingMode, Window
from pipeline.video.sampling import clip4clip_indices, fps_targets, kept, prompt_switch_indices
from store.schema import VideoStatus
from tests.videos import NTSC, Encoding, cut, damage, grey_frames, textured_frames, write_numbered_video, write_video

SIZE = 16
X264 = {"bf": "2", "g": "10", "x264-params": "threads=1:lookahead-threads=1:log-level=none"}
RATES = [Fraction(25), NTSC, Fraction(12), Fraction(60000, 1001), Fraction(30)]


def options(num_frames: int, mode: SamplingMode = SamplingMode.UNIFORM, **sampling: object) -> DecodeOptions:
    return DecodeOptions(num_frames, SIZE, Sampling(mode, **sampling), Resize.CLIP)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def numbered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten seconds at 10 frames a second: frame i is grey level i."""
    return write_numbered_video(tmp_path_factory.mktemp("numbered") / "v.mkv", 100, rate=Fraction(10))


@pytest.mark.parametrize(
    ("window", "expected"),
    [
        (Window(0, None), [12, 37, 62, 87]),
        (Window(2, 6), [25, 35, 45, 55]),
        (Window(2.05, 2.45), [21, 22, 23, 24]),
        (Window(8, 1e9), [82, 87, 92, 97]),
        (Window(9.75, None), [97, 98, 99, 99]),
    ],
)
def test_a_window_is_sampled_like_a_video(numbered: Path, window: Window, expected: list[int]) -> None:
    clip = decode_clip(numbered, options(4), window)
    assert clip.sample.frame_index.tolist() == expected
    assert clip.sample.frames[:, 0, 0, 0].tolist() == expected
    assert clip.sample.pts_seconds.tolist() == [number / 10 for number in expected]
    assert clip.source.num_frames == 100
    end = 10.0 if window.end_seconds is None else min(10.0, window.end_seconds)
    assert clip.source.duration_seconds == pytest.approx(end - window.start_seconds, abs=2e-3)


@pytest.mark.parametrize(
    ("window", "words"),
    [(Window(10, None), "begins at 10 s, and the video ends at 10.000 s"), (Window(3.01, 3.05), "1 frame")],
)
def test_a_window_without_motion_is_too_short(numbered: Path, window: Window, words: str) -> None:
    with pytest.raises(VideoError, match=words) as caught:
        decode_clip(numbered, options(4), window)
    assert caught.value.status == VideoStatus.TOO_SHORT


@pytest.mark.parametrize("seconds", [(-1, None), (3, 3), (5, 2), (float("nan"), 2), (0, float("nan"))])
def test_a_window_that_is_none_is_refused(seconds: tuple[float, float | None]) -> None:
    with pytest.raises(ValueError, match="a clip starts at 0 s or later and ends after it starts, got from"):
        Window(*seconds)


def test_what_lies_outside_a_window_is_not_decoded(tmp_path: Path) -> None:
    """Damage in the third of four seconds is met by a clip of the whole, and not by a clip of the first or the last."""
    video = write_video(tmp_path / "v.mp4", textured_frames(100), Encoding(options=X264, rate=Fraction(25)))
    broken = damage(video, tmp_path / "broken.mp4", at=0.6, num_bytes=300)
    with pytest.raises(VideoError, match="damage"):
        decode_clip(broken, options(40))
    for window in (Window(0, 1), Window(3.6, None)):
        whole, part = decode_clip(video, options(5), window), decode_clip(broken, options(5), window)
        np.testing.assert_array_equal(whole.sample.frames, part.sample.frames)


def test_a_constant_rate_looks_every_so_often(numbered: Path) -> None:
    two_a_second = decode_clip(numbered, options(30, SamplingMode.FPS, fps=Fraction(2)))
    index = two_a_second.sample.frame_index.tolist()
    assert index == [*range(0, 100, 5), *([-1] * 10)]
    assert two_a_second.sample.frames[:20, 0, 0, 0].tolist() == index[:20]
    assert not two_a_second.sample.frames[20:].any()
    assert bool(np.isnan(two_a_second.sample.pts_seconds[20:]).all())
    for keep, expected in [(Keep.HEAD, [0, 5, 10]), (Keep.TAIL, [85, 90, 95]), (Keep.UNIFORM, [0, 45, 95])]:
        few = decode_clip(numbered, options(3, SamplingMode.FPS, fps=Fraction(2), keep=keep))
        assert few.sample.frame_index.tolist() == expected
    held = decode_clip(numbered, options(4, SamplingMode.FPS, fps=Fraction(20)), Window(1, 2))
    assert held.sample.frame_index.tolist() == [10, 13, 16, 19]


@settings(max_examples=60)
@given(st.integers(-(10**6), 10**6), st.integers(1, 10**6), st.fractions(Fraction(1, 10), 10**5), st.integers(1, 40))
def test_rate_targets_are_the_definition(start: int, span: int, interval: Fraction, most: int) -> None:
    looks: list[Fraction] = []
    while (look := start + len(looks) * interval) < start + span and len(looks) < 2000:
        looks.append(look)
    if len(looks) == 2000:
        return
    expected = [int(look // 1) for look in looks]
    targets = fps_targets(start, start + span, interval, most, Keep.UNIFORM).tolist()
    assert targets == [expected[number] for number in kept(len(expected), most, Keep.UNIFORM).tolist()]
    assert all(start <= target < start + span for target in targets)


def read_as_clip4clip(path: Path, start: int | None, end: int | None) -> list[int]:
    """`RawVideoExtractorCV2.video_to_tensor` at one frame a second (CLIP4Clip 508ffa3), retold: grey levels read."""
    capture = cv2.VideoCapture(str(path))
    frame_count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    fps = int(capture.get(cv2.CAP_PROP_FPS))
    total_duration = (frame_count + fps - 1) // fps
    start_sec, end_sec = 0, total_duration
    if start is not None and end is not None:
        start_sec, end_sec = start, end if end <= total_duration else total_duration
        capture.set(cv2.CAP_PROP_POS_FRAMES, int(start * fps))
    levels = []
    for second in np.arange(start_sec, end_sec + 1):
        capture.set(cv2.CAP_PROP_POS_FRAMES, int(second * fps))
        found, picture = capture.read()
        if not found:
            break
        levels.append(int(picture[0, 0, 0]))
    capture.release()
    return levels


@pytest.mark.parametrize("rate", RATES, ids=str)
def test_clip4clip_reads_the_frames_that_it_reads(tmp_path: Path, rate: Fraction) -> None:
    for num_frames in (int(rate * 4), int(rate * 4) + 1, int(rate * 3) - 1, 30):
        path = write_numbered_video(tmp_path / f"{num_frames}.mkv", num_frames, rate=rate)
        for start, end in [(None, None), (1, 2), (0, 30)]:
            expected = read_as_clip4clip(path, start, end)
            window = Window() if start is None else Window(start, end)
            if not expected:
                with pytest.raises(VideoError, match="no frame"):
                    decode_clip(path, options(40, SamplingMode.CLIP4CLIP), window)
                continue
            clip = decode_clip(path, options(40, SamplingMode.CLIP4CLIP), window)
            chosen = clip.sample.frame_index[clip.sample.frame_index >= 0]
            assert chosen.tolist() == expected
            assert clip.sample.frames[: len(chosen), 0, 0, 0].tolist() == expected


ROUNDED = [Fraction(24000, 1001), Fraction(25), NTSC, Fraction(30), Fraction(60)]


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("rate", ROUNDED, ids=str)
def test_clip4clip_takes_the_rate_that_opencv_takes(tmp_path: Path, rate: Fraction, suffix: str) -> None:
    """Times rounded to milliseconds, as phones and web recorders write them: 30 a second average 29.9988 in an mp4.

    ffmpeg's guess is 30, so that CLIP4Clip steps by 29 frames where a guess steps by 30.
    """
    num_frames = int(rate * 5)
    times = [round(number * 1000 / rate) for number in range(num_frames)]
    how = Encoding(
        codec="libx264",
        options=X264 | {"qp": "0", "bf": "0"},
        pix_fmt="yuv444p",
        rate=rate,
        pts=times,
        time_base=Fraction(1, 1000),
    )
    path = write_video(tmp_path / f"rounded{suffix}", grey_frames(num_frames), how)
    expected = read_as_clip4clip(path, None, None)
    clip = decode_clip(path, options(40, SamplingMode.CLIP4CLIP))
    chosen = clip.sample.frame_index >= 0
    assert clip.sample.frames[chosen][:, 0, 0, 0].tolist() == expected
    assert len(expected) > 4


def test_clip4clip_keeps_frames_as_its_slice_framepos_does(numbered: Path) -> None:
    """`slice_framepos` 0, 1, 2 of its data loaders: head, tail, and `np.linspace(0, n - 1, max_frames, dtype=int)`."""
    read = list(range(0, 100, 10))
    spread = [read[i] for i in np.linspace(0, 9, num=4, dtype=int)]
    for keep, expected in [(Keep.HEAD, read[:4]), (Keep.TAIL, read[-4:]), (Keep.UNIFORM, spread)]:
        clip = decode_clip(numbered, options(4, SamplingMode.CLIP4CLIP, keep=keep))
        assert clip.sample.frame_index.tolist() == expected


def test_a_rate_that_clip4clip_divides_by_as_zero_is_unsupported(tmp_path: Path) -> None:
    slow = write_numbered_video(tmp_path / "slow.mkv", 5, rate=Fraction(1, 2))
    with pytest.raises(VideoError, match=r"0\.5 frames a second") as caught:
        decode_clip(slow, options(4, SamplingMode.CLIP4CLIP))
    assert caught.value.status == VideoStatus.UNSUPPORTED
    with pytest.raises(ValueError, match="cuts to 0"):
        clip4clip_indices(10, Fraction(1, 2), 0, None)


@pytest.mark.parametrize("num_frames", [4, 100])
def test_neighbours_are_the_next_frames_of_the_video(numbered: Path, num_frames: int) -> None:
    plain = DecodeOptions(num_frames, SIZE, resize=Resize.CLIP)
    clip = decode_clip(numbered, DecodeOptions(num_frames, SIZE, resize=Resize.CLIP, neighbours=True))
    index = clip.sample.frame_index
    assert clip.sample.next_grey is not None
    assert clip.sample.next_grey[:, 0, 0].tolist() == [98 if k == 99 else k + 1 for k in index.tolist()]
    np.testing.assert_array_equal(clip.sample.frames, decode_clip(numbered, plain).sample.frames)


def test_neighbours_of_a_predicted_video_are_exact(tmp_path: Path) -> None:
    """Here most frames are decoded only as neighbours."""
    video = write_video(tmp_path / "v.mp4", textured_frames(60), Encoding(options=X264, rate=Fraction(25)))
    every = decode_clip(video, DecodeOptions(60, SIZE, resize=Resize.CLIP))
    assert every.sample.frame_index.tolist() == list(range(60))
    grey = np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in every.sample.frames])
    some = decode_clip(video, DecodeOptions(7, SIZE, resize=Resize.CLIP, neighbours=True)).sample
    assert some.next_grey is not None
    np.testing.assert_array_equal(some.next_grey, grey[some.frame_index + 1])


def prompt_switch_by_its_formula(vlen: int, num_frames: int, num_prompts: int = 6) -> list[int]:
    """As `load_frames_from_video` of Prompt Switch (6420d3f) chooses them, `sample='uniform'`."""
    intervals = np.linspace(start=0, stop=vlen, num=min(num_prompts, vlen) + 1).astype(int)
    ranges = [(a, intervals[number + 1] - 1) for number, a in enumerate(intervals[:-1])]
    chunks = num_frames // num_prompts
    found = [int((b - a) // (chunks + 1) * (i + 1) + a) for i in range(chunks) for a, b in ranges]
    return found + [found[-1]] * (num_frames - len(found))


@given(st.integers(1, 100_000), st.integers(1, 8))
def test_prompt_switch_takes_the_frames_of_its_formula(num_video_frames: int, of_each: int) -> None:
    expected = prompt_switch_by_its_formula(num_video_frames, 6 * of_each)
    assert prompt_switch_indices(num_video_frames, 6 * of_each).tolist() == expected


@pytest.mark.parametrize("window", [Window(), Window(2, 6)])
def test_a_clip_may_be_in_another_order_than_time(numbered: Path, window: Window) -> None:
    start, end = (0, 100) if window.end_seconds is None else (20, 60)
    expected = [start + place for place in prompt_switch_by_its_formula(end - start, 12)]
    assert expected != sorted(expected)
    wanted = DecodeOptions(12, SIZE, Sampling(SamplingMode.PROMPT_SWITCH), Resize.CLIP, neighbours=True)
    sample = decode_clip(numbered, wanted, window).sample
    assert sample.frame_index.tolist() == expected
    assert sample.frames[:, 0, 0, 0].tolist() == expected
    assert sample.pts_seconds.tolist() == [number / 10 for number in expected]
    assert sample.next_grey is not None
    assert sample.next_grey[:, 0, 0].tolist() == [number + 1 for number in expected]


def test_prompt_switch_needs_as_many_frames_of_each_span() -> None:
    with pytest.raises(ValueError, match="must be a multiple of 6, got 8"):
        options(8, SamplingMode.PROMPT_SWITCH)


def test_of_a_video_that_lost_its_end_nobody_knows_the_spans(tmp_path: Path) -> None:
    coding = Encoding(options=X264, rate=Fraction(25), container_options={"movflags": "faststart"})
    cut(write_video(tmp_path / "v.mp4", textured_frames(100), coding), tmp_path / "cut.mp4", keep=0.98)
    with pytest.raises(VideoError, match="part of the file is lost") as caught:
        decode_clip(tmp_path / "cut.mp4", options(12, SamplingMode.PROMPT_SWITCH))
    assert caught.value.status == VideoStatus.TRUNCATED
