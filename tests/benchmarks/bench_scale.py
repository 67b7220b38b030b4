"""Large data sets: what planning, scheduling and committing cost a video, and what that makes at 1 to 100 million.

`python -m tests.benchmarks scale` makes real runs with a decoder that decodes nothing, and pictures of 16 pixels: what
is left is the reading of the manifest, the catalogue, the plan, the scheduler, the tasks and the six files of a shard.
`python -m tests.benchmarks.bench_scale --videos-planned 1000000` makes the largest of a million, and `--plan 10000000`
is all that the coordinator does for ten million, with its memory: see `tests.benchmarks.coordinator`.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterable
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import numpy as np

from pipeline.datasets.options import SourceOptions
from pipeline.datasets.source import read_source
from pipeline.frames.options import PreprocessOptions
from pipeline.frames.preprocess import (
    VideoSource,
    find_changed,
    open_store,
    plan_preprocess,
    preprocess_shards,
)
from pipeline.isolation.decoder import Answer, DecodeRequest
from pipeline.masks.mask_sets import summarise_masks
from pipeline.run.options import SourceCheck
from pipeline.video.clips import ClipSample, DecodedClip, SourceFacts
from pipeline.workers.threads import ThreadExecutor
from store.contents import shared_videos
from store.places.opening import folder_at
from tests.benchmarks import coordinator
from tests.benchmarks.machine import NUM_CORES
from tests.benchmarks.measure import interleaved

OPTIONS = PreprocessOptions(image_size=16)
DEFAULT_VIDEOS = 40_000
CLIP_BYTES = 12 * 224 * 224 * 3
FILES_A_SHARD = 6
"""frames, pts_seconds, frame_index, masks, and the records of frames and masks."""
ESTIMATED = (1_000_000, 10_000_000, 100_000_000)


@dataclass(frozen=True)
class Phase:
    """One part of a run."""

    name: str
    seconds: float
    cpu_seconds: float
    """Of this process: what `seconds` would be on a machine of one core with nothing else to do, and a disk that does
    not wait."""
    peak_mib: int
    """Of the coordinator, since it began."""


@dataclass(frozen=True)
class NoDecoder:
    """Gives every video the same clip at once."""

    def decode(self, requests: Iterable[DecodeRequest]) -> Generator[Answer]:
        """Answer each request, in order."""
        for position, request in enumerate(requests):
            num_frames = request.options.num_frames
            frames = np.arange(num_frames * 16 * 16 * 3, dtype=np.uint8).reshape(num_frames, 16, 16, 3)
            index = np.arange(num_frames)
            facts = SourceFacts(num_frames / 25, 25.0, "h264", num_frames, 16, 16)
            clip = DecodedClip(ClipSample(frames, index / 25, index), facts, truncated=False)
            yield Answer(position, clip)

    def close(self) -> None:
        """Nothing runs."""


def write_manifest(path: Path, num_videos: int, tests_of_ten: int = 1) -> None:
    """A manifest of videos that are not there, and need not be."""
    with path.open("w") as file:
        for number in range(num_videos):
            record = {
                "video_id": f"video_{number:09d}",
                "path": f"{number // 1000:06d}/video_{number:09d}.mp4",
                "split": "train" if number % 10 >= tests_of_ten else "test",
                "captions": [f"somebody does thing number {number} in a room with a table"],
            }
            file.write(json.dumps(record) + "\n")


def run(folder: Path, num_videos: int, options: PreprocessOptions) -> list[Phase]:
    """Everything that `fda preprocess` does with so many videos, twice: the second time nothing is pending."""
    phases: list[Phase] = []
    began, used = time.monotonic(), time.process_time()

    def note(name: str) -> None:
        nonlocal began, used
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        phases.append(Phase(name, time.monotonic() - began, time.process_time() - used, peak))
        print(phases[-1], file=sys.stderr, flush=True)
        began, used = time.monotonic(), time.process_time()

    write_manifest(folder / "clips.jsonl", num_videos)
    note("write the manifest (not counted)")
    dataset = read_source(folder / "clips.jsonl", SourceOptions()).dataset  # in memory to the end, as in a run
    note("read the manifest")
    store = open_store(dataset, folder_at(folder / "store"), options)[0]
    root = dataset.root
    note("catalogue and arrays")
    plan = plan_preprocess(store, options)
    note("plan, all pending")
    executor = ThreadExecutor(NUM_CORES, lambda threads: None)  # what `executor_for` gives for up to eight workers
    preprocess_shards(store, VideoSource(root, decoder=NoDecoder()), plan, options, executor)
    note("run: tasks and commits")
    assert not [*shared_videos(store)]
    summarise_masks(store, options.mask_name)
    note("what the records say in all")
    find_changed(store, store.all_shards(), root, SourceCheck.SIZE)
    note("look for changed videos")
    assert not plan_preprocess(store, options).pending
    note("plan, nothing pending")
    return phases


def print_phases(phases: list[Phase], num_videos: int) -> float:
    """A table; the seconds a video of all that is counted."""
    print(f"  {'':34s} {'clock':>8s}     {'a video':>8s}     {'processor, a video':>18s}")
    for phase in phases:
        print(_line(phase.name, phase.seconds, phase.cpu_seconds, num_videos) + f"  peak {phase.peak_mib:6,} MiB")
    counted = [phase for phase in phases if "not counted" not in phase.name]
    seconds, cpu_seconds = (sum(getattr(phase, name) for phase in counted) for name in ("seconds", "cpu_seconds"))
    print(_line("in all", seconds, cpu_seconds, num_videos) + "  (target 0.7 ms)")
    return float(seconds / num_videos)


def _line(name: str, seconds: float, cpu_seconds: float, num_videos: int) -> str:
    each, cpu_each = 1e3 * seconds / num_videos, 1e3 * cpu_seconds / num_videos
    return f"  {name:34s} {seconds:8.1f} s   {each:8.4f} ms  {cpu_each:18.4f} ms"


def print_estimates(shard_size: int, small: list[Phase], num_small: int, large: list[Phase], num_large: int) -> None:
    """What the measured costs make at larger sizes, were they to grow as they did between the two runs."""
    peak_small, peak_large = small[-1].peak_mib, large[-1].peak_mib
    mib_a_video = max(0.0, (peak_large - peak_small) / (num_large - num_small))
    counted = [sum(p.seconds for p in phases if "not counted" not in p.name) for phases in (small, large)]
    seconds_a_video = (counted[1] - counted[0]) / (num_large - num_small)
    print("\n  estimated from these two runs:")
    for number in ESTIMATED:
        shards = math.ceil(number / shard_size)
        print(
            f"  {number:12,} videos: {shards:10,} tasks, {FILES_A_SHARD * shards:11,} objects, "
            f"{number * CLIP_BYTES / 2**40:6.1f} TiB of raw frames, {number * seconds_a_video / 3600:7.1f} h without "
            f"decoding, coordinator {peak_large + mib_a_video * (number - num_large):9,.0f} MiB"
        )


def measured(num_videos: int, shard_size: int) -> list[Phase]:
    """`run` in a process of its own, for its peak of memory."""
    arguments = ["--one", str(num_videos), "--shard-size", str(shard_size)]
    command = [sys.executable, "-m", "tests.benchmarks.bench_scale", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return [Phase(**fields) for fields in json.loads(done.stdout.splitlines()[-1])]


def print_flushes(place: Path, rounds: int) -> None:
    """What a shard waits for the disk: its six files and nothing else, one after the other and as they are written."""
    folder, content = folder_at(place), bytes(10_000)
    groups = [[f"data/{name}" for name in ("frames", "pts", "index", "masks")], ["records/frames", "records/masks"]]

    def in_order(number: int) -> None:
        folder.write_in_order([{f"{name}/{number}": content for name in group} for group in groups])

    def one_by_one(number: int) -> None:
        for name in (name for group in groups for name in group):
            folder.write(f"{name}/one_{number}", content)

    numbers = {"one after the other": count(), "as a shard": count()}
    taken = interleaved(
        {
            "one after the other": lambda: one_by_one(next(numbers["one after the other"])),
            "as a shard": lambda: in_order(next(numbers["as a shard"])),
        },
        rounds,
    )
    told = ", ".join(f"{1e3 * seconds:.1f} ms {name}" for name, seconds in taken.items())
    print(f"\n  six files, each flushed with its folder: {told}")


def main(*, quick: bool = False, num_videos: int = DEFAULT_VIDEOS, shard_size: int = OPTIONS.shard_size) -> None:
    """Run two sizes, and estimate from them."""
    num_large = 2_000 if quick else num_videos
    num_small = num_large // 5
    both = {}
    for number in (num_small, num_large):
        print(f"\n{number:,} videos of which none is decoded, {NUM_CORES} workers", flush=True)
        both[number] = measured(number, shard_size)
        print_phases(both[number], number)
    with tempfile.TemporaryDirectory() as folder:
        print_flushes(Path(folder), 2 if quick else 30)
    print_estimates(shard_size, both[num_small], num_small, both[num_large], num_large)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--one", type=int)
    parser.add_argument("--plan", type=int, help="only plan so many videos, for the coordinator's memory")
    parser.add_argument("--videos-planned", type=int, default=DEFAULT_VIDEOS)
    parser.add_argument("--shard-size", type=int, default=OPTIONS.shard_size)
    arguments = parser.parse_args()
    its_options = replace(OPTIONS, shard_size=arguments.shard_size)
    if arguments.plan is not None:
        print(f"{arguments.plan:,} videos, the process that hands out tasks")
        with tempfile.TemporaryDirectory() as one_folder:
            write_manifest(Path(one_folder) / "clips.jsonl", arguments.plan)
            coordinator.measure(Path(one_folder), arguments.plan, its_options)
    elif arguments.one is not None:
        with tempfile.TemporaryDirectory() as one_folder:
            print(json.dumps([vars(phase) for phase in run(Path(one_folder), arguments.one, its_options)]))
    else:
        main(num_videos=arguments.videos_planned, shard_size=arguments.shard_size)
