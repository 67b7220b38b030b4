"""The memory of a coordinator, phase by phase: a store is made, resumed when one tenth of it is complete, and grows.

`python -m tests.benchmarks.bench_scale --plan 10000000` does it for ten million videos, with everything that a run
does in the process that hands out tasks, and none of the tasks: what they would have written is put there, the records
whole, and the arrays as files of the recorded size without content. That takes 0.2 KB a video on the disk for the time.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from pipeline.datasets.options import SourceOptions
from pipeline.datasets.records import Dataset, VideoRecord, VideoRecords
from pipeline.datasets.source import read_source
from pipeline.frames.options import PreprocessOptions
from pipeline.frames.preprocess import VideoSource, _tasks, find_changed, open_store, plan_preprocess
from pipeline.masks.mask_sets import summarise_masks
from pipeline.run.options import SourceCheck
from pipeline.run.plan import Plan, Tally
from store.clips.layout import frame_index_spec, frames_spec, masks_spec, pts_spec
from store.commits import CommitRecord, VideoOutcome, commit_name
from store.contents import shared_videos
from store.places.folder import WrittenFile
from store.places.opening import folder_at
from store.schema import Shard, VideoStatus
from store.stages import FRAMES_STAGE, masks_stage
from store.store import Store

NUM_BYTES = 10_000
"""Of each file of an array."""


@dataclass
class Phases:
    """Seconds and the most memory of each phase, printed when it ends."""

    num_videos: int
    peaks: list[int] = field(default_factory=list)
    """MiB, of the phases so far."""

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Measure what is done inside: memory from its beginning, what earlier phases still hold included."""
        Path("/proc/self/clear_refs").write_text("5")  # the most memory so far is what there is now
        began, used = time.monotonic(), time.process_time()
        yield
        seconds, used = time.monotonic() - began, time.process_time() - used
        status = Path("/proc/self/status").read_text()
        peak = int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) >> 10
        self.peaks.append(peak)
        print(f"  {name:44s} {seconds:8.1f} s, {used:8.1f} s of processor time, at most {peak:6,} MiB", flush=True)


def measure(folder: Path, num_videos: int, options: PreprocessOptions) -> None:
    """All of it, in processes that begin with the data set in memory and nothing else."""
    phases = Phases(num_videos)
    with phases.phase("read the data set"):
        dataset = read_source(folder / "clips.jsonl", SourceOptions()).dataset
    place = folder / "store"
    for part in (_make, _complete, _resume, _grow):
        _in_a_fork(lambda part=part: part(phases, dataset, place, options))  # type: ignore[misc]


def _in_a_fork(work: Callable[[], None]) -> None:
    """Do it in a copy of this process, so that its memory begins as that of a run which has just read the data set."""
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join()
    assert process.exitcode == 0, process.exitcode


def _make(phases: Phases, dataset: Dataset, place: Path, options: PreprocessOptions) -> None:
    with phases.phase("a new store: catalogue and arrays"):
        store = open_store(dataset, folder_at(place), options)[0]
    with phases.phase("plan of all"):
        plan = plan_preprocess(store, options)
    _make_tasks(phases, store, plan, options)


def _resume(phases: Phases, dataset: Dataset, place: Path, options: PreprocessOptions) -> None:
    with phases.phase("resumed: compare catalogue and data set"):
        store = open_store(dataset, folder_at(place), options)[0]
    with phases.phase("look for changed videos"):
        changed = find_changed(store, store.all_shards(), dataset.root, SourceCheck.SIZE)
    with phases.phase("plan, one tenth complete"):
        plan = plan_preprocess(store, options, changed=changed)
    assert len(plan.pending) == sum(_is_left(shard) for shard in store.all_shards())
    _make_tasks(phases, store, plan, options)
    with phases.phase("videos that splits share"):
        assert not [*shared_videos(store)]
    with phases.phase("summary of masks"):
        summarise_masks(store, options.mask_name)


def _grow(phases: Phases, dataset: Dataset, place: Path, options: PreprocessOptions) -> None:
    grown = replace(dataset, videos=VideoRecords(_changed(dataset)))
    with phases.phase("grown, moved and recaptioned"):
        store, growth = open_store(grown, folder_at(place), options, update_captions=True)
    assert growth.num_new_videos == len(grown.videos) - len(dataset.videos)
    assert growth.num_moved == growth.num_recaptioned == sum(1 for _ in range(0, len(dataset.videos), 100))
    assert store.catalog.num_rows[0] == len(grown.videos)


def _changed(dataset: Dataset) -> Iterator[VideoRecord]:
    """Before each hundredth video a new one, and that video has another path and other captions."""
    for number, video in enumerate(dataset.videos):
        if number % 100 == 0:
            yield replace(video, video_id=f"new_{number}", path=f"new/{number}.mp4")
            yield replace(video, path=f"moved/{number}.mp4", captions=("something else",))
        else:
            yield video


def _make_tasks(phases: Phases, store: Store, plan: Plan, options: PreprocessOptions) -> None:
    with phases.phase(f"{len(plan.pending):,} tasks and their results"):
        source = VideoSource(Path(store.place))
        kept = {task.shard: Tally(task.shard.num_rows) for task in _tasks(store, source, plan.pending, options)}
    assert len(kept) == len(plan.pending)


def _is_left(shard: Shard) -> bool:
    return shard.index % 10 != 0


def _complete(phases: Phases, dataset: Dataset, place: Path, options: PreprocessOptions) -> None:
    """What tasks leave behind, of every tenth shard; not flushed."""
    store = Store.open(place)
    with phases.phase("put there what the tasks would have (not counted)"):
        for shard in store.all_shards():
            if not _is_left(shard):
                _put(store, shard, options)


def _put(store: Store, shard: Shard, options: PreprocessOptions) -> None:
    name = options.mask_name
    clips = [spec(store, shard.split) for spec in (frames_spec, pts_spec, frame_index_spec)]
    inputs: dict[str, str] = {}
    for stage, specs in (
        (FRAMES_STAGE, clips),
        (masks_stage(name), [masks_spec(store, shard.split, name, soft=False)]),
    ):
        files = tuple(WrittenFile(spec.shard_name(shard.index), NUM_BYTES, "0" * 32) for spec in specs)
        outcomes = tuple(
            VideoOutcome(
                video.video_id,
                video.row,
                VideoStatus.OK,
                filled=True,
                source_bytes=NUM_BYTES,
                source_sha256=hashlib.sha256(video.video_id.encode()).hexdigest(),
            )
            for video in store.catalog.shard_videos(shard)
        )
        content = CommitRecord(shard, stage, outcomes, files, inputs).to_bytes()
        for written in files:
            path = Path(store.place) / written.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            os.truncate(path, NUM_BYTES)
        record = Path(store.place) / commit_name(shard, stage)
        record.parent.mkdir(parents=True, exist_ok=True)
        record.write_bytes(content)
        inputs = {commit_name(shard, stage): hashlib.sha256(content).hexdigest()}
