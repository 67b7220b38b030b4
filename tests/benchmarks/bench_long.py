"""An hour of 1080p: as windows of one file (ActivityNet, films), as 12 frames of the whole, and at a frame a second.

`python -m tests.benchmarks long` measures processor time: one pass over the windows of a shard against each window
alone, and against PyAV, which seeks to each window. PyAV is told when the wanted frames are shown, which fda finds out
by reading all packets; it converts them as fda does, and the same run checks that they are the same to the bit.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from pipeline.video.clips import DecodedClip
from pipeline.video.decoding import decode_clip
from pipeline.video.options import WHOLE_VIDEO, DecodeOptions, Sampling, SamplingMode, Window
from pipeline.video.pictures import square_picture
from pipeline.video.reading import scanned
from pipeline.video.windows import decode_windows
from tests.benchmarks.footage import VideoClass, video_of
from tests.benchmarks.measure import cost_rounds, print_table, ratio_table, timed
from tests.benchmarks.quoted import quote

CLIPS = DecodeOptions(12, timeout_seconds=3600)
PYAV, ALONE, TOGETHER, NEXT = "PyAV, a seek a window", "fda, each alone", "fda, one pass", "fda, one pass, scan kept"


SCENE = VideoClass("1080p film", 1080, seconds=8, options={"preset": "veryfast", "crf": "28", "bf": "3"})
QUICK_SCENE = VideoClass("96p film, quick", 96, seconds=2, options={"preset": "veryfast", "bf": "3"})
NUM_WINDOWS, NUM_MEASURED = 200, 4
"""Windows of a film, one after the other, and those from its middle that are measured."""


@dataclass(frozen=True, slots=True)
class Film:
    """A long video."""

    path: Path
    seconds: float
    height: int

    def __str__(self) -> str:
        return f"{self.seconds:g} s of {self.height}p"

    @classmethod
    def of(cls, path: Path) -> Film:
        """What a file is, by its header."""
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            assert container.duration is not None
            return cls(path, container.duration // av.time_base, stream.height)

    def windows(self) -> list[Window]:
        """Those that are measured."""
        length, first = self.seconds / NUM_WINDOWS, (NUM_WINDOWS - NUM_MEASURED) // 2
        return [Window(length * i, length * (i + 1)) for i in range(first, first + NUM_MEASURED)]


def write_film(scene: VideoClass, num_copies: int, path: Path) -> Path:
    """Join copies of a short video; packets are copied, so that an hour takes seconds."""
    with av.open(str(video_of(scene))) as source, av.open(str(path), "w") as output:
        packets = [packet for packet in source.demux(source.streams.video[0]) if packet.size]
        stream = output.add_stream_from_template(source.streams.video[0])
        content = [(bytes(one), one.pts or 0, one.dts or 0, one.is_keyframe) for one in packets]
        base = packets[0].time_base
        length = round(scene.seconds / base)
        for number in range(num_copies):
            for data, pts, dts, is_key in content:
                packet = av.Packet(data)
                packet.stream, packet.time_base, packet.is_keyframe = stream, base, is_key
                packet.pts, packet.dts = pts + number * length, dts + number * length
                output.mux(packet)
    return path


def by_pyav(path: Path, wanted: Sequence[Sequence[int]]) -> list[NDArray[np.uint8]]:
    """The frames with some times, in ticks, of each window: open, seek to the first, decode to the last."""
    clips = []
    for ticks in wanted:
        reformatter, pictures = VideoReformatter(), dict[int, NDArray[np.uint8]]()
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.thread_count = 1
            container.seek(min(ticks), stream=stream)
            for frame in container.decode(stream):
                if frame.pts is not None and frame.pts in ticks:
                    pictures[frame.pts] = square_picture(frame, reformatter, CLIPS.image_size)
                if len(pictures) == len(set(ticks)):
                    break
        clips.append(np.stack([pictures[tick] for tick in ticks]))
    return clips


def by_pass(path: Path, options: DecodeOptions, windows: Sequence[Window], *, is_first: bool) -> list[DecodedClip]:
    """All windows in one pass; the first shard of a file scans it, a later one has the scan."""
    if is_first:
        scanned._kept.clear()
    outcomes = list(decode_windows(path, options, windows))
    clips = [outcome for outcome in outcomes if isinstance(outcome, DecodedClip)]
    assert len(clips) == len(windows), outcomes
    return clips


def one_by_one(path: Path, options: DecodeOptions, windows: Sequence[Window]) -> list[DecodedClip]:
    """Each window as if there were no other."""
    clips = []
    for window in windows:
        scanned._kept.clear()
        clips.append(decode_clip(path, options, window))
    return clips


def ticks_of(path: Path, clips: Sequence[DecodedClip]) -> list[list[int]]:
    """When the frames of clips are shown, in ticks of the stream."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        first = next(container.decode(stream)).pts
    assert stream.time_base is not None
    assert first is not None
    return [[first + round(second / stream.time_base) for second in clip.sample.pts_seconds] for clip in clips]


