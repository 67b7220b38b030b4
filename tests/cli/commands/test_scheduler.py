"""`fda preprocess` on a Dask scheduler and workers that are processes of their own, some of which are killed."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest
from distributed import Client

from tests.clips_on_disk import Commands, Ended
from tests.dask_processes import DaskProcesses, have_another_av, lack_fda, wait_until
from tests.forked import forked_fda
from tests.many_shards import FLAGS
from tests.many_shards import manifest as manifest  # a fixture
from tests.many_shards import whole as whole  # another
from tests.stores import tree_digest


@pytest.fixture
def dask(tmp_path: Path) -> Iterator[DaskProcesses]:
    (tmp_path / "dask").mkdir()
    processes = DaskProcesses(tmp_path / "dask")
    yield processes
    processes.end()


class Running:
    """A running `fda preprocess` on a scheduler."""

    def __init__(self, manifest: Path, place: Path, dask: DaskProcesses, *more: str) -> None:
        self.place = place
        arguments: tuple[str | Path, ...] = (manifest, place, *FLAGS, "--scheduler", dask.address, *more)
        self._process = forked_fda(place.parent, "preprocess", *arguments)

    def wait_for(self, num_commits: int) -> None:
        def is_there() -> bool:
            assert self._process.poll() is None, self._process.communicate()
            return sum(1 for _ in self.place.glob("commits/**/*.parquet")) >= num_commits

        wait_until(is_there, "the run makes no progress")

    def interrupt(self) -> None:
        os.killpg(self._process.pid, signal.SIGINT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()

    def end(self) -> Ended:
        out, err = self._process.communicate(timeout=300)
        assert "Traceback" not in out + err, err
        assert self._process.returncode is not None
        return Ended(self._process.returncode, out, err)


def ended_run(manifest: Path, place: Path, dask: DaskProcesses, *more: str) -> Ended:
    with Running(manifest, place, dask, *more) as run:
        return run.end()


def test_a_worker_is_killed_and_another_joins(
    manifest: Path, tmp_path: Path, whole: dict[str, str], dask: DaskProcesses
) -> None:
    first, unfit = dask.worker("--nthreads", "2"), dask.worker(changed=have_another_av)
    with Client(dask.address) as client:
        client.wait_for_workers(2)
    with Running(manifest, tmp_path / "store", dask) as run:
        run.wait_for(5)
        dask.worker()
        dask.worker(changed=lack_fda)
        run.wait_for(20)
        dask.kill(first)
        ended = run.end()
    assert ended.code == 0
    assert tree_digest(tmp_path / "store") == whole
    assert unfit.poll() is None
    assert "cannot be used: it has av 1.2.3, not " in ended.err
    assert "some workers have 2 threads, and fda uses one of them" in ended.err


def test_a_scheduler_that_is_killed_and_another_that_continues(
    manifest: Path, tmp_path: Path, whole: dict[str, str], dask: DaskProcesses
) -> None:
    dask.worker()
    with Running(manifest, tmp_path / "store", dask) as run:
        run.wait_for(5)
        dask.kill(dask.scheduler)
        ended = run.end()
    assert (ended.code, ended.out) == (1, "")
    assert ended.error_line == (
        f"fda: error: lost the Dask scheduler at {dask.address}: it has ended, or the network failed. What is "
        "committed is kept: start a scheduler and workers, and run the same command again"
    )
    (tmp_path / "another").mkdir()
    other = DaskProcesses(tmp_path / "another")
    try:
        other.worker()
        assert ended_run(manifest, tmp_path / "store", other).code == 0
    finally:
        other.end()
    assert tree_digest(tmp_path / "store") == whole


def test_an_interrupt_cancels_the_tasks_and_leaves_the_workers(
    manifest: Path, tmp_path: Path, whole: dict[str, str], dask: DaskProcesses
) -> None:
    worker = dask.worker()
    with Running(manifest, tmp_path / "store", dask) as run:
        run.wait_for(5)
        run.interrupt()
        ended = run.end()
    assert (ended.code, ended.out) == (1, "")
    assert re.search("fda: error: interrupted: [0-9]+ of [0-9]+ videos are kept in ", ended.err)
    with Client(dask.address) as client:
        wait_until(lambda: not any(client.processing().values()), "tasks go on")
        assert len(client.nthreads()) == 1
    assert worker.poll() is None
    assert ended_run(manifest, tmp_path / "store", dask).code == 0
    assert tree_digest(tmp_path / "store") == whole


def test_workers_that_lack_something_are_named_and_do_nothing(
    manifest: Path, tmp_path: Path, dask: DaskProcesses
) -> None:
    dask.worker(changed=lack_fda)
    with Client(dask.address) as client:
        client.wait_for_workers(1)
        (address,) = client.nthreads()
    ended = ended_run(manifest, tmp_path / "store", dask)
    assert ended.code == 1
    assert ended.error_line.startswith("fda: error: no worker can be used; the first of 1: ")
    assert f"worker {address} (host " in ended.error_line
    assert "it cannot import 'pipeline.workers': install the same environment there" in ended.error_line
    assert not list((tmp_path / "store").glob("commits/**/*.parquet"))


def test_no_worker_comes(manifest: Path, tmp_path: Path, dask: DaskProcesses) -> None:
    ended = ended_run(manifest, tmp_path / "store", dask, "--worker-timeout", "1")
    assert ended.code == 1
    assert f"waiting for workers at {dask.address}, for 1 s" in ended.err
    assert f"no worker at {dask.address} for 1 s (--worker-timeout): start some with `dask worker`" in ended.error_line


def test_no_scheduler_answers(fda: Commands, manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.workers.clusters.CONNECT_SECONDS", 1)
    ended = fda("preprocess", manifest, tmp_path / "store", *FLAGS, "--scheduler", "tcp://127.0.0.1:1")
    assert ended.code == 1
    assert "no Dask scheduler answers at tcp://127.0.0.1:1: start one with `dask scheduler`" in ended.error_line


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--scheduler", "http://host:8786"], "'http://host:8786' is not tcp://HOST:PORT"),
        (["--scheduler", "tcp://host"], "'tcp://host' is not tcp://HOST:PORT"),
        (["--scheduler", "tcp://host:99999"], "'tcp://host:99999' is not tcp://HOST:PORT"),
        (["--scheduler", "tcp://host:1", "--cluster", "slurm"], "--scheduler or --cluster, not both"),
        (["--scheduler", "tcp://host:1", "--workers", "2"], "--scheduler has its own"),
        (["--worker-timeout", "3"], "--worker-timeout is for --scheduler and --cluster"),
        (["--print-job-script"], "--print-job-script is for --cluster"),
    ],
)
def test_options_that_do_not_go_together(
    fda: Commands, manifest: Path, tmp_path: Path, options: list[str], message: str
) -> None:
    ended = fda("preprocess", manifest, tmp_path / "store", *FLAGS, *options)
    assert ended.code == 2
    assert message in " ".join(ended.err.split())
    assert not (tmp_path / "store").exists()
