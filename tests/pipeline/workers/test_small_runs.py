"""Where the work is done if nobody says it: a few seconds of it by the process that is there."""

from __future__ import annotations

import json
import math
import os
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.datasets.read import read_dataset
from pipeline.frames.preprocess import BYTES_A_SECOND, NUM_ESTIMATED, estimate_decoding, plan_preprocess
from pipeline.masks import pending
from pipeline.run.resources import SHARE_OF_MACHINE, WorkerMemory
from pipeline.workers import place as place_of_work
from pipeline.workers.executors import Executor, run_synchronously
from pipeline.workers.place import MAX_THREADS, SECONDS_ALONE, SECONDS_IN_A_THREAD, workers_by_default
from tests.clips_on_disk import (
    SMALL,
    SMALL_FLAGS,
    Commands,
    of_the_run,
    opened_store,
    record,
    write_clip,
    write_manifest,
    write_small_dataset,
)
from tests.stores import tree_digest

ONE_SHARD = (*SMALL_FLAGS, "--shard-size", "16")


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of workers that runs on four cores start; their tasks run here."""
    numbers = []

    def start(num_workers: int, end_waiting: object = None) -> Executor:
        numbers.append(num_workers)
        return lambda *arguments: run_synchronously(*arguments)

    monkeypatch.setattr(place_of_work, "num_cores", lambda: 4)
    monkeypatch.setattr(place_of_work, "local_dask", lambda num_workers: nullcontext(start(num_workers)))
    monkeypatch.setattr(place_of_work, "ThreadExecutor", start)
    return numbers


@pytest.mark.usefixtures("started")
@pytest.mark.parametrize(
    ("num_tasks", "seconds", "num_workers"),
    [(0, 0.0, 0), (1, 1e6, 0), (2, SECONDS_ALONE, 0), (2, SECONDS_ALONE + 1, 4), (10_000, 1e6, 4)],
)
def test_one_task_and_few_seconds_need_no_workers(num_tasks: int, seconds: float, num_workers: int) -> None:
    assert workers_by_default(num_tasks, seconds) == num_workers


@pytest.mark.usefixtures("started")
def test_threads_are_started_for_less_unless_there_are_too_many_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    more = MAX_THREADS + 1
    assert workers_by_default(2, SECONDS_IN_A_THREAD, num_threads=1) == 0
    assert workers_by_default(2, SECONDS_IN_A_THREAD + 1, num_threads=1) == 4
    assert workers_by_default(more, SECONDS_IN_A_THREAD + 1, num_threads=more) == 4
    monkeypatch.setattr(place_of_work, "num_cores", lambda: more)
    assert workers_by_default(more, SECONDS_IN_A_THREAD + 1, num_threads=more) == 0
    assert workers_by_default(more, SECONDS_IN_A_THREAD + 1, num_threads=1) == more


def test_videos_take_what_their_bytes_take_and_only_so_many_are_looked_up(tmp_path: Path) -> None:
    (tmp_path / "film.mp4").touch()
    os.truncate(tmp_path / "film.mp4", int(100 * BYTES_A_SECOND))

    def seconds(*paths: str) -> float:
        manifest = write_manifest(tmp_path, [record(f"v{number}", path) for number, path in enumerate(paths)])
        store = opened_store(read_dataset("jsonl", manifest), tmp_path / str(len(paths)), SMALL)
        return estimate_decoding(store, tmp_path, plan_preprocess(store, SMALL).pending).seconds

    assert seconds("gone.mp4") < 1
    assert 100 < seconds("film.mp4", "gone.mp4") < 101
    empty = seconds(*["gone.mp4"] * NUM_ESTIMATED)
    assert empty == seconds(*["gone.mp4"] * NUM_ESTIMATED, "film.mp4") > SECONDS_ALONE


def test_a_few_small_videos_are_preprocessed_without_workers_and_large_ones_with(
    fda: Commands, tmp_path: Path, started: list[int]
) -> None:
    def stores(name: str, *more: str) -> dict[str, str]:
        ended = fda("preprocess", manifest, tmp_path / name, *SMALL_FLAGS, "--max-failed", "100%", *more)
        assert ended.code == 0, ended.err
        return tree_digest(tmp_path / name)

    manifest = write_small_dataset(tmp_path, {"train": 2, "test": 3})
    alone = stores("few")
    assert started == []
    assert stores("asked for", "--workers", "2") == alone
    assert started == [2]
    os.truncate(tmp_path / "videos" / "test_1.mp4", int(2 * SECONDS_ALONE * BYTES_A_SECOND))  # as if it were long
    stores("large")
    assert started == [2, 3]  # no more than shards


def test_a_single_shard_is_decoded_by_all_workers_to_the_same_bytes(
    fda: Commands, tmp_path: Path, started: list[int]
) -> None:
    def stores(name: str, *more: str) -> tuple[dict[str, str], int, str]:
        ended = fda("preprocess", manifest, tmp_path / name, *ONE_SHARD, *more, "--json")
        assert ended.code == 0, ended.err
        return tree_digest(tmp_path / name), json.loads(ended.out)["workers"], of_the_run(ended.err)

    manifest = write_small_dataset(tmp_path, {"test": 6})
    alone, num_workers, _ = stores("alone", "--workers", "0")
    assert (num_workers, started) == (0, [])
    assert stores("few")[:2] == (alone, 0)
    memory = WorkerMemory(16, SMALL.eval_frames, SMALL.image_size)
    together = memory.total_mib + memory.decoder_mib
    two = stores("two", "--workers", "2")
    assert two[:2] == (alone, 2)
    assert two[2].startswith(f"2 workers at 1 shard, at most about {together:,} MiB together\n")
    assert stores("many", "--workers", "100")[:2] == (alone, 6)  # no more than videos
    assert started == [1, 1]  # threads
    os.truncate(tmp_path / "videos" / "test_1.mp4", int(2 * SECONDS_IN_A_THREAD * BYTES_A_SECOND))  # as if it were long
    assert stores("large", "--max-failed", "100%")[1] == 4  # cores


def test_workers_beyond_the_shards_fit_into_memory_too(
    fda: Commands, tmp_path: Path, started: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = write_small_dataset(tmp_path, {"test": 6})
    memory = WorkerMemory(16, SMALL.eval_frames, SMALL.image_size)
    room = math.ceil((memory.total_mib + 2 * memory.decoder_mib) / SHARE_OF_MACHINE)
    for machine_mib, num_workers in ((room + 1, 3), (room - 1, 2), (1, 1)):
        monkeypatch.setattr(place_of_work, "machine_memory_mib", lambda number=machine_mib: number)
        ended = fda("preprocess", manifest, tmp_path / str(num_workers), *ONE_SHARD, "--workers", "6", "--json")
        assert json.loads(ended.out)["workers"] == num_workers
        assert f"together: 6 do not fit into {machine_mib:,} MiB (" in ended.err


def test_workers_are_threads_if_no_more_fit_into_memory_than_may_be(
    fda: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(num_workers: int) -> Executor:
        raise AssertionError(f"{num_workers} processes are started")

    monkeypatch.setattr(place_of_work, "local_dask", refuse)
    monkeypatch.setattr(place_of_work, "MAX_THREADS", 2)
    memory = WorkerMemory(SMALL.shard_size, SMALL.eval_frames, SMALL.image_size)
    monkeypatch.setattr(place_of_work, "machine_memory_mib", lambda: 3 * memory.total_mib)  # and some for all else
    manifest = write_small_dataset(tmp_path, {"test": 6})
    ended = fda("preprocess", manifest, tmp_path / "store", *SMALL_FLAGS, "--workers", "3", "--json")
    assert json.loads(ended.out)["workers"] == 2


def test_masks_of_few_frames_are_made_without_workers_and_those_of_many_with(
    fda: Commands, tmp_path: Path, started: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        write_clip(tmp_path / f"{number}.mp4", number)
    manifest = write_manifest(tmp_path, [record(str(number), f"{number}.mp4") for number in range(3)])
    store = opened_store(read_dataset("jsonl", manifest), tmp_path / "store", replace(SMALL, shard_size=2))
    assert fda("preprocess", manifest, store.place, *SMALL_FLAGS).code == 0
    flags = ("--kernel-size", "3", "--min-area", "8")
    assert fda("masks", store.place, "--masks", "few", *flags).code == 0
    assert started == []
    monkeypatch.setattr(pending, "BYTES_A_SECOND", 1.0)
    assert fda("masks", store.place, "--masks", "many", *flags).code == 0
    assert started == [2]
