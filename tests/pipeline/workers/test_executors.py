"""Every executor does what the plain loop does: the same results, in any order, through a bounded window."""

from __future__ import annotations

import gc
import os
import pickle
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from distributed import Client, Future

from pipeline.run.events import ItemsDone, Tell, ignore_events
from pipeline.run.resources import ONE_THREAD
from pipeline.workers.dask import (
    NUM_TOPICS,
    TASKS_PER_WORKER,
    DaskExecutor,
    WorkerDiedError,
    _Deaths,
    _Flight,
    _Run,
    local_dask,
)
from pipeline.workers.executors import run_synchronously
from pipeline.workers.worker_side import SECONDS_BETWEEN_MESSAGES, Progress, Telling, _Messages
from pipeline.workers.worker_watch import WorkerWatch
from store.errors import StoreWriteError
from tests.dask_processes import DaskProcesses

NUM_WORKERS = 1


@pytest.fixture(scope="module")
def dask() -> Iterator[DaskExecutor]:
    with local_dask(NUM_WORKERS) as executor:
        yield executor


def square(number: int, tell: Tell) -> int:
    return number * number


def process_id(number: int, tell: Tell) -> int:
    return os.getpid()


def thread_limits(number: int, tell: Tell) -> dict[str, str | None]:
    return {name: os.environ.get(name) for name in ONE_THREAD}


def refuse_three(number: int, tell: Tell) -> int:
    if number == 3:
        raise StoreWriteError("cannot write number 3")
    return number


def blame_itself(number: int, tell: Tell) -> int:
    """Raise an error that is its own cause's cause."""
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    raise first


def tell_of_each(number: int, tell: Tell) -> int:
    """Report `number` items, of which every other failed."""
    tell(ItemsDone())
    for item in range(number):
        tell(ItemsDone(1, item % 2, 12, 1000))
    return number


def tell_and_wait(folder: Path, number: int, tell: Tell) -> int:
    """Report two items in two messages, then wait until the test makes a file."""
    tell(ItemsDone(1))
    time.sleep(2 * SECONDS_BETWEEN_MESSAGES)
    tell(ItemsDone(1))
    while not (folder / "go on").exists():
        time.sleep(0.01)
    return number


def die_once(folder: Path, number: int, tell: Tell) -> int:
    """Report three items one by one; the first attempt is killed after the second."""
    for item in range(3):
        tell(ItemsDone(1, num_frames=12))
        time.sleep(1.2 * SECONDS_BETWEEN_MESSAGES)
        if item == 1 and not (folder / "tried").exists():
            (folder / "tried").touch()
            time.sleep(0.5)
            os.kill(os.getpid(), signal.SIGKILL)
    return number


def count_up_to(number: int, drawn: list[int]) -> Iterator[int]:
    for one in range(number):
        drawn.append(one)
        yield one


def run(dask: DaskExecutor, function: Callable[[int, Tell], int], numbers: range | list[int]) -> list[int]:
    return list(dask(function, numbers, ignore_events))


def test_the_loop_is_lazy_and_keeps_the_order() -> None:
    drawn: list[int] = []
    reports = run_synchronously(square, count_up_to(3, drawn), ignore_events)
    assert drawn == []
    assert next(reports) == 0
    assert drawn == [0]
    assert list(reports) == [1, 4]


def test_dask_gives_the_same_reports(dask: DaskExecutor) -> None:
    assert sorted(run(dask, square, range(20))) == list(run_synchronously(square, range(20), ignore_events))
    assert run(dask, square, []) == []


def test_equal_tasks_are_all_run(dask: DaskExecutor) -> None:
    assert run(dask, square, [2, 2, 2]) == [4, 4, 4]


def test_dask_works_in_other_processes_of_one_thread_each(dask: DaskExecutor) -> None:
    assert os.getpid() not in set(run(dask, process_id, range(3)))
    assert list(dask(thread_limits, [0], ignore_events)) == [ONE_THREAD]


def test_dask_draws_tasks_through_a_bounded_window(dask: DaskExecutor) -> None:
    drawn: list[int] = []
    for num_done, _ in enumerate(dask(square, count_up_to(30, drawn), ignore_events), start=1):
        assert len(drawn) <= num_done + NUM_WORKERS * TASKS_PER_WORKER
    assert len(drawn) == 30


