"""What it costs that a shard counts only when all of it is on the disk: the share of a run of `preprocess`.

`python -m tests.benchmarks commits` preprocesses videos in one process with its decoder, and times, inside that run,
what would not be done if nothing could fail: checksums, commit records, and flushing to the disk. The shares are of
the run's own wall time, so no other process has to be quiet for them to mean something.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pipeline.frames.shard
import pipeline.masks.shard
import store.clips.shards
import store.commits
import store.places.local_writing
from pipeline.datasets.read import read_dataset
from pipeline.frames.options import PreprocessOptions
from pipeline.frames.preprocess import VideoSource, plan_preprocess, preprocess_shards
from store.places.folder import WrittenFile
from tests.benchmarks.bench_preprocess import make_folder
from tests.benchmarks.footage import CLASSES, QUICK_CLASSES, VideoClass
from tests.benchmarks.quoted import quote
from tests.clips_on_disk import opened_store

NUM_VIDEOS = 32
OPTIONS = PreprocessOptions()


class Stopwatch:
    """Sums up the time spent in functions, by what they are for; a call inside a timed call is not counted twice."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._is_running = False

    def timed(self, what: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, timed."""

        def run(*args: Any, **kwargs: Any) -> Any:
            if self._is_running:
                return function(*args, **kwargs)
            self._is_running, start = True, time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self._is_running = False
                self.seconds[what] = self.seconds.get(what, 0.0) + time.perf_counter() - start

        return run


def shares(videos: Path) -> Mapping[str, float]:
    """What -> share of the wall time of a run over a folder of videos that it took, 0..1."""
    watch = Stopwatch()
    places = [
        ("checksums of clips and masks, sha256", store.clips.shards, "slot_checksum"),
        ("checksums of clips and masks, sha256", pipeline.masks.shard, "slot_checksum"),
        ("checksums of videos, sha256", pipeline.frames.shard, "file_sha256"),
        ("checksums of files, XXH3", WrittenFile, "of"),
        ("commit records", store.commits.CommitRecord, "to_bytes"),
        ("commit records", store.commits, "withdraw_commit"),
        ("flushing to the disk", store.places.local_writing, "_at_once"),
    ]
    dataset = read_dataset("jsonl", videos.with_name(f"{videos.name}.jsonl"))
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        for what, owner, name in places:
            stack.enter_context(patch.object(owner, name, watch.timed(what, getattr(owner, name))))
        start = time.perf_counter()
        opened = opened_store(dataset, Path(folder) / "store", OPTIONS)
        preprocess_shards(opened, VideoSource(dataset.root), plan_preprocess(opened, OPTIONS), OPTIONS)
        total = time.perf_counter() - start
    return {what: seconds / total for what, seconds in watch.seconds.items()}


def measure(kind: VideoClass, num_videos: int) -> None:
    """Print the shares for one kind of video."""
    with tempfile.TemporaryDirectory() as folder:
        found = shares(make_folder(Path(folder), kind, num_videos))
    print(f"\nOf `preprocess` over {num_videos} videos of {kind.name}, one process and its decoder")
    for what, share in found.items():
        print(f"  {what:40s} {share:6.2%}")
    flushing = found["flushing to the disk"]
    print(f"  in all, without flushing: {sum(found.values()) - flushing:.2%}; with it: {sum(found.values()):.2%}")
    quote(f"commits.{kind.key}", 100 * sum(found.values()), "%", at_most=3)


def main(*, quick: bool = False) -> None:
    """Measure."""
    for kind in QUICK_CLASSES[:1] if quick else CLASSES[:3]:
        measure(kind, 16 if quick else NUM_VIDEOS)


if __name__ == "__main__":
    main(quick="--quick" in sys.argv[1:])
