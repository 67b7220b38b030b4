"""Memory and open files of a long run: thousands of tiny videos through the real workers.

`python -m tests.benchmarks memory` prints what coordinator, workers and decoders hold as it goes on.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path

import psutil

from pipeline.datasets.read import read_dataset
from pipeline.frames.options import PreprocessOptions
from pipeline.frames.preprocess import VideoSource, plan_preprocess, preprocess_shards
from pipeline.run.events import Event, ItemsDone
from pipeline.workers.dask import local_dask
from tests.benchmarks.machine import NUM_CORES
from tests.clips_on_disk import opened_store, record, write_clip

OPTIONS = PreprocessOptions(eval_frames=8, image_size=32)
LINES = 10


class Watch:
    """Prints a line now and then: resident memory in MiB, and open files, of every process of the run."""

    def __init__(self, num_videos: int) -> None:
        self._num_done, self._next = 0, num_videos // LINES
        self._step, self._start = self._next, time.monotonic()

    def __call__(self, event: Event) -> None:
        if isinstance(event, ItemsDone):
            self._num_done += event.num_done
            if self._num_done >= self._next:
                self._next += self._step
                self._print()

    def _print(self) -> None:
        me = psutil.Process()
        kinds = {"coordinator": [me], "workers": [], "decoders": []}
        for child in me.children(recursive=True):
            command = " ".join(child.cmdline())
            if "spawn_main" in command:
                kinds["workers"].append(child)
            elif "pipeline.isolation" in command:
                kinds["decoders"].append(child)
        held = "   ".join(
            f"{kind} {' '.join(f'{one.memory_info().rss >> 20}' for one in processes)} MiB, "
            f"{' '.join(str(one.num_fds()) for one in processes)} files"
            for kind, processes in kinds.items()
        )
        print(f"  {self._num_done:7,} videos {time.monotonic() - self._start:6.1f} s   {held}", flush=True)


def main(*, quick: bool = False) -> None:
    """Make the videos (one file under many names), and run."""
    num_videos = 300 if quick else 4_000
    print(f"\nMemory over {num_videos:,} videos of 8 frames, {NUM_CORES} workers")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        clip = write_clip(root / "0.mp4", 0)
        for number in range(1, num_videos):
            os.link(clip, root / f"{number}.mp4")
        manifest = root / "clips.jsonl"
        lines = (json.dumps(record(f"v{number}", f"{number}.mp4")) for number in range(num_videos))
        manifest.write_text("\n".join(lines))
        dataset = read_dataset("jsonl", manifest)
        store = opened_store(dataset, str(root / "store"), OPTIONS)
        plan = plan_preprocess(store, OPTIONS)
        with local_dask(NUM_CORES) as executor:
            preprocess_shards(store, VideoSource(dataset.root), plan, OPTIONS, executor, Watch(num_videos))


if __name__ == "__main__":
    main()