def test_the_window_follows_workers_that_join_and_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    from distributed import Client, LocalCluster

    monkeypatch.setattr("pipeline.workers.worker_watch.SECONDS_BETWEEN_LOOKS", 0)

    drawn: list[int] = []
    num_taken = 0
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=":0") as cluster,
        Client(cluster) as client,
        closing(DaskExecutor(client)(square, count_up_to(60, drawn), ignore_events)) as reports,
    ):
        for num_workers in (1, 3, 1):
            cluster.scale(num_workers)
            while len(client.nthreads()) != num_workers:
                time.sleep(0.01)
            for _ in range(8):  # enough for a window that was wider to run empty
                next(reports)
            num_taken += 8
            assert len(drawn) - num_taken == num_workers * TASKS_PER_WORKER


@pytest.mark.parametrize("number", [0, 1, 5])
def test_both_report_every_item_in_the_thread_of_the_caller(dask: DaskExecutor, number: int) -> None:
    for executor in (run_synchronously, dask):
        heard: list[ItemsDone] = []
        list(executor(tell_of_each, [number, number], heard.append))
        assert sum(heard, start=ItemsDone()) == ItemsDone(2 * number, 2 * (number // 2), 24 * number, 2000 * number)


def test_many_items_are_few_messages(dask: DaskExecutor) -> None:
    heard: list[ItemsDone] = []
    start = time.monotonic()
    list(dask(tell_of_each, [20_000], heard.append))
    assert sum(items.num_done for items in heard) == 20_000
    assert len(heard) <= 3 + (time.monotonic() - start) / SECONDS_BETWEEN_MESSAGES


def test_a_worker_of_many_seldom_tells_of_its_items() -> None:
    sent: list[Any] = []
    worker: Any = SimpleNamespace(address="tcp://one of many", log_event=lambda topic, message: sent.append(message))
    for key in ("first", "second"):
        messages = _Messages(worker, Telling("topic", seconds_between=60), key)
        for _ in range(3):
            messages(ItemsDone(1))
        messages.send(f"report of the {key}")
    told = [Progress.from_message(message) for message in sent]
    assert [(one.key, one.total.num_done, one.report and pickle.loads(one.report)) for one in told] == [
        ("first", 1, None),
        ("first", 3, "report of the first"),
        ("second", 3, "report of the second"),
    ]


def test_items_are_reported_while_their_task_runs(dask: DaskExecutor, tmp_path: Path) -> None:
    heard: list[ItemsDone] = []

    def listen(items: ItemsDone) -> None:
        heard.append(items)
        if sum(one.num_done for one in heard) == 2:
            (tmp_path / "go on").touch()  # without which the task does not end

    assert list(dask(partial(tell_and_wait, tmp_path), [7], listen)) == [7]


def test_a_worker_that_is_killed_is_replaced_and_its_items_are_reported_once(tmp_path: Path) -> None:
    heard: list[ItemsDone] = []
    with local_dask(1) as executor:
        assert sorted(executor(partial(die_once, tmp_path), [5, 6], heard.append)) == [5, 6]
    assert (tmp_path / "tried").exists()
    assert sum(heard, start=ItemsDone()) == ItemsDone(6, 0, 72)
    assert min(one.num_done for one in heard) >= 0  # a bar never goes back


def test_a_report_that_is_lost_with_its_worker_is_made_again_by_one_that_joins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    processes = DaskProcesses(tmp_path)
    first, put = processes.worker(), _Run.put_message

    def put_unless_lost(run: _Run[int, int], event: Any) -> None:
        if first.poll() is None:
            processes.kill(first)
            processes.worker()
        else:
            put(run, event)

    monkeypatch.setattr(_Run, "put_message", put_unless_lost)
    monkeypatch.setattr(WorkerWatch, "restriction", property(lambda watch: watch.fit))
    try:
        with Client(processes.address) as client:
            client.wait_for_workers(1)
            assert sorted(DaskExecutor(client)(square, range(4), ignore_events)) == [0, 1, 4, 9]
    finally:
        processes.end()


def test_a_task_whose_report_is_lost_is_run_again(dask: DaskExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    put, put_end, ends, lost = _Run.put_message, _Run._put_end, list[Future](), list[object]()

    def lose_the_first(run: _Run[int, int], event: Any) -> None:
        if lost:
            put(run, event)
        lost.append(event)

    def count(run: _Run[int, int], future: Future) -> None:
        ends.append(future)
        put_end(run, future)

    monkeypatch.setattr(_Run, "put_message", lose_the_first)
    monkeypatch.setattr(_Run, "_put_end", count)
    assert list(dask(square, [7], ignore_events)) == [49]
    assert (len(ends), len(lost)) == (2, 2)


def test_an_error_comes_back_as_it_was_raised(dask: DaskExecutor) -> None:
    with pytest.raises(StoreWriteError, match="cannot write number 3"):
        list(run_synchronously(refuse_three, range(10), ignore_events))
    with pytest.raises(StoreWriteError, match="cannot write number 3"):
        run(dask, refuse_three, range(10))
    assert run(dask, square, [5]) == [25]


def test_an_error_whose_causes_lead_in_a_circle_comes_back(dask: DaskExecutor) -> None:
    with pytest.raises(ValueError, match="first"):
        run(dask, blame_itself, [0])


def test_a_caller_may_stop_early(dask: DaskExecutor) -> None:
    reports = dask(square, range(100), ignore_events)
    next(reports)
    assert isinstance(reports, Iterator)
    reports.close()
    assert run(dask, square, [6]) == [36]


def test_a_scheduler_keeps_no_more_for_each_run(dask: DaskExecutor) -> None:
    assert dask.client.scheduler is not None
    for _ in range(NUM_TOPICS + 1):
        with Client(dask.client.scheduler.address, set_as_default=False) as client:
            assert run(DaskExecutor(client), square, [3]) == [9]
    topics = {name for name in dask.client.get_events() if name.startswith("fda-")}
    assert len(topics) <= NUM_TOPICS


def test_runs_of_one_topic_do_not_disturb_each_other(dask: DaskExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of one client, and one of another."""
    monkeypatch.setattr("pipeline.workers.dask.NUM_TOPICS", 1)
    assert dask.client.scheduler is not None
    with Client(dask.client.scheduler.address, set_as_default=False) as client:
        one, other = DaskExecutor(dask.client), DaskExecutor(client)
        heard: list[list[ItemsDone]] = [[], [], []]
        runs = [
            executor(tell_of_each, [number, number], told.append)
            for executor, number, told in zip((one, one, other), (1, 3, 5), heard, strict=True)
        ]
        assert list(zip(*runs, strict=True)) == [(1, 3, 5), (1, 3, 5)]
        assert [sum(items.num_done for items in told) for told in heard] == [2, 6, 10]


class RunOfLethalTasks(_Run[int, int]):
    """A run without workers: every task is put off, and those below 0 kill their workers also when alone."""

    def _submit_what_fits(self) -> None:
        for task in self._waiting:
            self._flights[str(task)] = _Flight(task, Future(str(task)), None, ItemsDone())

    def _ended(self) -> tuple[_Flight[int], int | _Deaths]:
        return self._flights.pop(next(iter(self._flights))), _Deaths(3)

    def _alone(self, flight: _Flight[int]) -> int | _Deaths:
        return _Deaths(4) if flight.task < 0 else flight.task


def test_a_task_that_kills_its_workers_is_named_after_all_others_are_done(dask: DaskExecutor) -> None:
    """Real deaths are in test_dead_workers.py. Here, several tasks are lethal, which takes minutes with workers."""
    reports: list[int] = []
    lethal = RunOfLethalTasks(DaskExecutor(dask.client), square, [-1, 1, -2, 2, 3], ignore_events)
    with pytest.raises(WorkerDiedError, match=r"^-1 \(and 1 more\) killed 4 workers although nothing else was running"):
        reports.extend(lethal.reports())
    assert reports == [1, 2, 3]


def held() -> tuple[int, set[int]]:
    """The open files of this process in number, and its descendants."""
    gc.collect()  # a closed event loop keeps its files until then
    me = psutil.Process()
    return me.num_fds(), {child.pid for child in me.children(recursive=True)}


def test_nothing_is_left_of_a_cluster(dask: DaskExecutor) -> None:
    """Whether its run ended well, with an error or early. What Dask keeps open for good was opened by the fixture."""
    files, processes = held()
    for function in (square, refuse_three):
        with suppress(StoreWriteError), local_dask(1) as executor:
            run(executor, function, range(5))
    with local_dask(1) as executor:
        next(executor(square, range(5), ignore_events))
    files_after, processes_after = held()
    assert processes_after == processes
    assert files_after < files + 3  # less than one for each cluster; the one of the fixture lives, and connects at will
