"""The run records of a store as the page needs them: what was run, how fast it was, and with which options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.run.events import Reporter
from pipeline.run.records import PastRun, read_run
from store.completion import map_many
from store.errors import StoreError
from store.json_values import int_at, list_at, mapping_at, text_at
from store.store import Store

MAX_RECORDS = 2_000
"""Records that are read, the latest ones: an array job leaves one for each of its parts."""


@dataclass(frozen=True, slots=True)
class Work:
    """What a run made, counted."""

    number: int
    unit: str
    """`video`, `caption`, `step`."""
    seconds: float
    num_frames: int | None = None
    num_source_bytes: int | None = None
    where: str = ""
    """Workers, or a device."""

    @property
    def a_second(self) -> float:
        """In the unit."""
        return self.number / self.seconds if self.seconds else 0.0


def read_runs(store: Store, report: Reporter) -> tuple[PastRun, ...]:
    """The latest runs, oldest first; a record that cannot be read is a warning."""
    names = sorted(store.folder.names("runs"))
    if len(names) > MAX_RECORDS:
        report.warn(f"only the latest {MAX_RECORDS:,} of {len(names):,} run records were read")

    def read(name: str) -> PastRun | str:
        try:
            return PastRun.of(name, read_run(store.folder, name))
        except StoreError as error:
            return str(error)

    # Names begin with the time, so that the last ones are the latest. Many at a time, for those in S3.
    found = list(map_many(store.folder, read, names[-MAX_RECORDS:]))
    for sentence in (one for one in found if isinstance(one, str)):
        report.warn(sentence)
    runs = [one for one in found if isinstance(one, PastRun)]
    return tuple(sorted(runs, key=lambda run: (run.started, run.name)))


def worked_on(run: PastRun) -> str:
    """What a run worked on: a mask set, a feature set, a checkpoint; empty if that is the store."""
    found = text_at(run.result, "features") or text_at(run.options, "features")
    return found or text_at(run.options, "name") or text_at(run.result, "checkpoint") or ""


def work_of(run: PastRun) -> Work | None:
    """What a run made; None if nothing, or its record does not say."""
    result, seconds = run.result, run.seconds
    workers = int_at(result, "workers")
    where = text_at(result, "device") or ("" if not workers else f"{workers} worker{'s' * (workers > 1)}")
    if run.command in ("preprocess", "masks"):
        made = int_at(result, "num_videos_made")
        frames, source = int_at(result, "num_frames_made"), int_at(result, "source_bytes_read")
        return Work(made, "video", seconds, frames, source, where or "in one process") if made else None
    splits = [one for one in list_at(result, "splits") if isinstance(one, Mapping)]
    if run.command == "encode":
        made = sum(int_at(one, "num_clips_encoded") or 0 for one in splits)
        frames = sum(int_at(one, "num_frames_encoded") or 0 for one in splits)
        return Work(made, "video", seconds, frames, None, where) if made else None
    if run.command in ("import-features", "pool"):
        made = sum(int_at(one, "num_videos") or 0 for one in splits)
        return Work(made, "video", seconds) if made else None
    if run.command == "finetune":
        steps = int_at(result, "num_steps_done")
        device = text_at(mapping_at(run.options, "machine"), "device") or ""
        return Work(steps, "step", seconds, where=device) if steps else None
    return None
