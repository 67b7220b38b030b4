"""A shard that kills its workers ends the run, after all others are committed; one that only was there does not."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from distributed import Client, Worker

from pipeline.datasets.read import read_dataset
from pipeline.frames.preprocess import ShardsMade, VideoSource, plan_preprocess, preprocess_shards
from pipeline.isolation.decoder import Answer, DecodeRequest, close_decoders
from pipeline.isolation.process import DecoderStartError
from pipeline.run.resources import ONE_THREAD
from pipeline.workers import dask, local_workers, worker_watch
from pipeline.workers.clusters import connected
from pipeline.workers.dask import MAX_ATTEMPTS, WorkerDiedError, local_dask
from pipeline.workers.executors import Executor, run_synchronously
from pipeline.workers.local_worker import be_worker
from pipeline.workers.preflight import Preflight
from tests.clips_on_disk import SMALL, opened_store, record, run_preprocess, write_clip, write_manifest
from tests.dask_processes import DaskProcesses
from tests.decoders import still_clip
from tests.forked import Forked
from tests.stores import tree_digest

OPTIONS = replace(SMALL, shard_size=2)


@pytest.fixture(autouse=True)
def dead_workers_are_replaced_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for user in (dask, worker_watch):
        monkeypatch.setattr(user, "SECONDS_BETWEEN_LOOKS", 0.05)


@dataclass(frozen=True)
class LethalDecoder:
    """Kills its own process at files called `poison`, and at those called `once` where a mark is not there yet."""

    marks: Path
    is_harmless: bool = False

    def decode(self, requests: Iterable[DecodeRequest]) -> Generator[Answer]:
        for position, request in enumerate(requests):
            kind = request.path.stem.split("_")[0]
            if kind == "broken":
                raise DecoderStartError("the decoder process did not start")
            with (self.marks / "tried").open("a") as log:
                log.write(f"{request.path.stem}\n")  # the order of all processes: they append
            if not self.is_harmless and (kind == "poison" or (kind == "once" and self._is_first())):
                os.kill(os.getpid(), signal.SIGKILL)
            yield Answer(position, still_clip(request.path, request.options, request.window))

    def close(self) -> None:
        """Nothing runs for it."""

    def _is_first(self) -> bool:
        try:
            (self.marks / "killed once").touch(exist_ok=False)
        except FileExistsError:
            return False
        return True


def write_videos(folder: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        write_clip(folder / f"{name}.mp4", number)
    return write_manifest(folder, [record(name, f"{name}.mp4") for name in names])


def run(
    manifest: Path,
    place: Path,
    executor: Executor,
    decoder: LethalDecoder,
) -> ShardsMade:
    dataset = read_dataset("jsonl", manifest)
    store = opened_store(dataset, place, OPTIONS)
    source = VideoSource(dataset.root, decoder=decoder)
    return preprocess_shards(store, source, plan_preprocess(store, OPTIONS), OPTIONS, executor)


def pending(manifest: Path, place: Path) -> list[str]:
    store = opened_store(read_dataset("jsonl", manifest), place, OPTIONS)
    return [one.shard.key for one in plan_preprocess(store, OPTIONS).pending]


def be_late_worker(address: str, lifeline: Connection, started: Connection) -> None:
    """A worker on a busy machine: it gets tasks before it is back from its start."""
    start = Worker.start_unsafe

    async def start_late(worker: Worker) -> Worker:
        await start(worker)
        await asyncio.sleep(0.3)
        return worker

    with mock.patch.object(Worker, "start_unsafe", start_late):
        be_worker(address, lifeline, started)


def start_late_worker(address: str, lifeline: Connection, started: Connection) -> Forked:
    return Forked(be_late_worker, address, lifeline, started, environment=ONE_THREAD)


def test_a_shard_that_kills_its_workers_ends_the_run_and_stays_pending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_workers, "start_worker", start_late_worker)
    manifest = write_videos(tmp_path / "data", "a", "b", "poison", "c", "d", "e")
    with (
        local_dask(1) as executor,
        pytest.raises(
            WorkerDiedError, match=r"^shard test/00001 \(from video 'poison' to 'c'\) killed 3 workers although"
        ),
    ):
        run(manifest, tmp_path / "store", executor, LethalDecoder(tmp_path))
    assert (tmp_path / "tried").read_text().split().count("poison") > MAX_ATTEMPTS
    assert pending(manifest, tmp_path / "store") == ["test/00001"]
    harmless = LethalDecoder(tmp_path, is_harmless=True)
    run(manifest, tmp_path / "store", run_synchronously, harmless)
    run_preprocess(manifest, tmp_path / "whole", OPTIONS, decoder=harmless)
    assert tree_digest(tmp_path / "store") == tree_digest(tmp_path / "whole")


def test_a_death_for_another_reason_is_not_blamed_on_the_video(tmp_path: Path) -> None:
    manifest = write_videos(tmp_path / "data", "a", "once", "b")
    with local_dask(1) as executor:
        result = run(manifest, tmp_path / "store", executor, LethalDecoder(tmp_path))
    assert (tmp_path / "killed once").exists()
    assert result.tally.failures == ()
    run_preprocess(manifest, tmp_path / "whole", OPTIONS, decoder=LethalDecoder(tmp_path, is_harmless=True))
    assert tree_digest(tmp_path / "store") == tree_digest(tmp_path / "whole")


def test_a_scheduler_that_gives_tasks_up_at_once_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shard under which a worker died once is made, although the scheduler blames it for that."""
    asked_to_close, run_there = list[str](), Client.run

    def watched(client: Client, function: Callable[..., object], *arguments: object, **options: Any) -> object:
        if function is close_decoders:
            asked_to_close.extend(options["workers"])
            assert set(asked_to_close) <= client.nthreads().keys()  # for one that is dead, the run would wait
        return run_there(client, function, *arguments, **options)

    monkeypatch.setattr(Client, "run", watched)
    manifest = write_videos(tmp_path / "data", "a", "b", "poison", "c", "once", "d")
    dataset = read_dataset("jsonl", manifest)
    preflight = Preflight.of(opened_store(dataset, tmp_path / "store", OPTIONS).folder)
    (tmp_path / "dask").mkdir()
    processes = DaskProcesses(tmp_path / "dask", allowed_failures=0)
    said: list[str] = []
    try:
        with (
            processes.always_a_worker(),
            connected(processes.address, preflight, wait_seconds=60, say=said.append) as executor,
            pytest.raises(WorkerDiedError, match=rf"^shard test/00001 .* killed {MAX_ATTEMPTS} workers"),
        ):
            run(manifest, tmp_path / "store", executor, LethalDecoder(tmp_path))
    finally:
        processes.end()
    num_tried = (tmp_path / "tried").read_text().split().count("poison")
    assert num_tried in (MAX_ATTEMPTS, 1 + MAX_ATTEMPTS)  # it may have been given up while it waited beside `once`
    assert pending(manifest, tmp_path / "store") == ["test/00001"]
    for shard in ("test/00001", "test/00002"):
        assert any(re.match(f"shard {shard} .* lost its worker 1 time: it is put off", sentence) for sentence in said)


def test_a_decoder_that_does_not_start_ends_the_run_with_its_message(tmp_path: Path) -> None:
    manifest = write_videos(tmp_path / "data", "a", "broken")
    with local_dask(1) as executor, pytest.raises(DecoderStartError, match="did not start"):
        run(manifest, tmp_path / "store", executor, LethalDecoder(tmp_path))
