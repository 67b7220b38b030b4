"""Decoding 12 spread frames to RGB at their own size: fda's packet plan against other libraries, one thread each.

Every peer is asked for the frames that fda draws, by their numbers, and what it gives is compared with a sequential
decode in the same run: a peer whose frames are others is marked wrong and has no ratio. Beside them run the calls of
libav that fda makes, alone: how fast it could be at most.

`python -m tests.benchmarks.bench_decoding --videos FOLDER` measures the videos of a folder instead.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import median

from pipeline.video.clips import VideoError
from pipeline.video.decoding import DecodeOptions, decode_clip
from tests.benchmarks.footage import CLASSES, QUICK_CLASSES, video_of, videos_of
from tests.benchmarks.measure import Cost, Table, cost_rounds, print_table, ratio_table
from tests.benchmarks.peer_server import METHODS
from tests.benchmarks.peers import Peer, PeerError, Truth, neighbours_of, require_peers, wrong_frames
from tests.benchmarks.quoted import quote

NUM_FRAMES, REPEATS = 12, 15
LONG_SECONDS = 6.0
"""Of rounds of a video, after which no further one begins."""
FAR = 1.5
"""Times the fastest peer: a method that takes longer where its frames are checked is not measured again."""
FAR_NOTE = "one run: far slower"
BASE, TRUE, OURS, FLOOR = "OpenCV, sequential", "PyAV, sequential", "fda", "libav's calls alone"
TARGETS: Mapping[str, float] = {kind.name: 1.0 for kind in CLASSES} | {
    "240p g250": 1.3,
    "360p g250": 1.5,
    "720p g250": 1.8,
    "HEVC 720p": 1.8,
}
"""Class -> how many times faster than the fastest exact peer fda is to be."""
TARGETS_TO_BASE: Mapping[str, float] = {"360p g12": 3.0, "2 min": 5.0}
"""Class -> how many times faster than OpenCV's sequential reading."""


def truth_of(path: Path, frame_index: Sequence[int], num_frames: int, peer: Peer, folder: Path) -> Truth:
    """The wanted frames and those beside them, by PyAV's own loop."""
    asked, before, after = neighbours_of(frame_index, num_frames)
    frames, _ = peer.frames(path, asked, folder)
    return Truth(frames[[asked.index(number) for number in frame_index]], frames[[before, after]])


def measure_video(title: str, path: Path, peers: Sequence[Peer], repeats: int) -> Table:
    """Time all peers on one video.

    Raises:
        VideoError: fda draws no clip from it.
        PeerError: The peer that all are compared with, or checked against, cannot read it.
    """
    clip = decode_clip(path, DecodeOptions(NUM_FRAMES))
    frame_index = [int(number) for number in clip.sample.frame_index if number >= 0]
    notes = {peer.method: f"not available: {peer.unavailable}" for peer in peers if peer.unavailable}
    methods: dict[str, Callable[[], Cost]] = {}
    first: dict[str, Cost] = {}
    with tempfile.TemporaryDirectory() as folder:
        sequential = next(peer for peer in peers if peer.method == TRUE)
        truth = truth_of(path, frame_index, clip.source.num_frames, sequential, Path(folder))
        for peer in peers:
            if peer.unavailable:
                continue
            try:
                frames, first[peer.method] = peer.frames(path, frame_index, Path(folder))
            except PeerError as error:
                notes[peer.method] = f"failed: {error}"
                continue
            methods[peer.method] = partial(peer.ask, path, frame_index)
            if wrong := wrong_frames(frames, truth):
                notes[peer.method] = f"wrong: {wrong} of {len(frame_index)} frames"
    near = near_methods(first)
    rounds = cost_rounds({name: methods[name] for name in near}, repeats, is_warm=True, long_seconds=LONG_SECONDS)
    costs = {name: [cost] for name, cost in first.items()} | rounds
    notes = dict.fromkeys(first.keys() - set(near), FAR_NOTE) | notes
    seconds = {
        peer.method: median(cost.cpu_seconds for cost in costs[peer.method]) if peer.method in costs else None
        for peer in peers
    }
    return ratio_table(f"decoding {NUM_FRAMES} frames, CPU time: {title}", seconds, BASE, notes)


