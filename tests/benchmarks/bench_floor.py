"""`decode_clip` against the calls of libav that it cannot do without: how much faster decoding in Python could be.

The bare loop opens the file, reads all packets, sends the decoder those that fda has chosen, and scales the wanted
frames; it is told which they are, and checks and keeps nothing.

`python -m tests.benchmarks floor --videos FOLDER` measures the videos of a folder instead of generated footage.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import av
from av.codec.context import ThreadType
from av.video.reformatter import VideoReformatter

from pipeline.video.decoding import DecodeOptions, decode_clip, planned_timeline_of
from pipeline.video.frame_plan import plan_clip, plan_packets
from pipeline.video.options import WHOLE_VIDEO
from pipeline.video.pictures import _SCALING
from pipeline.video.reading.opening import Deadline
from pipeline.video.reading.scanned import open_scanned
from pipeline.video.resizing import resized_shape
from tests.benchmarks.bench_decoding import NUM_FRAMES, videos_to_measure
from tests.benchmarks.measure import paired_seconds, print_ratios

REPEATS = 5
OPTIONS = DecodeOptions(NUM_FRAMES)
OURS, BARE = "fda", "bare loop of libav"


@dataclass(frozen=True, slots=True)
class Choice:
    """What is decoded of a video."""

    segments: Sequence[Sequence[int]]
    """Packets by their numbers; the decoder restarts with each segment."""
    ticks: frozenset[int]
    """Of the frames that are wanted."""


def choice_of(path: Path) -> Choice | None:
    """What `decode_clip` decodes; None if it cannot plan by packets."""
    with open_scanned(path, OPTIONS, Deadline.after(60)) as file:
        timeline = planned_timeline_of(file.scan, OPTIONS)
        if timeline is None:
            return None
        wanted = plan_clip(timeline, file.scan, OPTIONS, WHOLE_VIDEO).wanted
        segments = plan_packets(timeline, wanted, file.scan).segments
        ticks = frozenset(int(timeline.pts[place]) for place in wanted)
        return Choice([segment.packets.tolist() for segment in segments], ticks)


def bare_loop(path: Path, choice: Choice) -> None:
    """The same calls, and nothing else."""
    reformatter = VideoReformatter()
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        decoder = stream.codec_context
        decoder.thread_count, decoder.thread_type = 1, ThreadType.NONE
        packets = [packet for packet in container.demux(stream) if packet.size]
        for segment in choice.segments:
            for packet in [*(packets[number] for number in segment), None]:  # None: it holds no frame back
                for frame in decoder.decode(packet):
                    if frame.pts in choice.ticks:
                        height, width = resized_shape(frame.height, frame.width, OPTIONS.image_size)
                        reformatter.reformat(frame, width, height, "gbrp", interpolation=_SCALING, threads=1)
            decoder.flush_buffers()


def main(*, quick: bool = False, videos: Path | None = None) -> None:
    """Measure, and print a line a video and the median."""
    gc.freeze()  # as a decoder process does
    ratios = []
    for title, path in videos_to_measure(videos, quick=quick).items():
        choice = choice_of(path)
        if choice is None:
            print(f"\n{title}: left out: its packets cannot be planned")
            continue
        methods: dict[str, Callable[[], object]] = {
            BARE: partial(bare_loop, path, choice),
            OURS: partial(decode_clip, path, OPTIONS),
        }
        peers = {BARE: BARE, OURS: BARE}
        measured = paired_seconds(methods, 1 if quick else REPEATS, peers, of_processor=True)
        print_ratios(f"{title}, CPU time", {name: seconds for name, (seconds, _) in measured.items()}, BARE)
        ratios.append(measured[OURS][1])
    if ratios:
        print(f"\nfda against the bare loop: {median(ratios):.2f}x (median; {min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
