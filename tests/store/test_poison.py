"""Videos that kill whoever decodes them, for real, are set aside; those that only were there are not."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import dask
import pytest

from pipeline.datasets import read_dataset
from pipeline.frames.preprocess import PreprocessResult, plan_preprocess, preprocess
from pipeline.isolation.decoder import DecodeRequest
from pipeline.isolation.process import DecoderStartError
from pipeline.run.events import Event, ItemsDone
from pipeline.video.clips import DecodedClip, VideoError
from pipeline.workers.clusters import connected
from pipeline.workers.dask import MAX_ATTEMPTS, DaskExecutor, WorkerDiedError, local_dask
from pipeline.workers.executors import Executor
from pipeline.workers.preflight import Preflight
from store.store import Store
from tests.clips_on_disk import SMALL, opened_store, record, run_preprocess, write_clip, write_manifest
from tests.dask_processes import DaskProcesses
from tests.decoders import still_clip
from tests.stores import tree_digest

OPTIONS = replace(SMALL, shard_size=3)
REASON = f"set aside: its worker died {MAX_ATTEMPTS} times while it was decoded alone (killed, or out of memory)"


@dataclass(frozen=True)
class LethalDecoder:
    """Kills its own process at files called `poison`, and at those called `once` where a mark is not there yet."""

    marks: Path
    is_harmless: bool = False

    def decode(self, requests: Iterable[DecodeRequest]) -> Generator[DecodedClip | VideoError]:
        for request in requests:
            kind = request.path.stem.split("_")[0]
            if kind == "broken":
                raise DecoderStartError("the decoder process did not start")
            with (self.marks / "tried").open("a") as log:
                log.write(f"{request.path.stem}\n")
            if not self.is_harmless and (kind == "poison" or (kind == "once" and self._is_first())):
                os.kill(os.getpid(), signal.SIGKILL)
            yield still_clip(request.path, request.options, request.window)

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
    *,
    retry_failed: bool = False,
    heard: list[Event] | None = None,
) -> tuple[Store, PreprocessResult]:
    dataset = read_dataset("jsonl", manifest)
    store = opened_store(dataset, place, OPTIONS)
    plan = plan_preprocess(store, OPTIONS, retry_failed=retry_failed)
    listener = (heard if heard is not None else []).append
    return store, preprocess(store, dataset.root, plan, OPTIONS, executor, listener, decoder)


def test_poisoned_videos_are_set_aside_and_may_be_tried_again(tmp_path: Path) -> None:
    """Two in one shard, next to a good one."""
    manifest = write_videos(tmp_path / "data", "poison_1", "a", "poison_2", "b")
    heard: list[Event] = []
    with local_dask(1) as executor:
        store, result = run(manifest, tmp_path / "store", executor, LethalDecoder(tmp_path), heard=heard)
    assert {one.video_id: (one.status, one.reason) for one in result.tally.failures} == {
        f"poison_{number}": ("unsupported", REASON) for number in (1, 2)
    }
    assert result.tally.num_videos == 4
    items = [event for event in heard if isinstance(event, ItemsDone)]
    assert sum(items, start=ItemsDone()).num_done == 4
    assert sum(items, start=ItemsDone()).num_failed == 2
    poisoned = plan_preprocess(store, OPTIONS)
    assert not poisoned.pending
    harmless = LethalDecoder(tmp_path, is_harmless=True)
    (tmp_path / "tried").unlink()
    with local_dask(1) as executor:
        run(manifest, tmp_path / "store", executor, harmless, retry_failed=True)
    assert sorted((tmp_path / "tried").read_text().split()) == ["poison_1", "poison_2"]
    run_preprocess(manifest, tmp_path / "whole", OPTIONS, decoder=harmless)
    assert tree_digest(tmp_path / "store") == tree_digest(tmp_path / "whole")


def test_a_death_for_another_reason_is_not_blamed_on_the_video(tmp_path: Path) -> None:
    manifest = write_videos(tmp_path / "data", "a", "once", "b")
    with local_dask(1) as executor:
        _, result = run(manifest, tmp_path / "store", executor, LethalDecoder(tmp_path))
    assert (tmp_path / "killed once").exists()
    assert result.tally.failures == ()
    run_preprocess(manifest, tmp_path / "whole", OPTIONS, decoder=LethalDecoder(tmp_path, is_harmless=True))
    assert tree_digest(tmp_path / "store") == tree_digest(tmp_path / "whole")


def test_a_worker_whose_nanny_has_given_up_is_replaced(tmp_path: Path) -> None:
    """As a nanny does where its worker dies while it starts."""
    manifest = write_videos(tmp_path / "data", "a")
    with dask.config.set({"distributed.deploy.lost-worker-timeout": "100 ms"}), local_dask(1) as executor:
        cluster = executor._client.cluster
        (nanny,) = cluster.workers.values()
        cluster.sync(nanny.close)
        _, result = run(manifest, tmp_path / "store", executor, LethalDecoder(tmp_path))
    assert (result.tally.num_videos, result.tally.failures) == (1, ())


def test_a_scheduler_that_gives_tasks_up_at_once_sets_the_same_videos_aside(tmp_path: Path) -> None:
    """And not the one under which a worker died once, though the scheduler blames its task for that."""
    manifest = write_videos(tmp_path / "data", "a", "poison_1", "once", "b")
    dataset = read_dataset("jsonl", manifest)
    preflight = Preflight.of(opened_store(dataset, tmp_path / "store", OPTIONS).folder)
    (tmp_path / "dask").mkdir()
    processes = DaskProcesses(tmp_path / "dask", allowed_failures=0)
    said: list[str] = []
    try:
        processes.worker(nanny=True)  # which begins its worker again
        with connected(processes.address, preflight, wait_seconds=60, say=said.append) as executor:
            _, result = run(manifest, tmp_path / "store", executor, LethalDecoder(tmp_path))
    finally:
        processes.end()
    assert [(one.video_id, one.status, one.reason) for one in result.tally.failures] == [
        ("poison_1", "unsupported", REASON)
    ]
    assert any("lost its worker 1 times: it is put off to the end of the run" in sentence for sentence in said)


def test_a_decoder_that_does_not_start_ends_the_run_with_its_message(tmp_path: Path) -> None:
    manifest = write_videos(tmp_path / "data", "a", "broken")
    with local_dask(1) as executor, pytest.raises(DecoderStartError, match="did not start"):
        run(manifest, tmp_path / "store", executor, LethalDecoder(tmp_path))


@dataclass(frozen=True)
class DiesWhole:
    """A task that kills its workers, though none of its parts does."""

    def parts(self) -> tuple[()]:
        return ()

    def without(self, deaths: object) -> DiesWhole:
        raise AssertionError("no part has killed anything")


def die(task: object, tell: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_where_no_part_is_to_blame_the_run_ends() -> None:
    said: list[str] = []
    with local_dask(1) as executor:
        telling = DaskExecutor(executor._client, say=said.append)
        with pytest.raises(WorkerDiedError, match=r"killed 3 workers, though nothing else was at work"):
            list(telling(die, [DiesWhole()], lambda items: None))
    assert said == ["DiesWhole() lost its worker 3 times: it is put off to the end of the run"]