def near_methods(first: Mapping[str, Cost]) -> list[str]:
    """The methods that are worth more rounds, by what each took when its frames were checked."""
    fastest = min(cost.cpu_seconds for name, cost in first.items() if name not in (OURS, FLOOR))
    return [name for name, cost in first.items() if cost.cpu_seconds <= FAR * fastest]


def fastest_exact_peer(table: Table, of: str = OURS) -> tuple[str, float]:
    """The peer with the highest ratio among those that gave the right frames, and how many times faster `of` is."""
    ours = next((row.ratio for row in table.rows if row.method == of), None)
    peers = [(row.ratio, row.method) for row in table.rows if row.method not in (OURS, FLOOR) and row.ratio is not None]
    ratio, method = max(peers)
    return method, 0.0 if ours is None else ours / ratio


def summary(tables: Mapping[str, Table]) -> str:
    """One line a class: fda against OpenCV and against the fastest exact peer, and the targets where there are some.

    `at most` is what libav's calls alone have against that peer; 0 where they cannot be told what to decode.
    A target that is missed is marked; fda's ratio is 0 where its own frames are wrong.
    """
    head = f"{'class':24} {'to OpenCV':>10} {'target':>7} {'to fastest exact peer':>22} {'target':>7} {'at most':>8}"
    lines = [head]
    for name, table in tables.items():
        method, ratio = fastest_exact_peer(table)
        at_most = fastest_exact_peer(table, FLOOR)[1]
        to_base = table.row(OURS).ratio or 0.0
        target, base_target = TARGETS.get(name), TARGETS_TO_BASE.get(name)
        missed = ratio < (target or 0.0) or to_base < (base_target or 0.0)
        lines.append(
            f"{name:24} {to_base:9.2f}x {_target(base_target):>7} {ratio:21.2f}x {_target(target):>7} {at_most:7.2f}x  "
            f"{method}{'  MISSED' if missed else ''}"
        )
    return "\n".join(lines)


def medians(tables: Mapping[str, Table]) -> str:
    """Of many files: the middle one, and the least and the most, for fda and for libav's calls alone."""
    lines = []
    for method in (OURS, FLOOR):
        ratios = [ratio for table in tables.values() if (ratio := fastest_exact_peer(table, method)[1])]
        if ratios:
            spread = f"{median(ratios):.2f}x (median of {len(ratios)}; {min(ratios):.2f} to {max(ratios):.2f})"
            lines.append(f"{method}, against the fastest exact peer: {spread}")
    return "\n".join(lines)


def _target(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio}x"


def videos_to_measure(folder: Path | None, *, quick: bool) -> dict[str, Path]:
    """Title -> file: those of a folder, or footage made for the purpose."""
    if folder is not None:
        return {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}
    kinds = QUICK_CLASSES if quick else CLASSES
    return {kind.name: path for kind, path in zip(kinds, videos_of(kinds), strict=True)}


def main(*, quick: bool = False, videos: Path | None = None) -> None:
    """Measure, and print a table a file and a summary.

    Raises:
        PeersMissingError: There is nothing to compare with.
    """
    require_peers()
    tables: dict[str, Table] = {}
    with ExitStack() as stack:
        peers = [stack.enter_context(Peer(method)) for method in METHODS]
        for peer in peers:
            print(f"{peer.method:26} {peer.version}{f'not available: {peer.unavailable}' if peer.unavailable else ''}")
        for peer in peers:
            if not peer.unavailable:
                peer.ask(video_of(QUICK_CLASSES[0]), [0])  # what a library does once
        for title, path in videos_to_measure(videos, quick=quick).items():
            try:
                tables[title] = measure_video(title, path, peers, 1 if quick else REPEATS)
            except (VideoError, PeerError) as error:
                print(f"\n{title}: left out: {error}")
                continue
            print_table(tables[title])
    print(f"\n{summary(tables)}\n\n{medians(tables)}")
    for kind in () if videos is not None or quick else CLASSES:
        if kind.name in tables:
            quote(f"decoding.{kind.key}", fastest_exact_peer(tables[kind.name])[1], at_least=TARGETS[kind.name])
            quote(f"decoding.{kind.key}_calls", fastest_exact_peer(tables[kind.name], FLOOR)[1])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=Path, help="folder of videos to measure instead of generated footage")
    parser.add_argument("--quick", action="store_true", help="small files, one round")
    arguments = parser.parse_args()
    main(quick=arguments.quick, videos=arguments.videos)
