"""Windows of one file in one pass: what is done once, what damage costs, and what is kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import av
import pytest
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from pipeline.video import windows as module
from pipeline.video.clips import DecodedClip, VideoError
from pipeline.video.decoding import decode_clip
from pipeline.video.options import DecodeOptions, Window
from pipeline.video.pictures import Album
from pipeline.video.reading import probing, scanned
from pipeline.video.reading.opening import Deadline, OpenVideo
from pipeline.video.windows import decode_windows
from store.schema import VideoStatus
from tests.fuzzing import LOSSES, MUTATIONS, mutant
from tests.seed import drawn
from tests.windows import alone, check_same_outcome, check_windows, some_options, some_windows
from tests.zoo.kinds import ZOO

OPTIONS = DecodeOptions(4, 32)
FOUR = [Window(0, 0.8), Window(0.4, 1.2), Window(1.0, 1.6), Window(1.2)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("windows")


def of_zoo(folder: Path, name: str) -> Path:
    path = folder / name
    return path if path.exists() else ZOO[name].make(path)


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often a file was scanned, decoded from the start, or a window decoded alone."""
    counts: Counter[str] = Counter()
    watched = {"scan_video": scanned, "decode_facts": module, "draw_sequentially": module, "decode_clip": module}
    for name, place in watched.items():
        monkeypatch.setattr(place, name, _counted(counts, name, getattr(place, name)))
    scanned._kept.clear()
    return counts


def _counted(counts: Counter[str], name: str, function: Callable[..., object]) -> Callable[..., object]:
    def counted(*arguments: object, **named: object) -> object:
        counts[name] += 1
        return function(*arguments, **named)

    return counted


def test_a_file_is_scanned_once_and_none_of_its_windows_is_decoded_alone(folder: Path, done: Counter[str]) -> None:
    list(decode_windows(of_zoo(folder, "h264_gop12.mp4"), OPTIONS, FOUR))
    assert done == {"scan_video": 1}


def test_a_file_without_times_is_decoded_once_from_the_start(folder: Path, done: Counter[str]) -> None:
    list(decode_windows(of_zoo(folder, "h264_raw.h264"), OPTIONS, FOUR))
    assert done == {"scan_video": 1, "decode_facts": 1}


def test_a_file_with_other_frames_than_guessed_is_decoded_twice_for_all_windows(
    folder: Path, done: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = of_zoo(folder, "h264_raw.h264")
    monkeypatch.setattr(module, "guessed_positions", lambda *_: frozenset())
    check_windows(path, OPTIONS, FOUR)
    assert done == {"scan_video": 5, "decode_facts": 1, "draw_sequentially": 1}  # four of the scans are those alone


def test_damage_costs_the_windows_that_depend_on_it_a_decode_of_their_own(folder: Path, done: Counter[str]) -> None:
    path = of_zoo(folder, "h264_gop12.mp4")
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 700] = bytes(700)
    broken = folder / "broken.mp4"
    broken.write_bytes(content)
    outcomes = check_windows(broken, OPTIONS, [*FOUR, Window(50)])
    assert len({type(outcome) for outcome in outcomes}) == 2
    assert 1 <= done["decode_clip"] < len(FOUR)


