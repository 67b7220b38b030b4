"""What a worker takes is what the formula says at most, and a run of many videos takes no more than one of few."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.run.resources import WorkerMemory, machine_memory_mib
from tests.clips_on_disk import Commands, of_the_run, record, write_clip, write_manifest
from tests.paths import ROOT
from tests.videos import Encoding, write_video

MEASURE = """
import json, os, sys
from pathlib import Path
import psutil
from pipeline.datasets.read import read_dataset
from pipeline.run.events import ItemsDone
from pipeline.isolation.decoder import IsolatedDecoder
from pipeline.frames.preprocess import VideoSource, plan_preprocess, preprocess_shards
from pipeline.frames.options import PreprocessOptions
from tests.clips_on_disk import opened_store

options = PreprocessOptions(**json.loads(sys.argv[3]))
dataset, me, children, seen = read_dataset("jsonl", Path(sys.argv[1])), psutil.Process(), [], []

def peak(process):
    return int(Path(f"/proc/{process.pid}/status").read_text().split("VmHWM:")[1].split()[0]) / 1024

def watch(event):
    if isinstance(event, ItemsDone) and event.num_done:
        children[:] = children or me.children()  # a look at all processes of the machine: once
        (child,) = children
        kib = [process.memory_info().rss >> 10 for process in (me, child)]
        seen.append((*kib, me.num_fds(), child.num_fds(), peak(child)))

store = opened_store(dataset, sys.argv[2], options)
preprocess_shards(store, VideoSource(dataset.root), plan_preprocess(store, options), options, listener=watch)
print(json.dumps({"seen": seen, "peak_worker": peak(me), "peak_decoder": max(one[-1] for one in seen)}))
"""
needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")


def measured(manifest: Path, place: Path, **options: object) -> dict[str, Any]:
    """What a run takes, in a process of its own: KiB and open files of worker and decoder at each video; peaks, MiB."""
    command = [sys.executable, "-c", MEASURE, str(manifest), str(place), json.dumps(options)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@given(st.integers(1, 64), st.integers(1, 64), st.integers(1, 1 << 20))
def test_workers_fit_or_there_is_one(shard_size: int, wanted: int, machine_mib: int) -> None:
    memory = WorkerMemory(shard_size, num_frames=12, image_size=224)
    number = memory.num_fitting(wanted, machine_mib)
    assert 1 <= number <= wanted
    assert number == 1 or number * memory.total_mib <= machine_mib
    assert number == wanted or (number + 1) * memory.total_mib > 0.9 * machine_mib


def test_the_machine_has_some_memory() -> None:
    assert 256 < machine_memory_mib() < 1 << 27


@needs_proc
@pytest.mark.parametrize(("shard_size", "height", "width"), [(1, 1080, 1920), (32, 240, 320)])
def test_a_worker_stays_below_the_formula_and_not_far_below(
    tmp_path: Path, shard_size: int, height: int, width: int
) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (12, height, width, 3), dtype=np.uint8)
    write_video(tmp_path / "noise.mp4", frames, Encoding(options={"preset": "ultrafast", "threads": "1"}))
    manifest = write_manifest(tmp_path, [record(f"v{number}", "noise.mp4") for number in range(shard_size)])
    took = measured(manifest, tmp_path / "store", shard_size=shard_size, eval_frames=12, image_size=224)
    memory = WorkerMemory(shard_size, num_frames=12, image_size=224)
    most = memory.worker_mib + -(
        -int(20 * height * width * 1.5) // (1 << 20)
    )  # 16 pictures that a codec refers to, and some on their way
    assert most / 3 < took["peak_worker"] + took["peak_decoder"] < most


@needs_proc
def test_many_videos_take_no_more_memory_or_files_than_few(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "0.mp4", 0)
    for number in range(1, 300):
        os.link(clip, tmp_path / f"{number}.mp4")
    (tmp_path / "300.mp4").write_text("no video")
    manifest = write_manifest(tmp_path, [record(f"v{number}", f"{number}.mp4") for number in range(301)])
    seen = np.array(measured(manifest, tmp_path / "store", shard_size=8, eval_frames=4, image_size=32)["seen"])
    assert len(seen) == 301
    worker, decoder, worker_files, decoder_files, _ = seen[60:].T  # after whatever is kept for good is there
    for memory in (worker, decoder):
        # What leaks grows on, by 2 MiB in 80 videos or more; a step of the allocator comes once.
        peaks = [part.max() for part in np.array_split(memory, 3)]
        assert np.diff(peaks).min() < 2 * 1024
    assert len(set(worker_files.tolist())) == 1
    assert np.ptp(decoder_files) <= 2  # at that moment it has the video open not at all, once, or for its headers too


def test_the_command_says_what_workers_take_and_starts_no_more_than_fit(
    fda: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_clip(tmp_path / "0.mp4", 0)
    manifest = write_manifest(tmp_path, [record(f"v{number}", "0.mp4") for number in range(4)])
    flags = ("--shard-size", "1", "--eval-frames", "3", "--image-size", "32", "--no-progress")
    alone = fda("preprocess", manifest, tmp_path / "alone", *flags, "--workers", "0", "--decoder-memory", "300")
    total = replace(WorkerMemory(1, 6, 32), decoder_memory_mib=300).total_mib
    assert of_the_run(alone.err).splitlines()[0] == f"in this process and its decoder, at most about {total:,} MiB"
    monkeypatch.setattr("pipeline.workers.place.machine_memory_mib", lambda: 1024)
    few = fda("preprocess", manifest, tmp_path / "few", *flags, "--workers", "3", "--decoder-memory", "300")
    assert (
        of_the_run(few.err)
        .splitlines()[0]
        .startswith(f"1 worker, at most about {total:,} MiB: 3 do not fit into 1,024 MiB")
    )
    assert " by 1 worker: " in few.err
    assert few.code == alone.code == 0
    monkeypatch.setattr("pipeline.workers.place.machine_memory_mib", lambda: 640)
    without_decoder = WorkerMemory(1, 3, 32).worker_mib
    masks = fda("masks", tmp_path / "few", "--masks", "other", "--workers", "3", "--no-progress")
    assert masks.err.splitlines()[0].startswith(
        f"1 worker, at most about {without_decoder:,} MiB: 3 do not fit into 640 MiB"
    )
    one = fda("masks", tmp_path / "alone", "--masks", "other", "--workers", "0", "--no-progress", "--json")
    assert one.err.splitlines()[0] == f"in this process, at most about {without_decoder:,} MiB"
    assert json.loads(one.out)["workers"] == 0
    assert masks.code == one.code == 0
