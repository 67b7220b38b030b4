"""Throughput that adds up: videos a second against workers, and how many a coordinator can keep busy.

A run of `fda preprocess` over many workers has one coordinator: this process with the plan, Dask's client, and Dask's
scheduler over TCP. The workers are real ones of Dask, many to a process (`light_workers`). What they run is as long as
a task, tells of its videos and returns a report as a task does, and sleeps in place of decoding: 256 decoders would not
fit. So the coordinator does all that it does in a real run. Its processor time a video says what it can do at most.

`python -m tests.benchmarks throughput`.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from pathlib import Path

from distributed import Client

from pipeline.datasets.read import read_dataset
from pipeline.frames.options import PreprocessOptions
from pipeline.frames.preprocess import VideoSource, open_store, plan_preprocess, preprocess_shards
from pipeline.frames.task import PreprocessTask, ShardReport
from pipeline.run.events import ItemsDone, Tell, ignore_events
from pipeline.run.plan import Tally
from pipeline.workers.dask import DaskExecutor, scheduler_here
from pipeline.workers.executors import Executor
from store.commits import VideoOutcome
from store.places.opening import folder_at
from store.schema import VideoStatus
from tests.benchmarks.bench_scale import write_manifest
from tests.benchmarks.quoted import quote

SECONDS_A_VIDEO = 0.1
"""What a worker takes: of the clips of MSR-VTT one core decodes five to twenty a second."""
NUM_WORKERS = (1, 2, 16, 64, 256)
SECONDS = 5.0
"""A run lasts about so long, if the coordinator keeps up."""
TARGET = 2000
"""Videos a second, below which the coordinator must not be the limit."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One run."""

    num_workers: int
    num_videos: int
    seconds: float
    cpu_seconds: float
    """Of the coordinator."""

    @property
    def rate(self) -> float:
        """Videos a second."""
        return self.num_videos / self.seconds

    @property
    def ceiling(self) -> float:
        """Videos a second that the coordinator could hand out, were it to do nothing else with its core."""
        return self.num_videos / self.cpu_seconds


def sleep_in_place(task: PreprocessTask, tell: Tell) -> ShardReport:
    """What `preprocess_shard` does as its coordinator sees it."""
    tell(ItemsDone())
    for _ in task.videos:
        time.sleep(SECONDS_A_VIDEO)
        tell(ItemsDone(1, num_frames=12, num_source_bytes=500_000))
    outcomes = [VideoOutcome(video.video_id, video.row, VideoStatus.OK, filled=True) for video in task.videos]
    return ShardReport(task.shard, Tally.of(task.shard.split, outcomes), 8_000_000, 12 * len(outcomes))


def in_place_of(executor: DaskExecutor) -> Executor:
    """An executor that runs `sleep_in_place`, whatever it is given."""

    def run(function: Callable[..., object], tasks: Iterable[PreprocessTask], tell: Tell) -> Generator[ShardReport]:
        yield from executor(sleep_in_place, tasks, tell)

    return run  # type: ignore[return-value]  # it is of one kind of task


def measure(folder: Path, num_workers: int, seconds: float) -> Measured:
    """A run with so many workers, over as many videos as they decode in that time."""
    num_videos = max(64, int(seconds * num_workers / SECONDS_A_VIDEO) // 16 * 16)
    options = PreprocessOptions(image_size=16)
    write_manifest(folder / "clips.jsonl", num_videos)
    dataset = read_dataset("jsonl", folder / "clips.jsonl")
    store = open_store(dataset, folder_at(folder / f"store_{num_workers}"), options)[0]
    plan = plan_preprocess(store, options)
    with scheduler_here() as cluster, Client(cluster) as client:
        command = [sys.executable, "-m", "tests.benchmarks.light_workers", cluster.scheduler_address, str(num_workers)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as workers:
            assert workers.stdin is not None
            assert workers.stdout is not None
            workers.stdout.readline()
            began, cpu_began = time.perf_counter(), time.process_time()
            executor = in_place_of(DaskExecutor(client))
            preprocess_shards(store, VideoSource(dataset.root), plan, options, executor, ignore_events)
            measured = Measured(num_workers, num_videos, time.perf_counter() - began, time.process_time() - cpu_began)
            workers.stdin.close()
    return measured


def main(*, quick: bool = False) -> None:
    """Measure with more and more workers."""
    print(f"\nvideos a second, {SECONDS_A_VIDEO:g} s a video and worker, 16 videos a task, one coordinator")
    for num_workers in (1, 16) if quick else NUM_WORKERS:
        with tempfile.TemporaryDirectory() as folder:
            one = measure(Path(folder), num_workers, 2.0 if quick else SECONDS)
        print(
            f"  {num_workers:4d} workers: {one.rate:7.0f} of {num_workers / SECONDS_A_VIDEO:7.0f}; coordinator "
            f"{1e3 * one.cpu_seconds / one.num_videos:.3f} ms of processor a video: at most {one.ceiling:7.0f}",
            flush=True,
        )
    quote("throughput.ceiling", one.ceiling, "videos/s", at_least=TARGET)


if __name__ == "__main__":
    main(quick="--quick" in sys.argv[1:])