def cpu_table(title: str, methods: Mapping[str, Callable[[], object]], peer: str, repeats: int) -> dict[str, float]:
    """Run methods in turns and print a table of their processor time."""
    rounds = cost_rounds({name: timed(run) for name, run in methods.items()}, repeats, is_warm=True)  # by the check
    seconds = {name: float(np.median([cost.cpu_seconds for cost in costs])) for name, costs in rounds.items()}
    print_table(ratio_table(f"{title}, processor time", seconds, peer))
    return seconds


def check_same(clips: Sequence[DecodedClip], others: Sequence[NDArray[np.uint8]]) -> None:
    """Refuse other frames."""
    for clip, frames in zip(clips, others, strict=True):
        if not np.array_equal(clip.sample.frames, frames):
            raise RuntimeError("methods give other frames")


def measure_windows(film: Film, repeats: int) -> None:
    """A shard of windows, in one pass, one by one, and by PyAV."""
    windows, path = film.windows(), film.path
    clips = by_pass(path, CLIPS, windows, is_first=True)
    ticks = ticks_of(path, clips)
    check_same(clips, by_pyav(path, ticks))
    check_same(clips, [clip.sample.frames for clip in one_by_one(path, CLIPS, windows)])
    methods: dict[str, Callable[[], object]] = {
        PYAV: partial(by_pyav, path, ticks),
        ALONE: partial(one_by_one, path, CLIPS, windows),
        TOGETHER: partial(by_pass, path, CLIPS, windows, is_first=True),
        NEXT: partial(by_pass, path, CLIPS, windows, is_first=False),
    }
    title = f"{len(windows)} of {NUM_WINDOWS} windows of {film}, 12 frames each"
    seconds = cpu_table(title, methods, ALONE, repeats)
    quote("long.windows_alone", seconds[ALONE] / seconds[TOGETHER])
    quote("long.windows_next", seconds[ALONE] / seconds[NEXT])
    quote("long.windows_pyav", seconds[PYAV] / seconds[NEXT])


def measure_whole(film: Film, repeats: int) -> None:
    """12 frames of the whole film, for each of which PyAV seeks."""
    path = film.path
    clips = one_by_one(path, CLIPS, [WHOLE_VIDEO])
    ticks = [[tick] for tick in ticks_of(path, clips)[0]]
    check_same(clips, [np.concatenate(by_pyav(path, ticks))])
    methods: dict[str, Callable[[], object]] = {
        "PyAV, a seek a frame": partial(by_pyav, path, ticks),
        "fda": partial(one_by_one, path, CLIPS, [WHOLE_VIDEO]),
    }
    title = f"12 frames of {film}"
    seconds = cpu_table(title, methods, "PyAV, a seek a frame", repeats)
    quote("long.whole", seconds["PyAV, a seek a frame"] / seconds["fda"])
    quote("long.whole_seconds", seconds["fda"], "s")


def measure_rate(film: Film, repeats: int) -> None:
    """A part of the film at a frame a second, which PyAV decodes from its first frame to its last."""
    num_frames = int(min(20, film.seconds / 2))
    options = DecodeOptions(num_frames, sampling=Sampling(SamplingMode.FPS), timeout_seconds=3600)
    window = Window(film.seconds / 2, film.seconds / 2 + num_frames)
    path = film.path
    clips = one_by_one(path, options, [window])
    ticks = ticks_of(path, clips)
    check_same(clips, by_pyav(path, ticks))
    methods: dict[str, Callable[[], object]] = {
        "PyAV, every frame": partial(by_pyav, path, ticks),
        "fda": partial(by_pass, path, options, [window], is_first=False),
    }
    title = f"{num_frames} s at a frame a second of {film}, without the scan"
    seconds = cpu_table(title, methods, "PyAV, every frame", repeats)
    quote("long.rate", seconds["PyAV, every frame"] / seconds["fda"])
    quote("long.rate_minute", seconds["fda"] * 60 / num_frames, "s")


def main(*, quick: bool = False, videos: Path | None = None) -> None:
    """Measure, and print the ratios; `videos` is a folder with a long video of one's own."""
    repeats = 1 if quick else 2
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "film.mp4"
        if videos is not None:
            place = next(path for path in sorted(videos.iterdir()) if path.is_file())
        else:
            write_film(*((QUICK_SCENE, 30) if quick else (SCENE, 450)), place)
        film = Film.of(place)
        measure_windows(film, repeats)
        measure_whole(film, 1)
        measure_rate(film, repeats)


if __name__ == "__main__":
    main(quick="--quick" in sys.argv[1:])