@pytest.mark.parametrize("packet", [1, 13, 20])
def test_windows_behind_a_damaged_part_share_a_pass_again(folder: Path, done: Counter[str], packet: int) -> None:
    """A group of 12 frames lasts 0.4 s: damage refutes four windows, be they the first ones or the last of the pass."""
    path, windows = of_zoo(folder, "h264_gop12.mp4"), [Window(0.1 * i, 0.1 * (i + 1)) for i in range(16)]
    with av.open(path) as container:
        start, size = [(one.pos or 0, one.size) for one in container.demux(video=0) if one.size][packet]
    content = bytearray(path.read_bytes())
    content[start + size // 2 : start + size] = bytes(size - size // 2)
    broken = folder / f"broken_{packet}.mp4"
    broken.write_bytes(content)
    outcomes = list(decode_windows(broken, OPTIONS, windows))
    assert done == {"scan_video": 6, "decode_clip": 4}
    assert any(isinstance(outcome, VideoError) for outcome in outcomes)
    for outcome, window in zip(outcomes, windows, strict=True):
        check_same_outcome(outcome, alone(broken, OPTIONS, window))


@pytest.mark.parametrize("name", drawn("kinds of damage").sample(sorted(ZOO), 12))
def test_windows_of_a_damaged_file_end_as_each_alone(folder: Path, name: str) -> None:
    if ZOO[name].missing_encoder:
        pytest.skip(f"this build of ffmpeg has no encoder {ZOO[name].encoder}")
    chance = drawn(f"damage of {name}")
    path = folder / f"damaged.{name}"
    mutation = chance.choice(sorted(MUTATIONS | LOSSES))
    path.write_bytes(mutant(of_zoo(folder, name).read_bytes(), mutation, str(chance.random())))
    check_windows(path, some_options(chance), some_windows(chance, 2.0), folder / name)


def test_an_error_of_the_file_is_that_of_each_window(folder: Path, done: Counter[str]) -> None:
    outcomes = check_windows(folder / "gone.mp4", OPTIONS, FOUR)
    assert [str(outcome) for outcome in outcomes] == ["missing: there is no such file"] * 4
    text = folder / "text.mp4"
    text.write_text("no video")
    check_windows(text, OPTIONS, FOUR)
    assert not done


def test_more_windows_than_a_pass_may_hold_take_more_passes(
    folder: Path, done: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PASS_BYTES", 2 * 4 * 32 * 32 * 3)
    path = of_zoo(folder, "h264_gop12.mp4")
    for outcome, window in zip(decode_windows(path, OPTIONS, FOUR), FOUR, strict=True):
        check_same_outcome(outcome, decode_clip(path, OPTIONS, window))
    assert (done["scan_video"], done["decode_clip"]) == (2 + 4, 0)


def test_a_clip_larger_than_a_pass_may_hold_is_decoded_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PASS_BYTES", 1)
    path = of_zoo(folder, "h264_gop12.mp4")
    for outcome, window in zip(decode_windows(path, OPTIONS, FOUR), FOUR, strict=True):
        check_same_outcome(outcome, decode_clip(path, OPTIONS, window))


def test_no_more_pictures_are_kept_than_windows_to_come_need(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[int] = []

    class Watched(Album):
        def add(self, place: int, frame: VideoFrame) -> None:
            super().add(place, frame)
            held.append(len(self._pictures))

    monkeypatch.setattr(module, "Album", Watched)
    windows = [Window(0.4 * number, 0.4 * (number + 1)) for number in range(6)]
    outcomes = list(decode_windows(of_zoo(folder, "h264_gop12.mp4"), OPTIONS, windows))
    assert all(isinstance(outcome, DecodedClip) for outcome in outcomes)
    assert max(held) <= 2 * OPTIONS.num_frames


def test_a_pass_that_runs_out_of_time_leaves_the_rest_to_each_alone(
    folder: Path, done: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    by_packets = module._by_packets

    def slow(*arguments: Any) -> Iterator[DecodedClip | VideoError | int]:
        yield next(by_packets(*arguments))
        raise VideoError(VideoStatus.TIMEOUT, "not decoded within 120 s")

    monkeypatch.setattr(module, "_by_packets", slow)
    check_windows(of_zoo(folder, "h264_gop12.mp4"), OPTIONS, FOUR)
    assert done["decode_clip"] == 3


def test_each_window_has_the_time_of_a_video(folder: Path, done: Counter[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock counts how often it is asked: in hundredths, for a whole second from look to look counts as no more."""
    path, asked, windows = of_zoo(folder, "h264_gop12.mp4"), count(), [Window(0.4 * i, 0.4 * (i + 1)) for i in range(6)]
    monkeypatch.setattr("pipeline.run.running_time.time.monotonic", lambda: next(asked) / 100)
    patient = replace(OPTIONS, timeout_seconds=86_400)
    ended_at = [next(asked) / 100 for _ in decode_windows(path, patient, windows)]
    longest = max(after - before for before, after in pairwise([0, *ended_at]))
    assert longest + 0.2 < ended_at[-1]
    list(decode_windows(path, replace(patient, timeout_seconds=longest + 0.1), windows))
    assert done == {"scan_video": 2}


def test_the_scan_of_a_large_file_is_kept_until_the_file_changes(
    folder: Path, done: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / "large.mp4"
    path.write_bytes(of_zoo(folder, "h264_gop12.mp4").read_bytes())
    small = decode_clip(path, OPTIONS)
    decode_clip(path, OPTIONS)
    assert done["scan_video"] == 2
    monkeypatch.setattr(probing, "BUFFERED_BYTES", 0)
    for _ in range(3):
        check_same_outcome(decode_clip(path, OPTIONS), small)
    assert done["scan_video"] == 3
    with pytest.raises(VideoError, match="more than 5 packets"):
        decode_clip(path, replace(OPTIONS, max_packets=5))
    decode_clip(path, OPTIONS)
    assert done["scan_video"] == 5
    path.write_bytes(of_zoo(folder, "h264_no_b.avi").read_bytes())
    assert decode_clip(path, OPTIONS).source != small.source
    assert done["scan_video"] == 6


@pytest.mark.parametrize("name", ["h264_gop12.mp4", "h264_gop12.mkv", "h264_edit_middle.mp4"])
@pytest.mark.parametrize("goes", ["well", "elsewhere", "wrong"])
def test_a_large_file_is_not_read_again_up_to_the_frames_that_are_wanted(
    folder: Path, name: str, monkeypatch: pytest.MonkeyPatch, goes: str
) -> None:
    path, late, num_read = of_zoo(folder, name), Window(0.7), Counter[str]()
    right = decode_clip(path, OPTIONS, late)
    monkeypatch.setattr(probing, "BUFFERED_BYTES", 0)
    decode_clip(path, OPTIONS, late)  # which keeps the scan
    packets = OpenVideo.packets

    def counted(self: OpenVideo, deadline: Deadline) -> Iterator[Packet[VideoStream]]:
        for packet in packets(self, deadline):
            num_read["packets"] += 1
            yield packet

    monkeypatch.setattr(OpenVideo, "packets", counted)
    check_same_outcome(decode_clip(path, OPTIONS, late), right)
    from_the_start = num_read.pop("packets")
    monkeypatch.setattr(probing, "JUMP_PACKETS", 3)
    if goes == "elsewhere":  # as where ffmpeg finds another packet
        monkeypatch.setattr(probing._Reader, "_is_at", lambda *_: False)
    elif goes == "wrong":
        monkeypatch.setattr(probing, "_file_end", cannot_be_read)
    check_same_outcome(decode_clip(path, OPTIONS, late), right)
    assert (num_read["packets"] < from_the_start) == (goes == "well")


def cannot_be_read(packet: Packet[VideoStream]) -> int:
    raise VideoError(VideoStatus.CORRUPT, "the index is damaged")


def test_a_window_that_a_pass_leaves_is_decoded_when_the_pass_is_closed(
    folder: Path, done: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, num_open = of_zoo(folder, "h264_gop12.mp4"), [0]
    in_one_pass, alone = module._in_one_pass, vars(module)["decode_clip"]

    def doubtful(*arguments: Any) -> Iterator[DecodedClip | VideoError | int]:
        num_open[0] += 1
        try:
            with closing(in_one_pass(*arguments)) as outcomes:
                yield next(outcomes)
                yield 1
        finally:
            num_open[0] -= 1

    def needs_memory(*arguments: Any) -> DecodedClip:
        if num_open[0]:
            raise VideoError(VideoStatus.UNSUPPORTED, "cannot be decoded: Cannot allocate memory")
        clip: DecodedClip = alone(*arguments)
        return clip

    monkeypatch.setattr(module, "_in_one_pass", doubtful)
    monkeypatch.setattr(module, "decode_clip", needs_memory)
    check_windows(path, OPTIONS, FOUR)
    assert done["decode_clip"] == 2
